"""Places that the tasks of a cluster do not see, before anything is sent, and names that there are not, before TensorFlow."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

from models import losses, networks
from pipeline.components import graph
from pipeline.config.config import load
from pipeline.orchestration import at_once, preflight
from pipeline.runs.workdir import Workdir

FOLDER = "data.format=folder"
STEMS = "cluster.tasks.StemsExampleGen.volumes=[{claim: stems, mount_path: /data}]"
ELSEWHERE = "cluster.every.volumes=[{claim: work, mount_path: /volume}]"


@pytest.mark.parametrize(
    "overrides",
    [
        (),  # songs that we render have no place
        (FOLDER, "data.path=/models/stems/week-{SPAN}"),
        (FOLDER, "data.path=/models"),
        (FOLDER, "data.path=/data/week-{SPAN}", STEMS),
        (FOLDER, "data.path=gs://stems/week-{SPAN}"),
        (
            ELSEWHERE,
            "data.path=s3://stems",
            FOLDER,
            "cluster.serving=/volume/served",
            "cluster.workdir=/volume/stemline",
        ),
    ],
)
def test_places_below_a_mount_or_in_a_bucket(overrides: tuple[str, ...]) -> None:
    at_once.check_mounts(load("demo", overrides))


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (
            ["data.path=/data/stems"],
            "data.path is /data/stems, which StemsExampleGen does not see: .* it mounts /models;",
        ),
        (["data.path=/models/../stems"], "data.path is /models/../stems, which StemsExampleGen"),
        (["data.path=/models-2/stems"], "data.path is /models-2/stems, which StemsExampleGen"),
        (["data.path=stems"], "data.path is stems, which StemsExampleGen"),
        (["data.path=/models/stems", STEMS], "data.path is /models/stems, which StemsExampleGen .* it mounts /data;"),
        (["cluster.serving=/served"], "cluster.serving is /served, which Pusher does not see"),
        (
            ["cluster.serving=/served", "cluster.tasks.Pusher.volumes=[{claim: served, mount_path: /served}]"],
            "cluster.serving is /served, which BssEvaluator does not see",
        ),
        (
            ["cluster.tasks.Trainer.volumes=[{claim: a, mount_path: /a}]"],
            "cluster.workdir is /models/pipeline, which Trainer",
        ),
        (
            ["cluster.every.volumes=[]"],
            "cluster.serving is /models/stemline, which Pusher .* it mounts nothing; legal are",
        ),
    ],
)
def test_a_place_that_a_task_does_not_see(overrides: list[str], words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        at_once.check_mounts(load("demo", [FOLDER, *overrides]))
    assert "\n" not in str(caught.value)


def test_a_trainer_needs_the_served_version_only_where_it_starts_with_it() -> None:
    given = [
        "cluster.serving=/served",
        "cluster.tasks.Pusher.volumes=[{claim: served, mount_path: /served}]",
        "cluster.tasks.BssEvaluator.volumes=[{claim: m, mount_path: /models}, {claim: served, mount_path: /served}]",
    ]
    at_once.check_mounts(load("demo", given))
    with pytest.raises(ValueError, match=r"cluster\.serving is /served, which Trainer does not see"):
        at_once.check_mounts(load("demo", [*given, "train.warm_start=true"]))


def test_the_tasks_are_called_as_their_nodes() -> None:
    nodes = {node.id for node in graph.components(load("demo"), Workdir(Path("w")), resolve=False)}
    assert {at_once.INGEST, at_once.JUDGE, at_once.PUSHER, at_once.TRAINER} <= nodes


@pytest.mark.parametrize("command", ["submit", "schedule"])
def test_nothing_is_sent_where_stems_are_not_seen(stemline, command: str) -> None:
    outcome = stemline(
        "kubeflow", command, "--set", FOLDER, "--set", "data.path=/home/me/stems", "--host", "http://localhost:9"
    )
    assert outcome.code == 2
    begun, last = outcome.err.splitlines()
    assert begun == "reading recipe demo"
    assert last.startswith("stemline: data.path is /home/me/stems, which StemsExampleGen does not see")


@pytest.mark.parametrize(
    "overrides",
    [
        ["model.network=drn"],
        ["model.sizes.unitss=3"],
        ["train.loss=csd"],
        ["train.loss_options={gama: 1}"],
        ["train.loss=deep_features"],
        ["train.teacher=crn"],
        ["train.stages=[{name: first, network: drn, share: 0.5}]"],
    ],
)
def test_names_are_refused_at_once_in_the_words_of_later(overrides: list[str]) -> None:
    config = load("demo", overrides)
    with pytest.raises(ValueError, match=r"; (did you mean .*\? )?legal: ") as later:
        preflight.check_recipe(config)
    with pytest.raises(ValueError, match=re.escape(str(later.value))):
        at_once.check(config)


@pytest.mark.parametrize(
    ("network", "words"),
    [
        ("dnn", "no stage of train.stages has a layer that network 'dnn' has"),
        ("fcn_blstm", "the sizes of the recipe's own network"),
    ],
)
def test_stages_that_hand_on_nothing_are_refused_before_they_train(network: str, words: str) -> None:
    stage = "{name: first, network: blstm, sizes: {units: 4}, share: 0.5}"
    config = load("demo", [f"model.network={network}", "model.sizes={units: 5}", f"train.stages=[{stage}]"])
    with pytest.raises(ValueError, match=words):
        preflight.check_recipe(config)


def test_whatever_a_network_and_a_loss_take_passes() -> None:
    """Read from their source and asked of themselves."""
    given = "self", "bins", "channels", "targets"
    for name in networks.names():
        sizes = {*inspect.signature(networks.network_class(name).__init__).parameters} - {*given}
        at_once.check(
            load("demo", ["model.sizes={}", f"model.network={name}", *(f"model.sizes.{size}=1" for size in sizes)])
        )
    for name in losses.names():
        teacher = "crn" if name == "deep_features" else "null"
        at_once.check(load("demo", [f"train.loss={name}", f"train.teacher={teacher}"]))


def test_a_network_of_another_keras_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.py").write_text("from keras import layers\n")
    monkeypatch.setattr(networks, "__path__", [*networks.__path__, str(tmp_path)])
    with pytest.raises(ValueError, match=r"^network 'mine' imports keras, which is Keras 3; legal: tf_keras$"):
        at_once.check(load("demo", ["model.network=mine", "model.sizes={}"]))
