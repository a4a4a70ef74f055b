"""Whole tracks beside the report: FLAC files that any player plays, and what the page shows of each.

In `report_audio`, `references`, `estimates` and `baseline` are laid out as `stemline evaluate` reads them:
`<track>/<target>.flac`, and `mixture.flac` among the references; `residual` holds references minus estimates.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import numpy as np
import soundfile

from pipeline.common import files
from pipeline.evaluation.report import rooms
from pipeline.evaluation.report.rooms import Room, Shown
from pipeline.evaluation.results import file_name

FOLDER = "report_audio"
_FOLDERS = {"reference": "references", "estimate": "estimates", "baseline": "baseline", "residual": "residual"}


@dataclass(frozen=True)
class Kept:
    """A track whose audio lies beside the page: the address of its room, relative to the page, and what it holds."""

    name: str
    script: str
    room: Room


def write(kept: Sequence[Shown], targets: Sequence[str], directory: Path) -> list[Kept]:
    """Writes the audio and the rooms of whole tracks into the folder of a report, instead of those of before.

    A room is a script, as a page from the disk may load scripts but not read files.
    """
    if (directory / FOLDER).exists():
        shutil.rmtree(directory / FOLDER)
    return [_write(shown, targets, directory) for shown in kept]


def _write(shown: Shown, targets: Sequence[str], directory: Path) -> Kept:
    heard, folder = shown.load(), file_name(shown.name)
    room = rooms.whole(heard, shown.rank, targets)
    for key, signal in rooms.signals(heard, targets).items():
        target, _, kind = key.rpartition("/") if key != rooms.MIXTURE else (key, "", "reference")
        path = f"{FOLDER}/{_FOLDERS[kind]}/{folder}/{file_name(target)}.flac"
        (directory / path).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(directory / path, np.clip(signal, -1, 1), room["rate"], format="FLAC")
        room["signals"][key]["audio"] = quote(path)
    script = f"{FOLDER}/rooms/{folder}.js"
    files.write_text(directory / script, f"enterRoom({json.dumps(room, allow_nan=False)});\n")
    return Kept(shown.name, quote(script), room)
