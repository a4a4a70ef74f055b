"""What a corpus holds, as plain values: for a table, a page and a program. docs/data.md says what each key means."""

from __future__ import annotations

import itertools
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from pipeline.data import corpus, spans
from pipeline.data.datasets import files, pairing, sources
from pipeline.data.datasets.track import ACCOMPANIMENT, SPLITS, TrackRef, printable
from pipeline.data.survey import faults, headers
from pipeline.data.survey.headers import Header

if TYPE_CHECKING:
    from pipeline.config.config import DataConfig

SAMPLE_BYTES = 2  # of int16
_FEW = 3
_LISTED = ("track", "split", "reason")


def survey(data: DataConfig, progress: Callable[[int, int], None] = lambda done, total: None) -> dict[str, Any]:
    """Looks at the corpus that `data` names. progress: takes how many files were looked at, and of how many.

    Raises:
      ValueError: see `pipeline.data.corpus.listed`, or a format without files.
      OSError: a directory or bucket cannot be listed.
    """
    data, recognised = corpus.resolved(data)
    if data.format == "synthetic":
        raise ValueError(
            "data.format is synthetic, which has no files to look at: legal is auto, or the layout of a corpus"
        )
    native = corpus.as_they_lie(data)
    refs = corpus.with_targets(data, native)
    names = list(dict.fromkeys(file for ref in refs for file in ref.files))
    progress(0, len(names))
    found = headers.read(names, lambda done: progress(done, len(names)))
    layout = recognised or "as data.format says"
    return {**document(data, refs, found), "layout": layout, "stems": _stems(native, data), **_beside(data, names)}


def document(data: DataConfig, refs: Sequence[TrackRef], found: Mapping[str, Header]) -> dict[str, Any]:
    """What is known of the tracks by the headers of their files."""
    tracks = [_track(ref, found, data) for ref in refs]
    good = [track for track in tracks if "reason" not in track]
    bad = [{key: track[key] for key in _LISTED} for track in tracks if "reason" in track and not track["skipped"]]
    verdict, usable = _verdict(data, refs, good, bad)
    return {
        "usable": usable,
        "verdict": verdict,
        "format": data.format,
        "path": data.path,
        "asked": {"sample_rate_hz": data.sample_rate_hz, "channels": data.channels, "targets": list(data.targets)},
        "splits": {split: _split([track for track in tracks if track["split"] == split]) for split in SPLITS},
        "files": _files(found),
        "records_bytes": _records_bytes(good, data),
        "bad_tracks": bad,
        "skipped": [{key: track[key] for key in _LISTED} for track in tracks if track["skipped"]],
        "remarks": [
            *_straddling(refs, data.group_by),
            *_unpaired(refs),
            *_copies(refs, found),
            *_conversions(good, data),
            *_unsure(good),
        ],
        "tracks": [{key: value for key, value in track.items() if key != "skipped"} for track in good],
    }


def _track(ref: TrackRef, found: Mapping[str, Header], data: DataConfig) -> dict[str, Any]:
    told = {"track": ref.name, "split": ref.split, "metadata": dict(ref.metadata), "skipped": ref.skipped}
    told |= {"bytes": sum(found[file].size_bytes for file in ref.files), "stems": sorted(ref.stems)}
    try:
        shape = faults.shape(ref, found, data)
    except ValueError as error:
        return {**told, "reason": str(error)}
    return {
        **told,
        "mixture": bool(ref.mixture),
        "seconds": None if shape.seconds is None else round(shape.seconds, 3),
        "sure": shape.sure,
        "sample_rate_hz": shape.sample_rate_hz,
        "channels": shape.channels,
    }


def _verdict(
    data: DataConfig, refs: Sequence[TrackRef], good: Sequence[Mapping], bad: Sequence[Mapping]
) -> tuple[str, bool]:
    """What ingest would say, and whether it would go on."""
    try:
        corpus.refuse_empty_splits(data, refs)
        corpus.refuse_bad_tracks(data, {"tracks": good, "bad_tracks": bad}, "this check")
    except corpus.BadTracksError as error:
        return str(error), False
    counts = ", ".join(f"{sum(track['split'] == split for track in good)} {split}" for split in SPLITS)
    without = f"; bad: {len(bad)}" if bad else ""
    return f"ingest would take {len(good)} of {len(good) + len(bad)} tracks ({counts}){without}", True


def _split(tracks: Sequence[Mapping]) -> dict[str, Any]:
    good = [track for track in tracks if "reason" not in track]
    keys = sorted({key for track in good for key in track["metadata"]})
    return {
        "tracks": len(good),
        "bad": sum("reason" in track and not track["skipped"] for track in tracks),
        "hours": round(sum(track["seconds"] or 0 for track in good) / 3600, 4),
        "groups": {key: len({track["metadata"].get(key) for track in good} - {None}) for key in keys},
    }


def _stems(refs: Iterable[TrackRef], data: DataConfig) -> dict[str, dict[str, Any]]:
    counts = Counter(name for ref in refs for name in ref.stems)
    counts |= {"mixture": count} if (count := sum(bool(ref.mixture) for ref in refs)) else {}
    return {name: {"tracks": count, "target": _target(name, data)} for name, count in sorted(counts.items())}


def _target(stem: str, data: DataConfig) -> str | None:
    [name] = sources.grouped([stem], corpus.takes(data))
    if name in (*data.targets, "mixture"):
        return name
    return ACCOMPANIMENT if ACCOMPANIMENT in data.targets else None


def _files(found: Mapping[str, Header]) -> dict[str, Any]:
    streams = [header.streams[0] for header in found.values() if header.streams]
    return {
        "count": len(found),
        "unusable": sum(bool(header.reason) for header in found.values()),
        "bytes": sum(header.size_bytes for header in found.values()),
        "codecs": _counted(stream.codec for stream in streams),
        "rates_hz": _counted(str(stream.sample_rate_hz) for stream in streams),
        "channels": _counted(str(stream.channels) for stream in streams),
    }


def _beside(data: DataConfig, used: Iterable[str]) -> dict[str, Any]:
    """What lies below the directories and is no part of a track: litter by name, everything else counted by suffix."""
    roots = [str(span.path) for span in spans.of(data)]
    found = {root: [name for name, _, _ in files.walk(root)] for root in roots}
    litter = {root: files.litter_among(names, root) for root, names in found.items()}
    ignored = {os.path.join(root, name) for root, names in litter.items() for name in names}
    left = {name for names in found.values() for name in names} - {*used}
    unused = (name for name in left if not ignored.intersection(_with_parents(name)))
    return {
        "litter": list(itertools.chain.from_iterable(litter.values())),
        "unused": _counted(printable(os.path.splitext(name)[1].lower()) or "without a suffix" for name in unused),
    }


def _with_parents(name: str) -> list[str]:
    return [name, *(str(parent) for parent in PurePath(name).parents)]


def _counted(values: Iterable[str]) -> dict[str, int]:
    """Value -> how often, the most frequent first."""
    return dict(sorted(Counter(values).items(), key=lambda item: (-item[1], item[0])))


def _records_bytes(good: Sequence[Mapping], data: DataConfig) -> int:
    """Of the audio in the TFRecords: the mixture, and the stems as `data.encoding` says; of FLAC what it is at most."""
    samples = sum(track["seconds"] or 0 for track in good) * data.sample_rate_hz * data.channels
    of_stem = 2 * SAMPLE_BYTES if data.encoding == "float32" else SAMPLE_BYTES
    return round(samples * (SAMPLE_BYTES + of_stem * len(data.targets)))


def _straddling(refs: Sequence[TrackRef], keys: Sequence[str]) -> list[str]:
    """Groups, such as singers, that lie in more than one split, by the keys that are to keep tracks together."""
    found: dict[str, list[str]] = {}
    for key in keys:
        splits: dict[str, dict[str, None]] = {}
        for ref in refs:
            if key in ref.metadata:
                splits.setdefault(ref.metadata[key], {})[ref.split] = None
        if words := [f"{value} ({', '.join(names)})" for value, names in splits.items() if len(names) > 1]:
            found[key] = words
    return [f"in more than one split by {key}: {len(words)}, {_few(words)}" for key, words in found.items()]


def _unpaired(refs: Sequence[TrackRef]) -> list[str]:
    if not any(pairing.METADATA.items() <= ref.metadata.items() for ref in refs):
        return []
    return ["sources of different recordings make up these tracks: they are for a recipe with train.augment: [remix]"]


def _copies(refs: Sequence[TrackRef], found: Mapping[str, Header]) -> list[str]:
    """Files of two tracks that are the same as far as their size and samples of their bytes tell."""
    first: dict[str, tuple[TrackRef, str]] = {}
    copies = []
    for ref in refs:
        for file in ref.files:
            digest = found[file].digest
            other, name = first.setdefault(digest, (ref, file)) if digest else (ref, file)
            if other is not ref and name != file:
                copies.append(f"{_inside(file)} ({ref.split}) and {_inside(name)} ({other.split})")
    return [f"files that seem to be copies of another track's: {len(copies)}, {_few(copies)}"] if copies else []


def _conversions(good: Sequence[Mapping], data: DataConfig) -> list[str]:
    """Tracks that cannot fill the rate or the channels that are asked for."""
    rates = _counted(f"{track['sample_rate_hz']} Hz" for track in good if track["sample_rate_hz"] < data.sample_rate_hz)
    widths = _counted(f"{track['channels']}" for track in good if track["channels"] < data.channels)
    told = {f"tracks recorded at less than {data.sample_rate_hz} Hz": rates}
    told[f"tracks of fewer than {data.channels} channels, which become equal ones"] = widths
    return [
        f"{words}: {', '.join(f'{value} ({count})' for value, count in counts.items())}"
        for words, counts in told.items()
        if counts
    ]


def _unsure(good: Sequence[Mapping]) -> list[str]:
    names = [track["track"] for track in good if not track["sure"]]
    return [f"tracks whose length only decoding tells for sure: {len(names)}, {_few(names)}"] if names else []


def _few(words: Sequence[str]) -> str:
    return ", ".join(words[:_FEW]) + (f" and {len(words) - _FEW} more" if len(words) > _FEW else "")


def _inside(file: str) -> str:
    """The file and its directory."""
    return "/".join(file.split("/")[-2:])
