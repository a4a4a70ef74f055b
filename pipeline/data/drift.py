"""How fresh the data are, and whether the newest span sounds like the one before it.

Drift is TFDV's: the Jensen-Shannon divergence of two histograms of a feature over segments, 0 for equal ones and 1 for
ones without a value in common. Two samples of one distribution are apart, too: by 0.6 with 8 values each, 0.2 with 20
and 0.08 with 100. So nothing is said of fewer than `gate.drift.min_values`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

import numpy as np

from pipeline.config.gate import DriftLimits
from pipeline.data.catalogue import IngestedTrack
from pipeline.data.datasets.track import SPLITS
from pipeline.data.spans import KEY

FILE = "drift.json"


@dataclass(frozen=True)
class SpanFacts:
    """What a span holds: tracks of each split, hours, and when its newest file was changed (UTC; empty without files)."""

    name: str
    tracks: Mapping[str, int]
    hours: float
    modified: str


@dataclass(frozen=True)
class FeatureDrift:
    """Mean and standard deviation of a feature in the span before and in the newest, and how far these are apart."""

    name: str
    before: tuple[float, float]
    now: tuple[float, float]
    divergence: float
    drifted: bool


@dataclass(frozen=True)
class DataFacts:
    """What a run was made of: its spans, oldest first, and the drift of the newest; `unknown` says why there is none.

    age_days: from the last change of any file to the judgement; None without files.
    """

    spans: tuple[SpanFacts, ...]
    age_days: float | None
    features: tuple[FeatureDrift, ...]
    threshold: float
    unknown: str

    @property
    def drifted(self) -> list[str]:
        return [feature.name for feature in self.features if feature.drifted]

    @property
    def words(self) -> str:
        """One sentence about the drift, empty without any."""
        if not self.drifted:
            return ""
        worst = max(self.features, key=lambda feature: feature.divergence)
        return (
            f"span {self.spans[-1].name} is unlike span {self.spans[-2].name} in {', '.join(self.drifted)}: the "
            f"divergence of {worst.name} is {worst.divergence:.2f}, above {self.threshold:g}"
        )


def describe(entries: Sequence[IngestedTrack], limits: DriftLimits, now: datetime | None = None) -> DataFacts:
    """The facts of an Examples artifact from its catalogue. `now`: the time of the judgement, else the clock's."""
    spans: dict[str, list[IngestedTrack]] = {}
    for entry in entries:
        spans.setdefault(entry.metadata.get(KEY, ""), []).append(entry)
    ordered = sorted(spans, key=_place)
    facts = tuple(_span(name, spans[name]) for name in ordered)
    newest_change = max(span.modified for span in facts) if facts else ""
    age = None
    if newest_change:
        age = ((now or datetime.now(UTC)) - datetime.fromisoformat(newest_change)).total_seconds() / 86400
    if len(ordered) < 2:
        unknown = "there is one span only (data.spans)"
        return DataFacts(facts, age, (), limits.divergence, unknown)
    before, newest = (_values(spans[name]) for name in ordered[-2:])
    fewest = min(len(values) for values in (*before.values(), *newest.values())) if before and newest else 0
    if fewest < limits.min_values:
        unknown = (
            f"one of the last two spans has {fewest} segments, fewer than {limits.min_values} (gate.drift.min_values)"
        )
        return DataFacts(facts, age, (), limits.divergence, unknown)
    features = (
        FeatureDrift(name, _moments(before[name]), _moments(newest[name]), divergence, divergence > limits.divergence)
        for name, divergence in _divergences(before, newest, limits.divergence).items()
    )
    largest_first = tuple(sorted(features, key=lambda feature: (-feature.divergence, feature.name)))
    return DataFacts(facts, age, largest_first, limits.divergence, "")


def to_json(facts: DataFacts) -> str:
    return json.dumps({**asdict(facts), "drifted": facts.drifted}, indent=2) + "\n"


def _place(name: str) -> tuple[int, str]:
    """Spans by their numbers; what a track without one says of itself comes first."""
    return (int(name), "") if name.isdecimal() else (-1, name)


def _span(name: str, entries: Sequence[IngestedTrack]) -> SpanFacts:
    tracks = {split: sum(entry.split == split for entry in entries) for split in SPLITS}
    hours = sum(entry.seconds for entry in entries) / 3600
    return SpanFacts(name, tracks, hours, max(entry.modified for entry in entries))


def _values(entries: Sequence[IngestedTrack]) -> dict[str, np.ndarray]:
    """Feature -> its values in all segments."""
    names = sorted({name for entry in entries for name in entry.measured})
    return {name: np.array([v for entry in entries for v in entry.measured.get(name, ())]) for name in names}


def _divergences(
    before: Mapping[str, np.ndarray], newest: Mapping[str, np.ndarray], threshold: float
) -> dict[str, float]:
    """What TFDV's drift comparator measures of each feature that both have."""
    import pandas as pd
    import tensorflow_data_validation as tfdv
    from tensorflow_metadata.proto.v0 import schema_pb2

    schema = schema_pb2.Schema()
    for name in newest:
        feature = schema.feature.add(name=name, type=schema_pb2.FLOAT)
        feature.drift_comparator.jensen_shannon_divergence.threshold = threshold
    old, new = (tfdv.generate_statistics_from_dataframe(pd.DataFrame(values), n_jobs=1) for values in (before, newest))
    anomalies = tfdv.validate_statistics(new, schema, previous_statistics=old)
    return {info.path.step[0]: info.drift_measurements[0].value for info in anomalies.drift_skew_info}


def _moments(values: np.ndarray) -> tuple[float, float]:
    return float(values.mean()), float(values.std())
