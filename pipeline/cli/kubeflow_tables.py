"""What a cluster has run and will run, as tables."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from rich.markup import escape
from rich.table import Table

from pipeline.cli import tables
from pipeline.common.progress import console
from pipeline.orchestration.cluster.client import Cluster
from pipeline.orchestration.cluster.watch import End

_COLOURS = {"SUCCEEDED": "green", "FAILED": "red", "RUNNING": "yellow"}
_ENDS = {
    End.SUCCEEDED: "succeeded: the model is served",
    End.REFUSED: "refused: the task PushGate has failed, and what was served is served still",
    End.FAILED: "failed: the run is over without a model",
}


def status(cluster: Cluster, experiment: str, number: int) -> dict[str, Any]:
    """The schedules of an experiment and its last `number` runs, as plain values. Raises as `Cluster`."""
    schedules = [
        {
            "name": each.display_name,
            "cron": each.trigger.cron_schedule.cron if each.trigger and each.trigger.cron_schedule else None,
            "paused": each.mode == "DISABLE",
        }
        for each in cluster.recurring(experiment)
    ]
    runs = [
        {
            "name": each.display_name,
            "id": each.run_id,
            "state": each.state or "PENDING",
            "began": each.created_at.isoformat() if each.created_at else None,
            "seconds": _seconds(each.created_at, each.finished_at),
            "problem": (each.error.message or None) if each.error else None,
        }
        for each in cluster.runs(experiment, number)
    ]
    return {"host": cluster.host, "experiment": experiment, "schedules": schedules, "runs": runs}


def print_status(found: Mapping[str, Any]) -> None:
    """found: as `status` tells it."""
    experiment = found["experiment"]
    schedules = Table("schedule", "cron", "state", title=f"Schedules of {experiment!r} at {found['host']}")
    for each in found["schedules"]:
        schedules.add_row(each["name"], each["cron"] or "-", "paused" if each["paused"] else "active")
    runs = Table("run", "state", "began", "took", "why", title="Last runs")
    for each in found["runs"]:
        began = each["began"][:16].replace("T", " ") if each["began"] else "-"
        took = "-" if each["seconds"] is None else str(timedelta(seconds=int(each["seconds"])))
        runs.add_row(each["name"], _coloured(each["state"]), began, took, escape(each["problem"] or ""))
    for table, nothing in ((schedules, "no schedule"), (runs, "no run yet")):
        tables.console.print(table if table.row_count else f"{nothing} in {experiment!r}")


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


def _seconds(begun: datetime | None, ended: datetime | None) -> float | None:
    """None of a run that goes on, whose end Kubeflow puts in 1970."""
    return None if not begun or not ended or ended < begun else (ended - begun).total_seconds()
