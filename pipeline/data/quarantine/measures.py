"""What the checks of a track need to know of its signals, gathered block by block while it is read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import numpy as np

from pipeline.data.datasets.loading import MIXTURE, Signals, Stream
from pipeline.data.datasets.track import BadTrackError, mix

MINIMUM_SECONDS = 0.1
CLIPPING_FLOOR = 10 ** (-40 / 20)  # below it, the ceiling of a signal is its noise, not a limiter's
_AT_CEILING = 1 - 1e-4


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
        if self.samples == 0:
            raise BadTrackError("it has 0 samples")
        if self.samples < MINIMUM_SECONDS * self.sample_rate_hz:
            raise BadTrackError(f"it has {self.samples} samples, less than the {MINIMUM_SECONDS:g} s a track must last")
        for name in (MIXTURE, *self.names):
            if self._not_finite[name]:
                raise BadTrackError(f"{name} has {self._not_finite[name]} values that are NaN or infinite")

    def clipping_ratios(self) -> dict[str, float]:
        """Of each signal, the share of samples that lie at its own ceiling (see `Ceiling`)."""
        return {name: ceiling.share for name, ceiling in self._ceilings.items()}

    def _add(self, block: Signals) -> None:
        self.samples += len(block[MIXTURE])
        rows = np.concatenate([block[name] for name in self.names], axis=1)
        with np.errstate(over="ignore", invalid="ignore"):
            products = (rows.T @ rows).astype(np.float64)
        if not np.isfinite(products).all():
            for name in self.names:
                self._not_finite[name] += int(np.size(block[name]) - np.isfinite(block[name]).sum())
        self.products += products.reshape(self.products.shape)
        self.sums += rows.sum(axis=0, dtype=np.float64).reshape(self.sums.shape)
        for name, ceiling in self._ceilings.items():
            ceiling.add(block[name])
        residual = (block[MIXTURE] - mix([block[name] for name in self.names[:-1]])).ravel()
        self.residuals.append(float(np.dot(residual, residual)))


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
        magnitude = np.abs(signal)
        self._highest = max(self._highest, magnitude.max(initial=np.float32(0)))
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
