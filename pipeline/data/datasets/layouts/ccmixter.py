"""The vocal separation database of ccMixter: one folder a song, `Artist_-_Title/{mix,source-01,source-02}.wav`.

Liutkus, Fitzgerald and Rafii, "Scalable audio separation with light kernel additive modelling", ICASSP 2015: 50 songs;
source-01 is the background, source-02 the voice (as in CCMixter.xml of f90/Wave-U-Net). It was published without splits:
they are drawn, artists as a whole.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from models import storage
from pipeline.data.datasets import files, splits
from pipeline.data.datasets.recognition import Glance, WrongLayoutError
from pipeline.data.datasets.track import ACCOMPANIMENT, BadTrackError, Source, TrackRef, unique

OPTIONS: dict[str, Any] = splits.OPTIONS
_STEMS = {ACCOMPANIMENT: "source-01.wav", "vocals": "source-02.wav"}
_MIXTURE = "mix.wav"


def recognise(glance: Glance) -> str | None:
    """A directory with the files of both sources."""
    song = next((song for song in glance.folders() if set(glance.names(song)) >= set(_STEMS.values())), None)
    return song and f"{song}/ holds {' and '.join(_STEMS.values())}"


def discover(path: str, options: Mapping[str, Any]) -> list[TrackRef]:
    """All songs.

    Raises:
      WrongLayoutError: the folder is missing or of another layout.
    """
    found = files.refs(_ref, dict.fromkeys(files.directories(storage.path(path)), "train"))
    if not any(ref.files for ref in found):
        raise WrongLayoutError(
            f"{path} is not CCMixter: expected {path}/Artist_-_Title/{{mix,source-01,source-02}}.wav."
        )
    return unique(splits.drawn(found, options), path)


def _ref(song: Any, split: str) -> TrackRef:
    names = {file.name for file in files.children(song)}
    if missing := sorted({_MIXTURE, *_STEMS.values()} - names):
        raise BadTrackError(f"it has no {', '.join(missing)}")
    stems = {stem: (Source(str(song / name)),) for stem, name in _STEMS.items()}
    artist, dash, _ = song.name.partition("_-_")
    return TrackRef(song.name, split, stems, (Source(str(song / _MIXTURE)),), {"artist": artist} if dash else {})
