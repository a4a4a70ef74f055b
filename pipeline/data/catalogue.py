"""`tracks.json` in the root of an Examples artifact: every track that was ingested, and in which file it is."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field

from models import storage
from pipeline.common import files
from pipeline.data.datasets.track import SPLITS

FILE = "tracks.json"


@dataclass(frozen=True)
class IngestedTrack:
    """One ingested track.

    file: the TFRecord file that holds it, relative to the artifact.
    metadata: the groups that it belongs to, such as {"singer": "Ani"}.
    fingerprint: `digest`, SHA-256 of the mixture's samples; what copies are known by is in `pipeline.data.landmarks`.
    modified: when its newest file was changed, in UTC as ISO 8601; empty where it has no files.
    measured: the features `pipeline.data.schema.measured_features` of each of its segments.
    """

    name: str
    split: str
    file: str
    samples: int
    sample_rate_hz: int
    metadata: Mapping[str, str]
    fingerprint: Mapping[str, str]
    modified: str = ""
    measured: Mapping[str, list[float]] = field(default_factory=dict)

    @property
    def seconds(self) -> float:
        return self.samples / self.sample_rate_hz


def write(entries: Iterable[IngestedTrack], artifact_uri: str) -> None:
    """Writes the catalogue in the order of splits and names; completely or not at all.

    Raises:
      OSError: the file cannot be written.
    """
    ordered = sorted(entries, key=lambda entry: (SPLITS.index(entry.split), entry.name))
    lines = ",\n".join(json.dumps(asdict(entry), sort_keys=True) for entry in ordered)
    files.write_text(storage.path(f"{artifact_uri}/{FILE}"), f"[\n{lines}\n]\n")


def read(artifact_uri: str) -> list[IngestedTrack]:
    """The tracks of an Examples artifact in the order of splits and names.

    Raises:
      ValueError: the artifact has no catalogue, as those of earlier versions of Stemline.
    """
    if FILE not in storage.listed(artifact_uri):
        raise ValueError(f"the examples in {artifact_uri} have no {FILE}: ingest the data again with this version")
    return [IngestedTrack(**fields) for fields in json.loads(storage.read(f"{artifact_uri}/{FILE}"))]
