"""A training that looks through a model of another recipe: found in the metadata, checked, restored, recorded."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from pathlib import Path

import ml_metadata as mlmd
import pytest
import tensorflow as tf
import tf_keras as keras
from ml_metadata.proto import metadata_store_pb2 as pb

from models.separator import Separator
from pipeline.config.config import load, to_json
from pipeline.orchestration import preflight
from pipeline.runs import history
from pipeline.runs.workdir import Workdir

SMALL = [
    "data.options={tracks: {train: 3, dev: 1, test: 1}, seconds: 2}",
    *("data.segment_seconds=2", "model.frame_length=256", "model.hop=128", "train.batch=4", "train.segment_frames=20"),
    *("train.steps=4", "train.evaluate_every_steps=4"),
]
GUIDE = [*SMALL, "name=guide", "model.network=unet", "model.sizes={filters: [4, 4, 8, 8]}", "train.loss=l1"]
STUDENT = [
    *(*SMALL, "name=student", "model.network=or_unet", "model.sizes={filters: [4, 8], units: 8}"),
    *("train.loss=deep_features", "train.teacher=guide"),
]


class Ledger:
    """Real metadata, written as TFX writes it."""

    def __init__(self, workdir: Workdir) -> None:
        config = pb.ConnectionConfig()
        config.sqlite.filename_uri = str(workdir.metadata)
        self.store = mlmd.MetadataStore(config)
        self.nodes = self.store.put_context_type(pb.ContextType(name="node"))
        self.executions = self.store.put_execution_type(pb.ExecutionType(name="anything"))
        blessing = pb.ArtifactType(name="ModelBlessing")
        self.types = {
            each.name: self.store.put_artifact_type(each) for each in (pb.ArtifactType(name="Model"), blessing)
        }

    def artifact(self, type_name: str, uri: str = "/somewhere", **properties: int) -> int:
        made = pb.Artifact(type_id=self.types[type_name], uri=uri, state=pb.Artifact.LIVE)
        for key, value in properties.items():
            made.custom_properties[key].int_value = value
        return self.store.put_artifacts([made])[0]

    def execute(self, pipeline: str, node: str, artifact: int, event: int = pb.Event.OUTPUT) -> None:
        [execution] = self.store.put_executions([pb.Execution(type_id=self.executions)])
        self.store.put_events([pb.Event(artifact_id=artifact, execution_id=execution, type=event)])
        context = self.store.get_context_by_type_and_name("node", f"{pipeline}.{node}")
        if context is None:
            [identifier] = self.store.put_contexts([pb.Context(type_id=self.nodes, name=f"{pipeline}.{node}")])
        else:
            identifier = context.id
        association = pb.Association(execution_id=execution, context_id=identifier)
        self.store.put_attributions_and_associations([], [association])

    def train(self, pipeline: str, blessed: bool | None = None) -> int:
        model = self.artifact("Model")
        self.execute(pipeline, "Trainer", model)
        if blessed is not None:
            verdict = self.artifact("ModelBlessing", blessed=int(blessed), current_model_id=model)
            self.execute(pipeline, "BssEvaluator", verdict)
        return model


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(Workdir(tmp_path))


def newest(ledger: Ledger, pipeline: str = "guide") -> int | None:
    model = history.newest_model(ledger.store, pipeline)
    return model.id if model else None


def test_nothing_trained_gives_nothing(ledger: Ledger, tmp_path: Path) -> None:
    assert newest(ledger) is None
    ledger.train("another")
    assert newest(ledger) is None
    assert history.trained_model(Workdir(tmp_path), "guide") is None
    assert history.trained_model(Workdir(tmp_path / "nowhere"), "guide") is None
    assert not (tmp_path / "nowhere").exists()


def test_the_newest_blessed_model_comes_before_the_newest(ledger: Ledger, tmp_path: Path) -> None:
    first = ledger.train("guide")
    assert newest(ledger) == first
    second = ledger.train("guide", blessed=False)
    assert newest(ledger) == second
    third = ledger.train("guide", blessed=True)
    ledger.train("guide", blessed=False)
    ledger.train("guide")
    ledger.train("another", blessed=True)
    assert newest(ledger) == third
    assert newest(ledger) != ledger.train("guide", blessed=True) == newest(ledger)
    assert history.trained_model(Workdir(tmp_path), "guide").saved_model == "/somewhere/Format-Serving"


def test_the_newest_is_what_the_latest_run_put_out(ledger: Ledger) -> None:
    first, second = ledger.train("guide"), ledger.train("guide")
    assert newest(ledger) == second
    ledger.execute("guide", "Trainer", first)  # a run with the settings of the first, from the cache
    assert newest(ledger) == first
    ledger.execute("guide", "Teacher", ledger.train("another"), pb.Event.INTERNAL_OUTPUT)
    assert newest(ledger) == first


def test_deleted_models_do_not_count(ledger: Ledger) -> None:
    kept, deleted = ledger.train("guide"), ledger.train("guide")
    [artifact] = ledger.store.get_artifacts_by_id([deleted])
    artifact.state = pb.Artifact.DELETED
    ledger.store.put_artifacts([artifact])
    assert newest(ledger) == kept


def test_the_strategy_answers_with_an_artifact_of_tfx(ledger: Ledger) -> None:
    from pipeline.components.teacher import NewestModelOf

    assert NewestModelOf("guide").resolve_artifacts(ledger.store, {"model": []}) is None
    model = ledger.train("guide")
    ledger.train("student")
    [artifact] = NewestModelOf("guide").resolve_artifacts(ledger.store, {"model": []})["model"]
    assert artifact.type_name == "Model"
    assert artifact.id == model


def test_a_missing_teacher_is_one_sentence_with_the_command_that_makes_it(tmp_path: Path) -> None:
    config = load("demo", [*STUDENT, "data.path=/my music", "data.format=folder"])
    with pytest.raises(ValueError, match=r"train\.teacher is 'guide'") as error:
        preflight.check_teacher(config, Workdir(tmp_path))
    command = f"stemline run --recipe guide --format folder --data '/my music' --workdir {tmp_path}"
    assert str(error.value) == (
        f"train.teacher is 'guide', of which {tmp_path} holds no trained model; this makes one: {command}"
    )


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["train.teacher=null"], "'deep_features' has no teacher"),
        (["train.loss=mse"], "'mse' has a teacher; legal: none"),
        (["train.loss_options={levels: 9}"], "levels of loss 'deep_features' is 9; legal: a whole number from 1 to 4"),
    ],
)
def test_loss_and_teacher_belong_together(overrides: list[str], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        preflight.check_run(load("demo", [*STUDENT, *overrides]), [])


def test_a_teacher_that_cannot_teach_is_refused_before_anything_runs(ledger: Ledger, tmp_path: Path) -> None:
    model = ledger.artifact("Model", uri=str(tmp_path))
    ledger.execute("guide", "Trainer", model)
    written = tmp_path / "Format-Serving" / "assets.extra" / "config.json"
    written.parent.mkdir(parents=True)
    student = load("demo", STUDENT)
    for overrides, words in [
        ([], None),
        (["model.hop=64"], "model.hop is 128 and its teacher's is 64"),
        (["model.network=dnn", "model.sizes={}"], "'dnn', which has no feature maps; legal: unet"),
    ]:
        written.write_text(to_json(load("demo", [*GUIDE, *overrides])))
        with pytest.raises(ValueError, match=words) if words else contextlib.nullcontext():
            preflight.check_run(student, [], Workdir(tmp_path))


def test_the_fingerprint_follows_the_teachers_weights() -> None:
    from pipeline.components import trainer

    config, prints = load("demo", STUDENT), []
    for seed in (0, 0, 1):
        keras.utils.set_random_seed(seed)
        prints.append(trainer.training_key(config, [], Separator(load("demo", GUIDE).model)))
    assert prints[0] == prints[1]
    assert len({trainer.training_key(config, []), *prints}) == 3


def test_a_run_tells_the_figures_of_its_training(tmp_path: Path) -> None:
    run = history.Run("student", "2026-01-01", {}, {"Model": history.Output("Model", str(tmp_path), {})})
    assert run.training == {}
    figures = {"steps": 3, "stages": [{"name": "own", "steps": 3}]}
    extra = tmp_path / "Format-Serving" / "assets.extra"
    extra.mkdir(parents=True)
    (extra / "training.json").write_text(json.dumps(figures))
    assert dataclasses.replace(run).training == figures
    assert history.Run("student", "2026-01-01", {}).training == {}


@pytest.mark.slow
def test_two_pipelines_whose_lineage_the_metadata_know(stemline, tmp_path: Path) -> None:
    from pipeline.components import trainer
    from pipeline.orchestration.local_runner import run_local

    workdir, student, guide = Workdir(tmp_path), load("demo", STUDENT), load("demo", GUIDE)
    outcome = stemline("train", "-w", tmp_path, *(part for key in STUDENT for part in ("--set", key)))
    assert outcome.code == 2
    assert "train.teacher is 'guide', of which" in outcome.err
    assert not workdir.metadata.exists()

    taught_by = run_local(guide, workdir, "train")
    assert taught_by.teacher is None
    first = run_local(student, workdir, "train")
    assert first.states["Teacher"] == "done"
    assert first.teacher.uri == taught_by.outputs["Model"].uri
    assert first.outputs["Model"].uri != first.teacher.uri
    assert [stage["network"] for stage in first.training["stages"]] == ["or_unet"]
    assert first.training["steps"] == 4
    # Nothing of the teacher is in the SavedModel.
    saved = [name for name, _ in tf.train.list_variables(f"{first.model}/variables/variables")]
    assert len([name for name in saved if name.startswith("separator_weights")]) == len(
        Separator(student.model).weights
    )

    with pytest.raises(ValueError, match=r"train\.teacher is 'guide', of which there is no trained model"):
        trainer.teacher_of(student, None)
    again = run_local(student, workdir, "train")
    assert again.states["Trainer"] == "cached"
    assert again.teacher == first.teacher

    reseeded = dataclasses.replace(guide, train=dataclasses.replace(guide.train, seed=1))
    other = run_local(reseeded, workdir, "train")
    retrained = run_local(student, workdir, "train")
    assert retrained.states["Trainer"] == "done"
    assert retrained.teacher.uri == other.outputs["Model"].uri != first.teacher.uri
