"""What leaks come to: sentences that refuse a model, and sentences that are only told, as `gate.leaks` has it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pipeline.data.landmarks import MIXTURE
from pipeline.data.leaks import FILE, Leak
from pipeline.data.leaks.alignment import Match

if TYPE_CHECKING:
    from pipeline.config.gate import LeakRules

_NAMED = 3
_LEAST_SPEED, _LEAST_DRIFT, _LEAST_SEMITONES = 0.0025, 0.03, 0.5  # that are told; a drift of two frames may be none
_SPLIT_NAMES = {"train": "training"}


@dataclass(frozen=True)
class Ruling:
    """Sentences about leaks: those that refuse a model, and those that are only told."""

    refused: tuple[str, ...]
    told: tuple[str, ...]


def ruled(leaks: Sequence[Leak], rules: LeakRules, published: Callable[[str, str], bool]) -> Ruling:
    """Says of the leaks that are large enough what the rules make of them: three by name, the others by number.

    published: whether a track, by its name, is in a split, by its name, because its corpus was published like that. A
    voice or a backing in two such splits falls under `rules.published`; a whole recording in both does not.
    """
    found: dict[str, list[Leak]] = {"test": [], "dev": [], "published": []}
    for leak in large(leaks, rules):
        found[_rule(leak, published)].append(leak)
    refused, told = [], []
    for rule, of_rule in found.items():
        if getattr(rules, rule) == "refuse":
            refused += listed(of_rule)
        else:
            told += [f"{words} (told only: gate.leaks.{rule})" for words in listed(of_rule)]
    return Ruling(tuple(refused), tuple(told))


def large(leaks: Sequence[Leak], rules: LeakRules) -> list[Leak]:
    """Those of a stretch that is long enough, in seconds or as a share of the shorter track."""
    return [leak for leak in leaks if max(leak.share / rules.share, leak.seconds / rules.seconds) >= 1]


def _rule(leak: Leak, published: Callable[[str, str], bool]) -> str:
    if MIXTURE not in leak.signals and published(leak.track, leak.split) and published(leak.other, leak.other_split):
        return "published"
    return "test" if (leak.split, leak.other_split) == ("test", "train") else "dev"


def listed(leaks: Sequence[Leak]) -> list[str]:
    """A sentence for each of three tracks, of the test split first and those that share most, and one for how many more there are."""
    largest: dict[str, Leak] = {}
    for leak in sorted(leaks, key=lambda leak: (leak.split != "test", -leak.share)):
        largest.setdefault(leak.track, leak)
    words = [in_words(leak) for leak in largest.values()]
    more = len(words) - _NAMED
    of_more = f"{more} more {'track shares' if more == 1 else 'tracks share'} recordings with another split, see {FILE} of the examples"
    return [*words[:_NAMED], of_more] if more > 0 else words


def in_words(leak: Leak) -> str:
    """Which tracks, what they share, where, and what was done to it."""
    *others, last = leak.signals
    shared = f"{', '.join(others)} and {last}" if others else last
    words = (
        f"{_name(leak.split)} track {leak.track!r} has the {shared} of {_name(leak.other_split)} track {leak.other!r}"
    )
    if leak.match is None:
        return f"{words}, sample for sample"
    match = leak.match
    where = f"from {_clock(match.start)} for {_clock(match.seconds)} (there from {_clock(match.other_start)})"
    return ", ".join([words, where, *_changes(match)])


def _changes(match: Match) -> list[str]:
    """How its speed and its pitch differ; resampling changes both, and is told by its speed."""
    changes = []
    if abs(match.speed - 1) >= max(_LEAST_SPEED, _LEAST_DRIFT / match.seconds):
        changes.append(f"{abs(match.speed - 1):.1%} {'faster' if match.speed > 1 else 'slower'}".replace("%", " %"))
    pitch = match.semitones - 12 * float(np.log2(match.speed))
    if abs(pitch) >= _LEAST_SEMITONES:
        changes.append(f"{abs(match.semitones):.1f} semitones {'higher' if match.semitones > 0 else 'lower'}")
    return changes


def _name(split: str) -> str:
    return _SPLIT_NAMES.get(split, split)


def _clock(seconds: float) -> str:
    """`0:07` or `12:34`."""
    return f"{round(seconds) // 60}:{round(seconds) % 60:02d}"
