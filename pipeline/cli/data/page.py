"""`stemline data check --page`: a corpus on one page, which needs no network and no other file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
import markupsafe

from pipeline.cli.data import tables
from pipeline.common import files
from pipeline.data.datasets.track import ACCOMPANIMENT, SPLITS
from pipeline.evaluation.report import figures, templates

COLOURS = {"train": "#2f7de1", "dev": "#d98a1f", "test": "#2fa36b"}
TARGET_COLOURS = ("#2f7de1", "#d98a1f", "#2fa36b", "#8d6cc4", "#c0507a", "#1b7f8c")


def write(found: Mapping[str, Any], output: Path) -> None:
    """Writes the page of what `pipeline.data.survey.survey` found. Raises OSError where it cannot be written."""
    files.write_text(output, render(found))


def render(found: Mapping[str, Any]) -> str:
    """The page as HTML."""
    environment = templates.environment()
    environment.loader = jinja2.FileSystemLoader([Path(__file__).parent, Path(templates.__file__).parent])
    environment.filters |= {"counted": tables.counted, "size": tables.size}
    remarks = [*found["remarks"], *tables.beside(found)]
    plots = {caption: markupsafe.Markup(svg) for caption, svg in _plots(found).items()}
    keys = list(dict.fromkeys(key for split in found["splits"].values() for key in split["groups"]))
    return environment.get_template("corpus.html").render(found=found, remarks=remarks, plots=plots, keys=keys)


def _plots(found: Mapping[str, Any]) -> dict[str, str]:
    """Caption -> SVG."""
    lengths = {
        split: [track["seconds"] / 60 for track in found["tracks"] if track["split"] == split and track["seconds"]]
        for split in SPLITS
    }
    targets = dict.fromkeys((*found["asked"]["targets"], ACCOMPANIMENT))
    colours = dict(zip(targets, TARGET_COLOURS, strict=False))
    stems = found["stems"]
    of_stems = {name: colours.get(stem["target"], "") for name, stem in stems.items() if stem["target"] in colours}
    return {
        "hours by split": figures.bars({name: split["hours"] for name, split in found["splits"].items()}, "h", COLOURS),
        "lengths of the tracks, by split": figures.histogram(lengths, "minutes", COLOURS),
        "files by sample rate": figures.bars(found["files"]["rates_hz"], "files of so many Hz", {}),
        "tracks that have a stem, coloured by the target that it goes to": figures.bars(
            {name: stem["tracks"] for name, stem in stems.items()}, "tracks", of_stems
        ),
    }
