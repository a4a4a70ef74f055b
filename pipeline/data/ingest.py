"""From a corpus to TFRecords, one shard at a time: which tracks, in which file, and what was wrong with them.

A shard is a run of tracks of one split, written by one worker in the order of their names. So the files are the same
bytes whatever the number of workers, and a worker holds one track in memory. In the test split every track has a shard
of its own, so that judging is shared out by tracks.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from pipeline.data import catalogue, datasets, landmarks, leaks, schema, spans, tfrecords
from pipeline.data.datasets import loading
from pipeline.data.datasets.files import ScratchError, at_hand
from pipeline.data.datasets.track import SPLITS, Track, TrackRef, check_track, clipping_ratio, convert, group

if TYPE_CHECKING:
    from pipeline.config.config import DataConfig

REPORT = "ingest_report.json"
_SHARDS_PER_SPLIT = 64
_CATALOGUE = "catalogue"  # the key of a track's catalogue entry in what becomes of a shard
_REASONS_IN_MESSAGE = 3
_ALLOW_EMPTY = "allow_empty_splits"  # an option of every format


class BadTracksError(ValueError):
    """More tracks are bad than `data.max_bad_tracks` allows, or a split is left without any."""


@dataclass(frozen=True)
class Shard:
    """The tracks of one TFRecord file: number `index` of the `count` files of its split."""

    split: str
    index: int
    count: int
    refs: tuple[TrackRef, ...]

    @property
    def file(self) -> str:
        """Relative to the artifact."""
        return f"Split-{self.split}/data_tfrecord-{self.index:05d}-of-{self.count:05d}.gz"

    @property
    def landmarks(self) -> str:
        """Relative to the artifact, too."""
        return f"{landmarks.DIRECTORY}/{self.split}-{self.index:05d}-of-{self.count:05d}.npz"

    def path(self, artifact_uri: str) -> str:
        return f"{artifact_uri}/{self.file}"


def discover(data: DataConfig, found: Sequence[spans.Span] = ()) -> list[TrackRef]:
    """The tracks of a corpus, sorted by split and name; reads no audio.

    found: the spans to take; those that `data` asks for, if none are given.

    Raises:
      ValueError: unknown format or option, a folder that is missing or of another layout, a span that is missing, not
        complete or without any track, a name that two spans have, or a split without tracks in all of the spans that
        `data.options.allow_empty_splits` does not name.
    """
    refs = [ref for span in found or spans.of(data) for ref in _tracks_of(span, data)]
    _refuse_repeats(refs)
    _require_all_splits(data, {ref.split for ref in refs}, "has no track")
    return sorted(refs, key=lambda ref: (SPLITS.index(ref.split), ref.name))


def plan(refs: Sequence[TrackRef]) -> list[Shard]:
    """A shard for each test track; elsewhere neighbouring tracks share one, so that a split has at most 64 of them.

    An empty split gets an empty shard.
    """
    shards = []
    for split in SPLITS:
        own = tuple(ref for ref in refs if ref.split == split)
        size = 1 if split == "test" else max(1, -(-len(own) // _SHARDS_PER_SPLIT))
        starts = range(0, max(1, len(own)), size)
        shards += [Shard(split, i, len(starts), own[start : start + size]) for i, start in enumerate(starts)]
    return shards


def write_shard(shard: Shard, data: DataConfig, artifact_uri: str) -> list[dict[str, Any]]:
    """Reads, converts and writes the tracks of a shard, and their landmarks.

    Returns:
      The report's entry of each track, a bad one with its `reason`, a good one with what `catalogue` lists of it.

    Raises:
      OSError: the shard cannot be written, or the files of a bucket cannot be copied to this machine.
    """
    prints: dict[str, landmarks.Prints] = {}
    with tfrecords.writing(shard.path(artifact_uri)) as write:
        entries = [_write_track(ref, shard.file, data, write, prints) for ref in shard.refs]
    landmarks.write(prints, f"{artifact_uri}/{shard.landmarks}")
    return entries


def report(data: DataConfig, entries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What was ingested and what was not, in the order of the tracks."""
    told = [{key: value for key, value in entry.items() if key != _CATALOGUE} for entry in entries]
    ordered = sorted(told, key=lambda entry: (SPLITS.index(entry["split"]), entry["track"]))
    return {
        "data": asdict(data),
        "tracks": [entry for entry in ordered if "reason" not in entry],
        "bad_tracks": [entry for entry in ordered if "reason" in entry],
    }


def write_catalogue(entries: Sequence[Mapping[str, Any]], artifact_uri: str) -> list[leaks.Leak]:
    """Writes `tracks.json` of the tracks that were ingested (see `pipeline.data.catalogue`), and `leaks.json`.

    Returns:
      The recordings that lie in two splits, found among the landmarks that `write_shard` wrote of these tracks.
    """
    listed = [catalogue.IngestedTrack(**entry[_CATALOGUE]) for entry in entries if _CATALOGUE in entry]
    catalogue.write(listed, artifact_uri)
    found = leaks.search(listed, landmarks.read_all(artifact_uri))
    leaks.write(found, artifact_uri)
    return found


def refuse_bad_tracks(data: DataConfig, result: Mapping[str, Any], where: str) -> None:
    """Raises BadTracksError, in one sentence, if a report shows more bad tracks than are allowed, or an empty split.

    where: the path of the report's file, for the message.
    """
    bad = result["bad_tracks"]
    if len(bad) > data.max_bad_tracks:
        first = "; ".join(f"{entry['track']}: {entry['reason']}" for entry in bad[:_REASONS_IN_MESSAGE])
        more = f"; and {len(bad) - _REASONS_IN_MESSAGE} more" if len(bad) > _REASONS_IN_MESSAGE else ""
        raise BadTracksError(
            f"{len(bad)} of {len(bad) + len(result['tracks'])} tracks cannot be used, but data.max_bad_tracks allows "
            f"{data.max_bad_tracks} ({first}{more}); all are listed in {where}."
        )
    _require_all_splits(data, {entry["split"] for entry in result["tracks"]}, "has no usable track")


def _options(data: DataConfig) -> dict[str, Any]:
    """The options of the reader; those that are fields of DataConfig (rate, channels, fractions) default to these."""
    own = (_ALLOW_EMPTY, spans.SUCCESS_MARKER)
    given = {name: value for name, value in data.options.items() if name not in own}
    return datasets.resolve_options(data.format, given, vars(data))


def _tracks_of(span: spans.Span, data: DataConfig) -> list[TrackRef]:
    """The tracks of a span, which their metadata names."""
    refs = datasets.reader(data.format).discover(span.path, _options(data))
    if span.number is None:
        return refs
    if not refs:
        raise BadTracksError(f"Span {span.number} in {span.path} holds no track.")
    return [replace(ref, metadata={**ref.metadata, spans.KEY: str(span.number)}) for ref in refs]


def _load(ref: TrackRef, data: DataConfig) -> Track:
    rendered = getattr(datasets.reader(data.format), "load", None)
    return rendered(ref, _options(data)) if rendered else loading.load(ref)


def _refuse_repeats(refs: Sequence[TrackRef]) -> None:
    """Two spans with a name in common: one's training track could be the other's test track, or count twice."""
    seen: dict[str, TrackRef] = {}
    for ref in refs:
        other = seen.setdefault(ref.name, ref)
        if other is not ref:
            raise ValueError(
                f"Track {ref.name!r} is in span {other.metadata[spans.KEY]} ({other.split}) and in span {ref.metadata[spans.KEY]} "
                f"({ref.split}): a track needs a name that no other in the last data.spans spans has; a span that is "
                "delivered again is a new {VERSION} of it."
            )


def _require_all_splits(data: DataConfig, present: set[str], what: str) -> None:
    allowed = data.options.get(_ALLOW_EMPTY, ())
    empty = [split for split in SPLITS if split not in present and split not in allowed]
    if empty:
        raise BadTracksError(
            f"The {empty[0]} split of {data.path or data.format} {what}; put tracks in a folder {empty[0]!r}, or raise "
            f"data.dev_fraction and data.test_fraction; if it is to be empty, add {empty[0]!r} to data.options.{_ALLOW_EMPTY}."
        )


def _write_track(
    ref: TrackRef,
    file: str,
    data: DataConfig,
    write: Callable[[tf.train.Example], None],
    prints: dict[str, landmarks.Prints],
) -> dict[str, Any]:
    """Writes the segments of a track, at the rate, channels and targets of `data`, and adds to `prints`; what became of it,
    see `write_shard`."""
    known = {"track": ref.name, "split": ref.split}
    try:
        with at_hand(ref) as near:
            read = _load(near, data)
            times = [Path(file).stat().st_mtime for file in near.files]
        original = replace(read, metadata={**read.metadata, **ref.metadata})
        check_track(original)
        track = convert(group(original, data.targets), data.sample_rate_hz, data.channels)
    except ScratchError:
        raise
    except (ValueError, OSError) as error:
        return {**known, "metadata": dict(ref.metadata), "reason": str(error)}
    measured: dict[str, list[float]] = {name: [] for name in schema.measured_features(data.targets)}
    segment_samples = max(1, round(data.segment_seconds * data.sample_rate_hz))
    for example in tfrecords.encode(track, segment_samples, clipping_ratio(original)):
        for name, values in measured.items():
            values.append(round(example.features.feature[name].float_list.value[0], 4))
        write(example)
    prints[track.name] = landmarks.of_track(track)
    listed = catalogue.IngestedTrack(
        track.name,
        track.split,
        file,
        samples=len(track.mixture),
        sample_rate_hz=track.sample_rate_hz,
        metadata=dict(track.metadata),
        fingerprint={"digest": hashlib.sha256(track.mixture.tobytes()).hexdigest()},
        modified=datetime.fromtimestamp(max(times), UTC).isoformat(timespec="seconds") if times else "",
        measured=measured,
    )
    return {
        **known,
        "metadata": listed.metadata,
        "seconds": listed.seconds,
        "gain": tfrecords.gain(track),
        _CATALOGUE: asdict(listed),
    }
