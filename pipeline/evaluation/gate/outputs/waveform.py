"""Level, drop-outs, clipping, offset and mix-ups: by whole estimates."""

from collections.abc import Iterator

import numpy as np

from pipeline.config.gate import OutputLimits
from pipeline.evaluation.gate.outputs.predicates import Facts, above, on_any, strays
from pipeline.evaluation.gate.verdict import on_tracks

_KEPT = {
    "silence_db": "audible",
    "dropped_share": "without drop-outs",
    "clipped_share": "unclipped",
    "offset": "without offset",
    "level_db": "at level",
    "taken_db": "not the mixture",
}


def kept(limits: OutputLimits) -> list[str]:
    """What is true of outputs that pass."""
    return [*(words for name, words in _KEPT.items() if getattr(limits, name) is not None), "each of its own target"]


def wrong(target: str, facts: Facts, limits: OutputLimits) -> Iterator[str]:
    """What is wrong with the estimates of one target: predicates of a sentence."""
    if (least := limits.silence_db) is not None:
        yield from on_any(
            facts,
            lambda f: f.level_db < least,
            f"are silent, {-least:g} dB or more below references that sound,",
            lambda f: f"{f.level_db:.0f} dB",
        )
        facts = {track: each for track, each in facts.items() if not each.level_db < least}
    yield from above(
        facts,
        limits.dropped_share,
        lambda f: f.dropped_share,
        "drop out where the reference sounds",
        "{:.0%} of its energy",
    )
    yield from above(facts, limits.clipped_share, lambda f: f.clipped_share, "clip", "{:.1%} of the samples")
    yield from above(facts, limits.offset, lambda f: f.offset, "have a constant offset", "{:.3f} of full scale")
    yield from _level(facts, limits.level_db)
    if (taken := limits.taken_db) is not None:
        yield from strays(
            facts,
            limits.stray_share,
            lambda f: f.taken_db < taken,
            "are the mixture itself",
            lambda f: f"{f.taken_db:.0f} dB of what there was to take away",
            f"at least {taken:g} dB",
        )
    yield from _swapped(target, facts, limits.stray_share)


def _level(facts: Facts, limit: float | None) -> Iterator[str]:
    """Too loud or too quiet on the median track."""
    errors = [each.level_error_db for each in facts.values() if not np.isnan(each.level_error_db)]
    if limit is None or not errors:
        return
    error = float(np.median(errors))
    if abs(error) > limit:
        side = "loud" if error > 0 else "quiet"
        yield f"are {abs(error):.1f} dB too {side} on the median of {on_tracks(len(errors))}; legal: up to {limit:g} dB"


def _swapped(target: str, facts: Facts, share: float) -> Iterator[str]:
    """Like another target's reference on more tracks than chance explains."""
    others = [each.resembles for each in facts.values() if each.resembles != target]
    other = max(sorted(set(others)), key=others.count, default="") or "the rest of the mixture"
    yield from strays(
        facts,
        share,
        lambda f: f.resembles != target,
        f"are swapped: they resemble {other}",
        lambda f: f"correlation {f.correlation:.2f}",
    )
