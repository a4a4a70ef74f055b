"""The checks of a model's outputs that hold whatever they score, in words. The facts are `pipeline.evaluation.output_facts`'."""

from collections.abc import Callable, Iterator, Mapping

import numpy as np

from pipeline.config.gate import OutputLimits
from pipeline.evaluation.gate.verdict import Check, on_tracks, some
from pipeline.evaluation.output_facts import OutputFacts

_SOUND = {
    "silence_db": "audible",
    "dropped_share": "without drop-outs",
    "clipped_share": "unclipped",
    "offset": "without offset",
    "level_db": "at level",
    "delay_samples": "in time",
    "misplaced_share": "upright and each of its own target",
}
_LIKENESS = 0.1  # a correlation nearer to 0 has no sign

Facts = Mapping[str, OutputFacts]
"""Track -> facts of one target's estimate."""


def check_outputs(outputs: Mapping[str, Mapping[str, OutputFacts]], limits: OutputLimits) -> list[Check]:
    """Judges a model's outputs: one check that passed, or one for everything that is wrong with a target.

    Args:
        outputs: track -> target -> facts; a track without any refuses.
        limits: None in a field switches its check off; estimates must be there and finite in any case.
    """
    targets = dict.fromkeys(target for facts in outputs.values() for target in facts)
    wrong = [
        f"the model's estimates of {target} {words}"
        for target in targets
        for words in _wrong(target, {track: facts[target] for track, facts in outputs.items() if facts}, limits)
    ]
    if unknown := [f"{track!r}" for track, facts in outputs.items() if not facts]:
        wrong.append(
            f"the model's outputs were not measured on {len(unknown)} of {on_tracks(len(outputs))}: {some(unknown)}"
        )
    if not wrong:
        sound = ", ".join(["there", "finite", *(w for name, w in _SOUND.items() if getattr(limits, name) is not None)])
        return [Check(True, f"the outputs are sound on {on_tracks(len(outputs))}: {sound}", "output")]
    return [Check(False, words, "output") for words in wrong]


def _wrong(target: str, facts: Facts, limits: OutputLimits) -> Iterator[str]:
    """What is wrong with the estimates of one target: predicates of a sentence."""
    if any(each.missing for each in facts.values()):
        yield "are missing: it separates no such target"
        return
    yield from _on_any(
        facts, lambda f: f.bad_samples > 0, "hold samples that are not finite", lambda f: f"{f.bad_samples} samples"
    )
    facts = {track: each for track, each in facts.items() if not each.bad_samples}
    if (least := limits.silence_db) is not None:
        yield from _on_any(
            facts,
            lambda f: f.level_db < least,
            f"are silent, {-least:g} dB or more below references that sound,",
            lambda f: f"{f.level_db:.0f} dB",
        )
        facts = {track: each for track, each in facts.items() if not each.level_db < least}
    yield from _above(
        facts,
        limits.dropped_share,
        lambda f: f.dropped_share,
        "drop out where the reference sounds",
        "{:.0%} of its energy",
    )
    yield from _above(facts, limits.clipped_share, lambda f: f.clipped_share, "clip", "{:.1%} of the samples")
    yield from _above(facts, limits.offset, lambda f: f.offset, "have a constant offset", "{:.3f} of full scale")
    yield from _level(facts, limits.level_db)
    yield from _delay(facts, limits.delay_samples)
    yield from _misplaced(target, facts, limits.misplaced_share)


def _on_any(
    facts: Facts, bad: Callable[[OutputFacts], bool], words: str, figure: Callable[[OutputFacts], str]
) -> Iterator[str]:
    """A predicate with the tracks that it is true of, if there are any."""
    found = [f"{track!r} ({figure(each)})" for track, each in facts.items() if bad(each)]
    if found:
        yield f"{words} on {len(found)} of {on_tracks(len(facts))}: {some(found)}"


def _above(
    facts: Facts, limit: float | None, value: Callable[[OutputFacts], float], words: str, unit: str
) -> Iterator[str]:
    """Where a fact of a single track is above its limit."""
    if limit is None:
        return
    for found in _on_any(facts, lambda f: value(f) > limit, words, lambda f: unit.format(value(f))):
        yield f"{found}; legal: up to {unit.format(limit)}"


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
