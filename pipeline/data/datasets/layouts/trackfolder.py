"""Open-Unmix's `trackfolder_fix` and `trackfolder_var`: `{train,valid,test}/<track>/{vocals,bass,…}.wav`.

As open-unmix-pytorch fb672c9 (`openunmix/data.py`) reads them, with its options. With `interferer_files` a track has the
target file and these, and is bad without one of them (fix); without, every file is a source, as many as there are (var), and
`data.missing_stem` says what a track without the target is. Of files that differ in length the shortest counts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from models import storage
from pipeline.data.datasets import files, splits
from pipeline.data.datasets.recognition import MIXTURE_NAMES, SOURCE_NAMES, Glance, WrongLayoutError
from pipeline.data.datasets.track import BadTrackError, Source, TrackRef, unique

OPTIONS: dict[str, Any] = {**splits.OPTIONS, "target_file": "vocals.wav", "interferer_files": (), "ext": ""}


def recognise(glance: Glance) -> str | None:
    """Directories of sources in train/, beside a folder valid/."""
    tracks = glance.folders("train") if "valid" in glance.names() else []
    for track in tracks:
        stems = glance.stems(track)
        pair = len(stems) == 2 and stems & MIXTURE_NAMES
        if len(stems) > 1 and not pair and track.rpartition("/")[2].lower() not in SOURCE_NAMES:
            return f"{track}/ holds {', '.join(sorted(stems)[:4])}, beside valid/"
    return None


def discover(path: str, options: Mapping[str, Any]) -> list[TrackRef]:
    """All tracks.

    Raises:
      WrongLayoutError: the folder is missing or of another layout.
    """
    root = storage.path(path)
    named = [options["target_file"], *options["interferer_files"]] if options["interferer_files"] else []
    places = {track: split for name, split in splits.FOLDERS.items() for track in files.directories(root / name)}
    found = files.refs(lambda track, split: _ref(track, split, named, options["ext"].lower()), places)
    if not any(ref.files for ref in found):
        raise WrongLayoutError(
            f"{path} is not of Open-Unmix's trackfolder layout: expected {path}/{{train,valid}}/<track>/"
            f"{options['target_file']} and the other sources."
        )
    return unique(splits.completed(splits.told_apart(found), options), path)


def _ref(track: Any, split: str, named: Sequence[str], suffix: str) -> TrackRef:
    found = {file.name: file for file in files.audio(track) if file.name.lower().endswith(suffix)}
    if missing := [name for name in named if name not in found]:
        raise BadTrackError(f"it has no {', '.join(missing)}")
    stems = {
        name: (Source(str(file)),)
        for name, file in files.by_stem([found[name] for name in named] or list(found.values())).items()
    }
    mixture = next((stems.pop(name) for name in sorted(MIXTURE_NAMES) if name in stems), ())
    if not stems:
        raise BadTrackError("it has no source")
    return TrackRef(track.name, split, stems, mixture, splits.artist(track.name), lengths="shortest")
