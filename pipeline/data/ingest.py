"""From a corpus to TFRecords, one shard at a time: which tracks, in which file, and what was wrong with them.

A shard is a run of tracks of one split, written by one worker in the order of their names. So the files are the same
bytes whatever the number of workers, and a worker reads one track at a time, in blocks. In the test split every track has a shard
of its own, so that judging is shared out by tracks.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from pipeline.data import catalogue, corpus, landmarks, leaks, schema, tfrecords
from pipeline.data.corpus import REPORT as REPORT
from pipeline.data.corpus import BadTracksError as BadTracksError
from pipeline.data.corpus import discover as discover
from pipeline.data.corpus import refuse_bad_tracks as refuse_bad_tracks
from pipeline.data.datasets import loading
from pipeline.data.datasets.conversion import converted
from pipeline.data.datasets.files import ScratchError, at_hand
from pipeline.data.datasets.track import SPLITS, BadTrackError, TrackRef
from pipeline.data.quarantine.measures import Measures
from pipeline.data.spool import Spool, spooling

if TYPE_CHECKING:
    from pipeline.config.config import DataConfig

_SHARDS_PER_SPLIT = 64
_LITTER_IN_REPORT, _REASONS_TOLD = 20, 3
_SKIPPED = "skipped"
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


def report(data: DataConfig, entries: Sequence[Mapping[str, Any]], litter: Sequence[str] = ()) -> dict[str, Any]:
    """What was ingested and what was not, in the order of the tracks. Nothing is wrong with what was skipped.

    litter: what systems and downloads left among the files.
    """
    told = [{key: value for key, value in entry.items() if key != _CATALOGUE} for entry in entries]
    ordered = sorted(told, key=lambda entry: (SPLITS.index(entry["split"]), entry["track"]))
    return {
        "data": asdict(data),
        "tracks": [entry for entry in ordered if "reason" not in entry],
        "bad_tracks": [entry for entry in ordered if "reason" in entry and not entry.get(_SKIPPED)],
        "skipped": [entry for entry in ordered if entry.get(_SKIPPED)],
        "litter": {"count": len(litter), "first": list(litter[:_LITTER_IN_REPORT])},
    }


def unused(result: Mapping[str, Any]) -> list[str]:
    """What a report shows of tracks that were skipped and of litter, in words."""
    skipped, litter = result["skipped"], result["litter"]
    reasons = Counter(entry["reason"] for entry in skipped).most_common()
    words = [f"skipped: {count} x {reason}" for reason, count in reasons[:_REASONS_TOLD]]
    if more := len(skipped) - sum(count for _, count in reasons[:_REASONS_TOLD]):
        words.append(f"skipped: {more} for other reasons, see {REPORT}")
    if litter["count"]:
        words.append(f"litter ignored: {litter['count']} ({', '.join(litter['first'][:_REASONS_TOLD])}, …)")
    return words


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
    file: str,
    data: DataConfig,
    write: Callable[[tf.train.Example], None],
    prints: dict[str, landmarks.Prints],
) -> dict[str, Any]:
    """Writes the segments of a track, at the rate, channels and targets of `data`, and adds to `prints`; what became of it,
    see `write_shard`."""
    known: dict[str, Any] = {"track": ref.name, "split": ref.split, **({_SKIPPED: True} if ref.skipped else {})}
    with spooling((*data.targets, loading.MIXTURE), data.channels) as spool:
        try:
            whole, modified = _read(ref, data, spool)
        except ScratchError:
            raise
        except (ValueError, OSError) as error:
            return {**known, "metadata": dict(ref.metadata), "reason": str(error)}
        measured: dict[str, list[float]] = {name: [] for name in schema.measured_features(data.targets)}
        segment_samples = max(1, round(data.segment_seconds * data.sample_rate_hz))
        for example in tfrecords.examples(whole, spool.blocks(segment_samples), segment_samples, data.encoding):
            for name, values in measured.items():
                values.append(round(example.features.feature[name].float_list.value[0], 4))
            write(example)
        prints[ref.name] = landmarks.of_blocks(spool.blocks, data.sample_rate_hz)
    listed = catalogue.IngestedTrack(
        ref.name,
        ref.split,
        file,
        samples=whole.samples,
        sample_rate_hz=whole.sample_rate_hz,
        metadata=dict(whole.metadata),
        fingerprint={"digest": spool.digest},
        modified=modified,
        measured=measured,
    )
    return {
        **known,
        "metadata": listed.metadata,
        "seconds": listed.seconds,
        "gain": whole.gain,
        _CATALOGUE: asdict(listed),
    }


def _read(ref: TrackRef, data: DataConfig, spool: Spool) -> tuple[tfrecords.Whole, str]:
    """Fills the spool; what is known of a track then, and when its newest file was changed.

    Raises:
      ValueError, OSError: it cannot be used, for a reason in words.
    """
    with at_hand(ref) as near, _opened(near, data) as stream:
        before = _states(near)
        measures = Measures(stream)
        watched = replace(stream, blocks=lambda: measures.watched(stream.blocks()))
        spool.write(converted(watched, data.targets, data.sample_rate_hz, data.channels).blocks())
        if changed := [Path(file).name for file, state in _states(near).items() if state != before[file]]:
            raise BadTrackError(f"{changed[0]} changed while it was read")
    measures.check()
    factor = tfrecords.gain(spool.peak)
    whole = tfrecords.Whole(
        ref.name,
        ref.split,
        {**stream.metadata, **ref.metadata},
        data.sample_rate_hz,
        data.channels,
        spool.samples,
        factor,
        tfrecords.mixture_power((block[loading.MIXTURE] for block in spool.blocks()), factor),
        max(measures.clipping_ratios().values()),
    )
    times = [modified_ns / 1e9 for _, modified_ns in before.values()]
    return whole, datetime.fromtimestamp(max(times), UTC).isoformat(timespec="seconds") if times else ""


def _states(ref: TrackRef) -> dict[str, tuple[int, int]]:
    """Size and time of change, in ns, of each of its files."""
    found = {file: Path(file).stat() for file in ref.files}
    return {file: (state.st_size, state.st_mtime_ns) for file, state in found.items()}
