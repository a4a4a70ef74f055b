"""What an attempt is and how it is judged: as any model, by BSS Eval of each track, aggregation and the gate."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from attempts.models import RATE_HZ, SPEC, TARGETS, Model, mixture, songs

from pipeline.config.config import Config, DataConfig
from pipeline.config.gate import Budgets, GateConfig, Threshold
from pipeline.data.datasets.track import Track
from pipeline.evaluation.evaluation import Evaluation, conclude
from pipeline.evaluation.gate.checks import Anchor, ModelFacts
from pipeline.evaluation.scores import TrackScores, score_track


def at_least(decibels: float, metric: str = "v3/SDR", **keys: Any) -> GateConfig:
    return GateConfig((Threshold("vocals", metric, decibels, **keys),))


V3 = ("v3",)
MARGIN = at_least(-0.3, over="baseline")
BUDGETS = GateConfig(budgets=Budgets(real_time_factor=0.5, megabytes=30, parameters=6_000_000))


def cost(*facts: Any) -> dict[str, ModelFacts]:
    return {"facts": ModelFacts(*facts)}


@dataclass(frozen=True)
class Attempt:
    """A model, what it is judged against, and what the gate must say: all kinds of checks that refuse, and words."""

    model: Model
    kinds: str = ""
    words: Sequence[str] = ()
    gate: GateConfig = field(default_factory=GateConfig)
    baseline: Model | None = None
    metrics: tuple[str, ...] = ("v3", "v4")
    tracks: Callable[[], Sequence[Track]] = songs
    conclude: Mapping[str, Any] = field(default_factory=dict)
    anchor: Model | None = None


EVERYTHING = GateConfig(
    (
        Threshold("vocals", "v3/SDR", 4.0),
        Threshold("vocals", "v3/SDR", 3.0, over="mixture"),
        Threshold("vocals", "v3/SDR", -0.3, over="baseline"),
        Threshold("vocals", "v3/SDR", 2.0, across="worst"),
        Threshold("vocals", "v3/SDR", 3.0, across="singer"),
    ),
    budgets=BUDGETS.budgets,
)
CHEAP = cost(0.1, 20.0, 5_000_000)


@functools.cache
def judged(
    model: Model, baseline: Model | None, anchor: Model | None, tracks: Callable, metrics: tuple[str, ...]
) -> list[TrackScores]:
    """BSS Eval of the tracks, once for all attempts that differ in the gate alone."""
    models = {"model": model, "baseline": baseline, "anchor": anchor}
    scores = []
    for track in tracks():
        methods = {"mixture": mixture(track), **{name: model(track) for name, model in models.items() if model}}
        scores.append(score_track(track, methods, TARGETS, metrics, 0.5))
    return scores


def concluded(attempt: Attempt) -> Evaluation:
    config = Config("attempt", data=DataConfig(sample_rate_hz=RATE_HZ), model=SPEC, gate=attempt.gate)
    scores = judged(attempt.model, attempt.baseline, attempt.anchor, attempt.tracks, attempt.metrics)
    given = {"anchor": Anchor("anchor", "the anchor is the best one")} if attempt.anchor else {}
    return conclude(scores, config, **given, **attempt.conclude)


def assert_refused(attempt: Attempt) -> None:
    """The gate refuses the model by checks of just these kinds, and says these words."""
    verdict = concluded(attempt).verdict
    refused = [check for check in verdict.checks if not check.passed]
    said = "\n".join(check.words for check in refused)
    assert not verdict.blessed, "it was blessed"
    assert {check.kind for check in refused} == set(attempt.kinds.split(", ")), said
    assert all(words in said for words in attempt.words), said


def assert_passes(attempt: Attempt) -> None:
    verdict = concluded(attempt).verdict
    assert verdict.blessed, [check.words for check in verdict.checks if not check.passed]
