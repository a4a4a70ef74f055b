"""Open-Unmix's `aligned`: `{train,valid,test}/<track>/` with one file of the mixture and one of the target.

As `AlignedDataset` of open-unmix-pytorch fb672c9 (`openunmix/data.py`) reads it: its options are `input_file` and `output_file`,
names or patterns; of files that differ in length the shorter one counts. The target is named by its file; what is left of
the mixture without it is the accompaniment.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from models import storage
from pipeline.data.datasets import files, splits
from pipeline.data.datasets.recognition import MIXTURE_NAMES, Glance, WrongLayoutError
from pipeline.data.datasets.track import ACCOMPANIMENT, BadTrackError, Source, TrackRef, unique

OPTIONS: dict[str, Any] = {**splits.OPTIONS, "input_file": "mixture.wav", "output_file": "vocals.wav"}


def recognise(glance: Glance) -> str | None:
    """Two files in each directory of train/, one of them a mixture, beside a folder valid/."""
    tracks = [track for track in glance.folders("train") if glance.audio(track)] if "valid" in glance.names() else []
    pairs = [len(glance.stems(track)) == 2 and bool(MIXTURE_NAMES & glance.stems(track)) for track in tracks]
    return f"{tracks[0]}/ holds {' and '.join(glance.audio(tracks[0]))}" if pairs and all(pairs) else None


def discover(path: str, options: Mapping[str, Any]) -> list[TrackRef]:
    """All tracks.

    Raises:
      WrongLayoutError: the folder is missing or of another layout.
    """
    root = storage.path(path)
    places = {track: split for name, split in splits.FOLDERS.items() for track in files.directories(root / name)}
    found = files.refs(lambda track, split: _ref(track, split, options["input_file"], options["output_file"]), places)
    if not any(ref.files for ref in found):
        raise WrongLayoutError(
            f"{path} is not of Open-Unmix's aligned layout: expected {path}/{{train,valid}}/<track>/{options['input_file']} "
            f"and {options['output_file']} (data.options.input_file and output_file)."
        )
    return unique(splits.completed(splits.told_apart(found), options), path)


def _ref(track: Any, split: str, given: str, wanted: str) -> TrackRef:
    mixture, target = (next(map(str, files.matching(track, pattern)), None) for pattern in (given, wanted))
    if not mixture or not target:
        raise BadTrackError(f"it has no {wanted if mixture else given}")
    name = re.sub(r"[*?\[\]]", "", wanted.rpartition(".")[0]).lower()
    stems = {name: (Source(target),), ACCOMPANIMENT: (Source(mixture), Source(target, gain=-1.0))}
    return TrackRef(track.name, split, stems, (Source(mixture),), splits.artist(track.name), lengths="shortest")
