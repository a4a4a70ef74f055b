"""Your own stems: one directory per track, one file per stem, named by the stem.

    songs/[train|dev|test/]My Song/{vocals.wav, drums.flac, bass.ogg, other.mp3, mixture.wav}

The mixture (`mixture.*` or `mix.*`) is optional: without it, it is the sum of the stems. Split folders are optional:
without them the split is a hash of the track's name. A file `metadata.json` in a track's directory, such as
{"genre": "Rock", "singer": "Ani"}, says which groups the track belongs to.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.data.datasets import audio
from pipeline.data.datasets.track import SPLITS, BadTrackError, Track, TrackRef, mix, split_by_hash, unique

OPTIONS: dict[str, Any] = {"dev_fraction": 0.1, "test_fraction": 0.1}
_SUFFIXES = frozenset({".wav", ".flac", ".ogg", ".mp3"})
_UNREAD_SUFFIXES = frozenset({".aac", ".aif", ".aiff", ".m4a", ".mp4", ".opus", ".wma"})  # audio, but not read here
_MIXTURES = frozenset({"mixture", "mix"})
_METADATA = "metadata.json"


def discover(path: str, options: Mapping[str, Any]) -> list[TrackRef]:
    """Every directory that holds audio is a track.

    Raises:
      ValueError: the folder is missing, holds no track, audio files outside of tracks, or split folders beside tracks.
    """
    root = Path(path)
    if not root.is_dir():
        raise ValueError(f"{path} is not a directory: expected one directory per track with files named by stem.")
    if loose := _audio_files(root, _SUFFIXES | _UNREAD_SUFFIXES):
        raise ValueError(f"{loose[0]} lies outside of a track: expected one directory per track in {root}.")
    split_folders = [split for split in SPLITS if (root / split).is_dir() and not _audio_files(root / split)]
    if split_folders:
        refs = [_ref(track, split) for split in split_folders for track in _directories(root / split)]
        if strays := [child.name for child in _directories(root) if child.name not in split_folders]:
            raise ValueError(
                f"{root} has split folders ({', '.join(split_folders)}) and also {strays[0]!r} beside them."
            )
    else:
        fractions = options["dev_fraction"], options["test_fraction"]
        refs = [_ref(track, split_by_hash(track.name, *fractions)) for track in _directories(root)]
    if not refs:
        raise ValueError(f"{path} holds no track: expected one directory per track with files such as vocals.wav.")
    return unique(refs, path)


def load(ref: TrackRef, options: Mapping[str, Any]) -> Track:
    """All stems of a track, in the alphabetic order of their names, and the mixture.

    Raises:
      ValueError: there are no stems, two files for one stem, different rates, or a file cannot be read, among them a
        metadata.json that is no mapping of names to texts.
    """
    del options
    signals = dict(sorted(_read_all(ref.files).items()))
    rates = {name: rate for name, (_, rate) in signals.items()}
    if len(set(rates.values())) > 1:
        raise BadTrackError(f"its files differ in sample rate ({_listing(rates)} Hz)")
    channels = max(signal.shape[1] for signal, _ in signals.values())
    stems = {name: audio.to_channels(signal, channels) for name, (signal, _) in signals.items()}
    mixture = stems.pop("mixture", None)
    if not stems:
        raise BadTrackError("it has a mixture but no stems")
    if mixture is None:
        lengths = {name: len(stem) for name, stem in stems.items()}
        if len(set(lengths.values())) > 1:
            raise BadTrackError(f"its stems differ in length ({_listing(lengths)} samples)")
        mixture = mix(list(stems.values()))
    return Track(ref.name, ref.split, next(iter(rates.values())), mixture, stems, _metadata(ref))


def _ref(directory: Path, split: str) -> TrackRef:
    files = _audio_files(directory, _SUFFIXES | _UNREAD_SUFFIXES)
    return TrackRef(directory.name, split, tuple(str(file) for file in files))


def _directories(root: Path) -> list[Path]:
    return sorted(child for child in root.iterdir() if child.is_dir() and not child.name.startswith("."))


def _audio_files(directory: Path, suffixes: frozenset[str] = _SUFFIXES) -> list[Path]:
    return sorted(file for file in directory.iterdir() if file.suffix.lower() in suffixes and file.is_file())


def _read_all(files: tuple[str, ...]) -> dict[str, tuple[np.ndarray, int]]:
    """Stem name (the mixture under its long name) -> its audio and rate."""
    signals: dict[str, tuple[np.ndarray, int]] = {}
    for file in files:
        name = Path(file).stem.lower()
        name = "mixture" if name in _MIXTURES else name
        if name in signals:
            raise BadTrackError(f"it has more than one file for {name}")
        if Path(file).suffix.lower() in _UNREAD_SUFFIXES:
            raise BadTrackError(f"{Path(file).name} is none of .wav, .flac, .ogg and .mp3")
        signals[name] = audio.read(file)
    if not signals:
        raise BadTrackError("its directory holds no audio file (.wav, .flac, .ogg or .mp3)")
    return signals


def _metadata(ref: TrackRef) -> dict[str, str]:
    """What metadata.json beside the track's files says; nothing where there is none."""
    file = Path(ref.files[0]).parent / _METADATA
    if not file.is_file():
        return {}
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise BadTrackError(f"{_METADATA} is no JSON ({error})") from error
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise BadTrackError(f'{_METADATA} is no mapping of names to texts, such as {{"genre": "Rock"}}')
    return found


def _listing(numbers: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {number}" for name, number in numbers.items())
