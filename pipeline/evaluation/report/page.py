"""Puts the report together: verdict first, then tables, box plots, tracks and what they sound like."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.common import files
from pipeline.evaluation import silences
from pipeline.evaluation.evaluation import Evaluation
from pipeline.evaluation.gate.verdict import Check
from pipeline.evaluation.report import beside, rooms, tables, templates
from pipeline.evaluation.report.beside import Kept
from pipeline.evaluation.report.rooms import Shown
from pipeline.evaluation.scores import Figure

if TYPE_CHECKING:
    from pipeline.data.drift import DataFacts

MOST_STRETCHES = 8
METHOD_NAMES = {
    "mixture": "mixture (no separation)",
    "rpca": "robust PCA (no training)",
    "model": "model",
    "baseline": "last blessed model",
    "anchor": "anchor (the best, or pinned)",
    "irm": "oracle: ideal ratio mask",
    "ibm": "oracle: ideal binary mask",
}


def choose_tracks(evaluation: Evaluation, metric: str, target: str, most: int) -> dict[str, str]:
    """Tracks to show, rank -> name: the worst, the best and evenly ranked ones between, by the model's `v3/SDR`, say.

    The worst comes first.
    """
    ranked = _ranked(evaluation, metric, target)
    count = min(most, len(ranked))
    places = [round(i * (len(ranked) - 1) / max(1, count - 1)) for i in range(count)]
    return {_rank(place, len(ranked)): ranked[place] for place in places}


def worst_tracks(evaluation: Evaluation, metric: str, target: str, most: int) -> dict[str, str]:
    """The worst tracks, rank -> name, the worst first."""
    ranked = _ranked(evaluation, metric, target)
    return {_rank(place, len(ranked)): name for place, name in enumerate(ranked[:most])}


def _ranked(evaluation: Evaluation, metric: str, target: str) -> list[str]:
    """The tracks that have the metric, the worst first."""
    version, _, name = metric.partition("/")
    figure = Figure("model", target, version, name.removeprefix("G"))
    scored = [(track.score(figure), track.track) for track in evaluation.tracks]
    return [name for score, name in sorted(scored) if not math.isnan(score)]


def write_report(
    evaluation: Evaluation,
    shown: Sequence[Shown],
    path: Path,
    caption: str = "",
    labels: Mapping[str, str] = METHOD_NAMES,
    data: "DataFacts | None" = None,
    kept: Sequence[Shown] = (),
) -> None:
    """Writes the report of an evaluation with excerpts of the tracks in `shown`.

    Args:
        caption: what was judged, in words.
        labels: method -> what it is called here, where that is not its name in METHOD_NAMES.
        data: what the model was trained and judged on, None where that is not known.
        kept: tracks whose whole audio is written beside the report.
    """
    whole = beside.write(kept, evaluation.targets, path.parent)
    files.write_text(path, render(evaluation, shown, caption, labels, data, whole))


def render(
    evaluation: Evaluation,
    shown: Sequence[Shown],
    caption: str = "",
    labels: Mapping[str, str] = METHOD_NAMES,
    data: "DataFacts | None" = None,
    whole: Sequence[Kept] = (),
) -> str:
    """The report as HTML; `whole` are the tracks beside it."""
    inside = rooms.excerpts(shown, evaluation.targets) if shown else []
    names = {**METHOD_NAMES, **labels}
    return (
        templates.environment()
        .get_template("report.html")
        .render(
            evaluation=evaluation,
            caption=caption,
            data=data,
            judged=names["model"],
            rival=names["baseline"],
            checks=_checks(evaluation),
            duration=_duration(sum(track.samples / track.sample_rate_hz for track in evaluation.tracks)),
            versions=[tables.version(evaluation, version, names) for version in evaluation.settings.metrics],
            silences=silences.by_target(evaluation.tracks),
            rooms=inside,
            whole=whole,
            stretches=_stretches(inside, whole),
        )
    )


def _stretches(inside: Sequence[rooms.Room], whole: Sequence[Kept]) -> list[dict[str, Any]]:
    """The worst stretches of the tracks that can be heard, the worst first; `place` is that of the room in the page.

    Of a track that is there whole and as an excerpt, those of the whole one.
    """
    every = [*inside, *(kept.room for kept in whole)]
    names = {kept.name for kept in whole}
    found = [
        {**stretch, "room": room, "place": place}
        for place, room in enumerate(every)
        if place >= len(inside) or room["name"] not in names
        for stretch in room["stretches"]
    ]
    return sorted(found, key=lambda stretch: stretch["badness"])[:MOST_STRETCHES]


def _checks(evaluation: Evaluation) -> list[Check]:
    """What failed, then what passed; without a gate only what is wrong with the estimates."""
    checks = sorted(evaluation.verdict.checks, key=lambda check: check.passed)
    return checks if evaluation.gated else [check for check in checks if not check.passed and check.kind == "output"]


def _duration(seconds: float) -> str:
    """`13 s`, `4.2 min` or `2.53 h`."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 3600 else f"{seconds / 3600:.2f} h"


def _rank(place: int, count: int) -> str:
    """Of the place from the worst on: `worst`, `rank 7 of 10` (the best is the first), `best`."""
    if place == 0:
        return "worst"
    if place == count - 1:
        return "best"
    return "median" if place == round((count - 1) / 2) else f"rank {count - place} of {count}"
