"""MIR-1K in its native layout: `Wavfile/*.wav`, left the music, right the singing voice.

Hsu and Jang, "On the improvement of singing voice separation for monaural recordings using the MIR-1K dataset",
IEEE TASLP 2010; split and 0 dB mixing as in Huang et al., "Singing-voice separation from monaural recordings using
deep recurrent neural networks", ISMIR 2014: singers abjones and amy train, four of their clips are held out for
development, everybody else is the test set.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from models import storage
from pipeline.data.datasets import files
from pipeline.data.datasets.recognition import Glance, WrongLayoutError
from pipeline.data.datasets.track import ACCOMPANIMENT, SPLITS, Source, TrackRef, unique

OPTIONS: dict[str, Any] = {}
_TRAIN_SINGERS = frozenset({"abjones", "amy"})
_CLIP = re.compile(r"\w+_\d+_\d+\.wav", re.IGNORECASE)
_DEV_CLIPS = frozenset({"abjones_5_08", "abjones_5_09", "amy_9_08", "amy_9_09"})


def recognise(glance: Glance) -> str | None:
    """Clips of a singer, with two numbers, in Wavfile/."""
    name = next((name for name in glance.audio("Wavfile") if _CLIP.fullmatch(name)), None)
    return name and f"Wavfile/{name} is a clip"


def discover(path: str, options: Mapping[str, Any]) -> list[TrackRef]:
    """All clips, split by `splits/{train,dev,test*}.txt` if there are any, otherwise as published.

    A clip that is in no list is skipped; one that is in two lists, or has no file, is bad.

    Raises:
      WrongLayoutError: the folder is missing or of another layout.
      ValueError: a list is of no split.
    """
    del options
    folder = storage.path(path) / "Wavfile"
    clips = {file.stem: file for file in files.matching(folder, "*.wav")}
    if not clips:
        raise WrongLayoutError(f"{path} is not MIR-1K: expected clips in {folder}/*.wav.")
    lists = storage.path(path) / "splits"
    listed = _lists(lists)
    if not listed:
        return unique([_ref(name, published_split(name), str(file)) for name, file in clips.items()], path)
    found = [_listed(name, splits, clips, lists) for name, splits in listed.items()]
    reason = f"it is in no list of {lists}"
    found += [
        TrackRef(name, published_split(name), reason=reason, skipped=True) for name in clips if name not in listed
    ]
    return unique(found, path)


def published_split(name: str) -> str:
    """The split of a clip in Huang et al."""
    if name in _DEV_CLIPS:
        return "dev"
    return "train" if name.split("_")[0] in _TRAIN_SINGERS else "test"


def is_published(name: str, split: str) -> bool:
    """Whether a clip is in a split because Huang et al. have it there, not because lists beside the clips say so."""
    return published_split(name) == split


def _ref(name: str, split: str, file: str) -> TrackRef:
    stems = {ACCOMPANIMENT: (Source(file, channel=0),), "vocals": (Source(file, channel=1),)}
    return TrackRef(name, split, stems, metadata={"singer": name.split("_")[0]}, equal_energy=True)


def _listed(name: str, splits: list[str], clips: Mapping[str, Any], lists: Any) -> TrackRef:
    """A clip that is in lists."""
    if len(set(splits)) > 1:
        return TrackRef(name, splits[0], reason=f"it is listed for {splits[0]} and for {splits[1]} in {lists}")
    if name not in clips:
        return TrackRef(name, splits[0], reason=f"it is listed in {lists}, but has no file in Wavfile")
    return _ref(name, splits[0], str(clips[name]))


def _lists(folder: Any) -> dict[str, list[str]]:
    """Clip name -> the splits whose lists in a folder name it; empty if there are no lists."""
    found: dict[str, list[str]] = {}
    for file in files.matching(folder, "*.txt"):
        split = next((name for name in SPLITS if file.stem.startswith(name)), None)
        if split is None:
            raise ValueError(f"{file} is no list of a split: expected train*.txt, dev*.txt or test*.txt.")
        for name in storage.read(file).decode(errors="surrogateescape").split():
            if split not in found.setdefault(name, []):
                found[name].append(split)
    return found
