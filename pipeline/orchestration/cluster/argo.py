"""When Argo Workflows tries a task again: its `processNodeRetries` (workflow/controller/operator.go) as a pure function.

The same in what is here at v3.4.17, v3.5.14, v3.6.7, v3.7.3 and v4.0.5, which Kubeflow Pipelines 2.3 to 2.17 bring. By OnFailure,
which is Argo's default, a container that ended with an error is tried again and a pod that was deleted (by a drained node, by a
person) is not; by OnError it is the other way round.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class RetryStrategy:
    """As in a Workflow: limit is the number of further attempts; durations in seconds as text, an empty one is none."""

    limit: int
    duration: str
    factor: float
    max_duration: str
    policy: Literal["OnFailure", "OnError"] = "OnFailure"


@dataclass(frozen=True)
class Attempt:
    """One that has ended, in seconds of any clock; `started` counts the wait for resources. Error: the pod was deleted."""

    started: float
    finished: float
    phase: Literal["Failed", "Error"] = "Failed"


@dataclass(frozen=True)
class Next:
    """Another attempt: when it begins, and when it would be killed."""

    begins: float
    deadline: float | None


def after(strategy: RetryStrategy | None, attempts: Sequence[Attempt]) -> Next | str:
    """What follows attempts none of which has succeeded: the next, or why there is none."""
    if strategy is None:
        return "it is not tried again"
    first, last = attempts[0], attempts[-1]
    deadline = None
    if strategy.max_duration:
        deadline = first.started + float(strategy.max_duration)
        if last.finished > deadline:
            return "Max duration limit exceeded"
    wait = float(strategy.duration)
    if strategy.factor > 0:
        wait *= int(strategy.factor) ** (len(attempts) - 1)
    begins = last.finished + wait
    if deadline is not None and begins > deadline:
        return "Backoff would exceed max duration limit"
    if last.phase == "Error" and strategy.policy == "OnFailure":
        return "the pod was deleted, and a retryPolicy of OnFailure is for failures only"
    if last.phase == "Failed" and strategy.policy == "OnError":
        return "the container failed, and a retryPolicy of OnError is for lost pods only"
    if len(attempts) > strategy.limit:
        return "No more retries left"
    return Next(begins, deadline)
