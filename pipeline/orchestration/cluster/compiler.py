"""The graph as Kubeflow's pipeline specification (schema 2.1): a YAML document, and one of what is Kubernetes' own.

A compiled graph holds the shape of the graph and what its pods get. All else is one parameter, the configuration as JSON.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import yaml
from google.protobuf.message import Message
from kfp.pipeline_spec import pipeline_spec_pb2
from tfx.dsl.components.base import base_component, base_executor, base_node, executor_spec
from tfx.dsl.components.common.resolver import Resolver
from tfx.dsl.input_resolution.strategies.latest_blessed_model_strategy import LatestBlessedModelStrategy
from tfx.orchestration import data_types
from tfx.orchestration.kubeflow.v2 import kubeflow_v2_dag_runner as dag_runner
from tfx.orchestration.pipeline import Pipeline
from tfx.types import standard_artifacts
from tfx.types.channel import Channel
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter

from pipeline.common import files
from pipeline.components import graph
from pipeline.config.cluster import TaskConfig, kubernetes_name
from pipeline.config.config import Config
from pipeline.orchestration.cluster import executor, package
from pipeline.orchestration.cluster.package import CONFIG, NODE

Platform = Literal["kfp", "vertex"]
ResourceSpec = pipeline_spec_pb2.PipelineDeploymentConfig.PipelineContainerSpec.ResourceSpec
# The last is Argo's maxDuration: all attempts together, from the start of the first. It has to be long, and to be there:
# Kubeflow Pipelines 2.14.0 to 2.17.0 take 0 for one that is not, after which Argo tries nothing again
# (backend/src/v2/compiler/argocompiler/container.go, addParameterDefault).
_BACKOFF = {"backoffDuration": "60s", "backoffFactor": 2.0, "backoffMaxDuration": "2592000s"}
# What the container of a task runs; the launcher puts the ExecutorInput in the place of the last word.
_COMMAND = {"command": ["python", "-P", "-m", executor.__name__], "args": ["{{$}}"]}


def compile(config: Config, platform: Platform = "kfp") -> list[dict[str, Any]]:
    """The documents of a pipeline file: the PipelineSpec and, for `kfp`, the PlatformSpec.

    The parameter `config` has this configuration as its default.

    Raises:
      ValueError: the recipe needs what the platform does not have, or `cluster.tasks` names a task that is none.
    """
    _check_platform(config, platform)
    spec = _specification(config, platform)
    spec["root"]["inputDefinitions"]["parameters"][CONFIG]["defaultValue"] = package.as_parameter(config)
    for name, task in spec["root"]["dag"]["tasks"].items():
        if container := spec["deploymentSpec"]["executors"][_label(spec, name)].get("container"):
            container.update(_COMMAND)
            if environment := config.cluster.pod(name).environment:
                container["env"] = [{"name": key, "value": value} for key, value in environment.items()]
            if retries := config.cluster.pod(name).retries:
                task["retryPolicy"] = {"maxRetryCount": retries, **_BACKOFF}
    if platform == "vertex":
        return [spec]
    executors = {
        _label(spec, name): kubernetes
        for name in spec["root"]["dag"]["tasks"]
        if (kubernetes := _kubernetes(config.cluster.pod(name)))
    }
    kubernetes: dict[str, Any] = {"deploymentSpec": {"executors": executors}}
    if hours := config.cluster.deadline_hours:
        kubernetes["pipelineConfig"] = {"activeDeadlineSeconds": round(hours * 3600)}
    return [spec, {"platforms": {"kubernetes": kubernetes}}]


def write(documents: list[dict[str, Any]], path: Path) -> None:
    """Writes a pipeline file; complete or not at all."""
    files.write_text(path, yaml.safe_dump_all(documents, sort_keys=True, width=120))


def _check_platform(config: Config, platform: Platform) -> None:
    if platform == "vertex" and config.serve.validator != "embedded":
        raise ValueError(f"serve.validator is {config.serve.validator!r}: on Vertex only 'embedded' runs")
    if platform == "vertex" and not config.cluster.pipeline_root.startswith("gs://"):
        raise ValueError(
            f"cluster.pipeline_root is {config.cluster.pipeline_root!r}: Vertex needs a bucket, as in gs://bucket/runs"
        )
    if platform == "vertex" and config.cluster.workers is not None:
        raise ValueError(f"cluster.workers is {config.cluster.workers}: on Vertex legal is null, for it has no JobSets")


# --- the nodes -------------------------------------------------------------------------------------------------------


def _specification(config: Config, platform: Platform) -> dict[str, Any]:
    """The PipelineSpec as TFX compiles it."""
    parameter = data_types.RuntimeParameter(name=CONFIG, ptype=str)
    tasks: dict[str, base_node.BaseNode] = {}
    alone = dataclasses.replace(config, train=dataclasses.replace(config.train, teacher=None))  # the executor finds it
    for node in graph.components(alone, executor.workdir(config), resolve=platform == "vertex", gated=True):
        if isinstance(
            node, Resolver
        ):  # Vertex's own look-up of the last blessed model, which knows TFX's strategies only
            task = Resolver(
                strategy_class=LatestBlessedModelStrategy,
                model=Channel(type=standard_artifacts.Model),
                model_blessing=Channel(type=standard_artifacts.ModelBlessing),
            )
        else:
            task = _task(node, tasks, parameter)
            task.with_platform_config(_resources(config.cluster.pod(node.id)))
        for upstream in node.upstream_nodes:
            task.add_upstream_node(tasks[upstream.id])
        tasks[node.id] = task.with_id(node.id)
    unknown = sorted(set(config.cluster.tasks) - set(tasks))
    if unknown:
        raise ValueError(f"cluster.tasks names {unknown[0]!r}: legal are {', '.join(tasks)}")
    pipeline = Pipeline(
        pipeline_name=f"stemline-{kubernetes_name(config.name)}",  # which the alerts of kubeflow/base/monitoring look for
        pipeline_root=config.cluster.pipeline_root,
        components=list(tasks.values()),
        enable_cache=False,  # Kubeflow's key knows neither the files of a corpus nor what is served
    )
    settings = dag_runner.KubeflowV2DagRunnerConfig(default_image=config.cluster.image, use_pipeline_spec_2_1=True)
    return dag_runner.KubeflowV2DagRunner(settings).run(pipeline, write_out=False)["pipelineSpec"]


def _task(
    node: base_node.BaseNode, tasks: Mapping[str, base_node.BaseNode], parameter: data_types.RuntimeParameter
) -> base_component.BaseComponent:
    """A component with the channels of `node`, whose parameters are the configuration and the name of the node."""
    inputs = {
        name: tasks[str(channel.producer_component_id)].outputs[str(channel.output_key)]
        for name, channel in node.inputs.items()
    }
    specification = type(
        f"{node.id}Spec",
        (ComponentSpec,),
        {
            "PARAMETERS": {name: ExecutionParameter(type=str) for name in (CONFIG, NODE)},
            "INPUTS": {name: ChannelParameter(type=channel.type) for name, channel in inputs.items()},
            "OUTPUTS": {name: ChannelParameter(type=channel.type) for name, channel in node.outputs.items()},
        },
    )
    component = type(
        node.id,
        (base_component.BaseComponent,),
        {"SPEC_CLASS": specification, "EXECUTOR_SPEC": executor_spec.ExecutorClassSpec(base_executor.EmptyExecutor)},
    )
    outputs = {name: Channel(type=channel.type) for name, channel in node.outputs.items()}
    return component(specification(**inputs, **outputs, **{CONFIG: parameter, NODE: node.id}))


# --- what a pod gets -------------------------------------------------------------------------------------------------


def _resources(task: TaskConfig) -> Message:
    """Requests equal to limits: a pod that has its resources keeps them."""
    spec = ResourceSpec()
    if task.cpu:
        spec.cpu_request = spec.cpu_limit = task.cpu
    if task.memory_gb:
        spec.memory_request = spec.memory_limit = task.memory_gb
    if task.gpus:
        spec.accelerator.type = task.gpu_type or ""
        spec.accelerator.count = task.gpus
    return spec


def _kubernetes(task: TaskConfig) -> dict[str, Any]:
    """A KubernetesExecutorConfig of kfp-kubernetes as JSON, of fields that the driver of 2.3.0 knows: it refuses others."""
    config: dict[str, Any] = {}
    if task.node_selector:
        config["nodeSelector"] = {"labels": dict(task.node_selector)}
    if task.tolerations:
        config["tolerations"] = [
            {name: value for name, value in vars(toleration).items() if value} for toleration in task.tolerations
        ]
    if task.volumes:
        config["pvcMount"] = [{"constant": volume.claim, "mountPath": volume.mount_path} for volume in task.volumes]
    if task.secrets:
        config["secretAsEnv"] = [
            {
                "secretName": secret.name,
                "keyToEnv": [{"secretKey": key, "envVar": variable} for variable, key in secret.keys.items()],
            }
            for secret in task.secrets
        ]
    return config


def _label(spec: Mapping[str, Any], task: str) -> str:
    """The executor of a task of the root."""
    component = spec["root"]["dag"]["tasks"][task]["componentRef"]["name"]
    return spec["components"][component]["executorLabel"]
