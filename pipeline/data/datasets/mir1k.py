"""MIR-1K in its native layout: `Wavfile/*.wav`, left the music, right the singing voice.

Hsu and Jang, "On the improvement of singing voice separation for monaural recordings using the MIR-1K dataset",
IEEE TASLP 2010; split and 0 dB mixing as in Huang et al., "Singing-voice separation from monaural recordings using
deep recurrent neural networks", ISMIR 2014: singers abjones and amy train, four of their clips are held out for
development, everybody else is the test set.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from models import storage
from pipeline.data.datasets import audio, files
from pipeline.data.datasets.track import ACCOMPANIMENT, BadTrackError, Track, TrackRef, unique

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
    refs = [TrackRef(name, splits[name], (str(file),), {"singer": name.split("_")[0]}) for name, file in clips.items()]
    return unique(refs, path)


def load(ref: TrackRef, options: Mapping[str, Any]) -> Track:
    """Voice and music of a clip as mono stems of equal energy, and their sum.

    Raises:
      ValueError: the file is no audio, not of two channels, or one of the two is silent.
    """
    del options
    stereo, sample_rate_hz = audio.read(ref.files[0])
    if stereo.shape[1] != 2:
        raise BadTrackError(f"it has {stereo.shape[1]} channels, expected 2 (left music, right voice)")
    music, vocals = mix_at_0_db(stereo[:, :1], stereo[:, 1:])
    stems = {"vocals": vocals, ACCOMPANIMENT: music}
    return Track(ref.name, ref.split, sample_rate_hz, vocals + music, stems, ref.metadata)


def published_split(name: str) -> str:
    """The split of a clip in Huang et al."""
    if name in _DEV_CLIPS:
        return "dev"
    return "train" if name.split("_")[0] in _TRAIN_SINGERS else "test"


def is_published(name: str, split: str) -> bool:
    """Whether a clip is in a split because Huang et al. have it there, not because lists beside the clips say so."""
    return published_split(name) == split


def mix_at_0_db(music: np.ndarray, vocals: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both signals at equal energy: unit L2 norm each, times the geometric mean of the norms they had.

    That common gain leaves clips alone that are at 0 dB already. What would clip is turned down at encoding.
    """
    norms = [float(np.linalg.norm(signal.astype(np.float64))) for signal in (music, vocals)]
    if not np.isfinite(norms).all() or not len(music):
        return music, vocals  # check_track finds the words for it
    if min(norms) == 0.0:
        raise BadTrackError(f"its {'music' if norms[0] == 0.0 else 'voice'} is silent, so 0 dB mixing is not defined")
    level = (norms[0] * norms[1]) ** 0.5
    return music * np.float32(level / norms[0]), vocals * np.float32(level / norms[1])


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
