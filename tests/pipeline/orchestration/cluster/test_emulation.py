"""All tasks of a compiled graph, each by the command line of the pipeline file, from the installed wheel."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2
from tfx.orchestration.kubeflow.v2.container import kubeflow_v2_entrypoint_utils

from pipeline.config.config import Config, from_json, load, to_json
from pipeline.data import catalogue
from pipeline.orchestration.cluster import emulate, kfp_versions, package
from pipeline.orchestration.cluster.kfp_versions import Version

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
    "train.warm_start=true",
    "evaluate.metrics=[v3]",
    "evaluate.tracks_in_report=1",
    "serve.chunk_seconds=2",
    "serve.overlap_seconds=0.5",
    "gate={better_than_mixture: false, outputs: null, min_tracks: 1}",
)

SHORT = (
    *("train.steps=4", "train.warmup_steps=0", "train.cpu_minutes=null", "evaluate.max_tracks=1"),
    "gate={better_than_mixture: false, outputs: null, min_tracks: 1}",
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
        in (third.directory / "Pusher/pod-0/log.txt").read_text()
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", ["2.3", "2.14", "2.17"])
def test_the_demo_is_pushed_from_the_wheel(name: str, installed: Path, tmp_path: Path) -> None:
    """As the oldest, one in the middle and the newest."""
    from pipeline.orchestration.cluster import compiler

    pipeline_file = tmp_path / "pipeline.yaml"
    compiler.write(compiler.compile(load("demo")), pipeline_file)
    config = emulate.placed(load("demo", SHORT), tmp_path)
    run = emulate.run(pipeline_file, config, tmp_path, installed, version=kfp_versions.version(name))
    [version] = versions(config)
    assert run.metadata("Pusher", "pushed_model")["pushed_version"] == version.name
    assert (version / "saved_model.pb").is_file()
    assert run.metadata("Trainer", "model")["display_name"] == "model"


@pytest.mark.slow
def test_tfxs_own_entry_point_dies_at_what_the_driver_adds(tmp_path: Path) -> None:
    """tensorflow/tfx#7768: `executor-logs` is of a class that cannot be imported, from 2.5 on; ours leaves it out."""
    from pipeline.orchestration.cluster import compiler

    documents = compiler.compile(load("demo"))
    dag, name = documents[0]["root"]["dag"], "ImportSchemaGen"
    dag["tasks"] = {name: {key: value for key, value in dag["tasks"][name].items() if key != "retryPolicy"}}
    ours, theirs = tmp_path / "ours.yaml", tmp_path / "theirs.yaml"
    compiler.write(documents, ours)
    documents[0]["deploymentSpec"]["executors"][f"{name}_executor"]["container"].update(
        command=["python", "-m", "tfx.orchestration.kubeflow.v2.container.kubeflow_v2_run_executor"],
        args=[
            *("--executor_class_path", "tfx.components.schema_gen.import_schema_gen.executor.Executor"),
            *("--json_serialized_invocation_args", "{{$}}"),
        ],
    )
    compiler.write(documents, theirs)
    run = emulate.run(ours, load("demo"), tmp_path, Path(sys.executable))
    assert [file.name for file in run.local(name, "schema").iterdir()] == ["schema.pbtxt"]
    with pytest.raises(emulate.TaskError) as died:
        emulate.run(theirs, load("demo"), tmp_path, Path(sys.executable))
    [log] = {*tmp_path.glob(f"runs/*/{name}/pod-0/log.txt")} - {run.directory / name / "pod-0/log.txt"}
    assert "system.Artifact" in log.read_text()
    assert "ImportError" in str(died.value)


def test_tfx_cannot_read_the_inputs_that_the_driver_hands_on() -> None:
    """ToRuntimeArtifact of backend/src/v2/metadata/client.go sets the schema that GetOutputArtifactsByExecutionId leaves empty."""
    artifact = kfp_versions.recorded("model", {"uri": "minio://bucket/model"}, {}, 17)
    message = json_format.ParseDict(artifact, pipeline_spec_pb2.RuntimeArtifact())
    with pytest.raises(AttributeError, match="'NoneType' object has no attribute 'get'"):
        kubeflow_v2_entrypoint_utils.parse_raw_artifact_dict(
            {"model": pipeline_spec_pb2.ArtifactList(artifacts=[message])}
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
import json, os, pathlib, sys
given, fail, count = json.loads(sys.argv[1]), int(sys.argv[2]), pathlib.Path(sys.argv[3])
pod = pathlib.Path(os.environ["STEMLINE_POD_ROOT"])
[artifact] = given["outputs"]["artifacts"]["model"]["artifacts"]
place = pod / artifact["uri"].replace("minio://", "minio/")
assert place.parent.is_dir() and not place.exists(), "a pod begins empty"
(place / "empty").mkdir(parents=True)
(place / "part").write_text("weights")
count.write_text(count.read_text() + "x" if count.exists() else "x")
print("logs:", json.dumps(given["outputs"]["artifacts"].get("executor-logs")))
if len(count.read_text()) <= fail:
    print("not yet")
    os.kill(os.getpid(), 9) if fail > 8 else sys.exit(1)
config = json.loads(given["inputs"]["parameterValues"]["config"])
print(eval(sys.argv[4]))
artifact["metadata"] = {"name": config["name"], "workers": str(config["cluster"]["workers"]), "yes": True, "all": [1]}
file = pod / given["outputs"]["outputFile"].lstrip("/")
file.parent.mkdir(parents=True, exist_ok=True)
file.write_text(json.dumps({"artifacts": {"model": {"artifacts": [artifact]}}}))
"""
CONSUMER = """
import json, os, pathlib, sys
given, path = json.loads(sys.argv[1]), sys.argv[2]
[model] = given["inputs"]["artifacts"]["model"]["artifacts"]
place = pathlib.Path(os.environ["STEMLINE_POD_ROOT"] + path)
assert [file.name for file in place.iterdir()] == ["part"], "a bucket has no empty directories"
assert given["inputs"]["parameterValues"]["node"] == "Consumer"
print(json.dumps(given))
"""


def small_graph(path: Path, failures: int, retries: int, says: str = "''", **policy: str) -> Path:
    """Two tasks, the first of which fails so many times before it succeeds, and says a part of its configuration."""
    model = {"artifacts": {"model": {"artifactType": {"schemaTitle": "tfx.Model"}}}}
    config = {"componentInputParameter": "config"}
    producer = {
        "componentRef": {"name": "Producer"},
        "inputs": {"parameters": {"config": config}},
        "retryPolicy": {"maxRetryCount": retries, "backoffDuration": "60s", "backoffMaxDuration": "2592000s", **policy},
    }
    consumer = {
        "componentRef": {"name": "Consumer"},
        "dependentTasks": ["Producer"],
        "inputs": {
            "parameters": {"node": {"runtimeValue": {"constant": "Consumer"}}},
            "artifacts": {"model": {"taskOutputArtifact": {"producerTask": "Producer", "outputArtifactKey": "model"}}},
        },
    }
    count = str(path.parent / f"count-{uuid.uuid4().hex}")
    commands = {
        "Producer": {"command": ["python", "-c", PRODUCER], "args": ["{{$}}", str(failures), count, says]},
        "Consumer": {"command": ["python", "-c", CONSUMER], "args": ["{{$}}", "{{$.inputs.artifacts['model'].path}}"]},
    }
    default = {"parameters": {"config": {"parameterType": "STRING", "defaultValue": to_json(load("demo"))}}}
    spec = {
        "pipelineInfo": {"name": "small"},
        "components": {
            "Producer": {"executorLabel": "Producer", "outputDefinitions": model},
            "Consumer": {"executorLabel": "Consumer"},
        },
        "deploymentSpec": {"executors": {name: {"container": container} for name, container in commands.items()}},
        "root": {"dag": {"tasks": {"Consumer": consumer, "Producer": producer}}, "inputDefinitions": default},
    }
    path.write_text(json.dumps(spec))
    return path


@pytest.mark.parametrize("version", kfp_versions.VERSIONS.values(), ids=list(kfp_versions.VERSIONS))
def test_tasks_run_in_order_and_hand_on_what_they_made(version: Version, tmp_path: Path) -> None:
    file = small_graph(tmp_path / "graph.yaml", failures=0, retries=0)
    config = load("demo", ["cluster.workers=2"])
    run = emulate.run(file, config, tmp_path, Path(sys.executable), version=version)
    assert [path.name for path in run.local("Producer", "model").iterdir()] == ["part"]
    told = {"name": "demo", "workers": "None", "yes": 1.0, "all": {"list": [1]}}
    assert told.items() <= run.metadata("Producer", "model").items()
    assert run.metadata("Producer", "model")["display_name"] == "model"
    assert [path.name for path in (run.directory / "Consumer/pod-0").iterdir()] == ["log.txt"]
    given = json.loads((run.directory / "Consumer/pod-0/log.txt").read_text().splitlines()[-1])
    [model] = given["inputs"]["artifacts"]["model"]["artifacts"]
    assert (model["name"].isdecimal(), model["type"]) == (True, {"instanceSchema": ""})
    assert (kfp_versions.LOGS in given["outputs"]["artifacts"]) == version.logs == (float(version.name[2:]) >= 5)
    local = given["outputs"]["outputFile"]
    assert local.startswith("/minio/mlpipeline/v2/artifacts/small/") == version.task_root
    assert (local == "/tmp/kfp_outputs/output_metadata.json") != version.task_root


@pytest.mark.parametrize(
    "words", ["a$$b", "$(KFP_POD_NAME)", "$(nothing)", "{{$.inputs.parameters['node']}}", "{{x}}", "{{{$", "{{$}}"]
)
def test_what_a_configuration_says_reaches_the_task_as_it_is(words: str, tmp_path: Path) -> None:
    """Kubernetes, Argo and the launcher all look for names to put values in the place of."""
    config = load("demo", ["data.format=folder", "data.options={}", f"data.path={json.dumps(f'{tmp_path}/{words}')}"])
    told = package.parameters(config)["config"]
    assert "$" not in told
    assert "{{" not in told
    assert from_json(told).data.path == f"{tmp_path}/{words}"
    file = small_graph(tmp_path / "graph.yaml", failures=0, retries=0, says="config['data']['path']")
    run = emulate.run(file, config, tmp_path, Path(sys.executable))
    assert (run.directory / "Producer/pod-0/log.txt").read_text().splitlines()[-1] == f"{tmp_path}/{words}"


@pytest.mark.parametrize(("failures", "retries", "code"), [(1, 1, 0), (1, 0, 1)])
def test_the_command_tells_of_every_task(tmp_path: Path, failures: int, retries: int, code: int) -> None:
    file = small_graph(tmp_path / "graph.yaml", failures, retries)
    program = Path(sys.executable).with_name("stemline")
    command = [program, "kubeflow", "emulate", "--kfp", "2.16", "--pipeline", file, "--workdir", tmp_path / "here"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stderr.count("Traceback")) == (code, 0), done.stderr
    said = done.stdout + done.stderr
    assert "Producer: running" in said
    assert ("Producer: succeeded" in said, "Consumer: succeeded" in said) == (code == 0, code == 0)
    assert ("Producer: failed, task Producer failed once (No more retries left), see" in said) == (code == 1)
    assert list((tmp_path / "here/runs").glob("*/Producer/pod-0/log.txt"))


def test_an_emulation_that_is_ended_takes_its_task_with_it(tmp_path: Path) -> None:
    says = "print(os.getpid(), flush=True) or __import__('time').sleep(600)"
    file = small_graph(tmp_path / "graph.yaml", failures=0, retries=2, says=says)
    program = Path(sys.executable).with_name("stemline")
    command = [program, "kubeflow", "emulate", "--pipeline", file, "--workdir", tmp_path / "here"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as emulation:
        end = time.monotonic() + 120
        while not (said := "".join(log.read_text() for log in tmp_path.glob("here/runs/*/Producer/pod-0/log.txt"))):
            assert time.monotonic() < end
            time.sleep(0.1)
        emulation.terminate()
        streams = "".join(emulation.communicate(timeout=60))
    assert (emulation.returncode, "Traceback" in streams) == (143, False), streams
    assert not Path(f"/proc/{said.splitlines()[-1]}").exists()


def test_a_place_that_is_no_directory_is_named(tmp_path: Path, stemline) -> None:
    file = small_graph(tmp_path / "graph.yaml", failures=0, retries=0)
    code, said = stemline("emulate", "--pipeline", str(file), "--workdir", str(file))
    assert (code, said) == (2, f"stemline: File exists: {file}\n")


def test_a_version_that_nobody_knows_is_named_with_those_that_are(tmp_path: Path, stemline) -> None:
    code, said = stemline("emulate", "--kfp", "2.9", "--workdir", str(tmp_path / "here"))
    assert (code, "Traceback" in said) == (2, False)
    assert "no rules are known for Kubeflow Pipelines '2.9': legal are 2.3, 2.4, 2.5, 2.14" in said


def test_a_failed_task_is_tried_as_often_as_the_file_says(tmp_path: Path) -> None:
    file = small_graph(tmp_path / "graph.yaml", failures=2, retries=2)
    emulate.run(file, load("demo"), tmp_path, Path(sys.executable), version=kfp_versions.VERSIONS["2.16"])
    file = small_graph(tmp_path / "graph.yaml", failures=2, retries=1)
    with pytest.raises(
        emulate.TaskError, match=r"task Producer failed 2 times \(No more retries left\), see .*log\.txt: not yet"
    ):
        emulate.run(file, load("demo"), tmp_path, Path(sys.executable), version=kfp_versions.VERSIONS["2.16"])


def test_a_task_that_is_killed_has_failed(tmp_path: Path) -> None:
    file = small_graph(tmp_path / "graph.yaml", failures=9, retries=1)
    with pytest.raises(emulate.TaskError, match=r"task Producer failed 2 times .*: signal 9, after: not yet"):
        emulate.run(file, load("demo"), tmp_path, Path(sys.executable), version=kfp_versions.VERSIONS["2.16"])


def test_every_attempt_has_logs_of_its_own_where_the_version_says_so(tmp_path: Path) -> None:
    file = small_graph(tmp_path / "graph.yaml", failures=1, retries=1)
    for name, ends in (("2.5", ["executor-logs", "executor-logs"]), ("2.16", ["executor-logs-0", "executor-logs-1"])):
        graph = small_graph(file, failures=1, retries=1)
        run = emulate.run(graph, load("demo"), tmp_path, Path(sys.executable), version=kfp_versions.VERSIONS[name])
        told = [(run.directory / f"Producer/pod-{n}/log.txt").read_text().splitlines()[0] for n in (0, 1)]
        uris = [json.loads(line.removeprefix("logs: "))["artifacts"][0]["uri"] for line in told]
        assert [uri.rpartition("/")[2] for uri in uris] == ends
        assert run.local("Producer", "executor-logs").read_text().startswith("logs: ")


@pytest.mark.parametrize(
    ("name", "policy", "words"),
    [
        ("2.3", {}, "it is not tried again"),
        ("2.4", {}, ""),
        ("2.16", {}, ""),
        ("2.17", {}, "the container failed, and a retryPolicy of OnError is for lost pods only"),
        ("2.16", {"backoffMaxDuration": "30s"}, "Backoff would exceed max duration limit"),
    ],
)
def test_a_version_tries_again_as_its_own_argo_does(name: str, policy: dict, words: str, tmp_path: Path) -> None:
    file = small_graph(tmp_path / "graph.yaml", failures=1, retries=1, **policy)
    version = kfp_versions.VERSIONS[name]
    if not words:
        emulate.run(file, load("demo"), tmp_path, Path(sys.executable), version=version)
        return
    with pytest.raises(emulate.TaskError, match=rf"task Producer failed once \({words}\)"):
        emulate.run(file, load("demo"), tmp_path, Path(sys.executable), version=version)


def test_what_is_emulated_reaches_no_bucket_of_the_cluster(tmp_path: Path) -> None:
    names = ("workdir", "serving", "pipeline_root")
    config = emulate.placed(load("demo", [f"cluster.{name}=s3://production/{name}" for name in names]), tmp_path)
    places = [getattr(config.cluster, name) for name in names]
    assert places == [f"{tmp_path}/pipeline", f"{tmp_path}/stemline", ""]
