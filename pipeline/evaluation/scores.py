"""Scores of one track and over all: estimates of every method against the references, in every version asked for."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from pipeline.data.datasets.track import Track
from pipeline.evaluation.bss_eval.score import METRICS, Engine, score
from pipeline.evaluation.outputs import output_facts
from pipeline.evaluation.outputs.output_facts import OutputFacts

METHODS = ("mixture", "rpca", "model", "baseline", "anchor", "irm", "ibm")
VERSIONS = {"v3": ("SDR", "NSDR", "SIR", "SAR"), "v4": METRICS["v4"]}

Estimates = Mapping[str, np.ndarray]
"""Target -> audio [samples, channels]."""

Separate = Callable[[np.ndarray, int], Estimates]
"""(mixture [samples, channels], sample_rate_hz) -> estimates; `pipeline.evaluation.separators.SavedSeparator` is one."""

Scores = dict[str, float]
"""`<target>/<version>/<metric>` -> dB, for example `vocals/v3/GNSDR` or `vocals/v4/SDR`."""

HEADLINES = "v3/GNSDR", "v3/SDR", "v4/SDR"
"""The usual figures, of which the first that there is stands for a model in short."""

_WORDS = {
    "v3": "BSS Eval v3 (sources, 512-tap filters), whole track, mean over tracks weighted by length",
    "v4": "BSS Eval v4 (images, 512-tap filters over the whole track), {:g} s windows, median over frames, then over tracks",
}


class Figure(NamedTuple):
    """What a number is the number of."""

    method: str
    target: str
    version: str
    metric: str


@dataclass(frozen=True)
class TrackScores:
    """One track's figures in dB, one value for each frame (a single one in v3).

    metadata: of the track, such as {"singer": "Ani"}. outputs: facts of the model's estimates by target.
    """

    track: str
    samples: int
    sample_rate_hz: int
    values: Mapping[Figure, tuple[float, ...]]
    metadata: Mapping[str, str] = field(default_factory=dict)
    outputs: Mapping[str, OutputFacts] = field(default_factory=dict)

    def score(self, figure: Figure) -> float:
        """The median over the frames; NaN when the track does not have the figure."""
        return _median(self.values.get(figure, ()))


def score_track(
    track: Track,
    methods: Mapping[str, Estimates],
    targets: Sequence[str],
    versions: Sequence[str],
    window_seconds: float,
    engine: Engine = "stemline",
) -> TrackScores:
    """Scores the estimates of all `methods` (which must include `mixture`, for NSDR) on one track.

    With a single target the rest of the mixture is the interference; it gets no scores of its own. The engine
    "reference" has the libraries mir_eval and museval compute.

    Raises:
        ValueError: the track lacks a target, an estimate has another shape than the mixture, or an unknown version.
    """
    if missing := [target for target in targets if target not in track.stems]:
        raise ValueError(f"track {track.name!r} has no stem {missing[0]!r}; it has: {', '.join(track.stems)}")
    references = {target: track.stems[target] for target in targets}
    signals = {
        method: [_estimate(track, method, estimates, target) for target in targets]
        for method, estimates in methods.items()
    }
    judged = [_with_rest(each, track.mixture) for each in (list(references.values()), *signals.values())]
    window_samples = round(window_seconds * track.sample_rate_hz)
    scores = score(judged[0], judged[1:], versions, window_samples, engine)
    if "v3" in scores:
        sdr = scores["v3"]["SDR"]
        with np.errstate(invalid="ignore"):  # -inf minus -inf: both silent, nothing gained that could be measured
            scores["v3"]["NSDR"] = sdr - sdr[list(methods).index("mixture")]
    values: dict[Figure, tuple[float, ...]] = {}
    for version, of_metrics in scores.items():
        for metric, of_methods in of_metrics.items():
            for method, of_targets in zip(methods, of_methods, strict=True):
                for target, row in zip(targets, of_targets, strict=False):
                    values[Figure(method, target, version, metric)] = tuple(float(value) for value in np.ravel(row))
    outputs = {}
    if "model" in methods:
        estimates = {target: methods["model"].get(target) for target in targets}
        outputs = output_facts.facts(references, estimates, track.mixture, track.sample_rate_hz)
    metadata = {key: str(value) for key, value in track.metadata.items()}
    return TrackScores(track.name, len(track.mixture), track.sample_rate_hz, values, metadata, outputs)


def describe(version: str, window_seconds: float) -> str:
    """`BSS Eval v3 (sources, 512-tap filters), whole track, mean over tracks weighted by length`, or v4's words."""
    return _WORDS[version].format(window_seconds)


def headline(scores_db: Mapping[str, float]) -> tuple[str, float] | None:
    """Name and dB of the first of the usual figures of vocals that there is: `("v3/GNSDR", 8.57)`."""
    return next(((name, scores_db[f"vocals/{name}"]) for name in HEADLINES if f"vocals/{name}" in scores_db), None)


def score_name(target: str, metric: str) -> str:
    """Key in `Scores` of a metric such as `v4/SDR`; v3's go by their published names, so `v3/SDR` means `v3/GSDR`."""
    version, _, name = metric.partition("/")
    return f"{target}/{version}/{'' if version != 'v3' or name.startswith('G') else 'G'}{name}"


def aggregate(tracks: Sequence[TrackScores]) -> dict[str, Scores]:
    """Method -> scores over all tracks.

    v3: mean over tracks weighted by length (GSDR, GNSDR, GSIR, GSAR); v4: median over frames, then median over tracks.
    A track whose score is undefined (NaN: its reference is silent) is left out; NaN when no track is left.
    """
    scores: dict[str, Scores] = {}
    for figure in dict.fromkeys(figure for track in tracks for figure in track.values):
        name = score_name(figure.target, f"{figure.version}/{figure.metric}")
        scores.setdefault(figure.method, {})[name] = over_tracks(tracks, figure)
    return scores


def figure_of(method: str, target: str, metric: str) -> Figure:
    """What a metric such as `v4/SDR` or `v3/GNSDR` is the aggregate of."""
    version, _, name = metric.partition("/")
    return Figure(method, target, version, name.removeprefix("G") if version == "v3" else name)


def over_tracks(tracks: Sequence[TrackScores], figure: Figure) -> float:
    """One figure over all tracks, as `aggregate` puts them together; NaN when no track has it."""
    values = by_track(tracks, figure)
    if figure.version != "v3":
        return _median(values)
    kept = ~np.isnan(values)
    weights = np.array([track.samples for track in tracks], float)
    return float(np.average(values[kept], weights=weights[kept])) if kept.any() else float("nan")


def by_track(tracks: Sequence[TrackScores], figure: Figure) -> np.ndarray:
    """One figure of every track: [tracks]."""
    return np.array([track.score(figure) for track in tracks])


def _median(values: Iterable[float]) -> float:
    """Median of what is not NaN; NaN of nothing."""
    kept = np.array([value for value in values if not np.isnan(value)])
    return float(np.median(kept)) if kept.size else float("nan")


def _estimate(track: Track, method: str, estimates: Estimates, target: str) -> np.ndarray:
    """The estimate, or NaN throughout for a target that the method does not separate."""
    estimate = estimates.get(target)
    if estimate is None:
        return np.broadcast_to(np.nan, track.mixture.shape)
    if estimate.shape != track.mixture.shape:
        raise ValueError(
            f"{method}'s estimate of {target!r} in track {track.name!r} has the shape {estimate.shape}; "
            f"legal: the mixture's, {track.mixture.shape}"
        )
    return estimate


def _with_rest(signals: list[np.ndarray], mixture: np.ndarray) -> list[np.ndarray]:
    return [signals[0], mixture - signals[0]] if len(signals) == 1 else signals
