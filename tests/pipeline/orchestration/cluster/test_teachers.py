"""A recipe that learns from another one's model where nothing can look that up: what runs leave, and what the Trainer takes."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from tfx.types import artifact_utils, standard_artifacts

from models import storage
from models.directory import ModelDirectory
from pipeline.config.config import Config, load
from pipeline.data import corpus, ingest
from pipeline.orchestration.cluster import emulate, executor, teachers

SMALL = [
    "data.options={tracks: {train: 2, dev: 1, test: 1}, seconds: 2}",
    *("data.segment_seconds=2", "model.frame_length=256", "model.hop=128", "train.batch=4", "train.segment_frames=20"),
    *("train.steps=4", "train.evaluate_every_steps=4"),
]
GUIDE = [*SMALL, "name=guide", "model.network=unet", "model.sizes={filters: [4, 4, 8, 8]}", "train.loss=l1"]
STUDENT = [
    *(*SMALL, "name=student", "model.network=or_unet", "model.sizes={filters: [4, 8], units: 8}"),
    *("train.loss=deep_features", "train.teacher=guide"),
]


def model(root: Path, words: str) -> str:
    """A directory as a Model artifact has it."""
    directory = root / words / "Format-Serving"
    directory.mkdir(parents=True)
    (directory / "saved_model.pb").write_text(words)
    return str(directory.parent)


def found(root: Path, recipe: str = "guide") -> str:
    return Path(teachers.find(root, recipe), "Format-Serving", "saved_model.pb").read_text()


def listed(place: Path) -> list[str]:
    """What lies there beside the lock."""
    return sorted(path.name for path in place.iterdir() if not path.name.startswith(".push"))


def test_models_of_teachers_lie_in_a_bucket_as_well(bucket, tmp_path: Path) -> None:
    workdir = storage.path(f"{bucket.url}/pipeline")
    for words, state in (("a", "trained"), ("b", "blessed"), ("c", "trained"), ("d", "trained")):
        teachers.keep(model(tmp_path, words), workdir, "guide", state)
    place = teachers.find(workdir, "guide")
    assert place == f"{bucket.url}/pipeline/models/guide/blessed/1"
    assert (storage.path(place) / "Format-Serving/saved_model.pb").read_text() == "b"
    below = "pipeline/models/guide"
    assert bucket.keys == [
        f"{below}/{which}/Format-Serving/saved_model.pb" for which in ("blessed/1", "trained/2", "trained/3")
    ]
    with pytest.raises(ValueError, match=r"of which s3://.*/pipeline holds no trained model"):
        teachers.find(workdir, "other")


def test_the_newest_blessed_model_comes_before_the_newest(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"^train\.teacher is 'guide', of which .* holds no trained model; this makes one"
    ):
        teachers.find(tmp_path, "guide")
    for words, state in (("a", "trained"), ("b", "trained"), ("c", "blessed"), ("d", "trained")):
        teachers.keep(model(tmp_path / "made", words), tmp_path, "guide", state)
        assert found(tmp_path) == {"a": "a", "b": "b", "c": "c", "d": "c"}[words]
    teachers.keep(model(tmp_path / "made", "e"), tmp_path, "other", "blessed")
    assert found(tmp_path) == "c"
    assert listed(tmp_path / "models/guide/trained") == ["2", "3"]


def test_what_could_not_be_copied_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="nowhere"):
        teachers.keep(str(tmp_path / "nowhere"), tmp_path, "guide", "trained")
    assert listed(tmp_path / "models/guide/trained") == []


def records(config: Config, root: Path) -> None:
    """Writes the Examples of a configuration's rendered songs."""
    data = config.data
    for shard in ingest.plan(corpus.discover(data)):
        Path(shard.path(str(root))).parent.mkdir(parents=True, exist_ok=True)
        ingest.write_shard(shard, data, str(root))


@pytest.fixture
def train(run_node, tmp_path: Path) -> Callable[[Config], Path]:
    """What the task Trainer of a compiled graph does; the directory of its SavedModel."""

    def run(config: Config) -> Path:
        place = tmp_path / config.name
        splits = {"examples": {"split_names": artifact_utils.encode_split_names(["train", "dev", "test"])}}
        outputs = {"model": place / "model", "model_run": place / "model_run"}
        run_node(config, "Trainer", {"examples": tmp_path / "examples"}, outputs, splits)
        return place / "model/Format-Serving"

    return run


@pytest.fixture
def guide(tmp_path: Path) -> Config:
    return emulate.placed(load("demo", GUIDE), tmp_path)


@pytest.mark.slow
def test_a_training_takes_the_model_that_another_recipe_left(guide: Config, train, tmp_path: Path) -> None:
    student = emulate.placed(load("demo", STUDENT), tmp_path)
    records(guide, tmp_path / "examples")
    with pytest.raises(ValueError, match=r"^train\.teacher is 'guide', of which .* holds no trained model"):
        train(student)
    made = train(guide)
    kept = Path(teachers.find(executor.workdir(guide).root, "guide"), "Format-Serving")
    assert {path.name: path.read_bytes() for path in kept.rglob("*") if path.is_file()} == {
        path.name: path.read_bytes() for path in made.rglob("*") if path.is_file()
    }
    learnt = ModelDirectory(train(student))
    assert learnt.description["network"] == "or_unet"
    told = json.loads((tmp_path / "student/model/Format-Serving/assets.extra/config.json").read_text())
    assert told["train"]["teacher"] == "guide"
    first = fingerprints(tmp_path, "student")
    teachers.keep(str(made.parent), executor.workdir(guide).root, "guide", teachers.BLESSED)
    train(student)
    assert fingerprints(tmp_path, "student") == first, "the same teacher, now blessed, is no reason to train again"


def fingerprints(root: Path, recipe: str) -> list[str]:
    """The trainings that a recipe keeps checkpoints of."""
    return sorted(path.name for path in (root / "pipeline/checkpoints" / recipe).iterdir())


def test_a_blessed_model_is_kept_as_such(guide: Config, tmp_path: Path) -> None:
    judged, verdict = standard_artifacts.Model(), standard_artifacts.ModelBlessing()
    judged.uri = model(tmp_path, "judged")
    baseline = standard_artifacts.Model()
    baseline.uri = model(tmp_path, "baseline")
    inputs, outputs = {"model": [judged], "baseline_model": [baseline]}, {"blessing": [verdict]}
    root = executor.workdir(guide).root
    verdict.set_int_custom_property("blessed", 0)
    executor._keep(guide, inputs, outputs)
    assert not root.exists()
    verdict.set_int_custom_property("blessed", 1)
    executor._keep(guide, inputs, {**outputs, "other": [standard_artifacts.InfraBlessing()]})
    assert found(root) == "judged"
    assert [path.name for path in (root / "models/guide").iterdir()] == ["blessed"]


def test_the_graph_of_a_recipe_with_a_teacher_has_no_node_for_it() -> None:
    from pipeline.orchestration.cluster import compiler

    with_teacher, without = (compiler.compile(load("demo", overrides)) for overrides in (STUDENT, STUDENT[:-1]))
    tasks = [set(documents[0]["root"]["dag"]["tasks"]) for documents in (with_teacher, without)]
    assert tasks[0] == tasks[1]
    assert dataclasses.asdict(load("demo", STUDENT))["train"]["teacher"] == "guide"
