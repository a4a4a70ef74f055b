"""From a corpus to TFRecords, one shard at a time: which tracks, in which file, and what was wrong with them.

A shard is a run of tracks of one split, written by one worker in the order of their names. So the files are the same
bytes whatever the number of workers, and a worker reads one track at a time, in blocks. In the test split every track has a shard
of its own, so that judging is shared out by tracks.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from pipeline.data import catalogue, corpus, landmarks, leaks, quarantine, reuse, schema, tfrecords
from pipeline.data.datasets import loading
from pipeline.data.datasets.conversion import converted
from pipeline.data.datasets.files import ScratchError, at_hand
from pipeline.data.datasets.spool import IN_MEMORY_BYTES, Spool, spooling
from pipeline.data.datasets.track import SPLITS, BadTrackError, TrackRef
from pipeline.data.quarantine.findings import Finding
from pipeline.data.quarantine.measures import Measures
from serving.client.decoding.files import OF_THE_MACHINE, named, regular

if TYPE_CHECKING:
    from pipeline.config.config import DataConfig

_SHARDS_PER_SPLIT = 64
_LITTER_IN_REPORT, _REASONS_TOLD = 20, 3
_SKIPPED, _REUSED = "skipped", "reused"
_CATALOGUE = "catalogue"  # the key of a track's catalogue entry in what becomes of a shard


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


@dataclass(frozen=True)
class _Into:
    """Where records go, and by which code they are made: that says whether those of an earlier ingest are the same."""

    artifact_uri: str
    code: str


@dataclass(frozen=True)
class _Track:
    """A track that was read: what all of its records tell, and what was found that makes it no bad track; or what an
    earlier ingest has of it. key: see `reuse`. modified: when its newest file was changed."""

    whole: Any
    notes: tuple[Finding, ...]
    key: str
    earlier: reuse.Found | None
    modified: str


def write_shard(
    shard: Shard, data: DataConfig, artifact_uri: str, code: str = "", tell: Callable[[str], None] | None = None
) -> list[dict[str, Any]]:
    """Reads, converts and writes the tracks of a shard, and their landmarks.

    Args:
      code: a fingerprint of what decides the records beside `data`; without, no records of an earlier ingest are taken.
      tell: is given a sentence about the first bad track, as soon as it is met.

    Returns:
      The report's entry of each track: a bad one with its `kind` and `reason`, a good one with its `notes`, if there are any,
      and what `catalogue` lists of it.

    Raises:
      OSError: the shard cannot be written, or the files of a bucket cannot be copied to this machine.
    """
    prints: dict[str, landmarks.Prints] = {}
    entries: list[dict[str, Any]] = []
    with tfrecords.writing(shard.path(artifact_uri)) as write:
        for ref in shard.refs:
            entry = _write_track(ref, shard, data, _Into(artifact_uri, code), write, prints)
            if tell and _is_bad(entry) and not any(map(_is_bad, entries)):
                tell(f"bad track {ref.name}: {entry['reason']}")
            entries.append(entry)
    landmarks.write(prints, f"{artifact_uri}/{shard.landmarks}")
    return entries


def report(data: DataConfig, entries: Sequence[Mapping[str, Any]], litter: Sequence[str] = ()) -> dict[str, Any]:
    """What was ingested and what was not, in the order of the tracks. Nothing is wrong with what was skipped.

    litter: what systems and downloads left among the files.
    """
    told = [{key: value for key, value in entry.items() if key not in (_CATALOGUE, _REUSED)} for entry in entries]
    ordered = sorted(told, key=lambda entry: (SPLITS.index(entry["split"]), entry["track"]))
    return {
        "data": asdict(data),
        "tracks": [entry for entry in ordered if "reason" not in entry],
        "bad_tracks": [entry for entry in ordered if _is_bad(entry)],
        "skipped": [entry for entry in ordered if entry.get(_SKIPPED)],
        "counts": {
            "bad_tracks": _counted(entry["kind"] for entry in ordered if _is_bad(entry)),
            "notes": _counted(note["kind"] for entry in ordered for note in entry.get("notes", ())),
        },
        "litter": {"count": len(litter), "first": list(litter[:_LITTER_IN_REPORT])},
    }


def unused(result: Mapping[str, Any]) -> list[str]:
    """What a report shows of tracks that were skipped and of litter, in words."""
    skipped, litter = result["skipped"], result["litter"]
    reasons = Counter(entry["reason"] for entry in skipped).most_common()
    words = [f"skipped: {count} x {reason}" for reason, count in reasons[:_REASONS_TOLD]]
    if more := len(skipped) - sum(count for _, count in reasons[:_REASONS_TOLD]):
        words.append(f"skipped: {more} for other reasons, see {corpus.REPORT}")
    if litter["count"]:
        words.append(f"litter ignored: {litter['count']} ({', '.join(litter['first'][:_REASONS_TOLD])}, …)")
    return words


def reused(entries: Sequence[Mapping[str, Any]]) -> int:
    """How many tracks are from an earlier ingest."""
    return sum(_REUSED in entry for entry in entries)


def counted(result: Mapping[str, Any]) -> list[str]:
    """What a report shows of bad tracks and of notes, by their kinds, in words."""
    of_kinds = {"bad tracks": result["counts"]["bad_tracks"], "noted": result["counts"]["notes"]}
    return [
        f"{what}: {', '.join(f'{count} x {kind}' for kind, count in kinds.items())} (see {corpus.REPORT})"
        for what, kinds in of_kinds.items()
        if kinds
    ]


def _is_bad(entry: Mapping[str, Any]) -> bool:
    return "reason" in entry and _SKIPPED not in entry


def _counted(kinds: Iterable[str]) -> dict[str, int]:
    """Kind -> how many, the most first."""
    return dict(sorted(Counter(kinds).items(), key=lambda each: (-each[1], each[0])))


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


@contextlib.contextmanager
def _opened(ref: TrackRef, data: DataConfig) -> Iterator[loading.Stream]:
    """The signals of a track that lies in files, or is rendered."""
    rendered = corpus.rendered(ref, data)
    if rendered:
        yield loading.of_track(rendered)
        return
    with loading.opened(ref, data.most_seconds) as stream:
        yield stream


def _write_track(
    ref: TrackRef,
    shard: Shard,
    data: DataConfig,
    into: _Into,
    write: tfrecords.Write,
    prints: dict[str, landmarks.Prints],
) -> dict[str, Any]:
    """Writes the segments of a track, at the rate, channels and targets of `data`, or those that an earlier ingest has of it,
    and adds to `prints`; what became of it, see `write_shard`."""
    entry: dict[str, Any] = {"track": ref.name, "split": ref.split, **({_SKIPPED: True} if ref.skipped else {})}
    with (
        spooling((*data.targets, loading.MIXTURE), data.channels) as spool,
        tempfile.SpooledTemporaryFile(IN_MEMORY_BYTES) as kept,
    ):
        try:
            track = _track(ref, data, into, spool, kept)
        except ScratchError:
            raise
        except (ValueError, OSError) as error:
            if getattr(error, "errno", None) in OF_THE_MACHINE:
                raise
            return {**entry, "metadata": dict(ref.metadata), "reason": str(error), **quarantine.details(error)}
        if track.earlier:
            for record in reuse.records(kept):
                write(record)
            prints[ref.name] = track.earlier.prints
            listed = replace(track.earlier.track, file=shard.file, modified=track.modified)
            return {**track.earlier.entry, _REUSED: True, _CATALOGUE: asdict(listed)}
        whole = track.whole
        measured = _write_records(whole, spool, data, write)
        prints[ref.name] = landmarks.of_blocks(spool.blocks, data.sample_rate_hz)
    about = ref.name, ref.split, shard.file, whole.samples, whole.sample_rate_hz, dict(whole.metadata)
    fingerprint = {"digest": spool.digest, **({reuse.SOURCE: track.key} if track.key else {})}
    listed = catalogue.IngestedTrack(*about, fingerprint, track.modified, measured)
    return {
        **entry,
        "metadata": listed.metadata,
        "seconds": listed.seconds,
        "gain": whole.gain,
        **({"notes": [asdict(note) for note in track.notes]} if track.notes else {}),
        _CATALOGUE: asdict(listed),
    }


def _track(ref: TrackRef, data: DataConfig, into: _Into, spool: Spool, kept: IO[bytes]) -> _Track:
    """Fills the spool, or `kept` with what an earlier ingest has of the track.

    Raises:
      ValueError, OSError: it cannot be used, for a reason in words.
    """
    if ref.reason:
        raise BadTrackError(ref.reason)
    with at_hand(ref) as near:
        before = _states(near)
        key = reuse.key(near, ref, data, into.code) if into.code else ""
        earlier = reuse.found(key, into.artifact_uri, kept)
        known = (None, ()) if earlier else _read(near, data, spool)
        _refuse_changes(before, _states(near))
    times = [modified_ns / 1e9 for _, modified_ns in before.values()]
    modified = datetime.fromtimestamp(max(times), UTC).isoformat(timespec="seconds") if times else ""
    return _Track(*known, key, earlier, modified)


def _write_records(
    whole: tfrecords.Whole, spool: Spool, data: DataConfig, write: tfrecords.Write
) -> dict[str, list[float]]:
    """Writes the segments; what was measured of each."""
    measured: dict[str, list[float]] = {name: [] for name in schema.measured_features(data.targets)}
    samples = _segment_samples(data)
    for example in tfrecords.examples(whole, spool.blocks(samples), samples, data.encoding):
        for name, values in measured.items():
            values.append(round(example.features.feature[name].float_list.value[0], 4))
        write(example)
    return measured


def _read(ref: TrackRef, data: DataConfig, spool: Spool) -> tuple[tfrecords.Whole, tuple[Finding, ...]]:
    """Fills the spool; what all records of a track tell, and what was found that makes it no bad track."""
    with _opened(ref, data) as stream:
        measures = Measures(stream)
        watched = replace(stream, blocks=lambda: measures.watched(stream.blocks()))
        spool.write(converted(watched, data.targets, data.sample_rate_hz, data.channels).blocks())
    measures.check()
    found = quarantine.found(measures, data.quarantine, functools.partial(_excerpt, ref, data))
    factor = tfrecords.gain(spool.peak)
    power, residuals_db = tfrecords.residuals(spool.blocks(_segment_samples(data)), factor)
    found += quarantine.of_stored(factor, residuals_db, data.segment_seconds, found, data.quarantine)
    notes = quarantine.refuse(found, data.quarantine)
    about = ref.name, ref.split, {**stream.metadata, **ref.metadata}, data.sample_rate_hz, data.channels
    return tfrecords.Whole(*about, spool.samples, factor, power, max(measures.clipping_ratios().values())), notes


def _segment_samples(data: DataConfig) -> int:
    return max(1, round(data.segment_seconds * data.sample_rate_hz))


def _excerpt(ref: TrackRef, data: DataConfig, first: int, count: int) -> loading.Signals:
    """So many blocks of a track from a block on, in one piece."""
    with _opened(ref, data) as stream:
        blocks = list(itertools.islice(stream.blocks(), first, first + count))
    return {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}


def _states(ref: TrackRef) -> dict[str, tuple[int, int]]:
    """Size and time of change, in ns, of each of its files. Raises BadFileError where one is none, or is gone."""
    found = {}
    for file in ref.files:
        with named(Path(file)):
            regular(Path(file))
        state = Path(file).stat()
        found[file] = state.st_size, state.st_mtime_ns
    return found


def _refuse_changes(before: Mapping[str, tuple[int, int]], after: Mapping[str, tuple[int, int]]) -> None:
    if changed := {file: state for file, state in before.items() if after[file] != state}:
        name = Path(next(iter(changed))).name
        raise quarantine.RefusedError("changed", f"{name} changed while it was read", {"changed": changed})
