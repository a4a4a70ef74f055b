"""MoisesDB: `<provider>/<uuid>/data.json` and `<provider>/<uuid>/<stem>/<id>.wav`, any number of recordings a stem.

Pereira, Araújo, Korzeniowski and Vogl, "MoisesDB: a dataset for source separation beyond 4-stems", ISMIR 2023; as the package
moisesdb 0.0.3 reads it (`track.py`). A stem (vocals, bass, drums, guitar, …) is the sum of its recordings, the mixture that of the
stems. Recordings that end early are followed by silence; the package cuts those of one stem to the shortest. It was
published without splits: they are drawn, artists as a whole.
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
"""As `mix_4_stems` of the package: what is not vocals, bass or drums."""
_DATA = "data.json"


def recognise(glance: Glance) -> str | None:
    """A directory with data.json and a directory of a stem, at the top or in that of a provider."""
    for place in (*glance.folders(), *(below for provider in glance.folders() for below in glance.folders(provider))):
        if _DATA in glance.names(place) and glance.folders(place):
            return f"{place}/ holds {_DATA} and stems"
    return None


def discover(path: str, options: Mapping[str, Any]) -> list[TrackRef]:
    """All tracks, by their ids.

    Raises:
      WrongLayoutError: the folder is missing or of another layout.
    """
    top = files.directories(storage.path(path))
    listed = dict(
        zip(top, storage.each(lambda place: {child.name for child in files.children(place)}, top), strict=True)
    )
    tracks = [place for place in top if _DATA in listed[place]]
    tracks += [track for place in top if _DATA not in listed[place] for track in files.directories(place)]
    found = files.refs(_ref, dict.fromkeys(tracks, "train"))
    if not any(ref.files for ref in found):
        raise WrongLayoutError(
            f"{path} is not MoisesDB: expected {path}/<provider>/<uuid>/{_DATA} and <stem>/<id>.wav."
        )
    return unique(splits.drawn(found, options), path)


def _ref(track: Any, split: str) -> TrackRef:
    told = files.described(track / _DATA)
    stems: dict[str, list[Source]] = defaultdict(list)
    bleeds = False
    try:
        for stem in told["stems"]:
            for recording in stem["tracks"]:
                file = f"{recording['id']}.{recording['extension']}"
                if "/" in file or "/" in stem["stemName"]:
                    raise BadTrackError(f"its {_DATA} names {stem['stemName']}/{file}, which is no file of its own")
                stems[stem["stemName"]].append(Source(str(track / stem["stemName"] / file)))
                bleeds |= bool(recording.get("has_bleed"))
    except (KeyError, TypeError, AttributeError) as error:
        raise BadTrackError(f"its {_DATA} does not name the recordings of every stem ({error})") from error
    if not stems:
        raise BadTrackError(f"its {_DATA} names no stem")
    metadata = {name: str(told[name]) for name in ("artist", "genre") if told.get(name)}
    named = {name: tuple(sources) for name, sources in stems.items()}
    metadata["bleed"] = "yes" if bleeds else "no"
    return TrackRef(track.name, split, named, metadata=metadata, lengths="longest")
