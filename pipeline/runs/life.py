"""A recipe's life: every model that was judged, the oldest first, by what its evaluation left behind.

The files of an evaluation (`summary.json`, `scores.csv`, `drift.json`) are the same here and on Kubeflow, whose metadata are
nobody's to read. What they do not tell, as what was trained and pushed, the metadata of a working directory does.
"""

from __future__ import annotations

import csv
import hashlib
import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any

from models import storage
from pipeline.evaluation.report.intervals import interval
from pipeline.evaluation.scores import Figure, TrackScores, figure_of
from pipeline.runs import anchors, history
from pipeline.runs.workdir import Workdir

_SUMMARY, _SCORES, _DRIFT = "summary.json", "scores.csv", "drift.json"
_JUDGE = "BssEvaluator"


@dataclass(frozen=True)
class Judged:
    """A model that was judged. name: of its run. tracks: the model's figures by track. drift: what drift.json holds.

    run: what the metadata know of it; None where there are none. anchor: what it is the anchor as, empty if it is not.
    """

    name: str
    when: datetime
    summary: Mapping[str, Any]
    tracks: tuple[TrackScores, ...]
    drift: Mapping[str, Any] = field(default_factory=dict)
    run: history.Run | None = None
    anchor: str = ""

    @property
    def accepted(self) -> bool | None:
        """Blessed, and refused by nobody else."""
        if self.run:
            return None if self.run.blessed is None else self.run.accepted
        return self.summary.get("blessed")

    @property
    def reasons(self) -> list[str]:
        return self.run.reasons if self.run else list(self.summary.get("reasons", ()))

    @property
    def refusals(self) -> list[str]:
        return [reason for reason in self.reasons if not reason.startswith("ok")]

    @cached_property
    def test_set(self) -> str:
        """The same for the same tracks: of others the scores cannot be compared."""
        told = sorted((track.track, track.samples) for track in self.tracks)
        return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:8]

    def score(self, name: str) -> float:
        """Of the model, such as `vocals/v3/GNSDR`, in dB."""
        value = self.summary["scores"].get("model", {}).get(name)
        return math.nan if value is None else float(value)

    def interval(self, name: str) -> tuple[float, float] | None:
        """Of the score, at 95 %, over the tracks."""
        target, _, metric = name.partition("/")
        return interval(self.tracks, figure_of("model", target, metric)) if self.tracks else None


def of_workdir(workdir: Workdir, recipe: str | None = None) -> dict[str, list[Judged]]:
    """Recipe -> the models that runs of a working directory judged, the oldest first.

    A run that took its verdict from the cache is that of before, and no new point. Of an evaluation whose files are gone, the
    metadata still know the scores, without intervals.
    """
    kept = anchors.listed(workdir)
    found: dict[str, list[Judged]] = {}
    for run in reversed(history.runs(workdir, recipe)):
        evaluation = run.outputs.get("ModelEvaluation")
        if evaluation is None or run.states.get(_JUDGE, "cached") == "cached":
            continue
        anchor = kept.get(run.pipeline)
        own = "Model" in run.outputs and anchor and workdir.here(anchor.model.origin) == run.outputs["Model"].uri
        words = ("pinned" if anchor.pinned else "best so far") if own and anchor else ""
        judged = _read(evaluation.uri, str(run.number), run.started, run, words)
        found.setdefault(run.pipeline, []).append(judged)
    return found


def of_artifacts(place: str, recipe: str | None = None) -> dict[str, list[Judged]]:
    """The same of the evaluations below a directory or a place in a bucket, as the pipeline root of a cluster is.

    They are ordered by the time at which their files were written, and named by their order.
    """
    directories = [os.path.dirname(name) for name in storage.files(place) if os.path.basename(name) == _SUMMARY]
    dated = []
    for each in directories:
        directory = os.path.join(place, each)
        modified = storage.state(os.path.join(directory, _SUMMARY)).modified_ns
        dated.append((modified, directory))
    found: dict[str, list[Judged]] = {}
    for modified, directory in sorted(dated):
        summary = _json(directory, _SUMMARY)
        ours = isinstance(summary, dict) and {"name", "tracks", "versions", "scores"} <= summary.keys()
        if not ours or "model" not in summary["scores"] or recipe not in (None, summary["name"]):
            continue  # of another program, or of a judge that needs no model
        name = summary["name"]
        judged = found.setdefault(name, [])
        judged.append(_read(directory, str(len(judged) + 1), datetime.fromtimestamp(modified / 1e9)))
    return found


def figures_of(life: Sequence[Judged]) -> list[str]:
    """The names of all scores that any of the models has, as they come."""
    return list(dict.fromkeys(name for each in life for name in each.summary["scores"].get("model", {})))


def _read(directory: str, name: str, when: datetime, run: history.Run | None = None, anchor: str = "") -> Judged:
    names = storage.listed(directory)
    drift = _json(directory, _DRIFT) if _DRIFT in names else {}
    judged = tracks(directory) if _SCORES in names else ()
    if _SUMMARY not in names and run:
        told = run.outputs["ModelEvaluation"].properties.get("tracks", 0)
        summary = {"name": run.pipeline, "tracks": told, "versions": {}, "scores": {"model": run.scores}}
    else:
        summary = _json(directory, _SUMMARY)
    return Judged(name, when, summary, judged, drift, run, anchor)


def _json(directory: str, name: str) -> dict[str, Any]:
    file = os.path.join(directory, name)
    with storage.told(file):
        try:
            return json.loads(storage.path(file).read_text())
        except json.JSONDecodeError as error:
            raise ValueError(f"{file} is no JSON: {error}") from error


def tracks(directory: str) -> tuple[TrackScores, ...]:
    """Of an evaluation, the model's figures by track, as scores.csv has them; seconds in thousandths stand for samples."""
    with storage.told(directory):
        rows = [*csv.DictReader(storage.path(os.path.join(directory, _SCORES)).read_text().splitlines())]
    values: dict[tuple[str, str], dict[Figure, tuple[float, ...]]] = {}
    for row in rows:
        if row["method"] == "model":
            figure = Figure("model", row["target"], row["version"], row["metric"])
            values.setdefault((row["track"], row["seconds"]), {})[figure] = (float(row["value_db"]),)
    return tuple(TrackScores(name, round(1000 * float(seconds)), 1000, of) for (name, seconds), of in values.items())
