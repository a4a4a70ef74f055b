"""Files of an evaluation: museval-format JSON, a CSV of every figure, and a summary.

museval's own `EvalStore.add_eval_dir` and `MethodStore.add_eval_dir` read `museval/<version>/<method>`, one JSON for
each track below `test/`. Every file is written under a temporary name and then moved into place.
"""

import csv
import dataclasses
import importlib.metadata
import io
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from pydantic import TypeAdapter

from pipeline.common import files
from pipeline.evaluation import silences
from pipeline.evaluation.bss_eval.score import METRICS
from pipeline.evaluation.evaluation import Evaluation
from pipeline.evaluation.outputs.output_facts import OutputFacts
from pipeline.evaluation.scores import Figure, TrackScores, describe

_OUTPUT_FACTS = TypeAdapter(OutputFacts)


def write(evaluation: Evaluation, directory: Path) -> None:
    """Writes `museval/`, `scores.csv` and `summary.json` into `directory`."""
    for track in evaluation.tracks:
        for version in evaluation.settings.metrics:
            for method in evaluation.methods:
                store = museval_scores(track, method, version, evaluation.settings.window_seconds)
                target = directory / "museval" / version / method / "test" / f"{file_name(track.track)}.json"
                files.write_text(target, json.dumps(store, indent=2))
    files.write_text(directory / "scores.csv", _csv(evaluation))
    files.write_text(directory / "summary.json", json.dumps(summary(evaluation), indent=2, allow_nan=False))


def museval_scores(track: TrackScores, method: str, version: str, window_seconds: float) -> dict[str, Any]:
    """One method's scores of one track as museval's TrackStore holds them; v3 is one frame of the track's length.

    NaN and infinity become NaN, which museval's aggregation skips.
    """
    seconds = track.samples / track.sample_rate_hz if version == "v3" else window_seconds
    targets = dict.fromkeys(f.target for f in track.values if (f.method, f.version) == (method, version))
    return {
        "targets": [{"name": name, "frames": _frames(track, method, version, name, seconds)} for name in targets],
        "museval_version": importlib.metadata.version("museval"),
    }


def summary(evaluation: Evaluation) -> dict[str, Any]:
    """The aggregated scores, how they came about, what sounds in silence and the gate's verdict; figures that are not finite are null."""
    verdict = {"blessed": evaluation.verdict.blessed, "reasons": list(evaluation.verdict.reasons)}
    return {
        "name": evaluation.name,
        "tracks": len(evaluation.tracks),
        "targets": list(evaluation.targets),
        "versions": {v: describe(v, evaluation.settings.window_seconds) for v in evaluation.settings.metrics},
        "scores": {
            method: {name: value if math.isfinite(value) else None for name, value in evaluation.scores[method].items()}
            for method in evaluation.methods
        },
        "silence": {
            target: {
                name: None if value in (math.inf, -math.inf) or value != value else value
                for name, value in vars(each).items()
            }
            for target, each in silences.by_target(evaluation.tracks).items()
        },
        **({"cost": dataclasses.asdict(evaluation.cost)} if evaluation.cost else {}),
        "outputs": {target: _outputs(evaluation, target) for target in evaluation.targets},
        **(verdict if evaluation.gated else {}),
    }


def _outputs(evaluation: Evaluation, target: str) -> dict[str, dict[str, float]]:
    """The lowest, the median and the highest of every fact of the model's estimates over tracks, of those that are finite."""
    figures: dict[str, list[float]] = {}
    for track in evaluation.tracks:
        if target in track.outputs:
            for name, value in _figures(dataclasses.asdict(track.outputs[target])):
                figures.setdefault(name, []).append(value)
    return {name: {"low": min(v), "median": float(np.median(v)), "high": max(v)} for name, v in figures.items()}


def _figures(facts: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    """Finite numbers of facts within facts: `image/width_db`."""
    for name, value in facts.items():
        if isinstance(value, Mapping):
            yield from _figures(value, f"{prefix}{name}/")
        elif isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            yield prefix + name, float(value)


def to_json(track: TrackScores) -> str:
    """One track's scores as text; `from_json` is the inverse."""
    values = [[*figure, list(frames)] for figure, frames in track.values.items()]
    outputs = {target: dataclasses.asdict(facts) for target, facts in track.outputs.items()}
    return json.dumps({**vars(track), "values": values, "outputs": outputs})


def from_json(text: str) -> TrackScores:
    """The inverse of `to_json`."""
    fields = json.loads(text)
    values = {Figure(*names): tuple(frames) for *names, frames in fields["values"]}
    outputs = {target: _OUTPUT_FACTS.validate_python(facts) for target, facts in fields["outputs"].items()}
    return TrackScores(**{**fields, "values": values, "outputs": outputs})


def file_name(track: str) -> str:
    """A track's name as one path component: itself, unless it holds a separator or begins with a dot."""
    name = quote(track, safe=" !#$&'()+,;=@[]^_`{}~")
    return f"%2E{name[1:]}" if name.startswith(".") else name


def _frames(track: TrackScores, method: str, version: str, target: str, seconds: float) -> list[dict[str, Any]]:
    rows = {m: track.values.get(Figure(method, target, version, m), ()) for m in METRICS["v4"]}
    count = max(len(row) for row in rows.values())
    rows = {
        m: [value if math.isfinite(value) else math.nan for value in row or [math.nan] * count]
        for m, row in rows.items()
    }
    return [
        {"time": i * seconds, "duration": seconds, "metrics": {metric: row[i] for metric, row in rows.items()}}
        for i in range(count)
    ]


def _csv(evaluation: Evaluation) -> str:
    """A line for each track, method, target, version and metric; the value is the median over frames."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["track", "seconds", *Figure._fields, "window", "value_db"])
    for track in evaluation.tracks:
        seconds = f"{track.samples / track.sample_rate_hz:.3f}"
        for figure in track.values:
            window = "track" if figure.version == "v3" else f"{evaluation.settings.window_seconds:g} s"
            writer.writerow([track.track, seconds, *figure, window, f"{track.score(figure):.5f}"])
    return text.getvalue()
