"""What a cluster has run and will run, as tables."""

from __future__ import annotations

from datetime import datetime

from rich.markup import escape
from rich.table import Table

from pipeline.common.progress import console
from pipeline.orchestration.cluster.client import Cluster
from pipeline.orchestration.cluster.watch import End

_COLOURS = {"SUCCEEDED": "green", "FAILED": "red", "RUNNING": "yellow"}
_ENDS = {
    End.SUCCEEDED: "succeeded: the model is served",
    End.REFUSED: "refused: the task PushGate has failed, and what was served is served still",
    End.FAILED: "failed: the run is over without a model",
}


def print_status(cluster: Cluster, experiment: str, number: int) -> None:
    """The schedules of an experiment and its last `number` runs."""
    schedules = Table("schedule", "cron", "state", title=f"Schedules of {experiment!r} at {cluster.host}")
    for run in cluster.recurring(experiment):
        cron = run.trigger.cron_schedule.cron if run.trigger and run.trigger.cron_schedule else "-"
        schedules.add_row(run.display_name, cron, "paused" if run.mode == "DISABLE" else "active")
    runs = Table("run", "state", "began", "took", "why", title="Last runs")
    for run in cluster.runs(experiment, number):
        state = run.state or "PENDING"
        why = escape(run.error.message or "") if run.error else ""
        began = f"{run.created_at:%Y-%m-%d %H:%M}" if run.created_at else "-"
        runs.add_row(run.display_name, _coloured(state), began, _duration(run.created_at, run.finished_at), why)
    for table, nothing in ((schedules, "no schedule"), (runs, "no run yet")):
        console.print(table if table.row_count else f"{nothing} in {experiment!r}")


def print_task(name: str, state: str, why: str) -> None:
    """A line for what a task has come to."""
    console.print(
        f"  {name}: {_coloured(state)}" + (f", {escape(' '.join(why.split()))}" if why else ""), soft_wrap=True
    )


def print_end(end: End) -> None:
    """How a run ended, in words."""
    console.print(_ENDS[end])


def _coloured(state: str) -> str:
    return f"[{_COLOURS[state]}]{state.lower()}[/]" if state in _COLOURS else state.lower()


def _duration(begun: datetime | None, ended: datetime | None) -> str:
    if not begun or not ended or ended < begun:
        return "-"
    return str(ended - begun).split(".")[0]
