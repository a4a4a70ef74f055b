"""What is wrong with a track, each with the words that the report has for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pipeline.data.datasets.loading import MIXTURE, Signals
from pipeline.data.quarantine import alignment
from pipeline.data.quarantine.measures import Measures

if TYPE_CHECKING:
    from pipeline.config.quarantine import Kind, QuarantineConfig

SILENCE_DB = -90.0  # of full scale, below which a signal is silent; the rounding noise of 16 bits is at -101 dB
_CHANNELS = {2: ("left", "right")}
_SAME = 1e-6  # the energy of the difference of two signals, over theirs, below which they are copies
_HEARD = 1e-3  # the energy of a stem over the mixture's, from which on its gain can be told
_EVEN_DB = 0.5  # within which gains are one gain
_EXPLAINED_DB = 10.0  # that an explanation lowers the residual by, at least


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong, in words that follow `it` or the name of the track."""

    kind: Kind
    words: str


def found(measures: Measures, limits: QuarantineConfig, excerpt: Callable[[int, int], Signals]) -> tuple[Finding, ...]:
    """All that is wrong with a track that was read to its end.

    excerpt: reads so many blocks of it again, from a block on; asked only where stems do not sum to the mixture.
    """
    return (
        *_clipped(measures, limits),
        *_silent(measures),
        *_offsets(measures, limits),
        *_dead_channels(measures),
        *_copies(measures),
        *_mislabelled(measures, limits),
        *_sums(measures, limits, excerpt),
    )


def of_stored(
    gain: float, residuals_db: Sequence[float], seconds: float, before: Sequence[Finding], limits: QuarantineConfig
) -> tuple[Finding, ...]:
    """What is wrong with a track as it is to be stored.

    Args:
      gain: the factor that brings it below full scale.
      residuals_db: of each of its segments of so many seconds, what the stems leave of the mixture.
      before: what was found already.
    """
    found = []
    gain_db = 20 * float(np.log10(gain))
    if gain_db < limits.gain_db:
        words = f"its peak is {-gain_db:.1f} dB over full scale; legal is up to {-limits.gain_db:g} dB"
        found.append(Finding("level", words))
    told = {finding.kind for finding in before} & {"sum", "inverted", "delayed", "swapped", "silent"}
    if max(residuals_db) > limits.residual_db and not told:
        worst = int(np.argmax(residuals_db))
        words = f"its stems do not sum to the mixture from {_clock(worst * seconds)} on, they leave {residuals_db[worst]:z.1f} dB of it"
        found.append(Finding("sum", f"{words}; legal is up to {limits.residual_db:g} dB"))
    return tuple(found)


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def _clipped(measures: Measures, limits: QuarantineConfig) -> Iterator[Finding]:
    ratios = measures.clipping_ratios()
    worst = max(ratios, key=lambda name: ratios[name])
    if ratios[worst] > limits.clipping_ratio:
        yield Finding(
            "clipped",
            f"{worst} is clipped: {100 * ratios[worst]:.1f} % of its samples lie at its ceiling; legal is up to "
            f"{100 * limits.clipping_ratio:g} %",
        )


def _silent(measures: Measures) -> Iterator[Finding]:
    silent = [name for name, power in _powers(measures).items() if _db(power) < SILENCE_DB]
    if MIXTURE in silent:
        yield Finding("silent", "its mixture is silent")
    elif silent:
        yield Finding("silent_stem", f"silent: {', '.join(silent)}")


def _offsets(measures: Measures, limits: QuarantineConfig) -> Iterator[Finding]:
    means = np.abs(measures.sums / measures.samples).max(axis=1)
    worst = int(np.argmax(means))
    if means[worst] > limits.offset:
        yield Finding(
            "offset",
            f"{measures.names[worst]} has an offset of {means[worst]:.3f} of full scale; legal is up to {limits.offset:g}",
        )


def _dead_channels(measures: Measures) -> Iterator[Finding]:
    """Of the mixture only: a stem may be panned to one side."""
    powers = np.einsum("ncnc->nc", measures.products)[-1] / measures.samples
    dead = [index for index, power in enumerate(powers) if _db(power) < SILENCE_DB]
    if 0 < len(dead) < len(powers):
        names = _CHANNELS.get(len(powers), tuple(map(str, range(1, len(powers) + 1))))
        yield Finding("dead_channel", f"channel {names[dead[0]]} of its mixture is silent")


def _copies(measures: Measures) -> Iterator[Finding]:
    energies = _energies(measures)
    sounding = [n for n, energy in enumerate(np.diag(energies)) if _db(energy / measures.seen) >= SILENCE_DB][:-1]
    for a, b in ((a, b) for a in sounding for b in sounding if a < b):
        difference = energies[a, a] + energies[b, b] - 2 * energies[a, b]
        if difference < _SAME * energies[a, a]:
            yield Finding("copy", f"its {measures.names[a]} and {measures.names[b]} are the same signal")


def _mislabelled(measures: Measures, limits: QuarantineConfig) -> Iterator[Finding]:
    if measures.low_share > limits.low_share:
        yield Finding(
            "mislabelled",
            f"its vocals have {100 * measures.low_share:.0f} % of their energy below 80 Hz, as voices seldom do: they may be something else",
        )


# --- stems that do not sum to the mixture ----------------------------------------------------------------------------


def _sums(measures: Measures, limits: QuarantineConfig, excerpt: Callable[[int, int], Signals]) -> Iterator[Finding]:
    energies = _energies(measures)
    residual_db = _residual_db(energies)
    if residual_db <= limits.examined_db or _db(energies[-1, -1] / measures.seen) < SILENCE_DB:
        return
    cause = _gains(measures, residual_db) or _swapped(measures, residual_db) or _delayed(measures, residual_db, excerpt)
    what = f"its stems do not sum to the mixture, they leave {residual_db:z.1f} dB of it"
    told = f"; {cause.words}" if cause else ""
    if residual_db > limits.residual_db and (not cause or cause.kind == "gain"):
        yield Finding("sum", f"{what}; legal is up to {limits.residual_db:g} dB{told}")
    else:
        yield Finding(cause.kind if cause else "apart", f"{what}{told}")


def _gains(measures: Measures, residual_db: float) -> Finding | None:
    """The gains, by least squares, with which the stems come nearest to the mixture."""
    energies = _energies(measures)
    own, wanted = energies[:-1, :-1], energies[:-1, -1]
    gains = np.linalg.lstsq(own, wanted, rcond=1e-6)[0]
    left = energies[-1, -1] - 2 * gains @ wanted + gains @ own @ gains
    if _db(left / energies[-1, -1]) > residual_db - _EXPLAINED_DB:
        return None
    heard = np.diag(own) >= _HEARD * energies[-1, -1]  # what is hardly there may have any gain
    known = {name: gain for name, gain, counts in zip(measures.names, gains, heard, strict=False) if counts}
    moved = {name: gain for name, gain in known.items() if gain <= 0 or abs(20 * np.log10(gain)) > _EVEN_DB}
    inverted = [name for name, gain in moved.items() if gain < 0]
    levels = {name: 20 * float(np.log10(abs(gain) + 1e-6)) for name, gain in moved.items()}
    if inverted:
        return Finding("inverted", f"they would with {' and '.join(inverted)} inverted")
    if moved and len(moved) == len(known) and max(levels.values()) - min(levels.values()) <= _EVEN_DB:
        return Finding("gain", f"they would at {float(np.mean(list(levels.values()))):+.1f} dB")
    told = ", ".join(f"{name} at {level:+.1f} dB" for name, level in levels.items())
    return Finding("gain", f"they would with {told}") if told else None


def _swapped(measures: Measures, residual_db: float) -> Finding | None:
    """Whether they would sum with left and right of one stem, or of all, the other way round."""
    if measures.channels != 2:
        return None
    stems = measures.names[:-1]
    for turned in [*([name] for name in stems), list(stems)]:
        ways = [slice(None, None, -1) if name in turned else slice(None) for name in measures.names]
        rows = np.array([np.arange(2)[way] for way in ways])
        index = np.arange(len(rows))
        energies = sum(
            measures.products[index[:, None], rows[:, channel][:, None], index, rows[:, channel]] for channel in (0, 1)
        )
        if _residual_db(np.asarray(energies)) <= residual_db - _EXPLAINED_DB:
            names = "all of them" if len(turned) == len(stems) else turned[0]
            return Finding("swapped", f"they would with left and right of {names} swapped")
    return None


def _delayed(measures: Measures, residual_db: float, excerpt: Callable[[int, int], Signals]) -> Finding | None:
    """Whether they would sum with one stem, or all, earlier or later: looked for where most is left of the mixture."""
    blocks = min(alignment.BLOCKS, len(measures.residuals))
    left = np.convolve(measures.residuals, np.ones(blocks), mode="valid")
    delay = alignment.explaining(excerpt(int(np.argmax(left)), blocks), _EXPLAINED_DB)
    if delay is None:
        return None
    when = f"{abs(delay.samples)} samples {'later' if delay.samples > 0 else 'earlier'}"
    return Finding("delayed", f"they would {f'with {delay.stem} ' if delay.stem else ''}{when}")


def _residual_db(energies: np.ndarray) -> float:
    signs = np.array([-1.0] * (len(energies) - 1) + [1.0])
    return _db(max(float(signs @ energies @ signs), 0.0) / max(float(energies[-1, -1]), 1e-30))


def _energies(measures: Measures) -> np.ndarray:
    """[signals, signals], inner products over all channels."""
    return np.einsum("acbc->ab", measures.products)


def _powers(measures: Measures) -> dict[str, float]:
    return dict(zip(measures.names, np.diag(_energies(measures)) / measures.seen, strict=True))


def _db(power: float) -> float:
    return 10 * float(np.log10(max(power, 1e-12)))
