"""MUSDB18-HQ, and what is laid out like it: `{train,test}/Artist - Title/{mixture,bass,drums,other,vocals}.wav`.

Rafii, Liutkus, Stöter, Mimilakis and Bittner, "MUSDB18-HQ: an uncompressed version of MUSDB18", 2019, as the musdb package
reads it with `is_wav=True` (sigsep-mus-db 0.4, `DB.load_mus_tracks`). The development split is that package's validation
list; where none of those tracks is there, it is drawn out of `train`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from models import storage
from pipeline.data.datasets import files, splits
from pipeline.data.datasets.layouts.musdb18 import validation_tracks
from pipeline.data.datasets.recognition import Glance, WrongLayoutError
from pipeline.data.datasets.track import BadTrackError, Source, TrackRef, unique

OPTIONS: dict[str, Any] = splits.OPTIONS
_STEMS = ("bass", "drums", "other", "vocals")
_FILES = frozenset(f"{name}.wav" for name in ("mixture", *_STEMS))


def recognise(glance: Glance) -> str | None:
    """A directory of the five files in train/ or test/, and no split beside those."""
    if {"dev", "valid", "validation"} & set(glance.names()):
        return None
    tracks = [track for subset in ("train", "test") for track in glance.folders(subset)]
    return next((f"{t}/ holds {', '.join(sorted(_FILES))}" for t in tracks if set(glance.names(t)) >= _FILES), None)


def discover(path: str, options: Mapping[str, Any]) -> list[TrackRef]:
    """All tracks; those of `train` that musdb lists for validation are the development split.

    Raises:
      WrongLayoutError: the folder is missing or of another layout.
    """
    subsets = {subset: files.directories(storage.path(path) / subset) for subset in ("train", "test")}
    found = files.refs(_ref, {track: subset for subset, tracks in subsets.items() for track in tracks})
    if not any(ref.files for ref in found):
        raise WrongLayoutError(
            f"{path} is not MUSDB18-HQ: expected {path}/{{train,test}}/Artist - Title/vocals.wav, …."
        )
    if "dev" not in {ref.split for ref in found}:
        found = splits.held_out(found, options, ("dev",))
    return unique(found, path)


def is_published(name: str, split: str) -> bool:
    """Whether MUSDB18 and the musdb package have it there: not where the development split had to be drawn."""
    return split == "test" or (split == "dev") == (name in validation_tracks())


def _ref(track: Any, subset: str) -> TrackRef:
    names = {file.name for file in files.children(track)}
    if missing := sorted(_FILES - names):
        raise BadTrackError(f"it has no {', '.join(missing)}")
    stems = {name: (Source(str(track / f"{name}.wav")),) for name in _STEMS}
    split = "dev" if subset == "train" and track.name in validation_tracks() else subset
    return TrackRef(track.name, split, stems, (Source(str(track / "mixture.wav")),), splits.artist(track.name))
