"""Runs and schedules through the real kfp client, against a server of its API."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from pipeline.config.config import load
from pipeline.orchestration.cluster import package, schedule
from pipeline.orchestration.cluster.client import Cluster, Submission


@pytest.fixture
def cluster(kubeflow) -> Cluster:
    return Cluster(kubeflow.host, "kubeflow")


def changed(submission: Submission, *overrides: str) -> Submission:
    return dataclasses.replace(submission, config=load("demo", overrides))


def test_a_run_carries_every_parameter_and_both_documents(kubeflow, cluster, submission) -> None:
    cluster.submit(submission)
    [run] = kubeflow.runs.values()
    assert json.loads(run["runtime_config"]["parameters"]["config"])["name"] == "demo"
    assert set(run["pipeline_spec"]) == {"pipeline_spec", "platform_spec"}
    assert run["service_account"] == "pipeline-runner"
    assert run["display_name"].startswith("demo ")
    assert changed(submission, "train.steps=3").name != submission.name


def test_twice_is_one_schedule(kubeflow, cluster, submission) -> None:
    first = schedule.apply(cluster, submission)
    before = dict(kubeflow.recurring)
    second = schedule.apply(cluster, submission)
    assert first.changes == ("created",)
    assert second.changes == ()
    assert kubeflow.recurring == before
    [run] = kubeflow.recurring.values()
    assert run["trigger"]["cron_schedule"]["cron"] == "0 0 3 * * 1"
    assert (int(run["max_concurrency"]), run["no_catchup"], run["mode"]) == (1, True, "ENABLE")
    assert run["service_account"] == "pipeline-runner"


def test_a_change_takes_the_place_of_the_old_one_and_is_said(kubeflow, cluster, submission) -> None:
    schedule.apply(cluster, submission)
    outcome = schedule.apply(cluster, changed(submission, "cluster.cron=0 30 4 * * 0", "train.steps=7"))
    assert outcome.changes == ("cluster.cron: '0 0 3 * * 1' -> '0 30 4 * * 0'", "train.steps: 160 -> 7")
    [run] = kubeflow.recurring.values()
    assert run["trigger"]["cron_schedule"]["cron"] == "0 30 4 * * 0"
    assert run["mode"] == "ENABLE"
    assert kubeflow.least_active == 1, "at some moment no schedule was active"


def test_a_schedule_moves_with_its_experiment(kubeflow, cluster, submission) -> None:
    schedule.apply(cluster, submission)
    assert schedule.apply(cluster, changed(submission, "cluster.experiment=music")).changes == (
        "cluster.experiment: 'stemline' -> 'music'",
    )
    [run] = kubeflow.recurring.values()
    assert kubeflow.experiments[run["experiment_id"]]["display_name"] == "music"


def test_what_somebody_changed_by_hand_is_put_back(kubeflow, cluster, submission) -> None:
    schedule.apply(cluster, submission)
    [run] = kubeflow.recurring.values()
    run.update(max_concurrency="5", no_catchup=False)
    run["trigger"]["cron_schedule"]["cron"] = "0 0 0 * * *"
    changes = ("cluster.cron: '0 0 0 * * *' -> '0 0 3 * * 1'", "max_concurrency: 5 -> 1", "no_catchup: False -> True")
    assert schedule.apply(cluster, submission).changes == changes
    assert schedule.apply(cluster, submission).changes == ()


@pytest.mark.parametrize("call", ["POST :enable", "DELETE recurringruns/recurring_run-2"])
def test_a_change_that_fails_half_way_leaves_the_old_one(kubeflow, cluster, submission, call: str) -> None:
    schedule.apply(cluster, submission)
    [old] = kubeflow.recurring
    kubeflow.broken.add(call.replace("recurring_run-2", old))
    with pytest.raises(ValueError, match=r"refused with 500 .*: the database is away"):
        schedule.apply(cluster, changed(submission, "train.steps=7"))
    assert [run["recurring_run_id"] for run in kubeflow.active()] == [old]
    assert list(kubeflow.recurring) == [old]


def test_what_a_killed_call_left_is_put_right(kubeflow, cluster, submission) -> None:
    schedule.apply(cluster, submission)
    later = changed(submission, "train.steps=7")
    new = cluster.create_recurring(later)  # and then the process is killed
    outcome = schedule.apply(cluster, later)
    assert [run["recurring_run_id"] for run in kubeflow.active()] == [new.recurring_run_id]
    assert list(kubeflow.recurring) == [new.recurring_run_id]
    assert len(outcome.changes) == 1
    assert "a broken-off call" in outcome.changes[0]


def test_of_two_calls_at_once_one_goes_on(kubeflow, cluster, submission, monkeypatch: pytest.MonkeyPatch) -> None:
    other = Cluster(kubeflow.host, "kubeflow")
    create = cluster.create_recurring

    def created_after_the_other(mine: Submission) -> Any:
        monkeypatch.setattr(cluster, "create_recurring", create)
        schedule.apply(other, mine)
        return create(mine)

    monkeypatch.setattr(cluster, "create_recurring", created_after_the_other)
    with pytest.raises(ValueError, match="another call is scheduling"):
        schedule.apply(cluster, submission)
    assert len(kubeflow.recurring) == len(kubeflow.active()) == 1


def test_pause_and_resume(kubeflow, cluster, submission) -> None:
    assert schedule.apply(cluster, submission, paused=True).changes == ("created, paused",)
    assert not kubeflow.active()
    changes = schedule.apply(cluster, changed(submission, "train.steps=7")).changes
    assert changes == ("train.steps: 160 -> 7",)
    assert not kubeflow.active(), "a change has started what was paused"
    assert schedule.apply(cluster, changed(submission, "train.steps=7"), paused=False).changes == ("resumed",)
    assert len(kubeflow.active()) == 1


def test_another_recipes_schedule_is_left_alone(kubeflow, cluster, submission) -> None:
    schedule.apply(cluster, submission)
    spec, platform = package.read(submission.file)
    spec["pipelineInfo"]["name"] = "demo-two"
    submission.file.write_text(f"{json.dumps(spec)}\n---\n{json.dumps(platform)}\n")
    schedule.apply(cluster, dataclasses.replace(submission))
    assert len(kubeflow.active()) == 2


def test_a_namespace_is_sent_only_where_there_are_several(kubeflow, submission) -> None:
    kubeflow.multi_user = True
    music = Cluster(kubeflow.host, "music")
    music.submit(submission)
    assert schedule.apply(music, submission).changes == ("created",)
    [experiment] = kubeflow.experiments.values()
    assert experiment["namespace"] == "music"


def test_a_key_that_shapes_the_graph_needs_a_recompile(submission) -> None:
    documents = package.read(submission.file)
    package.check_compiled(
        documents, load("demo", ["train.steps=3", "cluster.cron='@daily'", "cluster.workdir=/elsewhere"])
    )
    for override, key in (
        ("cluster.image=other:1", "cluster.image"),
        ("cluster.tasks={Trainer: {gpus: 1}}", "cluster.tasks.Trainer.gpus"),
        ("cluster.every.cpu=4", "cluster.every.cpu"),
        ("name=mine", "name"),
    ):
        with pytest.raises(ValueError, match=f"compiled for recipe 'demo' with {key} .* needs a recompile"):
            package.check_compiled(documents, load("demo", [override]))


def test_no_cluster_is_one_sentence_with_the_host() -> None:
    with pytest.raises(
        ConnectionError, match=r"no Kubeflow Pipelines can be reached at http://127\.0\.0\.1:1: .*refused"
    ):
        Cluster("http://127.0.0.1:1", "kubeflow")


def test_the_command_line(kubeflow, submission, stemline) -> None:
    file = ("--pipeline", str(submission.file), "--host", kubeflow.host)
    assert stemline("submit", *file)[0] == 0
    assert "created" in stemline("schedule", *file)[1]
    assert "nothing changed" in stemline("schedule", *file)[1]
    code, words = stemline("schedule", *file, "--set", "cluster.cron=0 3 * * 1")
    assert (code, words.count("\n")) == (2, 1)
    assert "with seconds in front it would be '0 0 3 * * 1'" in words
    code, words = stemline("submit", *file, "--set", "cluster.image=other")
    assert code == 2
    assert "needs a recompile" in words
    code, words = stemline("status", "--host", kubeflow.host)
    assert code == 0
    assert "0 0 3 * * 1" in words
    assert "active" in words
