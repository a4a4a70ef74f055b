"""What the container of a task runs, on inputs as Kubeflow's driver makes them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pipeline.config.config import load, to_json
from pipeline.data.schema import SCHEMA_PATH
from pipeline.orchestration.cluster import executor, kfp_versions

PLACE = "minio://mlpipeline/v2/artifacts/demo/run/ImportSchemaGen/salt"


def executor_input(node: str, **artifacts: str) -> dict[str, Any]:
    """Of 2.17, for a task with these outputs."""
    component = {"outputDefinitions": {"artifacts": {key: {"artifactType": {}} for key in artifacts}}}
    return {
        "inputs": {"parameterValues": {"config": to_json(load("demo")), "node": node}},
        "outputs": kfp_versions.outputs(kfp_versions.NEWEST, component, PLACE),
    }


def run(given: dict[str, Any], root: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setenv(executor.POD_ROOT, str(root))
    return executor.main(json.dumps(given))


def test_an_output_is_a_file_while_the_task_runs_and_keeps_its_uri(tmp_path: Path, monkeypatch) -> None:
    given = executor_input("ImportSchemaGen", schema="")
    assert kfp_versions.LOGS in given["outputs"]["artifacts"]
    assert run(given, tmp_path, monkeypatch) == 0
    place = tmp_path / PLACE.replace("://", "/")
    assert (place / "schema/schema.pbtxt").read_bytes() == SCHEMA_PATH.read_bytes()
    told = json.loads((place / "output_metadata.json").read_text())["artifacts"]
    assert {key: each["artifacts"][0]["uri"] for key, each in told.items()} == {"schema": f"{PLACE}/schema"}


@pytest.mark.parametrize(
    ("node", "outputs", "words"),
    [
        (
            "ImportSchemaGen",
            (),
            "task ImportSchemaGen failed: Kubeflow has given no output 'schema', but executor-logs",
        ),
        ("AnomalyGate", (), "task AnomalyGate failed: Kubeflow has given no input 'anomalies', but none at all"),
        (
            "Trainr",
            (),
            "task Trainr failed: the graph of this configuration has no node 'Trainr'; it has StemsExampleGen, ",
        ),
    ],
)
def test_an_input_of_another_graph_is_one_sentence(node, outputs, words, tmp_path, monkeypatch, capsys) -> None:
    assert run(executor_input(node, **dict.fromkeys(outputs, "")), tmp_path, monkeypatch) == 1
    assert capsys.readouterr().err.splitlines()[-1].startswith(words)
    assert not list(tmp_path.rglob("output_metadata.json"))


def test_a_configuration_that_is_none_is_one_sentence(tmp_path: Path, monkeypatch, capsys) -> None:
    given = executor_input("ImportSchemaGen", schema="")
    given["inputs"]["parameterValues"]["config"] = to_json(load("demo")).replace('"batch": ', '"batch": -')
    assert run(given, tmp_path, monkeypatch) == 1
    told = capsys.readouterr().err
    assert "Traceback" not in told
    assert told.splitlines()[-1].startswith("task ImportSchemaGen failed: ")
    assert "train.batch" in told


@pytest.mark.slow
def test_a_refused_model_is_the_last_line_of_its_task(tmp_path: Path) -> None:
    """In a process of its own, as the launcher starts it, on what the metadata store makes of artifacts."""
    given = executor_input("PushGate")
    told = {
        "pushed_model": {"pushed": 0.0},
        "model_blessing": {"reasons": json.dumps(["ok: sound", "refused: worse by 1 dB"])},
        "infra_blessing": {"blessed": 1.0},
    }
    given["inputs"]["artifacts"] = kfp_versions.listed(
        {
            key: kfp_versions.recorded(key, {"uri": f"{PLACE}/{key}"}, {"metadata": metadata}, number)
            for number, (key, metadata) in enumerate(told.items())
        }
    )
    command = [sys.executable, "-m", executor.__name__, json.dumps(given)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[4])
    assert done.returncode == 1
    line = done.stderr.splitlines()[-1]
    assert line == "task PushGate failed: the model was not pushed: refused: worse by 1 dB"
    assert "Traceback" not in done.stderr


def test_paths_of_artifacts_are_the_launchers() -> None:
    """LocalPathForURI of backend/src/v2/component/launcher_v2.go, 2.17.0."""
    assert executor.local_path("gs://bucket/a") == "/gcs/bucket/a" == kfp_versions.local_path("gs://bucket/a")
    assert executor.local_path("s3://bucket/a") == "/s3/bucket/a" == kfp_versions.local_path("s3://bucket/a")
    assert executor.local_path("minio://bucket/a") == "/minio/bucket/a" == kfp_versions.local_path("minio://bucket/a")
    assert executor.local_path("/tmp/a") == "/tmp/a"
