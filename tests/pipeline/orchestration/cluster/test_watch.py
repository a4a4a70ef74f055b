"""`submit --wait`: the course of a run as Kubeflow's API tells it, and the exit code that a scheduler sees."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import kfp_server_api
import pytest

from pipeline.orchestration.cluster import watch


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(watch, "PATIENCE_SECONDS", 0.5)


def seen(state: str, error: str = "", **tasks: str) -> dict[str, Any]:
    """A run as the API has it: beside its tasks there are the graph itself, their drivers and their pods."""
    names = {
        "root": state,
        "root_driver": "SUCCEEDED",
        "executor": tasks.get("Trainer", "RUNNING"),
        "Trainer_driver": "SUCCEEDED",
    }
    details = [
        kfp_server_api.V2beta1PipelineTaskDetail(
            display_name=name.replace("_", "-"),
            state=of,
            error=kfp_server_api.GooglerpcStatus(message=error) if error and of == "FAILED" else None,
        )
        for name, of in {**names, **tasks}.items()
    ]
    run = kfp_server_api.V2beta1Run(state=state, run_details=kfp_server_api.V2beta1RunDetails(task_details=details))
    return kfp_server_api.ApiClient().sanitize_for_serialization(run)


REFUSAL = "the model was not pushed: refused: SDR of vocals is 1.2 dB [v4] below"
COURSE = [
    {"state": "PENDING"},
    seen("RUNNING", Trainer="PENDING"),
    seen("RUNNING", Trainer="RUNNING"),
    seen("RUNNING", Trainer="RUNNING"),
]


@pytest.mark.parametrize(
    ("end", "code", "words"),
    [
        (seen("SUCCEEDED", Trainer="SUCCEEDED", Pusher="SUCCEEDED"), 0, "succeeded: "),
        (seen("FAILED", REFUSAL, Pusher="SUCCEEDED", PushGate="FAILED"), 3, "refused: the task PushGate has failed"),
        (seen("FAILED", Trainer="FAILED"), 1, "failed: "),
        (seen("FAILED", Trainer="SUCCEEDED", Pusher="FAILED"), 1, "failed: "),
        (seen("FAILED", Trainer="FAILED", PushGate="FAILED"), 1, "failed: "),
        (seen("FAILED", "no such claim", Trainer="SUCCEEDED", Pusher_driver="FAILED"), 1, "failed: "),
        (seen("FAILED", Trainer="SUCCEEDED"), 1, "failed: "),
        (seen("CANCELED", Trainer="SUCCEEDED"), 1, "failed: "),
        ({"state": "FAILED", "run_details": None}, 1, "failed: "),
    ],
)
def test_the_exit_code_is_the_end_of_the_run(end, code, words, kubeflow, submission, stemline) -> None:
    kubeflow.course = iter([*COURSE, end])
    got, said = stemline("submit", "--wait", "--pipeline", str(submission.file), "--host", kubeflow.host)
    lines = said.splitlines()
    assert got == code
    assert lines[0].startswith("submitted 'demo ")
    assert lines[1:3] == ["  Trainer: pending", "  Trainer: running"]
    assert lines[-1].startswith(words)
    assert said.count("Trainer: running") == 1
    assert not any(name in said for name in ("root", "executor", "Trainer-driver"))
    if code == 3:
        assert f"  PushGate: failed, {REFUSAL}" in lines
    if "no such claim" in str(end):
        assert "  Pusher-driver: failed, no such claim" in lines


def waiting(pod: str) -> dict[str, Any]:
    """The pod of a task that runs waits: NodeStatuses of backend/src/common/util/workflow.go (2.17.0) lists both."""
    run = seen("RUNNING", Trainer="RUNNING")
    pods = [detail for detail in run["run_details"]["task_details"] if detail["display_name"] == "executor"]
    for detail in pods:
        detail.update(state=pod, task_id="pod-1")
    return run


@pytest.mark.parametrize(("hours", "stopped"), [("0.00001", True), ("24", False), ("null", False)])
def test_a_run_that_waits_for_what_nobody_frees_is_stopped(
    hours: str, stopped: bool, kubeflow, submission, stemline
) -> None:
    end = seen("SUCCEEDED", Trainer="SUCCEEDED", PushGate="SUCCEEDED")
    kubeflow.course = iter([*[waiting("PENDING")] * 20, *[waiting("RUNNING")] * 5, end])
    where = ["--pipeline", str(submission.file), "--host", kubeflow.host, "--set", f"cluster.wait_hours={hours}"]
    code, said = stemline("submit", "--wait", *where)
    assert code == (1 if stopped else 0), said
    assert any(call.startswith("POST") and ":terminate" in call for call in kubeflow.asked) == stopped
    told = "  the run: canceled, a pod has waited for 1e-05 h, which is cluster.wait_hours"
    assert (told in said.splitlines()) == stopped


def test_short_waits_do_not_add_up(kubeflow, submission, stemline) -> None:
    """One pod a moment, then the next: none of them has waited for long."""
    courses = [waiting("PENDING") if n % 2 else waiting("RUNNING") for n in range(30)]
    kubeflow.course = iter([*courses, seen("SUCCEEDED", Trainer="SUCCEEDED")])
    where = ["--pipeline", str(submission.file), "--host", kubeflow.host, "--set", "cluster.wait_hours=0.00005"]
    code, said = stemline("submit", "--wait", *where)
    assert code == 0, said


def away_after_one_answer(kubeflow) -> Iterator[dict[str, Any]]:
    yield seen("RUNNING", Trainer="PENDING")
    kubeflow.wanted, kubeflow.denial = ("Authorization", "none"), (503, {}, "no healthy upstream")
    yield seen("RUNNING", Trainer="RUNNING")
    yield seen("SUCCEEDED", Trainer="SUCCEEDED", Pusher="SUCCEEDED")


def test_a_cluster_that_comes_back_is_waited_for(kubeflow, submission, stemline, monkeypatch) -> None:
    naps = []

    def sleep(seconds: float) -> None:
        naps.append(seconds)
        if len(naps) == 4:
            kubeflow.wanted = None

    monkeypatch.setattr(watch.time, "sleep", sleep)
    kubeflow.course = away_after_one_answer(kubeflow)
    code, said = stemline("submit", "--wait", "--pipeline", str(submission.file), "--host", kubeflow.host)
    assert (code, len(naps)) == (0, 4)
    assert "503" not in said


def test_a_cluster_that_stays_away_is_one_sentence(kubeflow, submission, stemline) -> None:
    kubeflow.course = away_after_one_answer(kubeflow)
    code, said = stemline("submit", "--wait", "--pipeline", str(submission.file), "--host", kubeflow.host)
    assert code == 2
    assert said.splitlines()[3:] == [
        f"stemline: Kubeflow Pipelines at {kubeflow.host} refused with 503 Service Unavailable: no healthy upstream"
    ]
    assert sum("runs/run-" in call for call in kubeflow.asked) > 5, "it was not asked again"


def test_without_wait_a_run_is_not_asked_for(kubeflow, submission, stemline) -> None:
    assert stemline("submit", "--pipeline", str(submission.file), "--host", kubeflow.host)[0] == 0
    assert not any("runs/run-" in call for call in kubeflow.asked)
