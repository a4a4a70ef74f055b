"""Tables for the terminal: runs, models and scores."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console
from rich.table import Table

import models
from pipeline import config, records
from pipeline.workdir import Workdir

console = Console(highlight=False)

VERDICTS = {True: "[green]yes[/green]", False: "[red]no[/red]", None: "–"}


def print_run(run: records.Run) -> None:
    """What one run decided, with the reasons, and where everything lies."""
    for line in run.reasons:
        console.print(line, style=None if line.startswith("ok") else "red", markup=False, soft_wrap=True)
    if run.report:
        console.print(f"report: {run.report}", markup=False, soft_wrap=True)
    if run.model:
        console.print(f"model: {run.model}", markup=False, soft_wrap=True)
    if run.pushed:
        console.print(f"serving: {run.pushed}", markup=False, soft_wrap=True)
    elif not run.accepted and run.blessed is not None:
        console.print("[red]not pushed:[/red] the model was refused; what is served does not change")


def print_runs(workdir: Workdir) -> None:
    """Every run that the metadata knows, newest first."""
    found = records.runs(workdir)
    if not found:
        console.print(f"no runs in {workdir.root} yet; `stemline demo` makes one", markup=False)
        return
    table = Table(
        "started",
        "recipe",
        "components",
        "blessed",
        "infra",
        "served version",
        "vocals",
        title=f"Runs in {workdir.root}",
    )
    for run in found:
        version = run.pushed.rsplit("/", 1)[-1] if run.pushed else "–"
        row = (f"{run.started:%Y-%m-%d %H:%M:%S}", run.pipeline, _states(run.states.values()), VERDICTS[run.blessed])
        table.add_row(*row, VERDICTS[run.infra_blessed], version, _headline(run.scores))
    console.print(table)


def print_models() -> None:
    """Recipes with their network, parameters, paper and published score."""
    table = Table("recipe", "network", "parameters", "paper", "published", title="Recipes")
    for name in config.recipe_names():
        loaded = config.load(name)
        model = loaded.model
        network = models.build(model.network, model.bins, model.channels, len(model.targets), **model.sizes)
        table.add_row(name, model.network, f"{network.count_params():,}", loaded.paper, loaded.published)
    console.print(table)
    console.print(f"networks: {', '.join(models.names())}", markup=False)


def _states(states: Iterable[str]) -> str:
    counts: dict[str, int] = {}
    for state in states:
        counts[state] = counts.get(state, 0) + 1
    return ", ".join(f"{count} {state}" for state, count in counts.items())


def _headline(scores: dict[str, float]) -> str:
    """The first of the usual figures that the run has."""
    for name in ("v3/GNSDR", "v3/SDR", "v4/SDR"):
        if f"vocals/{name}" in scores:
            return f"{name} {scores[f'vocals/{name}']:.2f} dB"
    return "–"
