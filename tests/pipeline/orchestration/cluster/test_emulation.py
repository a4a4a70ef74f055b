"""All tasks of a compiled graph, each by the command line of the pipeline file, from the installed wheel."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pipeline.config.config import Config, load, to_json
from pipeline.data import catalogue
from pipeline.orchestration.cluster import emulate, package

SONGS = {"train": 3, "dev": 1, "test": 1}
SMALL = (
    "data.format=folder",
    "data.options={}",
    "data.spans=2",
    "data.segment_seconds=2",
    "model.sizes={units: 16}",
    "train.steps=4",
    "train.warmup_steps=0",
    "train.evaluate_every_steps=2",
    "train.batch=4",
    "train.segment_frames=40",
    "train.shuffle_buffer=8",
    "train.warm_start=true",
    "evaluate.metrics=[v3]",
    "evaluate.tracks_in_report=1",
    "serve.chunk_seconds=2",
    "serve.overlap_seconds=0.5",
    "gate={better_than_mixture: false, outputs: {level_db: null, misplaced_share: null}}",
)


# --- the real graph --------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_three_weeks_from_the_wheel(installed: Path, arrive, tmp_path: Path) -> None:
    """Compiled for the recipe as it ships; all that makes it small, and the data, are changes of the run. Two weeks bring
    songs, the third brings none."""
    from pipeline.orchestration.cluster import compiler

    pipeline_file = tmp_path / "pipeline.yaml"
    compiler.write(compiler.compile(load("demo")), pipeline_file)
    config = emulate.placed(load("demo", [*SMALL, f"data.path={tmp_path}/stems/week-{{SPAN}}"]), tmp_path)
    package.check_compiled(package.read(pipeline_file), config)
    assert imported_from(installed, tmp_path).is_relative_to(installed.parents[1]), "the project is the source tree's"

    arrive(tmp_path / "stems", 1, SONGS)
    first = emulate.run(pipeline_file, config, tmp_path, installed)
    [version] = versions(config)
    assert first.metadata("Pusher", "pushed_model")["pushed_destination"] == str(version)
    assert (version / "saved_model.pb").is_file()
    assert spans(first) == {"1"}
    assert trained(first)["warm_start"]["reason"].startswith("no version is served")

    arrive(tmp_path / "stems", 2, SONGS)
    second = emulate.run(pipeline_file, config, tmp_path, installed)
    assert spans(second) == {"1", "2"}
    assert (trained(second)["warm_start"]["model"], trained(second)["warm_start"]["reason"]) == (str(version), "")
    blessing = second.metadata("BssEvaluator", "blessing")
    assert blessing["baseline_model"] == str(version)
    assert blessing["served_version"] == int(version.name)
    assert "baseline/vocals/v3/GSDR" in second.metadata("BssEvaluator", "evaluation")
    [_, newer] = versions(config)
    assert second.metadata("Pusher", "pushed_model")["pushed_version"] == newer.name

    third = emulate.run(pipeline_file, config, tmp_path, installed)
    assert trained(third) == trained(second), "the finished training was taken"
    assert "baseline_model" not in third.metadata("BssEvaluator", "blessing"), "a model is no baseline of itself"
    assert third.metadata("Pusher", "pushed_model")["pushed_version"] == newer.name
    assert versions(config) == [version, newer]
    assert (
        f"version {newer.name} in {newer.parent} is this model already"
        in (third.directory / "Pusher/log.txt").read_text()
    )


def imported_from(python: Path, directory: Path) -> Path:
    """Where an interpreter finds the project."""
    code = "import models, pipeline, serving; print(pipeline.__file__)"
    done = subprocess.run([python, "-c", code], cwd=directory, capture_output=True, text=True, check=True)
    return Path(done.stdout.strip())


def versions(config: Config) -> list[Path]:
    return sorted(path for path in Path(config.cluster.serving).iterdir() if path.name.isdigit())


def spans(run: emulate.EmulatedRun) -> set[str]:
    return {entry.metadata["span"] for entry in catalogue.read(str(run.local("StemsExampleGen", "examples")))}


def trained(run: emulate.EmulatedRun) -> dict[str, Any]:
    [file] = run.local("Trainer", "model").rglob("training.json")
    return json.loads(file.read_text())


# --- the emulation itself --------------------------------------------------------------------------------------------


PRODUCER = """
import json, pathlib, sys
given = json.loads(sys.argv[1])
[artifact] = given["outputs"]["artifacts"]["model"]["artifacts"]
tries = pathlib.Path(given["outputs"]["outputFile"]).with_name("tries")
tries.write_text(tries.read_text() + "x" if tries.exists() else "x")
assert len(tries.read_text()) > int(sys.argv[2]), "not yet"
pathlib.Path(artifact["uri"]).mkdir()
config = json.loads(given["inputs"]["parameterValues"]["config"])
artifact["metadata"] = {"name": config["name"], "workers": config["cluster"]["workers"]}
pathlib.Path(given["outputs"]["outputFile"]).write_text(json.dumps({"artifacts": {"model": {"artifacts": [artifact]}}}))
"""
CONSUMER = """
import json, pathlib, sys
given = json.loads(sys.argv[1])
[model] = given["inputs"]["artifacts"]["model"]["artifacts"]
assert pathlib.Path(model["uri"]).is_dir() and model["metadata"] == {"name": "demo", "workers": 1}
assert given["inputs"]["parameterValues"]["node"] == "Consumer"
pathlib.Path(given["outputs"]["outputFile"]).write_text("{}")
"""


def small_graph(path: Path, failures: int, retries: int) -> Path:
    """Two tasks, the first of which fails so many times before it succeeds."""
    model = {"artifacts": {"model": {"artifactType": {"schemaTitle": "tfx.Model"}}}}
    config = {"componentInputParameter": "config"}
    producer = {
        "componentRef": {"name": "Producer"},
        "inputs": {"parameters": {"config": config}},
        "retryPolicy": {"maxRetryCount": retries},
    }
    consumer = {
        "componentRef": {"name": "Consumer"},
        "dependentTasks": ["Producer"],
        "inputs": {
            "parameters": {"node": {"runtimeValue": {"constant": "Consumer"}}},
            "artifacts": {"model": {"taskOutputArtifact": {"producerTask": "Producer", "outputArtifactKey": "model"}}},
        },
    }
    commands = {
        "Producer": {"command": ["python", "-c", PRODUCER], "args": ["{{$}}", str(failures)]},
        "Consumer": {"command": ["python", "-c", CONSUMER], "args": ["{{$}}"]},
    }
    default = {"parameters": {"config": {"parameterType": "STRING", "defaultValue": to_json(load("demo"))}}}
    spec = {
        "components": {
            "Producer": {"executorLabel": "Producer", "outputDefinitions": model},
            "Consumer": {"executorLabel": "Consumer"},
        },
        "deploymentSpec": {"executors": {name: {"container": container} for name, container in commands.items()}},
        "root": {"dag": {"tasks": {"Consumer": consumer, "Producer": producer}}, "inputDefinitions": default},
    }
    path.write_text(json.dumps(spec))
    return path


def test_tasks_run_in_order_and_hand_on_what_they_made(tmp_path: Path) -> None:
    file = small_graph(tmp_path / "graph.yaml", failures=0, retries=0)
    run = emulate.run(file, load("demo", ["cluster.workers=2"]), tmp_path, Path(sys.executable))
    assert run.local("Producer", "model").is_dir()
    assert run.metadata("Producer", "model") == {"name": "demo", "workers": 1}


@pytest.mark.parametrize(("failures", "retries", "code"), [(1, 1, 0), (1, 0, 1)])
def test_the_command_tells_of_every_task(tmp_path: Path, failures: int, retries: int, code: int) -> None:
    file = small_graph(tmp_path / "graph.yaml", failures, retries)
    program = Path(sys.executable).with_name("stemline")
    command = [program, "kubeflow", "emulate", "--pipeline", file, "--workdir", tmp_path / "here"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stderr.count("Traceback")) == (code, 0), done.stderr
    said = done.stdout + done.stderr
    assert "Producer: running" in said
    assert ("Producer: succeeded" in said, "Consumer: succeeded" in said) == (code == 0, code == 0)
    assert ("Producer: failed, task Producer failed 1 times, see" in said) == (code == 1)
    assert list((tmp_path / "here/runs").glob("*/Producer/log.txt"))


def test_a_failed_task_is_tried_as_often_as_the_file_says(tmp_path: Path) -> None:
    file = small_graph(tmp_path / "graph.yaml", failures=2, retries=2)
    emulate.run(file, load("demo"), tmp_path, Path(sys.executable))
    file = small_graph(tmp_path / "graph.yaml", failures=2, retries=1)
    with pytest.raises(
        emulate.TaskError, match=r"task Producer failed 2 times, see .*log\.txt: AssertionError: not yet"
    ):
        emulate.run(file, load("demo"), tmp_path, Path(sys.executable))
