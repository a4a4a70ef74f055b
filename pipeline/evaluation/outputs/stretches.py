"""What is wrong with a stretch of an estimate only, or with one channel only: polarity, level and time by stretches."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from pipeline.evaluation.outputs import alignment

SECONDS = 1.0
DELAY_SECONDS = 3.0
"""Of the stretches that a delay is looked for in: what a second of a steady note repeats is no delay."""

_QUIET = 10 ** (-20 / 10)  # of the track's mean energy: a stretch below it carries nothing that has to be right


@dataclass(frozen=True)
class Extreme:
    """A figure of the stretch where it is farthest from what it should be, and where that begins."""

    value: float = np.nan
    at_seconds: float = 0.0


@dataclass(frozen=True)
class StretchFacts:
    """The worst of all stretches and channels in which the reference sounds; NaN where there are none.

    correlation: the lowest, in -1..1. delay_samples: the largest, behind (positive) or ahead. loud_db, quiet_db: the
    largest and the smallest error of level, see `alignment.level_error_db`; -inf for silence.
    """

    correlation: Extreme = Extreme()
    delay_samples: Extreme = Extreme()
    loud_db: Extreme = Extreme()
    quiet_db: Extreme = Extreme()


def measure(reference: np.ndarray, estimate: np.ndarray, sample_rate_hz: int, delay_samples: int = 0) -> StretchFacts:
    """Facts of an estimate [samples, channels] against its reference.

    delay_samples: by which the estimate lags as a whole; it is set right before polarity and level are looked at.
    """
    least = max(_QUIET * float(np.mean(np.square(reference), dtype=float)), alignment.SOUNDING**2)

    def sounding(estimate: np.ndarray, seconds: float) -> list[tuple[float, np.ndarray, np.ndarray]]:
        pieces = _pieces(reference, estimate, round(seconds * sample_rate_hz))
        return [(s / sample_rate_hz, r, e) for s, r, e in pieces if np.mean(np.square(r), dtype=float) >= least]

    delays = [(at, float(alignment.delay(r, e)[0])) for at, r, e in sounding(estimate, DELAY_SECONDS)]
    in_time = np.roll(estimate, -delay_samples, axis=0)
    levels = [(at, *_correlation_and_level(r, e)) for at, r, e in sounding(in_time, SECONDS)]
    if not levels or not delays:
        return StretchFacts()
    return StretchFacts(
        Extreme(*min((correlation, at) for at, correlation, _ in levels)),
        Extreme(*max(((lag, at) for at, lag in delays), key=lambda each: abs(each[0]))),
        Extreme(*max((error, at) for at, _, error in levels)),
        Extreme(*min((error, at) for at, _, error in levels)),
    )


def _pieces(reference: np.ndarray, estimate: np.ndarray, samples: int) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Stretches of equal length, one channel at a time: start in samples, and both signals [samples, 1]."""
    edges = np.linspace(0, len(reference), max(1, round(len(reference) / samples)) + 1).astype(int)
    for start, stop in itertools.pairwise(edges):
        for channel in range(reference.shape[1]):
            piece = slice(start, stop), slice(channel, channel + 1)
            yield int(start), reference[piece], estimate[piece]


def _correlation_and_level(reference: np.ndarray, estimate: np.ndarray) -> tuple[float, float]:
    energy, own, product = (
        float(np.sum(a * b, dtype=float)) for a, b in ((reference,) * 2, (estimate,) * 2, (reference, estimate))
    )
    correlation = product / (energy * own) ** 0.5 if own else 0.0
    return correlation, alignment.level_error_db(energy, own, product)
