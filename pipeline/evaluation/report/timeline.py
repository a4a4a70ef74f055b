"""Where in a track an estimate is wrong: SDR from second to second, false sound in silence, and the worst stretches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

BLOCK_SECONDS = 0.25
BLOCKS_OF_FRAME = 4  # SDR is told of a second, as BSS Eval v4 does, and four times a second
STRETCH_SECONDS = 2.0
STRETCHES_OF_TARGET = 2
SILENT_DB = -60.0  # below the mixture's mean a reference is silent, and SDR says nothing
AUDIBLE_DB = -30.0  # below the mixture's mean neither an error nor a reference counts in the search for the worst


@dataclass(frozen=True)
class Energies:
    """Sums of squares over samples and channels of blocks of a quarter of a second: [blocks].

    mixture_mean: of the mixture, the mean over blocks. errors: method -> energy of the reference minus its estimate.
    """

    reference: np.ndarray
    estimates: Mapping[str, np.ndarray]
    errors: Mapping[str, np.ndarray]
    mixture_mean: float


@dataclass(frozen=True)
class Stretch:
    """A stretch of a track in blocks, and how bad each method is there.

    silent: nothing, or hardly anything, of the target sounds there; then `figures_db` are the levels of the error below
    the mixture's mean, else SDR. badness_db: SDR, with a reference that is at least as loud as what is audible.
    """

    target: str
    start: int
    blocks: int
    silent: bool
    figures_db: Mapping[str, float]
    badness_db: float


def block_samples(sample_rate_hz: int) -> int:
    """Samples of a block."""
    return max(1, round(BLOCK_SECONDS * sample_rate_hz))


def energies(signal: np.ndarray, block: int) -> np.ndarray:
    """Energy of every `block` samples of a signal [samples, channels], the last one perhaps shorter: [blocks]."""
    return np.add.reduceat(np.einsum("sc,sc->s", signal, signal, dtype=float), np.arange(0, len(signal), block))


def measure(reference: np.ndarray, estimates: Mapping[str, np.ndarray], mixture: np.ndarray, block: int) -> Energies:
    """All that is needed to tell how good the estimates (method -> [samples, channels]) of one target are where."""
    return Energies(
        energies(reference, block),
        {method: energies(estimate, block) for method, estimate in estimates.items()},
        {method: energies(reference - estimate, block) for method, estimate in estimates.items()},
        max(float(energies(mixture, block).mean()), 1e-12),
    )


def sdr_db(measured: Energies, method: str) -> np.ndarray:
    """SDR of every second, one each quarter of a second: [frames]; NaN where the reference is silent.

    Of whole seconds it is BSS Eval v4's: 10 log10(sum s^2 / sum (s - s_hat)^2).
    """
    reference, error = _sums(measured.reference), _sums(measured.errors[method])
    return np.where(_silent(measured), np.nan, _db(reference, error))


def false_level_db(measured: Energies, method: str) -> np.ndarray:
    """Level of the estimate below the mixture's mean where the reference is silent, NaN elsewhere: [frames]."""
    blocks = min(BLOCKS_OF_FRAME, len(measured.reference))
    level = _db(_sums(measured.estimates[method]), measured.mixture_mean * blocks)
    return np.where(_silent(measured), level, np.nan)


def worst(target: str, measured: Energies, method: str = "model") -> list[Stretch]:
    """The worst stretches of two seconds of one target, which do not overlap, the worst first.

    Bad is a low SDR; a reference below what is audible counts as barely audible, so that sound in its silence
    is bad by its level. What has no audible error is not listed.
    """
    blocks = min(round(STRETCH_SECONDS / BLOCK_SECONDS), len(measured.reference))
    mean = measured.mixture_mean * blocks
    audible = mean * 10 ** (AUDIBLE_DB / 10)
    reference = _sums(measured.reference, blocks)
    errors = {each: _sums(found, blocks) for each, found in measured.errors.items()}
    badness = _db(np.maximum(reference, audible), errors[method])
    badness[errors[method] < audible] = np.inf
    found = []
    while len(found) < STRETCHES_OF_TARGET and np.isfinite(badness).any():
        start = int(np.argmin(badness))
        silent = bool(reference[start] < audible)
        told = {
            each: float(_db(error[start], mean) if silent else _db(reference[start], error[start]))
            for each, error in errors.items()
        }
        found.append(Stretch(target, start, blocks, silent, told, float(badness[start])))
        badness[max(0, start - blocks + 1) : start + blocks] = np.inf
    return found


def liveliest(references: Sequence[np.ndarray], length: int, holding: Stretch | None = None) -> int:
    """First block of the `length` blocks that hold most of all targets, and the stretch `holding` where there is one.

    Most: the largest product of the shares of the targets' energies. references: of each target, [blocks].
    """
    blocks = len(references[0])
    length = min(length, blocks)
    first, last = 0, blocks - length
    if holding:
        first = min(max(0, holding.start + holding.blocks - length), last)
        last = max(first, min(holding.start, last))
    totals = [np.cumsum(np.pad(energy, (1, 0))) for energy in references]
    shares = [(total[length:] - total[:-length]) / max(total[-1], 1e-12) for total in totals]
    return first + int(np.argmax(np.prod(shares, axis=0)[first : last + 1]))


def _sums(values: np.ndarray, blocks: int = BLOCKS_OF_FRAME) -> np.ndarray:
    """Sums over all runs of `blocks` values, or of all where there are fewer."""
    return np.convolve(values, np.ones(min(blocks, len(values))), "valid")


def _silent(measured: Energies) -> np.ndarray:
    blocks = min(BLOCKS_OF_FRAME, len(measured.reference))
    return _sums(measured.reference) < measured.mixture_mean * blocks * 10 ** (SILENT_DB / 10)


def _db(energy: np.ndarray | float, of: np.ndarray | float) -> np.ndarray:
    """10 log10 of a ratio of energies, within ±120 dB."""
    ratio = np.maximum(energy, 1e-30) / np.maximum(of, 1e-30)
    return np.clip(10 * np.log10(ratio), -120, 120)
