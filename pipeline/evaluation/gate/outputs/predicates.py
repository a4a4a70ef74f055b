"""What is wrong with the estimates of one target, as predicates of a sentence with the tracks that it is true of."""

from collections.abc import Callable, Iterator, Mapping

import scipy.stats

from pipeline.evaluation.gate.verdict import on_tracks, some
from pipeline.evaluation.outputs.output_facts import OutputFacts

_CERTAINTY = 0.99

Facts = Mapping[str, OutputFacts]
"""Track -> facts of one target's estimate; all of them finite."""


def on_any(
    facts: Facts, bad: Callable[[OutputFacts], bool], words: str, figure: Callable[[OutputFacts], str]
) -> Iterator[str]:
    """A predicate with the tracks that it is true of, if there are any."""
    found = [f"{track!r} ({figure(each)})" for track, each in facts.items() if bad(each)]
    if found:
        yield f"{words} on {len(found)} of {on_tracks(len(facts))}: {some(found)}"


def above(
    facts: Facts, limit: float | None, value: Callable[[OutputFacts], float], words: str, unit: str
) -> Iterator[str]:
    """Where a fact of a single track is above its limit."""
    if limit is None:
        return
    for found in on_any(facts, lambda f: value(f) > limit, words, lambda f: unit.format(value(f))):
        yield f"{found}; legal: up to {unit.format(limit)}"


def strays(
    facts: Facts,
    share: float,
    bad: Callable[[OutputFacts], bool],
    words: str,
    figure: Callable[[OutputFacts], str],
    legal: str = "",
) -> Iterator[str]:
    """As `on_any`, where the tracks are more than chance explains when a sound model has such a track once in 1 / `share`.

    Chance explains as many as the binomial distribution exceeds in 1 % of all test sets at most.
    """
    if sum(map(bad, facts.values())) > scipy.stats.binom.ppf(_CERTAINTY, len(facts), share):
        for found in on_any(facts, bad, words, figure):
            yield f"{found}; legal: {legal}" if legal else found
