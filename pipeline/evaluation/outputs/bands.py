"""Energy and error of an estimate by third octaves: what is muffled, thinned, cut out, tilted or made up.

BSS Eval v3 forgives any filter of 512 taps and v4 weighs by energy, of which music has little above 4 kHz.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.fft
import scipy.signal

_LOWEST = 17  # of the third octaves 10 ** (n / 10) Hz: 50 Hz
_FRAME_SECONDS = 0.09
_FRAMES_AT_ONCE = 128
_PAIRS = ((0, 0), (1, 1), (0, 1), (2, 1))  # of reference, estimate and mixture
_AUDIBLE = 10 ** (-40 / 10)  # of the whole reference, both A-weighted: a band that counts
_DITHER = 10 ** (-90 / 10)  # mean square of a band below which nothing sounds
_TINY = 1e-30
_MOST_DB = 100.0
_MOST_ROOM_DB = 25.0


@dataclass(frozen=True)
class Band:
    """Mean squares of one target in one band of one track, all channels together.

    reference, estimate: their own. with_reference, with_mixture: the absolute inner product of the estimate with
    reference and mixture, whatever their phase. loudness: the share of the reference's energy, all A-weighted.
    """

    low_hz: float
    high_hz: float
    reference: float
    estimate: float
    with_reference: float
    with_mixture: float
    loudness: float

    @property
    def level_db(self) -> float:
        """The estimate's energy over that of the reference."""
        return _db(self.estimate, self.reference)

    @property
    def level_error_db(self) -> float:
        """How much too loud (positive) or too quiet (negative) the band is; 0 within what its errors explain.

        As `OutputFacts.level_error_db`. What has little to do with the reference may be taken away, but not all of it: a
        band that is quieter than that has been cut out.
        """
        room = -_db(self.with_reference**2, self.reference * self.estimate)
        level = self.level_db
        return max(0.0, level - room) if level > 0 else min(0.0, level + min(room, _MOST_ROOM_DB))

    @property
    def invented_db(self) -> float:
        """Energy beyond twice the inner product with the mixture, over the reference's: no mask of up to 2 makes any."""
        return _db(self.estimate - 2 * self.with_mixture, self.reference)

    @property
    def octaves(self) -> float:
        return float(np.log2(self.high_hz / self.low_hz))


def measure(
    reference: np.ndarray, estimate: np.ndarray, mixture: np.ndarray, sample_rate_hz: int, delay_samples: int = 0
) -> tuple[Band, ...]:
    """The bands in which the reference sounds, from the lowest. All [samples, channels], finite.

    delay_samples: by which the estimate lags; it is set right first.
    """
    size = 2 * round(_FRAME_SECONDS * sample_rate_hz / 2)
    signals = np.stack([reference, np.roll(estimate, -delay_samples, axis=0), mixture])
    products = _products(signals, size)
    frequencies = scipy.fft.rfftfreq(size, 1 / sample_rate_hz)
    edges = _edges(sample_rate_hz / 2)
    firsts = np.searchsorted(frequencies, edges)
    loudness = np.add.reduceat(products[0].real * _a_weighting(frequencies), firsts)
    loudness /= max(loudness.sum(), _TINY)
    powers = np.abs(np.add.reduceat(products, firsts, axis=1)).T
    return tuple(
        Band(low, high, *measured.tolist())
        for low, high, measured in zip(edges, edges[1:], np.column_stack([powers, loudness]), strict=False)
        if measured[0] > _DITHER and measured[-1] > _AUDIBLE
    )


def _edges(nyquist_hz: float) -> list[float]:
    """45, 56, 71, ... Hz: a last band that the highest frequency cuts off is none."""
    thirds = (10 ** ((n - 0.5) / 10) for n in range(_LOWEST, 60))
    return [edge for edge in thirds if edge < nyquist_hz]


def _a_weighting(frequencies: np.ndarray) -> np.ndarray:
    """Factors of power by IEC 61672-1, appendix E: what is heard of each frequency, 1 at 1 kHz."""
    squares = frequencies**2
    response = (12194.0**2 * squares**2) / (
        (squares + 20.6**2) * np.sqrt((squares + 107.7**2) * (squares + 737.9**2)) * (squares + 12194.0**2)
    )
    return (1.2589 * response) ** 2  # 2.00 dB


def _products(signals: np.ndarray, size: int) -> np.ndarray:
    """Power spectra of reference and estimate, and the estimate's cross spectra with reference and mixture: [4, bins].

    Welch's method: the mean over Hann windows that overlap by half, scaled so that the sum over bins is the mean square.
    Windows lie within the signal: what begins or ends at once has all frequencies.
    """
    window = scipy.signal.windows.hann(size, sym=False)
    padded = np.pad(signals, ((0, 0), (0, max(0, size - signals.shape[1])), (0, 0)))
    frames = np.lib.stride_tricks.sliding_window_view(padded, size, axis=1)[:, :: size // 2]
    sums = np.zeros((len(_PAIRS), size // 2 + 1), complex)
    for first in range(0, frames.shape[1], _FRAMES_AT_ONCE):
        spectra = scipy.fft.rfft(window * frames[:, first : first + _FRAMES_AT_ONCE], axis=-1)
        for row, (left, right) in zip(sums, _PAIRS, strict=True):
            row += np.sum(spectra[left].conj() * spectra[right], axis=(0, 1))
    sums[:, 1 : size // 2] *= 2  # what is left out of a real signal's spectrum
    return sums / (size * np.sum(window**2) * frames.shape[1] * frames.shape[2])


def _db(left: float, right: float) -> float:
    """10 log10 of a ratio of energies, within 100 dB."""
    ratio = max(left, _TINY) / max(right, _TINY)
    return float(np.clip(10 * np.log10(ratio), -_MOST_DB, _MOST_DB))
