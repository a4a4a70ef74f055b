"""From frames and tracks to one figure, and the words that every figure carries: version, window, aggregation."""

from collections.abc import Iterable, Sequence

import numpy as np

from pipeline.evaluation.scores import Figure, TrackScores

Scores = dict[str, float]
"""`<target>/<version>/<metric>` -> dB, for example `vocals/v3/GNSDR` or `vocals/v4/SDR`."""

WINDOWS = {"v3": "whole track", "v4": "{seconds:g} s windows"}
AGGREGATIONS = {"v3": "mean over tracks weighted by length", "v4": "median over frames, then over tracks"}
FILTERS = {"v3": "sources, 512-tap filters", "v4": "images, 512-tap filters over the whole track"}


def describe(version: str, window_seconds: float) -> str:
    """`BSS Eval v3 (sources, 512-tap filters), whole track, mean over tracks weighted by length`, or v4's words."""
    window = WINDOWS[version].format(seconds=window_seconds)
    return f"BSS Eval {version} ({FILTERS[version]}), {window}, {AGGREGATIONS[version]}"


def score_name(target: str, metric: str) -> str:
    """Key in `Scores` of a metric such as `v4/SDR`; v3's go by their published names, so `v3/SDR` means `v3/GSDR`."""
    version, _, name = metric.partition("/")
    return f"{target}/{version}/{_published(version, name)}"


def aggregate(tracks: Sequence[TrackScores]) -> dict[str, Scores]:
    """Method -> scores over all tracks.

    v3: mean over tracks weighted by length (GSDR, GNSDR, GSIR, GSAR); v4: median over frames, then median over tracks.
    A track whose score is undefined (NaN: its reference is silent) is left out; NaN when no track is left.
    """
    scores: dict[str, Scores] = {}
    for figure in _figures(tracks):
        name = score_name(figure.target, f"{figure.version}/{figure.metric}")
        scores.setdefault(figure.method, {})[name] = total(tracks, figure)
    return scores


def figure_of(method: str, target: str, metric: str) -> Figure:
    """What a metric such as `v4/SDR` or `v3/GNSDR` is the aggregate of."""
    version, _, name = metric.partition("/")
    return Figure(method, target, version, name.removeprefix("G") if version == "v3" else name)


def total(tracks: Sequence[TrackScores], figure: Figure) -> float:
    """One figure over all tracks, as `aggregate` puts them together; NaN when no track has it."""
    values = track_scores(tracks, figure)
    if figure.version == "v3":
        return _weighted_mean(values, np.array([track.samples for track in tracks], float))
    return median(values)


def track_scores(tracks: Sequence[TrackScores], figure: Figure) -> np.ndarray:
    """`track_score` of every track: [tracks]."""
    return np.array([track_score(track, figure) for track in tracks])


def track_score(track: TrackScores, figure: Figure) -> float:
    """One track's figure: the median over its frames; NaN when the track does not have it."""
    return median(track.values.get(figure, ()))


def median(values: Iterable[float]) -> float:
    """Median of what is not NaN; NaN of nothing."""
    kept = np.array([value for value in values if not np.isnan(value)])
    return float(np.median(kept)) if kept.size else float("nan")


def _weighted_mean(values: np.ndarray, weights: np.ndarray) -> float:
    kept = ~np.isnan(values)
    return float(np.average(values[kept], weights=weights[kept])) if kept.any() else float("nan")


def _figures(tracks: Sequence[TrackScores]) -> list[Figure]:
    return list(dict.fromkeys(figure for track in tracks for figure in track.values))


def _published(version: str, metric: str) -> str:
    return metric if version != "v3" or metric.startswith("G") else f"G{metric}"
