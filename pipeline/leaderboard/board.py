"""What a leaderboard says: one entry a system, the baselines, and how all of it came about; as JSON and back."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from models.directory import ModelDirectory
from pipeline.config.config import Config

if TYPE_CHECKING:
    from pipeline.runs.history import Run

BOARD_FILE = "leaderboard.json"
BSS_EVAL = "v3"


@dataclass(frozen=True)
class BoardEntry:
    """One system. `scores`: `<target>/<version>/<metric>` -> dB; `problem`: why there is no more; `pushed`: in the workdir."""

    system: str
    recipe: str
    paper: str
    published: str
    fingerprint: str
    date: str = ""
    parameters: int | None = None
    latency_ms: float | None = None
    cpu_minutes: float | None = None
    steps: int | None = None
    scores: Mapping[str, float] = dataclasses.field(default_factory=dict)
    real_time_factor: float | None = None
    pushed: str = ""
    problem: str = ""

    @property
    def online(self) -> bool:
        """Answers while it listens: the exported model has a latency."""
        return self.latency_ms is not None

    @classmethod
    def begin(cls, config: Config, fingerprint: str, problem: str = "") -> BoardEntry:
        """An entry before its run, or one whose run failed."""
        return cls(config.system, config.name, config.paper, config.published, fingerprint, problem=problem)

    def finished(self, run: Run, root: Path) -> BoardEntry:
        """The entry with what its run put out; a model that was not pushed is a problem."""
        description = ModelDirectory(run.pushed or run.model or "").description
        refused = [reason for reason in run.reasons if not reason.startswith("ok")]
        return dataclasses.replace(
            self,
            date=f"{run.started:%Y-%m-%d}",
            parameters=description["parameters"],
            latency_ms=description.get("latency_ms"),
            cpu_minutes=run.training.get("cpu_minutes"),
            steps=run.training.get("steps"),
            scores=run.scores,
            pushed=os.path.relpath(run.pushed, root) if run.pushed else "",
            problem="" if run.pushed else f"not pushed: {'; '.join(refused)}",
        )

    def score(self, target: str, metric: str) -> float | None:
        """A figure in dB, None where there is none."""
        return self.scores.get(score_name(target, metric))


@dataclass(frozen=True)
class Board:
    """A leaderboard. `baselines`: method -> `<target>/<version>/<metric>` -> dB; `data`: its layout and folder's name."""

    command: str
    data: str
    tracks: int
    targets: tuple[str, ...]
    cpu_minutes: float | None
    machine: str
    software: str
    baselines: Mapping[str, Mapping[str, float]]
    entries: tuple[BoardEntry, ...] = ()

    @classmethod
    def begin(cls, command: str, config: Config, evaluation: Mapping[str, float | str]) -> Board:
        """A board without systems: what a configuration and the evaluation of the baselines say."""
        baselines: dict[str, dict[str, float]] = {}
        for name, value in evaluation.items():
            method, _, score = name.partition("/")
            if score.count("/") == 2:
                baselines.setdefault(method, {})[score] = float(value)
        folder = f", folder {Path(config.data.path).name}" if config.data.path else ""
        return cls(
            command=command,
            data=f"format {config.data.format}{folder}, {config.data.sample_rate_hz} Hz",
            tracks=int(evaluation["tracks"]),
            targets=tuple(config.data.targets),
            cpu_minutes=config.train.cpu_minutes,
            machine=_machine(),
            software=f"TensorFlow {importlib.metadata.version('tensorflow')}, Python {platform.python_version()}",
            baselines=baselines,
        )

    @classmethod
    def from_json(cls, text: str) -> Board:
        """The inverse of `to_json`.

        Raises:
          ValueError: the text is something else.
        """
        try:
            fields = json.loads(text)
            entries = tuple(BoardEntry(**each) for each in fields.pop("entries"))
            return cls(**{**fields, "targets": tuple(fields["targets"]), "entries": entries})
        except (TypeError, KeyError, AttributeError, json.JSONDecodeError) as error:
            raise ValueError(f"this is no leaderboard that this version wrote: {error}") from error

    @classmethod
    def read(cls, directory: Path) -> Board | None:
        """The board that was written to a directory; None when there is none, or none of this version."""
        path = directory / BOARD_FILE
        try:
            return cls.from_json(path.read_text()) if path.exists() else None
        except ValueError:
            return None

    @classmethod
    def shipped(cls) -> Board:
        """The board that comes with the project."""
        return cls.from_json(resources.files("pipeline.leaderboard.results").joinpath(BOARD_FILE).read_text())

    def to_json(self) -> str:
        """The board as JSON text."""
        return json.dumps(dataclasses.asdict(self), indent=1) + "\n"

    @property
    def target(self) -> str:
        """The target that systems are ranked by."""
        return "vocals" if "vocals" in self.targets else self.targets[0]

    @property
    def ranked(self) -> list[BoardEntry]:
        """The systems that have a score, the best first."""
        scored = [entry for entry in self.entries if entry.score(self.target, "GNSDR") is not None]
        return sorted(scored, key=lambda entry: entry.score(self.target, "GNSDR") or 0.0, reverse=True)

    @property
    def failed(self) -> list[BoardEntry]:
        """The systems that something went wrong with."""
        return [entry for entry in self.entries if entry.problem]

    def with_entry(self, entry: BoardEntry) -> Board:
        """With the entry in the place of an earlier one of the same recipe, or at the end."""
        entries = {each.recipe: each for each in self.entries} | {entry.recipe: entry}
        return dataclasses.replace(self, entries=tuple(entries.values()))


def score_name(target: str, metric: str) -> str:
    """The key of a score."""
    return f"{target}/{BSS_EVAL}/{metric}"


def short(paper: str) -> str:
    """`Huang et al., MIREX 2014` of `Huang, Kim, ...: Title (MIREX 2014)`; two authors are both named."""
    authors, _, title = paper.partition(":")
    names = [name.strip() for name in authors.split(",")]
    who = f"{names[0]} et al." if len(names) > 2 else " & ".join(names)
    venue = title.rpartition("(")[2].rstrip(") ") if "(" in title else ""
    return f"{who}, {venue}" if venue else who


def _machine() -> str:
    """Processor, how many of it, and memory."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{names[0] if names else platform.machine()}, {os.cpu_count()} logical processors, {gib:.0f} GiB"
