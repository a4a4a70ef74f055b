"""A whole evaluation: scores of tracks in, scores over all of them and the gate's verdict out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipeline.config.config import Config, EvaluateConfig
from pipeline.evaluation.gate import checks
from pipeline.evaluation.gate.verdict import Verdict
from pipeline.evaluation.scores import METHODS, Scores, TrackScores, aggregate


@dataclass(frozen=True)
class Evaluation:
    """What a test split says about a model.

    scores: method -> `<target>/<version>/<metric>` -> dB. gated: whether the verdict is anybody's; where nobody asked for
    one, only what it says of unsound outputs is of use. cost: of the model, None where nobody looked.
    """

    name: str
    targets: tuple[str, ...]
    settings: EvaluateConfig
    tracks: tuple[TrackScores, ...]
    scores: Mapping[str, Scores]
    verdict: Verdict
    gated: bool = True
    cost: checks.ModelFacts | None = None

    @property
    def methods(self) -> list[str]:
        """The methods that were judged, in the order in which they are shown."""
        return [method for method in METHODS if self.scores.get(method)]


def conclude(
    scores: Sequence[TrackScores],
    config: Config,
    baseline_problem: str = "",
    facts: checks.ModelFacts | None = None,
    problems: Sequence[str] = (),
    gated: bool = True,
    anchor: checks.Anchor = checks.NO_ANCHOR,
) -> Evaluation:
    """Aggregates the tracks (in the order of their names) and lets the gate judge them.

    `baseline_problem`: why there is a last blessed model but no scores of it; then no threshold over it can hold.
    `facts`: what the model costs, for the budgets. `problems`: of the test split; any refuses (see `gate.checks.decide`). `gated`:
    see Evaluation. `anchor`: what thresholds over the anchor mean.
    """
    ordered = tuple(sorted(scores, key=lambda track: track.track))
    verdict = checks.decide(ordered, config.gate, baseline_problem, facts, problems, anchor)
    scored = aggregate(ordered)
    return Evaluation(config.name, tuple(config.model.targets), config.evaluate, ordered, scored, verdict, gated, facts)


def spread(names: Sequence[str], most: int | None) -> list[str]:
    """At most `most` of the sorted names, evenly spread over them; all of them for None.

    Raises:
        ValueError: `most` is below 1.
    """
    if most is not None and most < 1:
        raise ValueError(f"evaluate.max_tracks is {most}; legal: at least 1, or none for all tracks")
    ordered = sorted(names)
    if most is None or len(ordered) <= most:
        return ordered
    return [ordered[index * len(ordered) // most] for index in range(most)]
