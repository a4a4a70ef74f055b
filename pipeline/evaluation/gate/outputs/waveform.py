"""Level, drop-outs, clipping, offset, delay, polarity and mix-ups: by whole estimates."""

from collections.abc import Iterator

import numpy as np

from pipeline.config.gate import OutputLimits
from pipeline.evaluation.gate.outputs.predicates import Facts, above, on_any
from pipeline.evaluation.gate.verdict import on_tracks

_KEPT = {
    "silence_db": "audible",
    "dropped_share": "without drop-outs",
    "clipped_share": "unclipped",
    "offset": "without offset",
    "level_db": "at level",
    "delay_samples": "in time",
    "misplaced_share": "upright and each of its own target",
}
_LIKENESS = 0.1  # a correlation nearer to 0 has no sign


def kept(limits: OutputLimits) -> list[str]:
    """What is true of outputs that pass."""
    return [words for name, words in _KEPT.items() if getattr(limits, name) is not None]


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
    yield from _delay(facts, limits.delay_samples)
    yield from _misplaced(target, facts, limits.misplaced_share)


def _level(facts: Facts, limit: float | None) -> Iterator[str]:
    """Too loud or too quiet on the median track."""
    errors = [each.level_error_db for each in facts.values() if not np.isnan(each.level_error_db)]
    if limit is None or not errors:
        return
    error = float(np.median(errors))
    if abs(error) > limit:
        side = "loud" if error > 0 else "quiet"
        yield f"are {abs(error):.1f} dB too {side} on the median of {on_tracks(len(errors))}; legal: up to {limit:g} dB"


def _delay(facts: Facts, limit: int | None) -> Iterator[str]:
    delays = [each.delay_samples for each in facts.values() if not np.isnan(each.correlation)]
    if limit is None or not delays:
        return
    delay = float(np.median(delays))
    if abs(delay) > limit:
        words = "lag behind" if delay > 0 else "run ahead of"
        yield f"{words} their references by {abs(delay):g} samples on the median of {on_tracks(len(delays))}; legal: up to {limit}"


def _misplaced(target: str, facts: Facts, limit: float | None) -> Iterator[str]:
    """The wrong way up, or of another target, on more tracks than the limit allows."""
    heard = [each for each in facts.values() if not np.isnan(each.correlation)]
    if limit is None or not heard:
        return
    inverted = sum(each.correlation < -_LIKENESS for each in heard)
    if inverted > limit * len(heard):
        yield f"have the opposite polarity of their references on {inverted} of {on_tracks(len(heard))}"
    others = [each.resembles for each in heard if each.resembles != target]
    if len(others) > limit * len(heard):
        other = max(sorted(set(others)), key=others.count) or "the rest of the mixture"
        yield f"are swapped: they resemble {other} on {len(others)} of {on_tracks(len(heard))}"
