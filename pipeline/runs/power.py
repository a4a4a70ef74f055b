"""What the gate of a recipe can decide, by how the models of its last judged run differed from track to track."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.config.gate import GateConfig, Threshold
from pipeline.evaluation.gate import paired, power
from pipeline.evaluation.gate.checks import RIVALS
from pipeline.evaluation.gate.outlook import PAIRED
from pipeline.evaluation.gate.power import Power, Spread
from pipeline.runs import history
from pipeline.runs.history import Run
from pipeline.runs.workdir import Workdir

_TRACKS, _SCORES = "tracks.json", "scores.csv"


@dataclass(frozen=True)
class Decision:
    """A threshold with a paired test, the group of tracks it is for (empty for all), and what it can decide there."""

    threshold: Threshold
    group: str
    power: Power

    @property
    def name(self) -> str:
        """`vocals v3/GNSDR of singer 'amy' over the last blessed model`."""
        of_group = f" of {self.threshold.across} {self.group!r}" if self.group else ""
        return f"{self.threshold.target} {self.threshold.metric}{of_group} over the {RIVALS[self.threshold.over]}"


@dataclass(frozen=True)
class Pairs:
    """(rival, target, version, metric) -> track that the model of a run and its rival were judged on -> (score of the model, of
    the rival, seconds); rivals are those of `outlook.PAIRED`."""

    scores: Mapping[tuple[str, str, str, str], Mapping[str, tuple[float, float, float]]]
    metadata: Mapping[str, Mapping[str, str]]


def last_pairs(workdir: Workdir, recipe: str) -> tuple[Run, Pairs] | None:
    """The newest run of a recipe in which two models were judged on the same tracks; None where there is none yet."""
    for run in history.runs(workdir, recipe):
        if scores := _scores(run):
            return run, Pairs(scores, _metadata(run))
    return None


def decisions(pairs: Pairs, gate: GateConfig, tracks: int | None = None) -> list[Decision]:
    """What every paired test can decide; tracks: on so many, else on those that were judged.

    Where the run judged no anchor of its own, its differences are taken to spread as those to the last blessed model.
    """
    return [
        Decision(threshold, group, power.of_threshold(spread, aggregation, threshold.at_least_db, count, gate.paired))
        for threshold in gate.thresholds
        if threshold.over in PAIRED and threshold.across != "worst"
        for group, spread, aggregation, seen in _spreads(pairs, threshold, gate)
        for count in [seen if tracks is None or threshold.across != "all" else tracks]
    ]


def _spreads(
    pairs: Pairs, threshold: Threshold, gate: GateConfig
) -> Iterator[tuple[str, Spread, paired.Aggregation, int]]:
    version, _, metric = threshold.metric.partition("/")
    figure = threshold.target, version, metric.removeprefix("G") if version == "v3" else metric
    judged = pairs.scores.get((threshold.over, *figure)) or pairs.scores.get((PAIRED[0], *figure), {})
    ours, theirs, seconds = np.array([judged[name] for name in sorted(judged)]).reshape(-1, 3).T
    differences = paired.paired_differences(ours, theirs)
    groups: dict[str, list[int]] = {}
    for index, name in enumerate(sorted(judged)):
        if not np.isnan(differences[index]):
            group = "" if threshold.across == "all" else pairs.metadata.get(name, {}).get(threshold.across)
            if group is not None:
                groups.setdefault(group, []).append(index)
    metadata = [pairs.metadata.get(name, {}) for name in sorted(judged)]
    for group, tracks in groups.items():
        clusters = paired.clusters_of([metadata[index] for index in tracks], gate.paired)
        spread = power.seen(differences[tracks], seconds[tracks], clusters)
        yield group, spread, "mean" if version == "v3" else "median", len(tracks)


def _scores(run: Run) -> dict[tuple[str, str, str, str], dict[str, tuple[float, float, float]]]:
    """As those of `Pairs`; empty where no rival was judged."""
    evaluation = run.outputs.get("ModelEvaluation")
    file = Path(evaluation.uri, _SCORES) if evaluation else None
    if file is None or not file.is_file():
        return {}
    values: dict[tuple[str, str, str, str], dict[str, tuple[float, float]]] = {}
    with file.open(newline="", encoding="utf-8") as lines:
        for row in csv.DictReader(lines):
            figure = row["method"], row["target"], row["version"], row["metric"]
            values.setdefault(figure, {})[row["track"]] = float(row["value_db"]), float(row["seconds"])
    found = {}
    for figure, theirs in values.items():
        ours = values.get(("model", *figure[1:]), {})
        if figure[0] in PAIRED and ours:
            found[figure] = {
                name: (ours[name][0], score, seconds) for name, (score, seconds) in theirs.items() if name in ours
            }
    return found


def _metadata(run: Run) -> dict[str, Mapping[str, str]]:
    """Of every ingested track by its name; empty where the run left no list."""
    examples = run.outputs.get("Examples")
    file = Path(examples.uri, _TRACKS) if examples else None
    if file is None or not file.is_file():
        return {}
    entries: Sequence[Mapping] = json.loads(file.read_text())
    return {entry["name"]: entry.get("metadata", {}) for entry in entries}
