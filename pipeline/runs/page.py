"""`stemline runs page`: one page of every recipe's life, which needs no network and no other file."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
import markupsafe

from pipeline.common import files
from pipeline.evaluation.report import figures, templates
from pipeline.runs import life
from pipeline.runs.life import Judged

_PLOTTED = ("v3/GNSDR", "v3/GSDR", "v4/SDR")


def write(lives: Mapping[str, Sequence[Judged]], source: str, output: Path) -> None:
    """Writes the page. source: where the runs were found, in words. Raises OSError where it cannot be written."""
    files.write_text(output, render(lives, source))


def render(lives: Mapping[str, Sequence[Judged]], source: str) -> str:
    """The page as HTML."""
    environment = templates.environment()
    environment.loader = jinja2.FileSystemLoader([Path(__file__).parent, Path(templates.__file__).parent])
    recipes = [_recipe(name, judged) for name, judged in sorted(lives.items())]
    return environment.get_template("life.html").render(recipes=recipes, source=source)


def _recipe(name: str, judged: Sequence[Judged]) -> dict[str, Any]:
    names = life.figures_of(judged)
    test_sets = [*dict.fromkeys(each.test_set for each in judged)]
    plotted = [each for each in names if each.endswith(_PLOTTED)]
    rows = [_row(each, names, test_sets) for each in judged]
    columns = {
        key: words
        for key, words in (
            ("pushed", "pushed as"),
            ("training", "training"),
            ("hours", "data"),
            ("cost", "cost"),
            ("drift", "drift"),
        )
        if any(row[key] for row in rows)
    }
    return {
        "name": name,
        "rows": [*reversed(rows)],
        "names": names,
        "columns": columns,
        "missing": [words for key, words in _MISSING.items() if key not in columns],
        "test_sets": len(test_sets),
        "plots": {each: markupsafe.Markup(_plot(judged, each, test_sets)) for each in plotted},
        "accepted": sum(each.accepted is True for each in judged),
        "versions": {version: words for each in judged for version, words in each.summary["versions"].items()},
    }


_MISSING = {
    "pushed": "which versions were pushed",
    "training": "how long trainings took",
    "hours": "how much data there was",
    "cost": "what models cost",
    "drift": "drift",
}


def _plot(judged: Sequence[Judged], name: str, test_sets: Sequence[str]) -> str:
    return figures.over_runs(
        [each.score(name) for each in judged],
        [each.interval(name) for each in judged],
        [each.accepted for each in judged],
        [test_sets.index(each.test_set) for each in judged],
        [each.name for each in judged],
    )


def _row(each: Judged, names: Sequence[str], test_sets: Sequence[str]) -> dict[str, Any]:
    run = each.run
    return {
        "name": each.name,
        "when": f"{each.when:%Y-%m-%d %H:%M}",
        "accepted": each.accepted,
        "anchor": each.anchor,
        "reasons": each.refusals,
        "passed": len(each.reasons) - len(each.refusals),
        "tracks": each.summary["tracks"],
        "test_set": test_sets.index(each.test_set) + 1,
        "scores": [(each.score(name), each.interval(name)) for name in names],
        "pushed": run.pushed.rsplit("/", 1)[-1] if run and run.pushed else "",
        "training": _training(each),
        "hours": _data(each.drift),
        "cost": _cost(each.summary.get("cost", {})),
        "drift": _drift(each.drift),
    }


def _training(each: Judged) -> str:
    """`2000 steps, 12.5 CPU min`; empty where nobody knows."""
    told = each.run.training if each.run else {}
    if not told:
        return ""
    cached = ", from the cache" if each.run and each.run.trained_by else ""
    return f"{told['steps']} steps, {told['cpu_minutes']:.1f} CPU min{cached}"


def _data(drift: Mapping[str, Any]) -> str:
    """`24 train, 4 dev and 8 test tracks, 1.25 h, spans 3 to 5`."""
    spans = drift.get("spans", ())
    if not spans:
        return ""
    counts = {split: sum(span["tracks"].get(split, 0) for span in spans) for split in ("train", "dev", "test")}
    tracks = ", ".join(f"{count} {split}" for split, count in counts.items())
    named = [span["name"] for span in spans if span["name"]]
    which = "" if not named else f", span {named[0]}" if len(named) == 1 else f", spans {named[0]} to {named[-1]}"
    return f"{tracks}; {sum(span['hours'] for span in spans):.2f} h{which}"


def _cost(cost: Mapping[str, Any]) -> str:
    """`5.7 MB, 1,400,000 parameters, 0.12 s for a second`."""
    if not cost:
        return ""
    words = f"{cost['megabytes']:.1f} MB, {cost['parameters']:,} parameters"
    factor = cost.get("real_time_factor")
    return words if factor is None or not math.isfinite(factor) else f"{words}, {factor:.3g} s for a second of audio"


def _drift(drift: Mapping[str, Any]) -> str:
    """The features that drifted, `none`, or why nobody knows."""
    if not drift:
        return ""
    if drift.get("unknown"):
        return f"not known: {drift['unknown']}"
    drifted = [f"{each['name']} ({each['divergence']:.2f})" for each in drift.get("features", ()) if each["drifted"]]
    return ", ".join(drifted) or "none"
