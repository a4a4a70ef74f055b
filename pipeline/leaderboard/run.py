"""Every system on the same data with the same budget and the same judge: which ones, in which order, and what came out.

Each system is a run of its own pipeline in a process of its own, all in one workdir, so a leaderboard that was stopped
goes on where it was. The data are ingested, validated, and judged without a model once, in a pipeline named
`leaderboard`, whose Examples the other pipelines take over.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.text import Text

from models.checked import ConfigError, nearest
from models.spec import ModelSpec
from pipeline.common import files, process
from pipeline.common.progress import console
from pipeline.config.config import BENCHMARK_SUFFIX, Config, EvaluateConfig, from_json, recipe_names, to_json
from pipeline.data import corpus
from pipeline.leaderboard import page
from pipeline.leaderboard.board import BOARD_FILE, Board, BoardEntry
from pipeline.runs.workdir import Workdir

if TYPE_CHECKING:
    from pipeline.components.graph import Stage
    from pipeline.runs.history import Run

NAME = "leaderboard"
BASELINES = ("rpca", "irm", "ibm")

# Over every recipe: one version of BSS Eval, no baselines beside each model, and no gate, so that each gets its score.
OVERRIDES = (
    "evaluate.metrics=[v3]",
    "evaluate.baselines=[]",
    "gate.thresholds=[]",
    "gate.better_than_mixture=false",
    "gate.min_tracks=1",
    "gate.budgets={}",
)


def recipes(systems: Iterable[str] = ()) -> list[str]:
    """The recipe of every system asked for (a YAML file is its own), or of all systems that have one.

    Raises:
      ConfigError: an unknown system; the nearest is named.
    """
    known = {name.removesuffix(BENCHMARK_SUFFIX): name for name in recipe_names() if name.endswith(BENCHMARK_SUFFIX)}
    chosen = list(systems) or sorted(known)
    for system in chosen:
        if system not in known and not system.endswith((".yaml", ".yml")):
            raise ConfigError(f"unknown system {system!r}; {nearest(system, sorted(known))}")
    return list(dict.fromkeys(known.get(system, system) for system in chosen))


def in_order(configs: Sequence[Config], load: Callable[[str], Config]) -> list[Config]:
    """Every system after its teacher, which joins when it was not asked for; otherwise as they were given.

    Raises:
      ConfigError: two recipes of one name, teachers in a circle, or recipes that read or judge other data.
    """
    given, ordered = {config.name: config for config in configs}, dict[str, Config]()
    if len(given) < len(configs):
        raise ConfigError(f"two recipes have one name; given: {', '.join(config.name for config in configs)}")

    def add(config: Config, pupils: tuple[str, ...] = ()) -> None:
        if config.name in pupils:
            raise ConfigError(f"recipes teach each other: {' -> '.join((*pupils, config.name))}")
        if teacher := config.train.teacher:
            add(given.get(teacher) or load(teacher), (*pupils, config.name))
        ordered.setdefault(config.name, config)

    for config in configs:
        add(config)
    _check_alike(list(ordered.values()))
    return list(ordered.values())


def run(configs: Sequence[Config], workdir: Workdir, output: Path, command: str) -> Board:
    """Trains and judges the systems (as `in_order` gives them), measures their speed, and writes figures, page and plot.

    A system that fails is an entry with its `problem`; the others go on. Its figures are written as soon as it has them.

    Raises:
      ValueError: data that cannot be ingested, or another run at work in `workdir`.
    """
    console.print(f"[bold]data and baselines[/bold], then {len(configs)} systems")
    shared = process.call(_pipeline, to_json(_shared(configs[0])), str(workdir.root), "baselines", None)
    old = Board.read(output)
    board = Board.begin(command, configs[0], shared.outputs["ModelEvaluation"].properties)
    for place, config in enumerate(configs, start=1):
        console.print(f"[bold]{config.system}[/bold] ({place} of {len(configs)})")
        board = board.with_entry(_entry(config, board, old, workdir, shared.outputs["Examples"].uri))
        # With the entries that systems still to come have from before: stopped now, they are not made again.
        rest = {later.name for later in configs[place:]}
        kept = [entry for entry in old.entries if entry.recipe in rest] if old else []
        whole = dataclasses.replace(board, entries=(*board.entries, *kept))
        files.write_text(output / BOARD_FILE, whole.to_json())
    board = _timed(board, workdir)
    page.write(board, output)
    return board


def _check_alike(configs: Sequence[Config]) -> None:
    for config in configs[1:]:
        for section in ("data", "evaluate"):
            ours, first = vars(getattr(config, section)), vars(getattr(configs[0], section))
            for key in (key for key in first if ours[key] != first[key]):
                raise ConfigError(
                    f"{section}.{key} of {config.name} is {ours[key]!r}, of {configs[0].name} {first[key]!r}: all systems "
                    f"of a leaderboard need the same; --set {section}.{key}=... gives it to all"
                )


def _shared(config: Config) -> Config:
    """What all systems have in common: the data, and the judging of what needs no model."""
    data = config.data
    spec = ModelSpec(targets=data.targets, sample_rate_hz=data.sample_rate_hz)
    baselines = BASELINES if "vocals" in data.targets else BASELINES[1:]
    evaluate = EvaluateConfig(metrics=("v3",), baselines=baselines, max_tracks=config.evaluate.max_tracks)
    return Config(NAME, data=data, model=spec, evaluate=evaluate)


def _pipeline(config: str, root: str, until: Stage, ingested: str | None) -> Run:
    """One pipeline run, in the process that this is called in."""
    from pipeline.orchestration import preflight

    resolved, workdir = from_json(config), Workdir(Path(root))
    preflight.check_run(resolved, corpus.usable(resolved.data), workdir)
    from pipeline.orchestration.local_runner import run_local

    return run_local(resolved, workdir, until, ingested)


def _entry(config: Config, board: Board, old: Board | None, workdir: Workdir, ingested: str) -> BoardEntry:
    """The system's entry: of the leaderboard before if nothing changed, else of a run."""
    teacher = next((entry for entry in board.entries if entry.recipe == config.train.teacher), None)
    # Changes with whatever a system's figures depend on.
    depends = (to_json(config), ingested, teacher.fingerprint if teacher else "")
    key = hashlib.sha256("\0".join(depends).encode()).hexdigest()[:16]
    before = next((entry for entry in old.entries if entry.recipe == config.name), None) if old else None
    if before and before.fingerprint == key and before.pushed and (workdir.root / before.pushed).is_dir():
        console.print("finished before")
        return before
    if teacher and teacher.problem:
        return _failed(config, key, f"its teacher {teacher.system} failed")
    try:
        done = process.call(_pipeline, to_json(config), str(workdir.root), "push", ingested)
    except process.ProcessError as error:
        return _failed(config, key, str(error))
    return BoardEntry.begin(config, key).finished(done, workdir.root)


def _failed(config: Config, key: str, problem: str) -> BoardEntry:
    console.print(Text(f"{config.system} failed: {problem}", style="red"))
    return BoardEntry.begin(config, key, problem)


def _timed(board: Board, workdir: Workdir) -> Board:
    """Every model measured in one process, one after the other; as before when all were."""
    entries = [entry for entry in board.entries if entry.pushed]
    if all(entry.real_time_factor is not None for entry in entries):
        return board
    console.print(f"[bold]speed[/bold] of {len(entries)} models on one thread")
    factors = process.call(_factors, [str(workdir.root / entry.pushed) for entry in entries])
    for entry, factor in zip(entries, factors, strict=True):
        board = board.with_entry(dataclasses.replace(entry, real_time_factor=factor))
    return board


def _factors(directories: Sequence[str]) -> list[float]:
    from pipeline.evaluation import speed

    return speed.factors(directories)
