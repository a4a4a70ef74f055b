"""What an estimate sounds where its reference is silent, where BSS Eval has no figure: a false voice, or what leaks.

Schulze-Forster, Doire, Richard and Badeau, "Weakly informed audio source separation" (WASPAA 2019), measure it as the
predicted energy at silence (PES). A level alone does not tell a weak model, which leaks everywhere, from one that sings
on instrumental music: so the mixture's level stands beside it, and what leaks where the target sounds.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from pipeline.evaluation.outputs.energies import energies, products

PES_FLOOR_DB = -80.0  # as Meseguer-Brocal and Peeters (2020) have it

_FRAME_SECONDS = 0.05
_DITHER = 10 ** (-75 / 10)  # mean square below which a reference is silent whatever it is else
_BELOW_OWN = 10 ** (-60 / 10)  # and in relation to where it sounds
_LOUD = 10 ** (-20 / 10)  # in relation to the loudest frame: above it a target sounds as it does
_GUARD_FRAMES = 2  # left out beside what sounds: masks smear by a window of the STFT
_MIN_FRAMES = 4
_PIECE_FRAMES = 20
_MOST_LAG = 8  # samples: what `delay_samples` of the gate allows
_NEGLIGIBLE = 10 ** (-40 / 10)
_TINY = 1e-30


@dataclass(frozen=True)
class Stretch:
    """Up to a second in which the reference is silent.

    level_db, mixture_db: mean square of estimate and mixture, full scale being 0 dB.
    invented_db: the estimate's energy beyond its inner product with the mixture, -inf where there is none. No mask of 0
        to 1 has any: sum(m |X|^2) >= sum(m^2 |X|^2).
    """

    start_seconds: float
    seconds: float
    level_db: float
    mixture_db: float
    invented_db: float


@dataclass(frozen=True)
class FalseVoice:
    """One target's estimate of one track where the reference is silent.

    pes_db: predicted energy at silence, the mean over silent frames of 50 ms of the estimate's mean square in dB, at least -80; NaN
        where the reference is never silent.
    own_db: mean square of the reference where it sounds (frames within 20 dB of its loudest); NaN where it never does.
    leakage_db: energy of the error over that of the rest of the mixture where the reference sounds and the rest is as
        loud or louder: what this model leaves of the others anyway; NaN where there is no such frame.
    """

    stretches: tuple[Stretch, ...] = ()
    pes_db: float = np.nan
    own_db: float = np.nan
    leakage_db: float = np.nan

    @property
    def seconds(self) -> float:
        """Of all stretches together."""
        return sum(each.seconds for each in self.stretches)

    @property
    def over_mixture_db(self) -> float:
        """The estimate's energy in all stretches over the mixture's; NaN without a stretch."""
        if not self.stretches:
            return np.nan
        own, others = (
            sum(each.seconds * 10 ** (level / 10) for each, level in zip(self.stretches, levels, strict=True))
            for levels in ([s.level_db for s in self.stretches], [s.mixture_db for s in self.stretches])
        )
        return _db(own / others) if others else np.inf if own else -np.inf


def measure(reference: np.ndarray, estimate: np.ndarray, mixture: np.ndarray, sample_rate_hz: int) -> FalseVoice:
    """All [samples, channels], finite. A stretch is at least 0.2 s long and 0.1 s away from what sounds."""
    samples = max(1, round(_FRAME_SECONDS * sample_rate_hz))
    own, of_estimate, of_mixture = (energies(each, samples) for each in (reference, estimate, mixture))
    sizes = np.diff([*range(0, len(reference), samples), len(reference)]) * reference.shape[1]
    power = own / sizes
    sounding = power > max(_DITHER, _LOUD * power.max(initial=0.0))
    silent = power <= max(_DITHER, _BELOW_OWN * float(power[sounding].mean())) if sounding.any() else ~sounding
    inner = _shrunk(silent)
    shared = _shared(estimate, mixture, samples, inner)
    frames = np.maximum(10 * np.log10(of_estimate / sizes + _TINY), PES_FLOOR_DB)
    rest = energies(mixture - reference, samples)
    covered = sounding & (rest >= own)
    wrong = energies(estimate - reference, samples)[covered].sum()
    return FalseVoice(
        stretches=tuple(
            Stretch(
                start_seconds=first * samples / sample_rate_hz,
                seconds=float(sizes[first:end].sum()) / reference.shape[1] / sample_rate_hz,
                level_db=_db(of_estimate[first:end].sum() / sizes[first:end].sum()),
                mixture_db=_db(of_mixture[first:end].sum() / sizes[first:end].sum()),
                invented_db=_db((of_estimate - shared)[first:end].sum() / sizes[first:end].sum()),
            )
            for first, end in _pieces(inner)
        ),
        pes_db=float(frames[inner].mean()) if inner.any() else np.nan,
        own_db=_db(power[sounding].mean()) if sounding.any() else np.nan,
        leakage_db=_db(wrong / rest[covered].sum()) if covered.any() else np.nan,
    )


def _shared(estimate: np.ndarray, mixture: np.ndarray, samples: int, silent: np.ndarray) -> np.ndarray:
    """Inner products of each frame, at the lag of a few samples at which those of the silent frames are the largest."""
    found = products(estimate, mixture, samples)
    if (energies(estimate, samples) - found)[silent].sum() <= _NEGLIGIBLE * energies(mixture, samples)[silent].sum():
        return found
    lags = [products(np.roll(estimate, lag, axis=0), mixture, samples) for lag in range(-_MOST_LAG, _MOST_LAG + 1)]
    return max(lags, key=lambda each: each[silent].sum())


def _shrunk(silent: np.ndarray) -> np.ndarray:
    """The silent frames with none that sounds near them; nothing sounds before the beginning and after the end."""
    sounding = np.convolve(~silent, np.ones(2 * _GUARD_FRAMES + 1), mode="same")[: len(silent)] > 0
    return ~sounding


def _pieces(silent: np.ndarray) -> Iterator[tuple[int, int]]:
    """First frame and end of each stretch; long ones in equal pieces of at most a second."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], silent, [False]]).astype(int)))
    for first, end in edges.reshape(-1, 2):
        if end - first >= _MIN_FRAMES:
            cuts = np.linspace(first, end, -(-(end - first) // _PIECE_FRAMES) + 1).round().astype(int)
            yield from zip(cuts[:-1].tolist(), cuts[1:].tolist(), strict=True)


def _db(ratio: float) -> float:
    return 10 * float(np.log10(ratio)) if ratio > _TINY else -np.inf
