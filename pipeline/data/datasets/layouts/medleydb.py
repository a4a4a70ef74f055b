"""MedleyDB, versions 1 and 2: `Audio/<Track>/<Track>_STEMS/<Track>_STEM_NN.wav`, instruments in `<Track>_METADATA.yaml`.

Bittner, Salamon, Tierney, Mauch, Cannam and Bello, "MedleyDB: a multitrack dataset for annotation-intensive MIR research",
ISMIR 2014; layout and metadata as the package medleydb 1.3.4 reads them (`multitrack.py`). The metadata of a track lies
in its directory (version 1), in `Metadata/`, or where the option `metadata` says (`medleydb/data/Metadata` of the package).

A stem is named by its instrument. Those of one instrument are summed, several voices in one stem are `vocalists`. Nothing
says at which level stems or raw recordings went into `<Track>_MIX.wav`: so the mixture is the sum of the stems, unless the
option `mixture` asks for the file. `audio: raw` takes the recordings before the mixing desk. It was published without
splits (the 50 songs of Doire's paper are not named): they are drawn, artists as a whole.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

from models import storage
from models.checked import nearest
from pipeline.data.datasets import files, splits
from pipeline.data.datasets.recognition import Glance, WrongLayoutError
from pipeline.data.datasets.track import BadTrackError, Source, TrackRef, unique

OPTIONS: dict[str, Any] = {**splits.OPTIONS, "metadata": "", "audio": "stems", "mixture": "sum"}
_LEGAL = {"audio": ("stems", "raw"), "mixture": ("sum", "file")}
_VOICES = frozenset(  # `voices` of the package's taxonomy.yaml, but for a crowd
    {"male singer", "female singer", "male speaker", "female speaker", "male rapper", "female rapper", "beatboxing"}
    | {"vocalists", "choir", "male screamer", "female screamer"}
)
SOURCES: dict[str, tuple[str, ...]] = {
    "vocals": tuple(sorted(_VOICES)),
    "bass": ("electric bass", "double bass"),
    "drums": ("drum set", "drum machine", "bass drum", "kick drum", "snare drum", "toms", "high hat", "cymbal"),
    "other": ("*",),
}
"""Which instruments a target takes where `data.sources` does not say it."""
_METADATA = "_METADATA.yaml"


def recognise(glance: Glance) -> str | None:
    """A directory with stems, raw recordings or metadata that bear its name, perhaps in Audio/."""
    for track in glance.folders("Audio") or glance.folders():
        name = track.rpartition("/")[2]
        if found := {f"{name}_STEMS", f"{name}_RAW", name + _METADATA} & set(glance.names(track)):
            return f"{track}/ holds {min(found)}"
    return None


def discover(path: str, options: Mapping[str, Any]) -> list[TrackRef]:
    """All tracks that have audio.

    Raises:
      WrongLayoutError: the folder is missing or of another layout.
      ValueError: an option has no legal value.
    """
    for name, legal in _LEGAL.items():
        if options[name] not in legal:
            raise ValueError(f"data.options.{name} is {options[name]!r}; {nearest(options[name], legal)}")
    root = storage.path(path)
    beside = storage.path(options["metadata"]) if options["metadata"] else root / "Metadata"
    metadata = {file.name: file for file in files.matching(beside, f"*{_METADATA}")}
    tracks = files.directories(root / "Audio") or [each for each in files.directories(root) if each.name != "Metadata"]

    def made(track: Any, split: str) -> TrackRef:
        name = track.name + _METADATA
        names = {file.name for file in files.children(track)}
        if name not in names and name not in metadata:
            raise BadTrackError(f"it has no {name}")
        return _ref(track, split, files.described(metadata.get(name) or track / name), names, options)

    found = files.refs(made, dict.fromkeys(tracks, "train"))
    if not any(ref.files for ref in found):
        raise WrongLayoutError(
            f"{path} is not MedleyDB: expected {path}/Audio/<Track>/<Track>_STEMS/*.wav and <Track>{_METADATA} there, "
            "in Metadata/ or where data.options.metadata says."
        )
    return unique(splits.drawn(found, options), path)


def _ref(track: Any, split: str, told: Mapping[str, Any], names: set[str], options: Mapping[str, Any]) -> TrackRef:
    directory = str(told.get(f"{'raw' if options['audio'] == 'raw' else 'stem'}_dir") or "")
    if directory not in names:
        raise BadTrackError(f"it has no directory {directory or 'of stems in its metadata'}")
    there = {file.name for file in files.children(track / directory)}
    stems: dict[str, list[Source]] = defaultdict(list)
    for name, file in _recordings(told, options["audio"]):
        if file not in there:
            raise BadTrackError(f"it has no {directory}/{file}")
        stems[name].append(Source(str(track / directory / file)))
    if not stems:
        raise BadTrackError("its metadata has no stems")
    mixture = f"{track.name}_MIX.wav"
    if options["mixture"] == "file" and mixture not in names:
        raise BadTrackError(f"it has no {mixture}")
    given = (Source(str(track / mixture)),) if options["mixture"] == "file" else ()
    return TrackRef(
        track.name, split, {name: tuple(each) for name, each in stems.items()}, given, _metadata(told, track)
    )


def _recordings(told: Mapping[str, Any], audio: str) -> Iterator[tuple[str, str]]:
    """Instrument and file of each stem, or of each raw recording."""
    try:
        stems = [told["stems"][key] for key in sorted(told["stems"])]
        raw = [stem["raw"][key] for stem in stems for key in sorted(stem["raw"])] if audio == "raw" else stems
        for each in raw:
            yield _instrument(each["instrument"]), str(each["filename"])
    except (KeyError, TypeError) as error:
        raise BadTrackError(f"its metadata does not name instrument and file of every stem ({error})") from error


def _instrument(told: Any) -> str:
    instruments = sorted({str(each).lower() for each in (told if isinstance(told, list) else [told])})
    return "vocalists" if len(instruments) > 1 and _VOICES.issuperset(instruments) else ", ".join(instruments)


def _metadata(told: Mapping[str, Any], track: Any) -> dict[str, str]:
    """The groups that a track belongs to. bleed: whether instruments are heard in stems of others."""
    names = {
        "artist": "artist",
        "album": "album",
        "genre": "genre",
        "bleed": "has_bleed",
        "instrumental": "instrumental",
    }
    found = {name: str(told[key]) for name, key in names.items() if told.get(key) not in (None, "")}
    return {"artist": track.name.partition("_")[0], **found}
