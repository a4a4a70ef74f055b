"""Your own stems: one directory per track, one file per stem, named by the stem.

    songs/[train|dev|test/]My Song/{vocals.wav, drums.flac, bass.ogg, other.mp3, mixture.wav}

The mixture (`mixture.*` or `mix.*`) is optional: without it, it is the sum of the stems. Split folders are optional:
without them splits are drawn by a hash of the artist (of `Artist - Title`) or the track's name. A file `metadata.json` in a
track's directory, such as {"genre": "Rock", "singer": "Ani"}, says which groups the track belongs to. The layouts of types
1 and 4 to 7 of Music-Source-Separation-Training are this one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from models import storage
from pipeline.data.datasets import files, splits
from pipeline.data.datasets.recognition import Glance, WrongLayoutError
from pipeline.data.datasets.track import SPLITS, BadTrackError, Source, TrackRef, unique

OPTIONS: dict[str, Any] = splits.OPTIONS
_METADATA = "metadata.json"


def recognise(glance: Glance) -> str | None:
    """Directories with audio named by stems, perhaps in train/, dev/ and test/: what other layouts may be, too."""
    roots = [split for split in SPLITS if glance.folders(split)] or [""]
    track = next((track for root in roots for track in glance.folders(root) if glance.audio(track)), None)
    return track and f"{track}/ holds {', '.join(glance.audio(track)[:4])}"


def discover(path: str, options: Mapping[str, Any]) -> list[TrackRef]:
    """Every directory that holds audio is a track. Audio outside of tracks is skipped, a track beside the split folders bad.

    Raises:
      ValueError: the folder is missing, holds no track, or two of one name.
    """
    root = storage.path(path)
    if not files.is_directory(root):
        raise ValueError(f"{path} is not a directory: expected one directory per track with files named by stem.")
    directories = {directory.name: directory for directory in files.directories(root)}
    split_folders = [split for split in SPLITS if split in directories and not _holds_audio(directories[split])]
    places = {track: split for split in split_folders for track in files.directories(directories[split])}
    beside = {place: "train" for name, place in directories.items() if name not in split_folders}
    found = files.refs(_ref, places or beside)
    if not places and not [ref for ref in found if ref.files]:
        raise WrongLayoutError(
            f"{path} holds no track: expected one directory per track with files such as vocals.wav."
        )
    found = splits.completed(found, options) if split_folders else splits.drawn(found, options)
    if split_folders:
        found += [_stray(track, split_folders) for track in beside]
    loose = [file for file in files.audio(root) if file.name not in directories]
    return unique([*found, *map(_loose, loose)], path)


def _holds_audio(directory: Any) -> bool:
    return any(map(files.is_file, files.audio(directory)))


def _stray(directory: Any, split_folders: list[str]) -> TrackRef:
    """What lies beside the split folders, and so in no split: bad if it is a track."""
    where = f"it lies beside the split folders ({', '.join(split_folders)})"
    return TrackRef(directory.name, "train", reason=where, skipped=not _holds_audio(directory))


def _loose(file: Any) -> TrackRef:
    return TrackRef(file.name, "train", reason="it lies outside of a track", skipped=True)


def _ref(directory: Any, split: str) -> TrackRef:
    """The track in a directory. In a bucket, each audio file would have to be asked whether it is one: it is by its name."""
    found = files.children(directory)
    stems = {name: (Source(str(file)),) for name, file in files.by_stem(list(filter(files.is_audio, found))).items()}
    mixtures = [stems.pop(name) for name in ("mixture", "mix") if name in stems]
    if len(mixtures) > 1:
        raise BadTrackError("it has more than one file for mixture")
    if not stems:
        raise BadTrackError("it has a mixture but no stems" if mixtures else "its directory holds no audio file")
    told = next((_metadata(file) for file in found if file.name == _METADATA), {})
    return TrackRef(directory.name, split, stems, sum(mixtures, ()), {**splits.artist(directory.name), **told})


def _metadata(file: Any) -> Mapping[str, str]:
    found = files.described(file)
    if not all(isinstance(value, str) for value in found.values()):
        raise BadTrackError(f'{_METADATA} is no mapping of names to texts, such as {{"genre": "Rock"}}')
    return found
