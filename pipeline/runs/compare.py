"""`stemline runs diff A B`: two runs side by side, from the metadata and the files of their artifacts."""

from __future__ import annotations

import csv
import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from models.checked import nearest
from models.directory import ModelDirectory
from pipeline.config.gate import PairedConfig
from pipeline.evaluation.gate import paired
from pipeline.runs.history import Run

LATEST, PREVIOUS = "latest", "previous"
NONE = "–"

_TRACKS = "tracks.json"  # pipeline.data.catalogue.FILE, whose module needs TensorFlow
_BY_METADATA = ("evaluate", "gate")  # sections that the judge was given; all others lie beside the model
_AGGREGATIONS: Mapping[str, paired.Aggregation] = {"v3": "mean", "v4": "median"}


@dataclass(frozen=True)
class Row:
    """One thing of both runs in words; `change` is B - A where more is better, and None for what has no better."""

    name: str
    a: str
    b: str
    change: float | None = field(default=None, kw_only=True)


@dataclass(frozen=True)
class Section:
    """Rows that belong together, and sentences below them."""

    title: str
    rows: tuple[Row, ...] = ()
    notes: tuple[str, ...] = ()


def find(runs: Sequence[Run], name: str) -> Run:
    """The run of that name: its number, `latest`, `previous`, or how its start begins (`2026-11-20 16:44`).

    Args:
        runs: newest first, as `history.runs` returns them; the oldest has number 1.

    Raises:
        ValueError: no run or more than one has the name; the sentence names the nearest.
    """
    named = {str(len(runs) - place): run for place, run in enumerate(runs)}
    named |= dict(zip((LATEST, PREVIOUS), runs, strict=False))
    if name in named:
        return named[name]
    starts = [run for run in runs if run.run_id.startswith(name.strip().replace(" ", "T"))] if name.strip() else []
    if len(starts) == 1:
        return starts[0]
    if starts:
        raise ValueError(f"{len(starts)} runs start with {name!r}; say more of the start, or the number")
    words = [LATEST, PREVIOUS, *(f"{run.started:%Y-%m-%d %H:%M:%S}" for run in runs)]
    told = f"1 to {len(runs)}, {LATEST}, {PREVIOUS}, or a start"
    raise ValueError(f"there is no run {name!r}; {nearest(name, words, told)}")


def document(a: Run, b: Run) -> dict[str, Any]:
    """As plain values: both runs' numbers, and `sections` of rows, whose `change_db` is B - A, and notes."""
    told = [
        {
            "title": section.title,
            "rows": [{"name": row.name, "a": row.a, "b": row.b, "change_db": row.change} for row in section.rows],
            "notes": list(section.notes),
        }
        for section in sections(a, b)
    ]
    return {"a": a.number, "b": b.number, "sections": told}


def sections(a: Run, b: Run) -> list[Section]:
    """All that is known of two runs, side by side."""
    return [
        Section("Run", tuple(_run_rows(a, b))),
        _configuration(a, b),
        _data(a, b),
        Section("Training", tuple(_training_rows(a, b))),
        Section("Scores in dB", tuple(_score_rows(a, b))),
        _tracks(a, b),
        _verdict(a, b),
    ]


def _run_rows(a: Run, b: Run) -> Iterator[Row]:
    yield Row("started", *(f"{run.started:%Y-%m-%d %H:%M:%S}" for run in (a, b)))
    yield Row("recipe", a.pipeline, b.pipeline)
    for node in dict.fromkeys((*a.states, *b.states)):
        yield Row(node, a.states.get(node, NONE), b.states.get(node, NONE))


def _configuration(a: Run, b: Run) -> Section:
    left, right = _flat(_config(a)), _flat(_config(b))
    keys = [key for key in dict.fromkeys((*left, *right)) if left.get(key) != right.get(key)]
    rows = tuple(Row(key, left.get(key, NONE), right.get(key, NONE)) for key in keys)
    if not left or not right:
        return Section("Configuration", notes=("a run that trained and judged nothing has left no configuration",))
    return Section("Configuration", rows, () if rows else ("no difference",))


def _config(run: Run) -> dict[str, Any]:
    """The resolved configuration: what the model was trained with, and what it was judged by."""
    judged = json.loads(run.judged_by) if run.judged_by else {}
    file = ModelDirectory(run.model).config_file if run.model else None
    trained = json.loads(file.read_text()) if file and file.is_file() else {}
    return {**judged, **trained, **{section: judged[section] for section in _BY_METADATA if section in judged}}


def _flat(value: Any, where: str = "") -> dict[str, str]:
    """`{"train.steps": "2000", ...}`; lists of sections by their index."""
    if isinstance(value, dict):
        inner = value.items()
    elif isinstance(value, list) and any(isinstance(each, dict) for each in value):
        inner = enumerate(value)
    else:
        return {where: json.dumps(value, ensure_ascii=False)}
    return {key: text for name, each in inner for key, text in _flat(each, f"{where}.{name}".lstrip(".")).items()}


def _data(a: Run, b: Run) -> Section:
    """Tracks and hours of every split, and whether their audio is the same."""
    left, right = _splits(a), _splits(b)
    rows = tuple(
        Row(split, _amount(left.get(split, [])), _amount(right.get(split, [])))
        for split in dict.fromkeys((*left, *right))
    )
    changed = [row.name for row in rows if _content(left.get(row.name)) != _content(right.get(row.name))]
    if not left or not right:
        return Section("Data", rows, ("a run has left no list of its tracks",))
    return Section("Data", rows, (f"different audio in {', '.join(changed)}" if changed else "the same audio",))


def _splits(run: Run) -> dict[str, list[dict[str, Any]]]:
    examples = run.outputs.get("Examples")
    path = Path(examples.uri, _TRACKS) if examples else None
    found: dict[str, list[dict[str, Any]]] = {}
    for entry in json.loads(path.read_text()) if path and path.is_file() else ():
        found.setdefault(entry["split"], []).append(entry)
    return found


def _amount(entries: Sequence[Mapping[str, Any]]) -> str:
    hours = sum(entry["samples"] / entry["sample_rate_hz"] for entry in entries) / 3600
    return f"{len(entries)} tracks, {hours:.2f} h"


def _content(entries: Sequence[Mapping[str, Any]] | None) -> str:
    """The same for the same tracks by name and fingerprint, wherever they lie."""
    told = sorted([entry["name"], entry["fingerprint"]] for entry in entries or ())
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def _training_rows(a: Run, b: Run) -> Iterator[Row]:
    for key in ("steps", "cpu_minutes", "dev_loss", "stopped_early"):
        yield Row(key.replace("_", " "), *(_words(run.training.get(key)) for run in (a, b)))
    left, right = ({stage["name"]: stage for stage in run.training.get("stages", ())} for run in (a, b))
    for name in dict.fromkeys((*left, *right)) if max(len(left), len(right)) > 1 else ():
        yield Row(f"stage {name}", *(_words(stages.get(name, {}).get("steps")) for stages in (left, right)))


def _words(value: Any) -> str:
    if value is None:
        return NONE
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _score_rows(a: Run, b: Run) -> Iterator[Row]:
    for name in sorted({*a.scores, *b.scores}):
        left, right = a.scores.get(name, math.nan), b.scores.get(name, math.nan)
        change = right - left if math.isfinite(right - left) else None
        yield Row(name.replace("/", " "), _decibels(left), _decibels(right), change=change)


def _decibels(value: float) -> str:
    return NONE if math.isnan(value) else f"{value:.2f}"


def _tracks(a: Run, b: Run) -> Section:
    """The SDR of every target and version, track by track over what both runs judged."""
    left, right = _sdr_by_track(a), _sdr_by_track(b)
    rows, notes = [], []
    for figure in sorted({*left, *right}):
        target, version, window = figure
        label = f"{target} {version}/SDR ({window})"
        common = sorted({*left.get(figure, {})} & {*right.get(figure, {})})
        if not common:
            notes.append(f"{label}: no track that both runs judged so")
            continue
        a_scores, b_scores = [left[figure][name] for name in common], [right[figure][name] for name in common]
        told, worse = _compared(a_scores, b_scores, version)
        rows.append(Row(label, f"better on {worse}", f"better on {told.better}", change=told.difference_db))
        notes.append(_in_words(label, told, len({*left[figure]} ^ {*right[figure]})))
    return Section("Track by track", tuple(rows), tuple(notes))


def _compared(
    a: Sequence[tuple[float, float]], b: Sequence[tuple[float, float]], version: str
) -> tuple[paired.Comparison, int]:
    """B against A, and on how many tracks B is worse; a, b: (SDR, seconds) of the same tracks."""
    ours, theirs, seconds = np.array(b)[:, 0], np.array(a)[:, 0], np.array(a)[:, 1]

    def compare(model: np.ndarray, baseline: np.ndarray) -> paired.Comparison:
        return paired.compare(model, baseline, seconds, _AGGREGATIONS[version], 0.0, PairedConfig())

    return compare(ours, theirs), compare(theirs, ours).better


def _in_words(label: str, told: paired.Comparison, alone: int) -> str:
    words = f"{label}: B less A on {told.tracks} common tracks"
    if told.decided:
        confidence = 2 * told.settings.confidence - 1
        words += f", {confidence:.0%} interval {told.low_db:+.2f} to {told.high_db:+.2f} dB"
    else:
        words += f", too few to decide (fewer than {told.settings.min_tracks})"
    words += f"; {told.left_out} undefined" if told.left_out else ""
    return words + (f"; {alone} judged by one run only" if alone else "")


def _sdr_by_track(run: Run) -> dict[tuple[str, str, str], dict[str, tuple[float, float]]]:
    """(target, version, window) -> track -> (SDR of the model in dB, seconds)."""
    evaluation = run.outputs.get("ModelEvaluation")
    path = Path(evaluation.uri, "scores.csv") if evaluation else None
    found: dict[tuple[str, str, str], dict[str, tuple[float, float]]] = {}
    if path and path.is_file():
        with path.open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                if (row["method"], row["metric"]) == ("model", "SDR"):
                    figure = row["target"], row["version"], row["window"]
                    found.setdefault(figure, {})[row["track"]] = float(row["value_db"]), float(row["seconds"])
    return found


def _verdict(a: Run, b: Run) -> Section:
    """What was decided, and every refusal in words."""
    rows = (
        Row("blessed", _words(a.blessed), _words(b.blessed)),
        Row("infra", _words(a.infra_blessed), _words(b.infra_blessed)),
        Row("served version", *(run.pushed.rsplit("/", 1)[-1] if run.pushed else NONE for run in (a, b))),
    )
    reasons = {"A": a.reasons, "B": b.reasons}
    return Section("Verdict", rows, tuple(f"{name}: {reason}" for name, found in reasons.items() for reason in found))
