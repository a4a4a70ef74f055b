"""Your own stems: one directory per track, one file per stem, named by the stem.

    songs/[train|dev|test/]My Song/{vocals.wav, drums.flac, bass.ogg, other.mp3, mixture.wav}

The mixture (`mixture.*` or `mix.*`) is optional: without it, it is the sum of the stems. Split folders are optional:
without them the split is a hash of the track's name. A file `metadata.json` in a track's directory, such as
{"genre": "Rock", "singer": "Ani"}, says which groups the track belongs to.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from models import storage
from pipeline.data.datasets import files
from pipeline.data.datasets.track import SPLITS, BadTrackError, Source, TrackRef, split_by_hash, unique

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
    root = storage.path(path)
    if not files.is_directory(root):
        raise ValueError(f"{path} is not a directory: expected one directory per track with files named by stem.")
    if loose := _audio_files(root, _SUFFIXES | _UNREAD_SUFFIXES):
        raise ValueError(f"{loose[0]} lies outside of a track: expected one directory per track in {root}.")
    directories = {directory.name: directory for directory in _directories(root)}
    split_folders = [split for split in SPLITS if split in directories and not _audio_files(directories[split])]
    if split_folders:
        if strays := [name for name in directories if name not in split_folders]:
            raise ValueError(
                f"{root} has split folders ({', '.join(split_folders)}) and also {strays[0]!r} beside them."
            )
        splits = {track: split for split in split_folders for track in _directories(directories[split])}
    else:
        fractions = options["dev_fraction"], options["test_fraction"]
        splits = {track: split_by_hash(name, *fractions) for name, track in directories.items()}
    refs = storage.each(lambda track: _ref(track, splits[track]), list(splits))
    if not refs:
        raise ValueError(f"{path} holds no track: expected one directory per track with files such as vocals.wav.")
    return unique(refs, path)


def _ref(directory: Any, split: str) -> TrackRef:
    """The track in a directory. In a bucket, each audio file would have to be asked whether it is one: it is by its name."""
    children = [child for child in storage.children(directory) if storage.is_remote(child) or child.is_file()]
    try:
        stems = _sources([child for child in children if child.suffix.lower() in _SUFFIXES | _UNREAD_SUFFIXES])
        metadata = next((_metadata(child) for child in children if child.name == _METADATA), {})
    except (BadTrackError, OSError) as error:
        return TrackRef(directory.name, split, reason=str(error))
    mixture = stems.pop("mixture", ())
    return TrackRef(directory.name, split, stems, mixture, metadata)


def _directories(root: Any) -> list[Any]:
    visible = [child for child in storage.children(root) if not child.name.startswith(".")]
    return [child for child, found in zip(visible, storage.each(files.is_directory, visible), strict=True) if found]


def _audio_files(directory: Any, suffixes: frozenset[str] = _SUFFIXES) -> list[Any]:
    found = [child for child in storage.children(directory) if child.suffix.lower() in suffixes]
    return [child for child in found if files.is_file(child)]


def _sources(found: list[Any]) -> dict[str, tuple[Source, ...]]:
    """Stem name (the mixture under its long name) -> its file."""
    stems: dict[str, tuple[Source, ...]] = {}
    for file in found:
        name = file.stem.lower()
        name = "mixture" if name in _MIXTURES else name
        if name in stems:
            raise BadTrackError(f"it has more than one file for {name}")
        if file.suffix.lower() in _UNREAD_SUFFIXES:
            raise BadTrackError(f"{file.name} is none of .wav, .flac, .ogg and .mp3")
        stems[name] = (Source(str(file)),)
    if not stems:
        raise BadTrackError("its directory holds no audio file (.wav, .flac, .ogg or .mp3)")
    if stems.keys() == {"mixture"}:
        raise BadTrackError("it has a mixture but no stems")
    return stems


def _metadata(file: Any) -> dict[str, str]:
    try:
        found = json.loads(storage.read(file).decode())
    except ValueError as error:
        raise BadTrackError(f"{_METADATA} is no JSON ({error})") from error
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise BadTrackError(f'{_METADATA} is no mapping of names to texts, such as {{"genre": "Rock"}}')
    return found
