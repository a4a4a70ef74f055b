"""A whole evaluation: tracks in, scores against mixture, baselines and oracles, and the gate's verdict out."""

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from models.spec import ModelSpec
from pipeline.config.config import Config, EvaluateConfig
from pipeline.evaluation import baselines as oracles
from pipeline.evaluation import rpca
from pipeline.evaluation import scores as tracks
from pipeline.evaluation.aggregate import Scores, aggregate
from pipeline.evaluation.gate import checks
from pipeline.evaluation.scores import Estimates, Separate, Track, TrackScores
from pipeline.evaluation.spectrograms import Stft


@dataclass(frozen=True)
class Evaluation:
    """What a test split says about a model.

    scores: method -> `<target>/<version>/<metric>` -> dB. gated: whether the verdict is anybody's; where nobody asked for
    one, only what it says of unsound outputs is of use.
    """

    name: str
    targets: tuple[str, ...]
    settings: EvaluateConfig
    tracks: tuple[TrackScores, ...]
    scores: Mapping[str, Scores]
    verdict: checks.Verdict
    gated: bool = True

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
        methods = estimate(track, separators, spec, settings.baselines)
        yield tracks.judge(track, methods, spec.targets, settings.metrics, settings.window_seconds)


def estimate(
    track: Track, separators: Mapping[str, Separate], spec: ModelSpec, baselines: Sequence[str] = ("irm",)
) -> dict[str, Estimates]:
    """Estimates of one track by every method: the separators, the mixture itself and the baselines asked for."""
    stems = {target: track.stems[target] for target in spec.targets if target in track.stems}
    return {
        "mixture": oracles.mixture_copy(track.mixture, stems),
        **{name: _BASELINES[name](track.mixture, stems, spec) for name in baselines},
        **{method: separate(track.mixture, track.sample_rate_hz) for method, separate in separators.items()},
    }


def _oracle(
    mask: Callable[..., dict[str, np.ndarray]], mixture: np.ndarray, stems: Estimates, spec: ModelSpec
) -> Estimates:
    """An ideal mask at the model's STFT; next to a single target stands the rest of the mixture."""
    rest = {} if len(stems) > 1 else {"": mixture - sum(stems.values())}
    return mask(mixture, {**stems, **rest}, Stft(spec.frame_length, spec.hop, spec.window))


def _rpca(mixture: np.ndarray, _: Estimates, spec: ModelSpec) -> Estimates:
    return rpca.separate(mixture, rpca.stft_of(spec.frame_length))


_BASELINES: Mapping[str, Callable[[np.ndarray, Estimates, ModelSpec], Estimates]] = {
    "rpca": _rpca,
    "irm": functools.partial(_oracle, oracles.ratio_mask),
    "ibm": functools.partial(_oracle, oracles.binary_mask),
}


def conclude(
    scores: Sequence[TrackScores],
    config: Config,
    baseline_problem: str = "",
    facts: checks.ModelFacts | None = None,
    problems: Sequence[str] = (),
    gated: bool = True,
) -> Evaluation:
    """Aggregates the tracks (in the order of their names) and lets the gate judge them.

    `baseline_problem`: why there is a last blessed model but no scores of it; then no threshold over it can hold.
    `facts`: what the model costs, for the budgets. `problems`: of the test split; any refuses (see `gate.judge`). `gated`:
    see Evaluation.
    """
    ordered = tuple(sorted(scores, key=lambda track: track.track))
    verdict = checks.judge(ordered, config.gate, baseline_problem, facts, problems)
    totals = aggregate(ordered)
    return Evaluation(config.name, tuple(config.model.targets), config.evaluate, ordered, totals, verdict, gated)


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
