"""A list of tracks, for everything that has no layout: `manifest.csv` or `manifest.jsonl`, one row a track.

    track,split,artist,vocals,drums,mixture
    Song,train,Ann,stems/song_v.wav,stems/song_d.flac,

Columns with a name of an audio file are stems (`mixture` is the mixture; without, it is their sum), whatever the names of their
other files end in; all others but `track` and `split` are groups that the track belongs to. In JSON Lines a stem may be a list of files, which are summed. Files are
relative to the list. Without the column `split` splits are drawn.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from models import storage
from pipeline.data.datasets import splits, tables
from pipeline.data.datasets.recognition import MANIFESTS, Glance, WrongLayoutError
from pipeline.data.datasets.track import BadTrackError, Source, TrackRef, unique
from serving.client.decoding.names import audio_named

OPTIONS: dict[str, Any] = splits.OPTIONS
_TRACK, _SPLIT, _MIXTURE = "track", "split", "mixture"


def recognise(glance: Glance) -> str | None:
    """A list with a column `track`."""
    found = tables.headed(glance, MANIFESTS, (_TRACK,))
    return found and f"{found} has a column {_TRACK}"


def discover(path: str, options: Mapping[str, Any]) -> list[TrackRef]:
    """The track of every row.

    Raises:
      WrongLayoutError: there is no list, it has no column `track`, two of one name, or no rows.
    """
    root = storage.path(path)
    found = tables.lists(root, (tables.CSV, tables.JSON_LINES))
    file = next((file for file in found if file == root or file.name in MANIFESTS), None)
    if file is None:
        raise WrongLayoutError(
            f"{path} is no manifest: expected {' or '.join(MANIFESTS)} in it, or the path of a list."
        )
    rows = tables.rows(file)
    if not rows:
        raise WrongLayoutError(f"{file} has no rows.")
    told = [row for _, row in rows if isinstance(row, dict)]
    if not any(_TRACK in row for row in told):
        columns = ", ".join(dict.fromkeys(str(name) for row in told for name in row)) or "none"
        raise WrongLayoutError(f"{file} is no manifest: expected a column {_TRACK}, but it has {columns}.")
    stems = {name for row in told for name, value in row.items() if _is_audio(value)} - {_TRACK, _SPLIT}
    refs = [_ref(file, number, row, stems) for number, row in rows]
    if any(_SPLIT in row for row in told):
        return unique(splits.completed(refs, options), path)
    return unique(splits.drawn(refs, options), path)


def _ref(file: Any, number: int, row: tables.Row | str, stems: set[str]) -> TrackRef:
    name = f"line {number}" if isinstance(row, str) else str(row.get(_TRACK, f"line {number}"))
    try:
        if isinstance(row, str) or _TRACK not in row:
            raise BadTrackError(row if isinstance(row, str) else f"it has no {_TRACK}")
        split = splits.FOLDERS.get(str(row.get(_SPLIT, "train")).lower())
        if split is None:
            raise BadTrackError(f"its split is {row[_SPLIT]!r}; legal: {', '.join(splits.FOLDERS)}")
        named = {key: _sources(file, key, value) for key, value in row.items() if key in stems}
        mixture = named.pop(_MIXTURE, ())
        if not named:
            raise BadTrackError("it has no stem")
        metadata = {key: str(value) for key, value in row.items() if key not in (*stems, _TRACK, _SPLIT)}
        return TrackRef(name, split, named, mixture, metadata)
    except BadTrackError as error:
        return TrackRef(name, "train", reason=f"{error} (line {number} of {file.name})")


def _sources(file: Any, key: str, value: Any) -> tuple[Source, ...]:
    names = value if isinstance(value, list) else [value]
    if not all(isinstance(name, str) for name in names):
        raise BadTrackError(f"its {key} is {value!r}; legal is the name of a file, or a list of names")
    return tuple(Source(tables.place(file, name)) for name in names)


def _is_audio(value: Any) -> bool:
    """Whether it is the name of an audio file, or a list of such names."""
    names = value if isinstance(value, list) else [value]
    return all(isinstance(name, str) and audio_named(name) for name in names)
