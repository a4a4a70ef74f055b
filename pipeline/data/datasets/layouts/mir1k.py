"""MIR-1K in its native layout: `Wavfile/*.wav`, left the music, right the singing voice.

Hsu and Jang, "On the improvement of singing voice separation for monaural recordings using the MIR-1K dataset",
IEEE TASLP 2010; split and 0 dB mixing as in Huang et al., "Singing-voice separation from monaural recordings using
deep recurrent neural networks", ISMIR 2014: singers abjones and amy train, four of their clips are held out for
development, everybody else is the test set.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from models import storage
from pipeline.data.datasets import files
from pipeline.data.datasets.track import ACCOMPANIMENT, Source, TrackRef, unique

OPTIONS: dict[str, Any] = {}
_TRAIN_SINGERS = frozenset({"abjones", "amy"})
_DEV_CLIPS = frozenset({"abjones_5_08", "abjones_5_09", "amy_9_08", "amy_9_09"})


def discover(path: str, options: Mapping[str, Any]) -> list[TrackRef]:
    """All clips, split by `splits/{train,dev,test*}.txt` if there are any, otherwise as published.

    Raises:
      ValueError: the folder is missing or of another layout, or clips and lists do not agree.
    """
    del options
    folder = storage.path(path) / "Wavfile"
    clips = {file.stem: file for file in files.matching(folder, "*.wav")}
    if not clips:
        raise ValueError(f"{path} is not MIR-1K: expected clips in {folder}/*.wav.")
    splits = _listed_splits(storage.path(path) / "splits", clips) or {name: published_split(name) for name in clips}
    return unique([_ref(name, splits[name], str(file)) for name, file in clips.items()], path)


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


def _listed_splits(folder: Any, clips: Mapping[str, Any]) -> dict[str, str]:
    """Clip name -> split from the lists in a folder; empty if there are none."""
    splits: dict[str, str] = {}
    for file in files.matching(folder, "*.txt"):
        split = next((name for name in ("train", "dev", "test") if file.stem.startswith(name)), None)
        if split is None:
            raise ValueError(f"{file} is no list of a split: expected train*.txt, dev*.txt or test*.txt.")
        for name in storage.read(file).decode().split():
            if splits.setdefault(name, split) != split:
                raise ValueError(f"Clip {name!r} is listed for {splits[name]} and, in {file}, for {split}.")
    absent, unlisted = sorted(splits.keys() - clips.keys()), sorted(clips.keys() - splits.keys())
    if splits and absent:
        raise ValueError(f"{len(absent)} clips listed in {folder} have no file in Wavfile, the first: {absent[0]!r}.")
    if splits and unlisted:
        raise ValueError(f"{len(unlisted)} clips are in no list of {folder}, the first: {unlisted[0]!r}.")
    return splits
