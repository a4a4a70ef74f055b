"""Puts the report together: verdict first, then tables, box plots, tracks and what they sound like."""

import math
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
import markupsafe

from pipeline.metrics import stores
from pipeline.metrics.aggregate import describe, score_name, track_score
from pipeline.metrics.evaluation import Evaluation
from pipeline.metrics.tracks import VERSIONS, Figure, TrackScores
from pipeline.report import figures
from pipeline.report.excerpts import Shown, excerpts

METHOD_NAMES = {
    "mixture": "mixture (no separation)",
    "rpca": "robust PCA (no training)",
    "model": "model",
    "baseline": "last blessed model",
    "irm": "oracle: ideal ratio mask",
    "ibm": "oracle: ideal binary mask",
}


def choose(evaluation: Evaluation, metric: str, target: str, most: int) -> dict[str, str]:
    """Tracks to show, rank -> name: the best, the worst and evenly ranked ones between, by the model's `v3/SDR`, say."""
    version, _, name = metric.partition("/")
    figure = Figure("model", target, version, name.removeprefix("G"))
    scored = [(track_score(track, figure), track.track) for track in evaluation.tracks]
    ranked = [name for score, name in sorted(scored, reverse=True) if not math.isnan(score)]
    count = min(most, len(ranked))
    places = [round(i * (len(ranked) - 1) / max(1, count - 1)) for i in range(count)]
    return {_rank(place, len(ranked)): ranked[place] for place in places}


def write(evaluation: Evaluation, shown: Sequence[Shown], path: Path, caption: str = "") -> None:
    """Writes the report of an evaluation with excerpts of the tracks in `shown`; `caption` says what was judged."""
    stores.write_text(path, render(evaluation, shown, caption))


def render(evaluation: Evaluation, shown: Sequence[Shown], caption: str = "") -> str:
    """The report as HTML."""
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    environment.filters["db"] = _db
    template = environment.from_string(resources.files(__package__).joinpath("report.html").read_text())
    return template.render(
        evaluation=evaluation,
        caption=caption,
        hours=sum(track.samples / track.sample_rate_hz for track in evaluation.tracks) / 3600,
        versions=[_version(evaluation, version) for version in evaluation.settings.metrics],
        excerpts=excerpts(shown, evaluation.targets),
    )


def _version(evaluation: Evaluation, version: str) -> dict[str, Any]:
    """Everything that is shown of one BSS Eval version: never two in one table."""
    metrics = VERSIONS[version]
    return {
        "name": version,
        "words": describe(version, evaluation.settings.window_seconds),
        "metrics": metrics,
        "published": [score_name("", f"{version}/{metric}").rpartition("/")[2] for metric in metrics],
        "summary": [
            (METHOD_NAMES[method], method, _summary_row(evaluation, method, version)) for method in evaluation.methods
        ],
        "plots": {target: markupsafe.Markup(_plots(evaluation, target, version)) for target in evaluation.targets},
        "tracks": [_track_row(track, evaluation.targets, version) for track in evaluation.tracks],
    }


def _summary_row(evaluation: Evaluation, method: str, version: str) -> list[float]:
    scores: Mapping[str, float] = evaluation.scores[method]
    names = [score_name(t, f"{version}/{metric}") for t in evaluation.targets for metric in VERSIONS[version]]
    return [scores.get(name, math.nan) for name in names]


def _track_row(track: TrackScores, targets: Sequence[str], version: str) -> dict[str, Any]:
    scores = [track_score(track, Figure("model", t, version, m)) for t in targets for m in VERSIONS[version]]
    return {"name": track.track, "seconds": track.samples / track.sample_rate_hz, "scores": scores}


def _plots(evaluation: Evaluation, target: str, version: str) -> str:
    panels = {
        metric: {
            method: [track_score(track, Figure(method, target, version, metric)) for track in evaluation.tracks]
            for method in evaluation.methods
        }
        for metric in VERSIONS[version]
        if metric != "NSDR"
    }
    return figures.box_plots(panels)


def _rank(place: int, count: int) -> str:
    if place == 0:
        return "best"
    if place == count - 1:
        return "worst"
    return "median" if place == round((count - 1) / 2) else f"rank {place + 1} of {count}"


def _db(value: float) -> str:
    """Two decimals; a dash for NaN, a sign for what is beyond any audible measure."""
    if math.isnan(value):
        return "–"
    if abs(value) > figures.MOST_DB:
        return "> 100" if value > 0 else "< −100"
    return f"{value:.2f}".replace("-", "−")
