"""The compiled graph: a PipelineSpec that Kubeflow's own SDK reads, with one parameter and what the pods get."""

from __future__ import annotations

import copy
import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import kfp
import pytest
import yaml
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2

from pipeline.components import graph
from pipeline.config.cluster import ClusterConfig
from pipeline.config.config import from_json, load, to_json
from pipeline.orchestration.cluster import compiler, executor, kfp_versions, package
from pipeline.orchestration.cluster.workers import jobset

TASKS = {
    *("StemsExampleGen", "StatisticsGen", "ImportSchemaGen", "ExampleValidator", "AnomalyGate", "Trainer"),
    *("BssEvaluator", "ServingValidator", "Pusher", "PushGate"),
}
GPU = "cluster.tasks={Trainer: {cpu: 7, memory_gb: 24, gpus: 1, node_selector: {pool: gpu}, retries: 5, tolerations: [{key: nvidia.com/gpu, operator: Exists, effect: NoSchedule}]}}"


@pytest.fixture(scope="module")
def documents() -> list[dict[str, Any]]:
    return compiler.compile(
        load("demo", ["data.path=/stems/span-{SPAN}", "data.format=folder", "data.options={}", GPU])
    )


@pytest.fixture(scope="module")
def spec(documents) -> pipeline_spec_pb2.PipelineSpec:
    return json_format.ParseDict(documents[0], pipeline_spec_pb2.PipelineSpec())


def containers(spec: pipeline_spec_pb2.PipelineSpec) -> dict[str, Any]:
    executors = json_format.MessageToDict(spec.deployment_spec)["executors"]
    return {label.removesuffix("_executor"): executor["container"] for label, executor in executors.items()}


def without_default(documents: list[dict[str, Any]]) -> list[dict[str, Any]]:
    copied = copy.deepcopy(documents)
    del copied[0]["root"]["inputDefinitions"]["parameters"]["config"]["defaultValue"]
    return copied


def test_kubeflows_sdk_reads_the_file(documents, tmp_path: Path) -> None:
    path = tmp_path / "pipeline.yaml"
    compiler.write(documents, path)
    component = kfp.components.load_component_from_file(str(path))
    assert list(component.component_spec.inputs) == ["config"]
    assert package.read(path) == documents
    assert [file.name for file in tmp_path.iterdir()] == ["pipeline.yaml"]


def test_schema_tasks_and_their_order(spec) -> None:
    assert spec.schema_version == "2.1.0"
    tasks = spec.root.dag.tasks
    assert set(tasks) == TASKS
    assert "AnomalyGate" in tasks["Trainer"].dependent_tasks
    assert {"BssEvaluator", "ServingValidator"} <= set(tasks["Pusher"].dependent_tasks)


def test_what_kubeflow_makes_of_it_is_named_as_the_alerts_look_for_it(documents) -> None:
    """A run is `<pipeline>-xxxxx` (backend/src/v2/compiler/argocompiler/argo.go, `GenerateName`), and a recurring run is its own
    name without other characters than these, cut to 25 (backend/src/apiserver/template/template.go), both of 2.17.0."""
    name = documents[0]["pipelineInfo"]["name"]
    recurring = re.sub("[^a-z0-9-]+", "", f"{name} 0123456789ab".lower())[:25]
    rules = yaml.safe_load((Path(__file__).parents[4] / "kubeflow/base/monitoring/rules.yaml").read_text())
    text = json.dumps(rules)
    worker = jobset.addresses(jobset.name("demo-0123456789abcdef"), 2)[1].partition(".")[0]
    named = {
        "run": [f"{name}-x7k2p"],
        "recurring_run": [f"{recurring}x7k2p"],
        "pod": [f"{name}-x7k2p-system-container-impl-1234", f"{worker}-abcde"],
    }
    for label, found in named.items():
        [pattern] = set(re.findall(rf'[{{ ]{label}=~\\"(.*?)\\"', text))
        assert all(re.fullmatch(pattern, one) for one in found), label


BUCKET = (
    "cluster.serving=s3://models/stemline",
    "cluster.workdir=s3://models/pipeline",
    "cluster.pipeline_root=s3://models/runs",
    "cluster.every.environment={S3_ENDPOINT: 'http://minio:9000', AWS_REGION: us-east-1}",
    "cluster.every.secrets=[{name: minio, keys: {AWS_ACCESS_KEY_ID: accesskey, AWS_SECRET_ACCESS_KEY: secretkey}}]",
)


def test_a_pod_gets_the_way_to_a_bucket_and_of_credentials_the_names() -> None:
    """Compiled without a look at the bucket, which need not be seen from here. The fields are those of
    kubernetes_platform/proto/kubernetes_executor_config.proto at 2.3.0, see `kfp_versions`."""
    documents = compiler.compile(load("demo", BUCKET))
    for version in kfp_versions.VERSIONS.values():
        kfp_versions.check_platform(version, documents)
    spec = json_format.ParseDict(documents[0], pipeline_spec_pb2.PipelineSpec())
    assert containers(spec)["Pusher"]["env"] == [
        {"name": "S3_ENDPOINT", "value": "http://minio:9000"},
        {"name": "AWS_REGION", "value": "us-east-1"},
    ]
    executors = documents[1]["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    keys = {"accesskey": "AWS_ACCESS_KEY_ID", "secretkey": "AWS_SECRET_ACCESS_KEY"}
    assert executors["Pusher_executor"]["secretAsEnv"] == [
        {"secretName": "minio", "keyToEnv": [{"secretKey": key, "envVar": name} for key, name in keys.items()]}
    ]
    other = load("demo", [*BUCKET, "cluster.every.environment={}"])
    with pytest.raises(ValueError, match=r"cluster\.every\.environment\.\w+ '.*needs a recompile"):
        package.check_compiled(documents, other)


def test_no_resolver_no_cache_and_nothing_of_the_configuration_but_one_parameter(documents, spec) -> None:
    assert not any("resolver" in executor for executor in documents[0]["deploymentSpec"]["executors"].values())
    assert not any(task.caching_options.enable_cache for task in spec.root.dag.tasks.values())
    assert list(spec.root.input_definitions.parameters) == ["config"]
    for name, task in spec.root.dag.tasks.items():
        given = task.inputs.parameters
        assert set(given) == {"config", "node"}
        assert given["config"].component_input_parameter == "config"
        assert given["node"].runtime_value.constant.string_value == name
    text = json.dumps(without_default(documents))
    assert "{SPAN}" not in text
    assert "/stems" not in text
    assert '"steps"' not in text


def test_what_the_pods_get(documents, spec) -> None:
    resources = containers(spec)
    assert resources["Trainer"]["image"] == "stemline:latest"
    assert resources["Trainer"]["resources"]["cpuLimit"] == 7
    assert resources["Trainer"]["resources"]["memoryLimit"] == 24
    assert resources["Trainer"]["resources"]["accelerator"] == {"type": "nvidia.com/gpu", "count": "1"}
    assert resources["StemsExampleGen"]["resources"]["memoryLimit"] == 8
    assert "accelerator" not in resources["StemsExampleGen"]["resources"]
    tasks = spec.root.dag.tasks
    assert (tasks["Trainer"].retry_policy.max_retry_count, tasks["Pusher"].retry_policy.max_retry_count) == (5, 2)
    platforms = json_format.ParseDict(documents[1], pipeline_spec_pb2.PlatformSpec())
    assert list(platforms.platforms) == ["kubernetes"]
    executors = documents[1]["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    assert {label.removesuffix("_executor") for label in executors} == TASKS
    assert executors["Trainer_executor"]["nodeSelector"] == {"labels": {"pool": "gpu"}}
    assert executors["Trainer_executor"]["tolerations"] == [
        {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}
    ]
    [mount] = executors["Pusher_executor"]["pvcMount"]
    assert (mount["constant"], mount["mountPath"]) == ("stemline-models", "/models")
    assert "tolerations" not in executors["Pusher_executor"]


def test_vertex_gets_its_resolver_and_no_second_document() -> None:
    [spec] = compiler.compile(load("demo", ["cluster.pipeline_root=gs://bucket/runs"]), "vertex")
    parsed = json_format.ParseDict(spec, pipeline_spec_pb2.PipelineSpec())
    assert parsed.schema_version == "2.1.0"
    assert sum("resolver" in executor for executor in spec["deploymentSpec"]["executors"].values()) == 2
    source = parsed.root.dag.tasks["BssEvaluator"].inputs.artifacts["baseline_model"].task_output_artifact
    assert source.producer_task == "LatestBlessedModel-model-resolver"


@pytest.mark.parametrize(
    ("overrides", "platform", "words"),
    [
        (["cluster.tasks={Trainr: {gpus: 1}}"], "kfp", "cluster.tasks names 'Trainr': legal are .*Trainer"),
        ([], "vertex", "cluster.pipeline_root is '': Vertex needs a bucket"),
        (
            ["cluster.pipeline_root=gs://bucket/runs", "cluster.workers=2"],
            "vertex",
            "cluster.workers is 2: on Vertex legal is null",
        ),
    ],
)
def test_what_a_platform_lacks_is_refused(overrides: list[str], platform: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        compiler.compile(load("demo", overrides), platform)


# What a run may change: everything that `package.check_compiled` lets through leaves the compiled file as it is.
LATER = [
    "data.segment_seconds=5",
    "train.steps=3",
    "evaluate.metrics=[v3]",
    "serve.tolerance=0.1",
    "beam.pipeline_args=[]",
]
LATER += [
    "gate.better_than_mixture=false",
    "model.hop=256",
    "cluster.workdir=/a",
    "cluster.serving=/b",
    "cluster.cron='@daily'",
]
NOW = ["name=mine", "cluster.image=other", "cluster.every.cpu=3", "cluster.tasks={Pusher: {retries: 1}}"]
NOW += ["serve.validator=infra_validator"]
LATER += ["data.spans=1", "train.warm_start=true", "metadata.backend=sqlite", "train.teacher=unet"]
# With several workers the Trainer's pod is a launcher: what it asks for is no matter of the file any more.
LATER += ["cluster.workers=2", "cluster.tasks={Pusher: {cpu: 2}}"]
NOW += ["cluster.every.gpus=1"]


@pytest.mark.parametrize("override", [*LATER, *NOW])
def test_a_recompile_is_asked_for_exactly_where_the_file_would_change(override: str) -> None:
    compiled, wanted = (compiler.compile(load("demo", overrides)) for overrides in ([], [override]))
    try:
        package.check_compiled(compiled, package.compiled_for(wanted))
        refused = False
    except ValueError:
        refused = True
    assert refused == (override in NOW) == (without_default(compiled) != without_default(wanted))


def test_a_key_of_every_task_leaves_the_others_as_they_are() -> None:
    """Null and empty, on the other hand, are none."""
    given = load("demo", ["cluster.every.gpus=1", "cluster.every.memory_gb=null"]).cluster
    assert given.every == dataclasses.replace(ClusterConfig().every, gpus=1, memory_gb=None)
    assert [volume.claim for volume in given.task("Pusher").volumes] == ["stemline-models"]
    assert load("demo", ["cluster.every.volumes=[]"]).cluster.task("Pusher").volumes == ()
    assert from_json(to_json(load("demo", ["cluster.every.retries=null"]))).cluster.task("Pusher").retries is None


@pytest.mark.parametrize(("trainer", "fits"), [("cpu: 7, gpus: 1", True), ("cpu: 3", True), ("retries: 5", False)])
@pytest.mark.parametrize("every", [0, 1])
def test_what_workers_get_is_not_in_the_file(every: int, trainer: str, fits: bool) -> None:
    shared = [f"cluster.every={{cpu: 2, memory_gb: 8, gpus: {every}}}", "train.cpu_minutes=null"]
    one, two, other = (
        compiler.compile(
            load("demo", [*shared, f"cluster.workers={workers}", f"cluster.tasks={{Trainer: {{{given}}}}}"])
        )
        for workers, given in (("null", "cpu: 7, gpus: 1"), (1, "cpu: 7, gpus: 1"), (3, trainer))
    )
    launcher = containers(json_format.ParseDict(two[0], pipeline_spec_pb2.PipelineSpec()))["Trainer"]["resources"]
    assert (launcher["cpuLimit"], launcher["memoryLimit"], "accelerator" in launcher) == (2, 8, False)
    with pytest.raises(ValueError, match=r"with cluster\.tasks\.Trainer\.(cpu|gpus) .* needs a recompile"):
        package.check_compiled(one, package.compiled_for(two))
    assert (without_default(two) == without_default(other)) == fits
    if fits:
        package.check_compiled(two, package.compiled_for(other))
    else:
        with pytest.raises(ValueError, match=r"cluster\.tasks\.Trainer\.retries"):
            package.check_compiled(two, package.compiled_for(other))


def test_a_task_takes_its_properties_from_the_configuration_of_the_run() -> None:
    config = from_json(to_json(load("demo", ["cluster.workdir=/work", "cluster.serving=/served", "train.steps=3"])))
    nodes = {node.id: node for node in graph.components(config, executor.workdir(config), resolve=False)}
    trainer = executor.properties(nodes["Trainer"])
    assert json.loads(trainer["train_args"])["num_steps"] == 3
    assert json.loads(trainer["custom_config"])["checkpoint_root"] == "/work/checkpoints/demo"
    assert "/served" in executor.properties(nodes["Pusher"])["push_destination"]
    assert executor.properties(nodes["BssEvaluator"])["serving_directory"] == "/served"


def test_a_file_of_somebody_else_is_refused(tmp_path: Path) -> None:
    for text in ("{}", "- 1", "a: [", "root: {dag: {}}"):
        (tmp_path / "other.yaml").write_text(text)
        with pytest.raises(ValueError, match=r"other\.yaml is not a pipeline that `stemline kubeflow compile` wrote"):
            package.read(tmp_path / "other.yaml")
