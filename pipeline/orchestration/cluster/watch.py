"""Waiting for a run on a cluster: what its tasks come to, and how it ends."""

from __future__ import annotations

import enum
import time
from collections.abc import Callable, Collection
from typing import Any

from pipeline.config.cluster import PUSH_GATE
from pipeline.orchestration.cluster.client import Cluster, ClusterRun

POLL_SECONDS = 10.0
PATIENCE_SECONDS = 300.0  # with a cluster that does not answer: a pod that moves, a port to be forwarded again
_ENDS = ("SUCCEEDED", "SKIPPED", "FAILED", "CANCELED")
_DRIVER = "-driver"  # what Kubeflow starts before a task of this name; worth a line only where it fails


class End(enum.IntEnum):
    """How a run ended, as the exit code of the command that waited for it."""

    SUCCEEDED = 0
    FAILED = 1
    REFUSED = 3


def until_end(
    cluster: Cluster,
    run_id: str,
    tasks: Collection[str],
    show: Callable[[str, str, str], None],
    wait_hours: float | None = None,
) -> End:
    """Waits for a run, however long it works; a run that was stopped, by hand or here, has failed.

    tasks: names of the tasks in its pipeline. show: takes a task, its state and what went wrong, whenever one changes.
    wait_hours: a run is stopped in which a pod has been pending for longer: nobody frees what it asks for.

    Raises:
      ValueError, ConnectionError: see `Cluster`, the latter only after `PATIENCE_SECONDS`. The run goes on.
    """
    shown: dict[str, tuple[str, str]] = {}
    since: dict[str, float] = {}  # of the pods that are pending
    while True:
        run = _asked(cluster, run_id)
        states = task_states(run, tasks)
        for name, state in states.items():
            if shown.get(name) != state:
                show(name, *state)
        shown = states
        if run.state in _ENDS:
            return end_of(run.state, {name for name, (state, _) in states.items() if state == "FAILED"})
        now = time.monotonic()
        since = {pod: since.get(pod, now) for pod in _pending(run)}
        if wait_hours is not None and any(now - began > wait_hours * 3600 for began in since.values()):
            cluster.terminate(run_id)
            show("the run", "CANCELED", f"a pod has waited for {wait_hours:g} h, which is cluster.wait_hours")
            return End.FAILED
        time.sleep(POLL_SECONDS)


def task_states(run: ClusterRun, tasks: Collection[str]) -> dict[str, tuple[str, str]]:
    """State and error of every task that has begun. Kubeflow lists more: the graph itself, drivers, the pods of a task."""
    return {
        detail.display_name: (detail.state, detail.error.message or "" if detail.error else "")
        for detail in _details(run)
        if detail.state
        and (
            detail.display_name in tasks
            or (detail.state == "FAILED" and detail.display_name.removesuffix(_DRIVER) in tasks)
        )
    }


def _details(run: ClusterRun) -> Any:
    return (run.run_details.task_details if run.run_details else None) or []


def _pending(run: ClusterRun) -> set[str]:
    """The pods that wait. A task is running from its beginning: it is the node `executor` in it that is pending."""
    return {detail.task_id or detail.display_name for detail in _details(run) if detail.state == "PENDING"}


def end_of(state: str, failed: set[str]) -> End:
    """What the state of a run means, given the tasks that have failed."""
    if state == "SUCCEEDED":
        return End.SUCCEEDED
    return End.REFUSED if state == "FAILED" and failed == {PUSH_GATE} else End.FAILED


def _asked(cluster: Cluster, run_id: str) -> ClusterRun:
    began = time.monotonic()
    while True:
        try:
            return cluster.run(run_id)
        except ConnectionError:
            if time.monotonic() - began > PATIENCE_SECONDS:
                raise
        time.sleep(POLL_SECONDS)
