"""A whole evaluation: tracks in, scores against mixture, baseline and oracle, and the gate's verdict out."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from models.recipe import ModelSpec
from pipeline.config import Config, EvaluateConfig
from pipeline.metrics import gate, oracles, tracks
from pipeline.metrics.aggregate import Scores, aggregate
from pipeline.metrics.tracks import Estimates, Separate, Track, TrackScores


@dataclass(frozen=True)
class Evaluation:
    """What a test split says about a model. `scores`: method -> `<target>/<version>/<metric>` -> dB."""

    name: str
    targets: tuple[str, ...]
    settings: EvaluateConfig
    tracks: tuple[TrackScores, ...]
    scores: Mapping[str, Scores]
    verdict: gate.Verdict

    @property
    def methods(self) -> list[str]:
        """The methods that were judged, in the order in which they are shown."""
        return [method for method in tracks.METHODS if self.scores.get(method)]


def evaluate_tracks(
    test_tracks: Iterable[Track], separators: Mapping[str, Separate], spec: ModelSpec, settings: EvaluateConfig
) -> Iterator[TrackScores]:
    """Judges one track after the other; `separators` is {"model": ..., and perhaps "baseline": ...}.

    Raises:
        ValueError: a track lacks a target, or an estimate does not have the mixture's shape.
    """
    for track in test_tracks:
        methods = estimate(track, separators, spec)
        yield tracks.judge(track, methods, spec.targets, settings.metrics, settings.window_seconds)


def estimate(track: Track, separators: Mapping[str, Separate], spec: ModelSpec) -> dict[str, Estimates]:
    """Estimates of one track by every method: the separators, the mixture itself and the ideal ratio mask."""
    stems = {target: track.stems[target] for target in spec.targets if target in track.stems}
    rest = {} if len(stems) > 1 else {"": track.mixture - sum(stems.values())}
    return {
        "mixture": oracles.mixture_copy(track.mixture, stems),
        "irm": oracles.ratio_mask(track.mixture, {**stems, **rest}, spec.frame_length, spec.hop, spec.window),
        **{method: separate(track.mixture, track.sample_rate_hz) for method, separate in separators.items()},
    }


def conclude(scores: Sequence[TrackScores], config: Config, baseline_problem: str = "") -> Evaluation:
    """Aggregates the tracks (in the order of their names) and lets the gate judge them.

    `baseline_problem`: why there is a last blessed model but no scores of it; then no threshold over it can hold.
    """
    ordered = tuple(sorted(scores, key=lambda track: track.track))
    totals = aggregate(ordered)
    problems = [problem for track in ordered for problem in track.problems]
    if baseline_problem:
        totals["baseline"] = {}
        needed = any(threshold.over == "baseline" for threshold in config.gate.thresholds)
        problems += [baseline_problem] if needed else []
    verdict = gate.judge(totals, config.gate.thresholds, len(ordered), problems)
    return Evaluation(config.name, tuple(config.model.targets), config.evaluate, ordered, totals, verdict)


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
