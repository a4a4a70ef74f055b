"""What was ingested, as plain values: from what an Examples artifact holds beside its records. docs/data.md says what each key means."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from models import storage
from pipeline.data import catalogue, corpus, leaks, spans
from pipeline.data.catalogue import IngestedTrack
from pipeline.data.datasets.track import SPLITS
from pipeline.data.leaks import ruling

_PERCENTILES = 5, 50, 95


def description(uri: str) -> dict[str, Any]:
    """Of the Examples artifact at a place.

    Raises:
      ValueError: it was ingested by an earlier version of Stemline.
      OSError: it cannot be read.
    """
    tracks = catalogue.read(uri)
    report = json.loads(storage.read(f"{uri}/{corpus.REPORT}"))
    return {
        "examples": uri,
        "data": report["data"],
        "splits": {split: _split([track for track in tracks if track.split == split]) for split in SPLITS},
        "spans": _spans(tracks),
        "signals": _signals(tracks),
        **_quality(tracks),
        "leaks": [ruling.in_words(leak) for leak in leaks.read(uri)],
        "bad_tracks": report["bad_tracks"],
        "counts": report.get("counts", {}),  # by kind; none were counted once
        "records": _records(uri),
    }


def _split(tracks: Sequence[IngestedTrack]) -> dict[str, Any]:
    keys = sorted({key for track in tracks for key in track.metadata})
    return {
        "tracks": len(tracks),
        "hours": _hours(tracks),
        "groups": {key: len({track.metadata.get(key) for track in tracks} - {None}) for key in keys},
    }


def _spans(tracks: Sequence[IngestedTrack]) -> dict[str, dict[str, Any]]:
    """Name -> what it holds, and when its newest file was changed; of data without spans, there are none."""
    members: dict[str, list[IngestedTrack]] = {}
    for track in tracks:
        if spans.KEY in track.metadata:
            members.setdefault(track.metadata[spans.KEY], []).append(track)
    return {
        name: {"tracks": len(of), "hours": _hours(of), "modified": max(track.modified for track in of)}
        for name, of in sorted(members.items(), key=lambda item: (len(item[0]), item[0]))
    }


def _signals(tracks: Sequence[IngestedTrack]) -> dict[str, dict[str, list[float]]]:
    """Signal -> 5th, 50th and 95th percentile over segments of its RMS and its peak, in dB of full scale."""
    names = {name for track in tracks for name in track.measured if name.startswith("rms_db/")}
    signals = sorted(name.removeprefix("rms_db/") for name in names)
    return {
        signal: {kind: _percentiles(_values(tracks, f"{kind}/{signal}")) for kind in ("rms_db", "peak_db")}
        for signal in signals
    }


def _quality(tracks: Sequence[IngestedTrack]) -> dict[str, Any]:
    gains = {track.name: track.measured["gain_db"][0] for track in tracks if track.measured.get("gain_db")}
    silence = _values(tracks, "silence_ratio")
    return {
        "silence_share": round(float(np.mean(silence)), 4) if silence else None,
        "clipping_share": _percentiles(_values(tracks, "clipping_ratio"), 5),
        "residual_db": _percentiles(_values(tracks, "residual_db")),
        "turned_down": {
            "tracks": sum(gain < 0 for gain in gains.values()),
            "lowest_db": round(min(gains.values(), default=0.0), 2) + 0.0,
        },
    }


def _values(tracks: Iterable[IngestedTrack], feature: str) -> list[float]:
    """Of every segment of every track."""
    return list(itertools.chain.from_iterable(track.measured.get(feature, ()) for track in tracks))


def _percentiles(values: Sequence[float], digits: int = 2) -> list[float]:
    return [round(float(value), digits) for value in np.percentile(values, _PERCENTILES)] if values else []


def _hours(tracks: Iterable[IngestedTrack]) -> float:
    return round(sum(track.seconds for track in tracks) / 3600, 4)


def _records(uri: str) -> dict[str, int]:
    sizes = [state.size for split in SPLITS for _, state in _files(f"{uri}/Split-{split}")]
    return {"files": len(sizes), "bytes": sum(sizes)}


def _files(directory: str) -> list[tuple[Any, storage.State]]:
    return [(child, storage.state(child)) for child in storage.children(directory)]
