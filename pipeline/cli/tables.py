"""Tables for the terminal: runs, models and scores."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from rich import box
from rich.table import Column, Table
from rich.text import Text

from models.directory import DEFAULT, ModelDirectory
from pipeline.common.terminal import Terminal
from pipeline.config import config
from pipeline.runs.workdir import Workdir
from pipeline.studies import network_facts

if TYPE_CHECKING:
    from pipeline.evaluation.standalone import Judged
    from pipeline.runs.history import Run
    from pipeline.studies.result import Result

console = Terminal(highlight=False)

# Of `print_runs`, each with the width of its longest word.
_COLUMNS = {
    **{"run": 3, "started": 10, "recipe": 8, "states": 7, "training": 8},
    **{"blessed": 7, "version": 10, "vocals": 8},
}
VERDICTS = {True: "[green]yes[/green]", False: "[red]no[/red]", None: "–"}


def print_run(run: Run) -> None:
    """What one run decided, with the reasons, and where everything lies."""
    if run.trained_by:
        since = f"run {run.trained_by.number} of {run.trained_by.started:%Y-%m-%d %H:%M:%S}"
        console.print(f"no new data since {since}: nothing to train", markup=False, soft_wrap=True)
    for line in run.reasons:
        console.print(line, style=None if line.startswith("ok") else "red", markup=False, soft_wrap=True)
    if len(run.training.get("stages", ())) > 1 or "warm_start" in run.training:
        console.print(f"trained: {_trained(run)}", markup=False, soft_wrap=True)
    if run.teacher:
        console.print(f"teacher: {run.teacher.saved_model}", markup=False, soft_wrap=True)
    if run.report:
        console.print(f"report: {run.report}", markup=False, soft_wrap=True)
    if run.model:
        console.print(f"model: {run.model}", markup=False, soft_wrap=True)
    if run.pushed:
        console.print(f"serving: {run.pushed}", markup=False, soft_wrap=True)
    elif not run.accepted and run.blessed is not None:
        console.print("[red]not pushed:[/red] the model was refused; what is served does not change")


def print_runs(workdir: Workdir) -> None:
    """Every run that the metadata knows, newest first, and the anchor of every recipe."""
    from pipeline.runs import anchors, history

    found = history.runs(workdir)
    if not found:
        console.print(f"no runs in {workdir.root} yet; `stemline demo` makes one", markup=False)
        return
    table = Table(title=f"Runs in {workdir.root}", box=box.SIMPLE, pad_edge=False, padding=(0, 1, 0, 0))
    for name, widest in _COLUMNS.items():  # a narrow terminal takes more lines, and nothing away
        table.add_column(name, overflow="fold", min_width=widest)
    for run in found:
        version = run.pushed.rsplit("/", 1)[-1] if run.pushed else "–"
        halted = run.states.get("Trainer") in ("failed", "stopped")
        trained = _unfinished(workdir, run.pipeline) if halted else _trained(run)
        states = ", ".join(f"{count} {state}" for state, count in Counter(run.states.values()).items())
        row = (str(run.number), f"{run.started:%Y-%m-%d %H:%M:%S}", run.pipeline, states, trained)
        table.add_row(*row, _verdicts(run), version, _headline(run.scores))
    console.print(table)
    for recipe, anchor in anchors.listed(workdir).items():
        made = next((f"run {run.number}" for run in found if _trained_there(run, anchor.model.origin)), "a model")
        words = f"anchor of {recipe}: {made}, {anchor.words}, in {anchor.model.path}"
        console.print(words, markup=False, soft_wrap=True)


def print_diff(workdir: Workdir, a: str, b: str) -> None:
    """Two runs side by side, by the names that `print_runs` shows."""
    from pipeline.runs import compare, history

    found = history.runs(workdir)
    if not found:
        raise ValueError(f"there are no runs in {workdir.root} yet")
    chosen = compare.find(found, a), compare.find(found, b)
    for section in compare.sections(*chosen):
        table = Table(
            Column(section.title, overflow="fold"), Column("A", overflow="fold"), Column("B", overflow="fold")
        )
        changes = any(row.change is not None for row in section.rows)
        if changes:
            table.add_column("B - A", justify="right", no_wrap=True)
        for row in section.rows:
            style = "yellow" if row.a != row.b and row.change is None else None
            cells = (Text(row.name), Text(row.a, style or ""), Text(row.b, style or ""))
            table.add_row(*cells, *([_change(row.change)] if changes else []))
        if section.rows:
            console.print(table)
        for note in section.notes:
            console.print(note, markup=False, soft_wrap=True)


def _change(difference_db: float | None) -> Text:
    """Green for better, red for worse, in two decimals; what rounds to nothing has no colour."""
    if difference_db is None:
        return Text("–")
    told = f"{difference_db:+.2f}"
    return Text(told, "" if float(told) == 0 else "green" if difference_db > 0 else "red")


def print_study(result: Result, directory: Path) -> None:
    """A study in short, what failed, and where the long form lies."""
    from pipeline.studies import page

    shown = page.table(result)
    short = ("variant", "parameters", "CPU min", f"{result.target} ", "real-time")
    narrow = [place for place, head in enumerate(shown.head) if head.startswith(short) or "−" in head]
    table = Table(*(Column(Text(shown.head[place]), overflow="fold") for place in narrow))
    for row in shown.rows:
        table.add_row(*(Text(row[place].strip("*")) for place in narrow))
    console.print(table)
    for trial in result.failed:
        console.print(f"{trial.variant} failed: {trial.problem}", style="red", markup=False, soft_wrap=True)
    for path in sorted(directory.glob(f"{result.name}[.-]*")):
        console.print(f"wrote {path}", markup=False, soft_wrap=True)


def print_judged(judged: Judged, written: Iterable[Path]) -> None:
    """Scores of separated files, one table for each version, what was left out or fitted, and the gate's reasons."""
    from pipeline.cli import matches
    from pipeline.evaluation.scores import VERSIONS, describe, score_name

    result = judged.evaluation
    for version in result.settings.metrics:
        words = describe(version, result.settings.window_seconds)
        console.print(f"{words}; {len(result.tracks)} track(s), in dB", markup=False, soft_wrap=True)
        table = Table("target", "method")
        names = [score_name("", f"{version}/{metric}") for metric in VERSIONS[version]]
        for name in names:
            table.add_column(name.rpartition("/")[2], justify="right", no_wrap=True)
        for target in result.targets:
            for method in result.methods:
                values = [result.scores[method].get(f"{target}{name}", math.nan) for name in names]
                shown = ("–" if math.isnan(value) else f"{value:.2f}" for value in values)
                table.add_row(target, judged.labels.get(method, method), *shown)
            table.add_section()
        console.print(table)
    for name, reason in sorted(judged.bad.items()):
        matches.say(console, f"left out: {name}: {reason}", "yellow")
    for line in matches.fitted(judged):
        matches.say(console, line)
    for line in judged.reasons:
        matches.say(console, line, None if line.startswith("ok") else "red")
    for path in written:
        matches.say(console, f"wrote {path}")


def print_models(workdir: Workdir) -> None:
    """Every system with its paper, sizes, latency, published score and ours; answers without TensorFlow."""
    from pipeline.studies.result import short

    facts, ours = network_facts.known(), _ours(workdir)
    table = Table("system", "paper", title="Systems", show_lines=True, box=box.SIMPLE, pad_edge=False)
    table.add_column("parameters", justify="right", no_wrap=True)
    table.add_column("online", no_wrap=True)
    table.add_column("ours", no_wrap=True)
    table.columns[0].no_wrap = True
    published = Table.grid("system", "published", padding=(0, 2))
    published.columns[1].overflow = "fold"  # never an ellipsis in a figure
    for system, recipes in _systems().items():
        told = config.load(recipes[0])
        known = [facts[name] for name in recipes if name in facts]
        counts = "\n".join(f"{each['parameters']:,}" for each in known)
        online = "\n".join("no" if (ms := each["latency_ms"]) is None else f"{ms:.0f} ms" for each in known)
        table.add_row(system, short(told.paper), counts, online, ours.get(system, "–"))
        published.add_row(system, told.published)
    console.print(table)
    console.print("published:")
    console.print(published)
    notes = (
        f"recipes: {', '.join(config.recipe_names())}",
        f"parameters, online: of the recipe at the published settings, then of the one for MIR-1K ({config.BENCHMARK_SUFFIX})",
        "online: with its algorithmic latency; no: it needs the whole file",
        f"ours: vocals, of the recipe's newest run in {workdir.root}, else of the leaderboard that ships with the project",
    )
    for note in (*notes, *_default()):
        console.print(note, markup=False, soft_wrap=True)


def _default() -> Iterator[str]:
    """What is to be told of the model that comes with Stemline."""
    if (model := ModelDirectory.newest(DEFAULT)) is None:
        return
    told = model.description
    kind = f"{told['network']}, {told['parameters']:,} parameters, {told['sample_rate_hz']} Hz, {', '.join(told['targets'])}"
    yield f"comes with Stemline: {DEFAULT.name} version {model.version} ({kind}); its card: {DEFAULT / 'README.md'}"


def _verdicts(run: Run) -> str:
    """The judge's verdict, and that of the serving check where it is another."""
    differs = run.infra_blessed is not None and run.infra_blessed != run.blessed
    return VERDICTS[run.blessed] + (f", infra {VERDICTS[run.infra_blessed]}" if differs else "")


def _trained_there(run: Run, model_uri: str) -> bool:
    """Whether the run itself trained the model at a URI."""
    return run.trained_by is None and "Model" in run.outputs and run.outputs["Model"].uri == model_uri


def _systems() -> dict[str, list[str]]:
    """System -> its recipes, the one at the published settings first; a system has a recipe for MIR-1K."""
    names = config.recipe_names()
    systems = [name.removesuffix(config.BENCHMARK_SUFFIX) for name in names if name.endswith(config.BENCHMARK_SUFFIX)]
    return {
        system: [name for name in (system, system + config.BENCHMARK_SUFFIX) if name in names]
        for system in sorted(systems)
    }


def _ours(workdir: Workdir) -> dict[str, str]:
    """System -> its score: of the newest run here that has one, else of the leaderboard that ships."""
    from pipeline.studies.result import Result

    scores = {trial.variant: _headline(trial.scores) for trial in Result.shipped().finished}
    if not (workdir.metadata.exists() or workdir.metadata_note.exists()):
        return scores
    from pipeline.runs import history

    found = [run for run in reversed(history.runs(workdir)) if run.scores]
    return scores | {run.pipeline.removesuffix(config.BENCHMARK_SUFFIX): _headline(run.scores) for run in found}


def _trained(run: Run) -> str:
    """`fcn 110 + blstm 180 + own 310 steps, 4.0 CPU min` of what a run trained; of one stage the number of steps only."""
    if not run.training:
        return "–"
    stages = run.training.get("stages") or [run.training]  # before there were stages, the whole training was one
    steps = " + ".join(
        f"{stage['name']} {stage['steps']}" if len(stages) > 1 else f"{stage['steps']}" for stage in stages
    )
    return f"{steps} steps, {run.training['cpu_minutes']:.1f} CPU min{_started(run)}"


def _started(run: Run) -> str:
    """`, from demo version 17` of a warm start; `, from scratch` where one was wanted and could not be."""
    start = run.training.get("warm_start")
    if start is None:
        return ""
    if start["reason"]:
        return ", from scratch"
    model = Path(start["model"])
    return f", from {model.parent.name} version {model.name}"


def _unfinished(workdir: Workdir, recipe: str) -> str:
    """`stopped in stage blstm` from the checkpoints of a training that no run has finished."""
    saved = workdir.checkpoints(recipe).glob("*/*/latest/checkpoint")
    stages = [path.parent.parent.name for path in sorted(saved, key=lambda path: path.stat().st_mtime)]
    return f"stopped in stage {stages[-1]}" if stages else "–"


def _headline(scores: Mapping[str, float]) -> str:
    """The first of the usual figures that the run has."""
    for name in ("v3/GNSDR", "v3/SDR", "v4/SDR"):
        if f"vocals/{name}" in scores:
            return f"{name} {scores[f'vocals/{name}']:.2f} dB"
    return "–"
