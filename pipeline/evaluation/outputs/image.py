"""What is wrong with the stereo image of an estimate: balance, width, and which channel is which."""

from dataclasses import dataclass

import numpy as np
import scipy.signal

_FAINT = 10 ** (-15 / 10)  # of the whole: a channel, a side or a band below it is no part of the image
_FRAME_SECONDS = 0.025
_LOWEST_BAND_HZ = 250.0
_MID_AND_SIDE = np.array([[0.5, 0.5], [0.5, -0.5]])


@dataclass(frozen=True)
class ImageFacts:
    """The image of one estimate in two channels against its reference's; NaN where the reference has no such part.

    Differences of level are those that errors of separation do not explain.

    balance_db: how much too loud the left channel is against the right one; infinite where one of them is silent.
    width_db: how much too loud the side (L - R) / 2 is against the middle (L + R) / 2; -inf of what is mono.
    side_correlation: of the side with that of the reference; negative where left and right are swapped.
    tilt_db: the balance of an octave less that of the whole, the largest: one channel is muffled, or thin.
    """

    balance_db: float = np.nan
    width_db: float = np.nan
    side_correlation: float = np.nan
    tilt_db: float = np.nan


def measure(reference: np.ndarray, estimate: np.ndarray, sample_rate_hz: int) -> ImageFacts:
    """Facts of an estimate [samples, channels] against its reference; of mono and of many channels there are none."""
    if reference.shape[1] != 2:
        return ImageFacts()
    channels = _products(reference, estimate)
    rotated = _MID_AND_SIDE @ channels @ _MID_AND_SIDE.T
    balance_db, width_db = _difference_db(channels), -_difference_db(rotated)
    (_, side), (_, of_estimate), (_, product) = (np.diag(each) for each in rotated)
    lost = np.isnan(width_db) or of_estimate <= 0
    return ImageFacts(
        balance_db,
        width_db,
        np.nan if lost else float(product / (side * of_estimate) ** 0.5),
        _tilt_db(reference, estimate, sample_rate_hz, balance_db),
    )


def _products(reference: np.ndarray, estimate: np.ndarray) -> np.ndarray:
    """[3, channels, channels]: of the reference with itself, of the estimate with itself, and of both."""
    return np.array([(a.T @ b).astype(float) for a, b in ((reference,) * 2, (estimate,) * 2, (reference, estimate))])


def _difference_db(products: np.ndarray, of_whole_db: float = 0.0) -> float:
    """Level of the first part against that of the second, less that of the whole; 0 within what errors of separation explain.

    That is -20 log10 of the lower correlation, as in `alignment.level_error_db`. NaN where the reference has only one part.
    """
    energies, own, product = (np.diag(each) for each in products)
    if energies.min() <= _FAINT * energies.sum() or energies.sum() == 0 or own.max() <= 0:
        return np.nan
    if own.min() <= 0:
        return np.inf if own[0] else -np.inf
    levels_db = 10 * np.log10(own / energies)
    difference_db = float(levels_db[0] - levels_db[1]) - of_whole_db
    room_db = -10 * float(np.log10(max(np.min(product**2 / (energies * own)), 1e-12)))
    return float(np.sign(difference_db)) * max(0.0, abs(difference_db) - room_db)


def _tilt_db(reference: np.ndarray, estimate: np.ndarray, sample_rate_hz: int, balance_db: float) -> float:
    if not np.isfinite(balance_db):
        return np.nan
    frame = 2 ** round(np.log2(_FRAME_SECONDS * sample_rate_hz))
    if len(reference) < frame:
        return np.nan
    frequencies, _, spectra = scipy.signal.stft(
        np.stack([reference.T, estimate.T]), sample_rate_hz, nperseg=frame, noverlap=0
    )
    of_reference, of_estimate = spectra.swapaxes(1, 2).reshape(2, len(frequencies), 2, -1)
    powers = np.array(
        [
            np.sum((a * b.conj()).real, axis=-1, dtype=float)
            for a, b in ((of_reference,) * 2, (of_estimate,) * 2, (of_reference, of_estimate))
        ]
    )  # [3, bins, channels]
    octaves = np.floor(np.log2(np.maximum(frequencies, 1) / _LOWEST_BAND_HZ))
    differences = []
    for octave in np.unique(octaves[octaves >= 0]):
        band = powers[:, octaves == octave].sum(axis=1)
        if band[0].min() > 1e-4 * powers[0].sum():
            differences.append(_difference_db(np.array([np.diag(each) for each in band]), balance_db))
    return float(max(differences, key=abs, default=np.nan))
