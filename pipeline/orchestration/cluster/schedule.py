"""One recurring run a recipe, whatever is asked how often.

Kubeflow's API cannot change a recurring run, so a change is a new one in the place of the old. The new one is made idle,
started, and then the old one is deleted: at no time is there none, and two only between two calls. Where the second fails
the first is undone; where this process dies between them, the next call finds both and keeps the newer.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Sequence
from dataclasses import dataclass

from models.checked import ConfigError
from pipeline.config.config import Config, from_json
from pipeline.orchestration.cluster import package
from pipeline.orchestration.cluster.client import Cluster, RecurringRun, Submission, age

_IDLE = "DISABLE"


@dataclass(frozen=True)
class Outcome:
    """The schedule that stands now, and what was done to come there; nothing if it stood already."""

    name: str
    recurring_run_id: str
    paused: bool
    changes: tuple[str, ...]


def apply(cluster: Cluster, submission: Submission, paused: bool | None = None) -> Outcome:
    """Makes the recurring run of the submission's recipe as the submission has it.

    paused: whether it rests; None leaves that as it is, and a first one runs.

    Raises:
      ValueError, ConnectionError: see `Cluster`, or another call of this is at work; what stood before stands still.
    """
    stand = of_recipe(cluster, submission)
    if not stand:
        created = _create(cluster, submission, known=[])
        _settle(cluster, created, bool(paused), [], undo=True)
        changes = ("created, paused" if paused else "created",)
        return Outcome(submission.name, created.recurring_run_id, bool(paused), changes)
    current, was_paused = stand[-1], all(run.mode == _IDLE for run in stand)
    rest = was_paused if paused is None else paused
    changes = _differences(current, submission)
    keep = _create(cluster, submission, known=stand) if changes else current
    changes += [f"removed {old.display_name}, which a broken-off call had left" for old in stand[:-1]]
    if rest != was_paused:
        changes.append("paused" if rest else "resumed")
    _settle(cluster, keep, rest, [old for old in stand if old is not keep], undo=keep is not current)
    return Outcome(submission.name, keep.recurring_run_id, rest, tuple(changes))


def of_recipe(cluster: Cluster, submission: Submission) -> list[RecurringRun]:
    """The recurring runs, in whatever experiment, whose names differ in the fingerprint at most; oldest first."""
    pipeline = submission.name.rpartition(" ")[0]
    ours = re.compile(re.escape(pipeline) + r" [0-9a-f]{12}")
    return [run for run in cluster.recurring() if ours.fullmatch(run.display_name)]


def _settle(cluster: Cluster, keep: RecurringRun, rest: bool, others: Sequence[RecurringRun], undo: bool) -> None:
    """Starts or stops the one that is to stay, then deletes the others; `undo` deletes it again where that fails."""
    try:
        if rest != (keep.mode == _IDLE):
            (cluster.disable if rest else cluster.enable)(keep)
        for other in others:
            cluster.delete(other)
    except (ValueError, OSError):
        if undo:
            with contextlib.suppress(ValueError, OSError):
                cluster.delete(keep)
        raise


def _create(cluster: Cluster, submission: Submission, known: Sequence[RecurringRun]) -> RecurringRun:
    """A new idle one, unless another call has made one meanwhile: of two calls the one that was first goes on."""
    created = cluster.create_recurring(submission)
    ids = {run.recurring_run_id for run in known}
    found = [run for run in of_recipe(cluster, submission) if run.recurring_run_id not in ids]
    rivals = [run for run in found if age(run) < age(created)]
    if rivals:
        cluster.delete(created)
        raise ValueError(
            f"another call is scheduling {rivals[0].display_name!r} at {cluster.host} in this moment; see `status`, then try again"
        )
    return created


def _differences(current: RecurringRun, submission: Submission) -> list[str]:
    """In words, what the submission would change."""
    runtime = current.runtime_config
    given = (runtime.parameters if runtime else None) or {}
    changes = []
    if given != submission.parameters:
        changes = _config_differences(given.get(package.CONFIG), submission.config)
    elif current.display_name != submission.name:
        changes = [f"graph: {current.display_name} -> {submission.name}"]
    cluster = submission.config.cluster
    schedule = current.trigger.cron_schedule if current.trigger else None
    facts = {
        "cluster.cron": (schedule.cron if schedule else None, cluster.cron),
        "cluster.service_account": (current.service_account or "", cluster.service_account),
        "cluster.pipeline_root": ((runtime.pipeline_root if runtime else None) or "", cluster.pipeline_root),
        "max_concurrency": (int(current.max_concurrency or 0), 1),
        "no_catchup": (bool(current.no_catchup), True),
    }
    said = {change.partition(":")[0] for change in changes}
    changed = {name: values for name, values in facts.items() if values[0] != values[1] and name not in said}
    return changes + [f"{name}: {old!r} -> {new!r}" for name, (old, new) in changed.items()]


def _config_differences(text: str | None, new: Config) -> list[str]:
    try:
        old = from_json(text or "")
    except ConfigError:
        return ["configuration: one of another version of stemline -> today's"]
    return package.differences(old, new) or ["configuration: written anew"]
