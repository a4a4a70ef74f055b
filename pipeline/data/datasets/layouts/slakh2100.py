"""Slakh2100 and BabySlakh: `[train|validation|test|omitted/]TrackNNNNN/{mix.flac,metadata.yaml,stems/S00.flac}`.

Manilow, Wichern, Seetharaman and Le Roux, "Cutting music source separation some Slakh", WASPAA 2019; as slakh-utils 3f62d6a
(README.md) and mirdata 1.0.0 (`datasets/slakh.py`) have it. A stem is named by its class of MIDI instruments and is the sum
of those of one class; none of them sings. `omitted` holds duplicates (Slakh2100-redux) and is skipped. BabySlakh has no
splits: they are drawn.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from models import storage
from pipeline.data.datasets import files, splits
from pipeline.data.datasets.recognition import Glance, WrongLayoutError
from pipeline.data.datasets.track import BadTrackError, Source, TrackRef, unique

OPTIONS: dict[str, Any] = splits.OPTIONS
SOURCES: dict[str, tuple[str, ...]] = {"other": ("*",)}
_METADATA = "metadata.yaml"
_OMITTED = "omitted"


def recognise(glance: Glance) -> str | None:
    """A directory with stems/ and metadata.yaml, at the top or in a split."""
    for place in (*glance.folders(), *(track for split in splits.FOLDERS for track in glance.folders(split))):
        if {"stems", _METADATA} <= set(glance.names(place)):
            return f"{place}/ holds stems/ and {_METADATA}"
    return None


def discover(path: str, options: Mapping[str, Any]) -> list[TrackRef]:
    """All tracks.

    Raises:
      WrongLayoutError: the folder is missing or of another layout.
    """
    root = storage.path(path)
    places = {track: split for name, split in splits.FOLDERS.items() for track in files.directories(root / name)}
    tracks = places or {track: "train" for track in files.directories(root) if track.name != _OMITTED}
    found = files.refs(_ref, tracks)
    if not any(ref.files for ref in found):
        raise WrongLayoutError(
            f"{path} is not Slakh2100: expected {path}/{{train,validation,test}}/Track00001/stems/*.flac, {_METADATA}."
        )
    found = splits.completed(found, options) if places else splits.drawn(found, options)
    omitted = files.directories(root / _OMITTED)
    reason = f"it lies in {_OMITTED}/: a duplicate of another track"
    return unique([*found, *(TrackRef(track.name, "train", reason=reason, skipped=True) for track in omitted)], path)


def is_published(name: str, split: str) -> bool:
    """Every track is where Slakh2100 has it, whose train, validation and test have some MIDI files in common."""
    del name, split
    return True


def _ref(track: Any, split: str) -> TrackRef:
    told = files.described(track / _METADATA)
    recordings = {file.stem: file for file in files.audio(track / "stems")}
    stems: dict[str, list[Source]] = defaultdict(list)
    try:
        for key, stem in sorted(told["stems"].items()):
            if key in recordings:
                stems[str(stem["inst_class"]).lower()].append(Source(str(recordings[key])))
            elif stem.get("audio_rendered", True):
                raise BadTrackError(f"it has no stems/{key}")
    except (KeyError, TypeError, AttributeError) as error:
        raise BadTrackError(f"its {_METADATA} does not name the instrument of every stem ({error})") from error
    if not stems:
        raise BadTrackError("it has no stem")
    mixture = next((Source(str(file)) for file in files.audio(track) if file.stem == "mix"), None)
    if mixture is None:
        raise BadTrackError("it has no mix.flac")
    return TrackRef(track.name, split, {name: tuple(each) for name, each in stems.items()}, (mixture,))
