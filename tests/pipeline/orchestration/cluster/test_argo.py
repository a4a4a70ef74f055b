"""Argo's arithmetic, against the comments and the code of `processNodeRetries` in argoproj/argo-workflows v4.0.5
(workflow/controller/operator.go), and what the compiled policy comes to by it."""

from __future__ import annotations

import pytest

from pipeline.config.config import load
from pipeline.orchestration.cluster import argo, compiler, kfp_versions
from pipeline.orchestration.cluster.argo import Attempt, RetryStrategy

MINUTES, HOURS = 60.0, 3600.0
HOUR_IN_ALL = RetryStrategy(limit=2, duration="60", factor=2.0, max_duration="3600")


@pytest.fixture(scope="module")
def compiled() -> dict[str, RetryStrategy | None]:
    """What 2.16 tells Argo of the tasks of the demo."""
    return strategies("2.16")


def strategies(version: str) -> dict[str, RetryStrategy | None]:
    tasks = compiler.compile(load("demo"))[0]["root"]["dag"]["tasks"]
    return {name: kfp_versions.retry_strategy(kfp_versions.VERSIONS[version], task) for name, task in tasks.items()}


def course(strategy: RetryStrategy | None, begun: float, lost: list[float], needed: float) -> str | float:
    """When a task is done whose attempts begin at `begun`, are lost after so long each, and need `needed` when not lost."""
    attempts, upcoming = [], argo.Next(begun, None)
    for seconds in [*lost, needed]:
        killed = upcoming.deadline is not None and upcoming.begins + seconds > upcoming.deadline
        ended = upcoming.deadline if killed else upcoming.begins + seconds
        if len(attempts) == len(lost) and not killed:
            return ended
        attempts.append(Attempt(upcoming.begins, ended))
        following = argo.after(strategy, attempts)
        if isinstance(following, str):
            return following
        upcoming = following
    raise AssertionError("more attempts than were planned")


def test_the_wait_doubles_from_attempt_to_attempt() -> None:
    """300 and 600 s: TestProcessNodeRetriesWithExponentialBackoff of workflow/controller/operator_test.go, v4.0.5."""
    strategy = RetryStrategy(limit=2, duration="300", factor=2.0, max_duration="")
    ended = [Attempt(0.0, 10.0), Attempt(310.0, 320.0)]
    assert [argo.after(strategy, ended[:n]) for n in (1, 2)] == [
        argo.Next(10.0 + 300.0, None),
        argo.Next(320.0 + 600.0, None),
    ]
    assert argo.after(strategy, [*ended, Attempt(920.0, 930.0)]) == "No more retries left"


def test_a_deleted_pod_is_not_tried_again(compiled) -> None:
    """RetryPolicyActual: without a policy and an expression it is OnFailure, and an Error is no failure."""
    said = argo.after(compiled["Trainer"], [Attempt(0.0, 60.0, "Error")])
    assert isinstance(said, str)
    assert said.startswith("the pod was deleted")


def test_from_2_17_on_a_deleted_pod_is_tried_again_and_a_failed_container_is_not() -> None:
    """workflowDefaults.templateDefaults of manifests/kustomize/third-party/argo/base/workflow-controller-configmap-patch.yaml at
    2.17.0, which Argo v4.0.5 merges below what a template says itself (`mergedTemplateDefaultsInto`)."""
    trainer = strategies("2.17")["Trainer"]
    assert argo.after(trainer, [Attempt(0.0, 60.0, "Error")]) == argo.Next(120.0, 2592000.0)
    said = argo.after(trainer, [Attempt(0.0, 60.0)])
    assert isinstance(said, str)
    assert said.startswith("the container failed")


# First attempt begun, lost after, needed -> done, or why not: an hour for all attempts together, as kfp's set_retry has it
# where nothing else is said (kubeflow/pipelines#14245), and the policy that is compiled.
TABLE = [
    (0.0, [20 * MINUTES], 50 * MINUTES, "Backoff would exceed max duration limit", 71 * MINUTES),
    (0.0, [2 * HOURS], 3 * HOURS, "Max duration limit exceeded", 2 * HOURS + 1 * MINUTES + 3 * HOURS),
    (0.0, [59.5 * MINUTES], 1 * MINUTES, "Backoff would exceed max duration limit", 61.5 * MINUTES),
    (0.0, [5 * MINUTES], 10 * MINUTES, 16 * MINUTES, 16 * MINUTES),
    (0.0, [10 * HOURS, 10 * HOURS], 12 * HOURS, "Max duration limit exceeded", 32 * HOURS + 3 * MINUTES),
    (0.0, [MINUTES, MINUTES, MINUTES], MINUTES, "No more retries left", "No more retries left"),
]


@pytest.mark.parametrize(("begun", "lost", "needed", "an_hour", "ours"), TABLE)
def test_what_a_lost_attempt_comes_to(compiled, begun: float, lost, needed: float, an_hour, ours) -> None:
    assert course(compiled["Trainer"], begun, lost, needed) == ours
    assert course(HOUR_IN_ALL, begun, lost, needed) == an_hour


def test_a_second_attempt_is_killed_at_the_end_of_the_hour() -> None:
    """`executionDeadline` is the 60th minute."""
    assert argo.after(HOUR_IN_ALL, [Attempt(0.0, 20 * MINUTES)]) == argo.Next(21 * MINUTES, HOURS)


@pytest.mark.parametrize(
    ("name", "left_out"),
    [("2.5", argo.Next(61.0, None)), ("2.14", "Max duration limit exceeded"), ("2.17", "Max duration limit exceeded")],
)
def test_a_policy_without_a_maximum_is_none_from_2_14_on(name: str, left_out) -> None:
    """addParameterDefault of backend/src/v2/compiler/argocompiler/container.go: "0" for what a policy leaves out."""
    version = kfp_versions.VERSIONS[name]
    task = {"retryPolicy": {"maxRetryCount": 2, "backoffDuration": "60s", "backoffFactor": 2.0}}
    lost = Attempt(0.0, 1.0, "Error" if version.retry_policy == "OnError" else "Failed")
    assert argo.after(kfp_versions.retry_strategy(version, task), [lost]) == left_out


def test_every_task_is_tried_twice_more_but_a_refusal_is_final(compiled) -> None:
    assert compiled.pop("PushGate") is None
    for name, strategy in compiled.items():
        assert strategy == RetryStrategy(2, "60", 2.0, "2592000"), name
    asked = compiler.compile(load("demo", ["cluster.tasks={PushGate: {retries: 1}}"]))[0]["root"]["dag"]["tasks"]
    assert asked["PushGate"]["retryPolicy"]["maxRetryCount"] == 1
