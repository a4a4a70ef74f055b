"""Tracks that an earlier ingest has written already, of the same files by the same code and settings: their records are copied.

The key of a track is a SHA-256 of the contents of its files, of what its signals are made of, of the settings that decide its
records, and of the code. So a corpus under another path, a file that was touched, or a new span costs a look at the bytes of
each file, and what is decoded is what is new. Earlier ingests are found beside the artifact that is written, as a pipeline's
directory on one machine has them; where there are none, every track is read.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import tensorflow as tf

from pipeline.data import catalogue, landmarks
from pipeline.data.catalogue import IngestedTrack
from pipeline.data.corpus import REPORT
from pipeline.data.datasets.files import ScratchError
from pipeline.data.datasets.track import TrackRef

if TYPE_CHECKING:
    from pipeline.config.config import DataConfig

SOURCE = "source"  # the key of a track in its fingerprint
_SETTINGS = ("sample_rate_hz", "channels", "targets", "segment_seconds", "encoding", "most_seconds", "quarantine")


def key(near: TrackRef, ref: TrackRef, data: DataConfig, code: str) -> str:
    """Of a track whose files are at hand in `near`; empty for one without files.

    Raises:
      OSError: a file cannot be read.
    """
    if not near.files:
        return ""
    contents = {}
    for file in near.files:
        with open(file, "rb") as opened:
            contents[file] = hashlib.file_digest(opened, "sha256").hexdigest()
    about = asdict(near.at(contents)) | {"metadata": dict(ref.metadata)}
    settings = {name: asdict(data)[name] for name in _SETTINGS}
    return hashlib.sha256(json.dumps([code, about, settings], sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class Earlier:
    """An artifact of Examples that was written before.

    entries: of its report, by track. tracks: of its catalogue, by their keys.
    """

    uri: str

    @cached_property
    def entries(self) -> dict[str, Mapping[str, Any]]:
        return {entry["track"]: entry for entry in json.loads(Path(self.uri, REPORT).read_text())["tracks"]}

    @cached_property
    def tracks(self) -> dict[str, IngestedTrack]:
        return {known: track for track in catalogue.read(self.uri) if (known := track.fingerprint.get(SOURCE))}

    @cached_property
    def prints(self) -> dict[str, dict[str, landmarks.Landmarks]]:
        return landmarks.read_all(self.uri)


@lru_cache(maxsize=4)
def beside(artifact_uri: str) -> tuple[Earlier, ...]:
    """The complete artifacts in the directory that this one is in, on this machine, the newest first."""
    own = Path(artifact_uri)
    found = [path.parent for path in own.parent.glob(f"*/{catalogue.FILE}") if path.parent != own]
    complete = [path for path in found if (path / REPORT).is_file()]
    return tuple(Earlier(str(path)) for path in sorted(complete, key=lambda path: path.stat().st_mtime, reverse=True))


@dataclass(frozen=True)
class Found:
    """What an earlier ingest has of a track: its entries in catalogue and report, and its landmarks."""

    track: IngestedTrack
    entry: Mapping[str, Any]
    prints: landmarks.Prints


def found(known: str, artifact_uri: str, kept: IO[bytes]) -> Found | None:
    """A track by its key, whose records are copied to `kept`; None where no earlier ingest has it, or can be read any more.

    Raises:
      ScratchError: there is no place for the records.
    """
    for earlier in beside(artifact_uri) if known else ():
        track = earlier.tracks.get(known)
        if track and track.name in earlier.entries and track.name in earlier.prints:
            if _keep(f"{earlier.uri}/{track.file}", track.name, kept):
                return Found(track, earlier.entries[track.name], earlier.prints[track.name])
            kept.seek(0)
            kept.truncate()
    return None


def records(kept: IO[bytes]) -> Iterator[bytes]:
    """What `found` has copied."""
    kept.seek(0)
    while size := kept.read(8):
        yield kept.read(int.from_bytes(size, "little"))


def _keep(path: str, name: str, kept: IO[bytes]) -> bool:
    """Copies a track's records to a file; whether they are all there. Raises ScratchError where there is no place."""
    segments, count = -1, 0
    try:
        for record in tf.data.TFRecordDataset(path, "GZIP").as_numpy_iterator():
            feature = tf.train.Example.FromString(record).features.feature
            if feature["track"].bytes_list.value[0].decode() != name:
                if count:
                    break
                continue
            segments, count = feature["segments"].int64_list.value[0], count + 1
            kept.write(len(record).to_bytes(8, "little") + record)
    except tf.errors.OpError:
        return False
    except OSError as error:
        raise ScratchError(f"records cannot be copied in {tempfile.gettempdir()}: {error.strerror or error}") from error
    return count == segments
