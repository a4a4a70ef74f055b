"""What a listener notices in time: an uneven gain, clicks, sounds that nothing in the mixture makes, coarse steps."""

from dataclasses import dataclass

import numpy as np
import scipy.ndimage
import scipy.signal

from pipeline.evaluation.outputs import alignment
from pipeline.evaluation.outputs.energies import energies, products

_GAIN_SECONDS = 0.015
_GAIN_WINDOWS = 8
_LOUD = 0.5  # of the mean energy: what is quieter may be lost
_MUTED_DB = -40.0
_LOST_DB = -10.0
_LOST_WINDOWS = 7  # of a note of 0.1 s; what is shorter is a mute
_MASKED = 10 ** (-60 / 10)  # a mask leaves more of a note
_UNCLAIMED = 0.5
_CLICK_SECONDS = 0.05  # half of a frame of 0.1 s, over which a mask may smear an attack
_OVER_MEDIAN = 12.0  # 8 standard deviations of Gaussian noise
_OVER_OTHERS = 3.0
_LEAST_CLICK = 1e-3
_FOREIGN_SECONDS = 0.37
_OVER_CELLS = 4.0  # in power: no mask makes a cell twice as large as the largest beside it
_BESIDE = (1, 5, 3)  # channels, bins, frames
_STEPS_SAMPLES = 2**17
_FEWEST_SAMPLES = 2**12
_TWO_STEPS = 2.0**-14  # of 16 bits


@dataclass(frozen=True)
class Artefacts:
    """Artefacts of one estimate; NaN where they cannot be told.

    unevenness_db: standard deviation of the error of level (`alignment.level_error_db`) over loud windows of 15 ms, by energy, beyond
        what the errors of the whole explain: level jumps, fades, pumping, tremolo, short mutes.
    kept_unevenness_db: the same without lost notes.
    lost_share: of the loud windows' energy, that of lost notes: 0.1 s or longer 10 dB too quiet, though 60 dB above nothing and held by
        another target, where there are others. A separator that takes a voice for the music loses them; a drop-out does not.
    clicks_per_minute: samples, 0.1 s apart, where the second difference is 12 times its median there and 3 times the largest
        of mixture and reference within 50 ms; the residual of the simplest prediction (Vaseghi 1988; Godsill, Rayner 1998).
    foreign_db: energy where neither mixture nor reference have any (6 dB above the largest cells beside it in a spectrogram
        of long frames) over the reference's: rumble, hum, hiss, images of held samples.
    resolution_db: level over the noise of its steps, the median step squared / 12 (Bennett 1948), where they are coarser than those of 16
        bits, of mixture and reference; infinite otherwise.
    """

    unevenness_db: float = np.nan
    kept_unevenness_db: float = np.nan
    lost_share: float = 0.0
    clicks_per_minute: float = 0.0
    foreign_db: float = -np.inf
    resolution_db: float = np.inf


def measure(
    reference: np.ndarray, estimate: np.ndarray, mixture: np.ndarray, unclaimed: np.ndarray, sample_rate_hz: int
) -> Artefacts:
    """Artefacts of an estimate that sounds, of a reference that sounds.

    All [samples, channels]; unclaimed: what of the mixture no target's estimate holds, zeros where that cannot be told.
    """
    return Artefacts(
        *_unevenness(reference, estimate, unclaimed, round(_GAIN_SECONDS * sample_rate_hz)),
        _clicks(reference, estimate, mixture, sample_rate_hz) * 60 * sample_rate_hz / len(mixture),
        _foreign_db(reference, estimate, mixture, sample_rate_hz),
        _resolution_db(reference, estimate, mixture),
    )


def _unevenness(
    reference: np.ndarray, estimate: np.ndarray, unclaimed: np.ndarray, window_samples: int
) -> tuple[float, float, float]:
    """Unevenness in dB of all loud windows and of those without lost notes, and the lost notes' share of their energy."""
    energy, own, of_nobody = (energies(each, window_samples) for each in (reference, estimate, unclaimed))
    product = products(reference, estimate, window_samples)
    loud = energy > _LOUD * energy.mean()
    if np.count_nonzero(loud) < _GAIN_WINDOWS:
        return np.nan, np.nan, 0.0
    errors_db = np.maximum(_MUTED_DB, alignment.level_error_db(energy[loud], own[loud], product[loud]))
    taken = (own > _MASKED * energy) & (of_nobody < _UNCLAIMED * energy)
    lost = np.zeros(len(energy), bool)
    lost[loud] = scipy.ndimage.binary_opening(taken[loud] & (errors_db < _LOST_DB), np.ones(_LOST_WINDOWS))

    def unevenness_db(kept: np.ndarray) -> float:
        errors, weights = errors_db[kept[loud]], energy[kept & loud]
        if len(errors) < _GAIN_WINDOWS:
            return np.nan
        deviation_db = float(np.average((errors - np.average(errors, weights=weights)) ** 2, weights=weights)) ** 0.5
        norm = (energy[kept].sum() * own[kept].sum()) ** 0.5
        correlation = max(abs(product[kept].sum()) / norm, 1e-6)
        return max(0.0, deviation_db + 20 * float(np.log10(correlation)))

    return unevenness_db(np.ones_like(lost)), unevenness_db(~lost), float(energy[lost].sum() / energy[loud].sum())


def _clicks(reference: np.ndarray, estimate: np.ndarray, mixture: np.ndarray, sample_rate_hz: int) -> int:
    """In the channel that has the most of them."""
    window = round(2 * _CLICK_SECONDS * sample_rate_hz)
    if len(estimate) < 3 * window:
        return 0
    edge = slice(window // 2, -window // 2)  # whatever a model does where the signal breaks off
    own, of_mixture, of_reference = (np.abs(np.diff(each, 2, axis=0)) for each in (estimate, mixture, reference))
    largest = scipy.ndimage.maximum_filter1d(np.maximum(of_mixture, of_reference), window + 1, axis=0)
    blocks = own[: len(own) // window * window].reshape(-1, window, own.shape[1])
    median = np.repeat(np.median(blocks, axis=1), window, axis=0)
    median = np.pad(median, ((0, len(own) - len(median)), (0, 0)), mode="edge")
    least = np.maximum(np.maximum(_OVER_OTHERS * largest, _OVER_MEDIAN * median), _LEAST_CLICK)
    places = [np.flatnonzero(channel) for channel in (own > least)[edge].T]
    return max(int(len(each) > 0) + int(np.count_nonzero(np.diff(each) > window)) for each in places)


def _foreign_db(reference: np.ndarray, estimate: np.ndarray, mixture: np.ndarray, sample_rate_hz: int) -> float:
    frame = 2 ** round(np.log2(_FOREIGN_SECONDS * sample_rate_hz))
    frame = min(frame, 2 ** int(np.log2(len(mixture))))
    if frame < 2:
        return -np.inf
    of_reference, own, of_mixture = (
        np.abs(scipy.signal.stft(each.T.astype(np.float32), nperseg=frame)[2]) ** 2
        for each in (reference, estimate, mixture)
    )
    explained = scipy.ndimage.maximum_filter(np.maximum(of_mixture, of_reference), _BESIDE)
    foreign = float(np.sum(np.maximum(own - _OVER_CELLS * explained, 0), dtype=float))
    with np.errstate(divide="ignore"):
        return 10 * float(np.log10(foreign / np.sum(of_reference, dtype=float)))


def _resolution_db(reference: np.ndarray, estimate: np.ndarray, mixture: np.ndarray) -> float:
    if estimate.size < _FEWEST_SAMPLES:
        return np.inf
    own = _step(estimate)
    if own <= _TWO_STEPS or own <= 2 * max(_step(reference), _step(mixture)):
        return np.inf
    return 10 * float(np.log10(12 * np.mean(np.square(estimate), dtype=float) / own**2))


def _step(signal: np.ndarray) -> float:
    """The median over samples of how far the nearest other value is: 0 of a smooth signal."""
    middle = signal[max(0, (len(signal) - _STEPS_SAMPLES) // 2) :][:_STEPS_SAMPLES]
    values, counts = np.unique(middle, return_counts=True)
    if len(values) < 2:
        return 0.0
    gaps = np.diff(values.astype(float))
    nearest = np.minimum(np.append(gaps, np.inf), np.append(np.inf, gaps))
    order = np.argsort(nearest)
    return float(nearest[order][np.searchsorted(np.cumsum(counts[order]), middle.size / 2)])
