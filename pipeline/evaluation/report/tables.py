"""What the tables and plots of the report say, as plain values for the template: never two BSS Eval versions in one."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import markupsafe
import numpy as np

from pipeline.evaluation.evaluation import Evaluation
from pipeline.evaluation.report import figures, intervals
from pipeline.evaluation.scores import VERSIONS, Figure, TrackScores, aggregate, describe, score_name

MOST_ROWS = 1000  # tracks in a table
_MOST_GROUPS = 50  # a key of metadata with more values (a title, say) makes no groups


def version(evaluation: Evaluation, name: str, labels: Mapping[str, str]) -> dict[str, Any]:
    """Everything that is shown of one BSS Eval version."""
    metrics = VERSIONS[name]
    tracks = _listed(evaluation, name)
    return {
        "name": name,
        "words": describe(name, evaluation.settings.window_seconds),
        "metrics": metrics,
        "published": [score_name("", f"{name}/{metric}").rpartition("/")[2] for metric in metrics],
        "summary": {target: _summary(evaluation, target, name, labels) for target in evaluation.targets},
        "confidence": round(100 * intervals.CONFIDENCE),
        "intervals": len(evaluation.tracks) >= intervals.MIN_TRACKS,
        "plots": {target: markupsafe.Markup(_box_plots(evaluation, target, name)) for target in evaluation.targets},
        "differences": {
            target: told for target in evaluation.targets if (told := _difference_plot(evaluation, target, name))
        },
        "groups": [_groups(evaluation, name, key) for key in _group_keys(evaluation.tracks)],
        "keys": metadata_keys(evaluation.tracks),
        "compared": _compared(evaluation),
        "tracks": [_track_row(evaluation, track, name) for track in tracks],
        "left_out": len(evaluation.tracks) - len(tracks),
    }


def metadata_keys(tracks: Sequence[TrackScores]) -> list[str]:
    """What is known about any of the tracks: `singer`, `genre`, ..., sorted."""
    return sorted({key for track in tracks for key in track.metadata})


def _compared(evaluation: Evaluation) -> bool:
    return {"model", "baseline"} <= set(evaluation.methods)


def _listed(evaluation: Evaluation, version: str) -> Sequence[TrackScores]:
    """All tracks, or of very many those on which the model is worst, in the order of their names."""
    if len(evaluation.tracks) <= MOST_ROWS:
        return evaluation.tracks
    figure = Figure("model", evaluation.targets[0], version, "SDR")
    ranked = sorted(evaluation.tracks, key=lambda track: _nan_first(track.score(figure)))
    kept = {track.track for track in ranked[:MOST_ROWS]}
    return [track for track in evaluation.tracks if track.track in kept]


def _nan_first(value: float) -> float:
    return -math.inf if math.isnan(value) else value


def _summary(evaluation: Evaluation, target: str, version: str, labels: Mapping[str, str]) -> list[dict[str, Any]]:
    """A row for each method: its aggregated score of every metric, and the interval of that."""
    rows = []
    for method in evaluation.methods:
        cells = []
        for metric in VERSIONS[version]:
            score = evaluation.scores[method].get(score_name(target, f"{version}/{metric}"), math.nan)
            cells.append((score, intervals.interval(evaluation.tracks, Figure(method, target, version, metric))))
        rows.append({"name": labels.get(method, method), "method": method, "cells": cells})
    return rows


def _scores(evaluation: Evaluation, scores: Mapping[str, float], version: str) -> list[float]:
    names = [score_name(t, f"{version}/{metric}") for t in evaluation.targets for metric in VERSIONS[version]]
    return [scores.get(name, math.nan) for name in names]


def _track_row(evaluation: Evaluation, track: TrackScores, version: str) -> dict[str, Any]:
    figures_of = [Figure("model", t, version, metric) for t in evaluation.targets for metric in VERSIONS[version]]
    return {
        "name": track.track,
        "seconds": track.samples / track.sample_rate_hz,
        "metadata": track.metadata,
        "scores": [track.score(figure) for figure in figures_of],
        "gains": [_gain(track, target, version) for target in evaluation.targets],
    }


def _gain(track: TrackScores, target: str, version: str) -> float:
    """SDR of the model minus SDR of the baseline; NaN where either is not finite."""
    model, baseline = (track.score(Figure(method, target, version, "SDR")) for method in ("model", "baseline"))
    return model - baseline if math.isfinite(model) and math.isfinite(baseline) else math.nan


def _difference_plot(evaluation: Evaluation, target: str, version: str) -> tuple[markupsafe.Markup, str] | None:
    """The plot of model minus baseline and its caption, or None without a baseline."""
    if not _compared(evaluation):
        return None
    gains = np.array([_gain(track, target, version) for track in evaluation.tracks])
    gains = gains[~np.isnan(gains)]
    if not gains.size:
        return None
    words = (
        f"mean {gains.mean():+.2f} dB, better on {np.sum(gains > 0)} and worse on {np.sum(gains < 0)} of {len(gains)}"
    )
    return markupsafe.Markup(figures.differences(gains.tolist())), words.replace("-", "−")


def _group_keys(tracks: Sequence[TrackScores]) -> list[str]:
    """Keys by which there is more than one group, and fewer groups than tracks."""
    values = {key: {track.metadata.get(key, "") for track in tracks} for key in metadata_keys(tracks)}
    return [key for key, found in values.items() if 1 < len(found) < min(len(tracks), _MOST_GROUPS + 1)]


def _groups(evaluation: Evaluation, version: str, key: str) -> dict[str, Any]:
    """The model's aggregated scores of every group of tracks."""
    members: dict[str, list[TrackScores]] = {}
    for track in evaluation.tracks:
        members.setdefault(track.metadata.get(key, ""), []).append(track)
    rows = [
        (name or f"no {key}", len(tracks), _scores(evaluation, aggregate(tracks).get("model", {}), version))
        for name, tracks in sorted(members.items())
    ]
    return {"key": key, "rows": rows}


def _box_plots(evaluation: Evaluation, target: str, version: str) -> str:
    panels = {
        metric: {
            method: [track.score(Figure(method, target, version, metric)) for track in evaluation.tracks]
            for method in evaluation.methods
        }
        for metric in VERSIONS[version]
        if metric != "NSDR"
    }
    return figures.box_plots(panels)
