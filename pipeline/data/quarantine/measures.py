"""What the checks of a track need to know of its signals, gathered block by block while it is read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import numpy as np
from scipy import fft

from pipeline.data.datasets import audio
from pipeline.data.datasets.loading import MIXTURE, Signals, Stream, check_length
from pipeline.data.datasets.track import BadTrackError

CLIPPING_FLOOR = 10 ** (-40 / 20)  # below it, the ceiling of a signal is its noise, not a limiter's
_AT_CEILING = 1 - 1e-4
VOCALS = "vocals"
_LOW_HZ = 80.0  # the low E of a bass voice is at 82 Hz
_LOOKED_AT = 8  # one in so many blocks, for what a share of the track tells
_PIECE_SAMPLES = (
    2**12
)  # products of few rows and so many columns are what OpenBLAS has kernels for that are 4 times as fast


class Measures:
    """Of the mixture and every stem of a track, at its own rate.

    Attributes:
      names: of the signals, the stems first and the mixture last.
      samples: how many were seen, per channel.
      products: float64 [signals, channels, signals, channels], the inner product of every channel with every other.
      sums: float64 [signals, channels].
      residuals: the energy of mixture - stems in each block, to find a place where they differ.
    """

    def __init__(self, stream: Stream) -> None:
        self.names = (*stream.stems, MIXTURE)
        self.sample_rate_hz, self.channels, self.samples = stream.sample_rate_hz, stream.channels, 0
        rows = len(self.names), stream.channels
        self.products, self.sums = np.zeros((*rows, *rows)), np.zeros(rows)
        self.residuals: list[float] = []
        self._signs = np.array([-1.0] * len(stream.stems) + [1.0])
        self._low = 0.0, 0.0  # of the vocals, energy below 80 Hz and all, of the blocks that are looked at
        self._ceilings = {name: Ceiling() for name in self.names}
        self._not_finite = dict.fromkeys(self.names, 0)

    def watched(self, blocks: Iterator[Signals]) -> Iterator[Signals]:
        """The same blocks, which are looked at as they pass."""
        for block in blocks:
            self._add(block)
            yield block

    def check(self) -> None:
        """Raises BadTrackError with the reason if the track is empty, too short, not finite or of no legal rate."""
        if self.sample_rate_hz <= 0:
            raise BadTrackError(f"its sample rate is {self.sample_rate_hz} Hz")
        check_length(self.samples, self.sample_rate_hz)
        for name in self.names:  # the stems first: a mixture that is their sum has what they have
            if count := self._not_finite[name]:
                values = "value that is" if count == 1 else "values that are"
                raise BadTrackError(f"{name} has {count} {values} NaN or infinite")

    def clipping_ratios(self) -> dict[str, float]:
        """Of each signal, the share of samples that lie at its own ceiling (see `Ceiling`)."""
        return {name: ceiling.share for name, ceiling in self._ceilings.items()}

    @property
    def seen(self) -> int:
        """Samples of all channels."""
        return self.samples * self.channels

    @property
    def low_share(self) -> float:
        """The share of the vocals' energy that lies below 80 Hz, in every eighth block; 0 without vocals."""
        low, whole = self._low
        return low / whole if whole else 0.0

    def _add(self, block: Signals) -> None:
        samples = len(block[MIXTURE])
        self.samples += samples
        rows = np.empty((self.sums.size + 1, samples), np.float32)
        rows[-1] = 1  # the products with ones are the sums
        for number, name in enumerate(self.names):
            rows[number * self.channels : (number + 1) * self.channels] = block[name].T
        pieces = [rows[:, start : start + _PIECE_SAMPLES] for start in range(0, max(1, samples), _PIECE_SAMPLES)]
        with np.errstate(over="ignore", invalid="ignore"):
            products = np.sum([piece @ piece[:-1].T for piece in pieces], axis=0, dtype=np.float64)
        if not np.isfinite(products).all():
            for name in self.names:
                self._not_finite[name] += int(np.size(block[name]) - np.isfinite(block[name]).sum())
        of_block = products[:-1].reshape(self.products.shape)
        self.products += of_block
        self.sums += products[-1].reshape(self.sums.shape)
        for name, ceiling in self._ceilings.items():
            ceiling.add(block[name])
        if VOCALS in self.names and len(self.residuals) % _LOOKED_AT == 0:
            below, whole = _energy_below(block[VOCALS], _LOW_HZ / max(1, self.sample_rate_hz))
            self._low = self._low[0] + below, self._low[1] + whole
        self.residuals.append(float(self._signs @ np.einsum("acbc->ab", of_block) @ self._signs))


def _energy_below(signal: np.ndarray, frequency: float) -> tuple[float, float]:
    """The energy of a block below a frequency in cycles per sample, and all of its energy."""
    spectrum = np.asarray(fft.rfft(audio.to_channels(signal, 1)[:, 0]))
    low = spectrum[: int(frequency * len(signal)) + 1]
    return float(np.vdot(low, low).real), float(np.vdot(spectrum, spectrum).real)


class Ceiling:
    """The share of samples that lie at a signal's own ceiling, within 1e-4 of it.

    A signal cut off by a converter or limiter has many of them, even if it was attenuated afterwards; any other has
    one or two. Measure it before resampling, which rings around the flat tops.
    """

    def __init__(self) -> None:
        self._highest = np.float32(0)
        self._samples = 0
        self._near: dict[
            np.float32, int
        ] = {}  # magnitude -> how often: between the limit and the ceiling lie 1700 floats

    def add(self, signal: np.ndarray) -> None:
        """A block of the signal."""
        self._samples += signal.size
        highest = max(signal.max(initial=np.float32(0)), -signal.min(initial=np.float32(0)))
        self._highest = max(self._highest, highest)
        if highest < self._limit or self._highest < CLIPPING_FLOOR:
            return
        magnitude = np.abs(signal)
        found, counts = np.unique(magnitude[magnitude >= self._limit], return_counts=True)
        for value, count in zip(found, counts.tolist(), strict=True):
            self._near[value] = self._near.get(value, 0) + count
        self._near = {value: count for value, count in self._near.items() if value >= self._limit}

    @property
    def share(self) -> float:
        """In 0..1; 0 of a signal whose ceiling is below -40 dB of full scale."""
        return sum(self._near.values()) / self._samples if self._highest >= CLIPPING_FLOOR else 0.0

    @property
    def _limit(self) -> np.float32:
        return cast(np.float32, self._highest * np.float32(_AT_CEILING))
