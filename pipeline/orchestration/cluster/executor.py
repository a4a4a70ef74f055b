"""What every task of a compiled graph runs: the executor of its node, in the graph that the run's configuration gives.

The compiled tasks carry no values of their own but the name of their node: whatever a configuration changes in the graph
of one machine, it changes in a run on the cluster, without another compilation.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tfx.components.util import model_utils
from tfx.dsl.components.base import base_beam_executor, base_node
from tfx.orchestration.kubeflow.v2 import compiler_utils
from tfx.types import Artifact, standard_artifacts, standard_component_specs

from pipeline.components import graph
from pipeline.components.pusher import REASON
from pipeline.config.cluster import TRAINER
from pipeline.config.config import Config, from_json
from pipeline.orchestration import beam_runners
from pipeline.orchestration.cluster import teachers
from pipeline.orchestration.cluster.package import CONFIG
from pipeline.orchestration.cluster.workers import launcher
from pipeline.runs.workdir import Workdir

Channels = dict[str, list[Artifact]]
NODE = "node"  # beside the configuration, the parameter of every task
# Where Kubeflow's launcher puts the inputs of a task before it starts, and takes its outputs from when it has ended.
_MOUNTS = {"gs://": "/gcs/", "s3://": "/s3/", "minio://": "/minio/"}


@dataclass(frozen=True)
class ClusterWorkdir(Workdir):
    """The working directory in the pods; all recipes are pushed to the one directory that the servers read."""

    served: Path

    def serving(self, name: str) -> Path:
        return self.served


class Refused(ValueError):
    """The run is over without a new version; what was served before is served still."""


class ConfiguredExecutor(base_beam_executor.BaseBeamExecutor):
    """Runs the executor of the node that the parameter `node` names, with what the parameter `config` makes of it."""

    def Do(
        self,
        input_dict: Channels,
        output_dict: Channels,
        exec_properties: dict[str, Any],
    ) -> None:
        """As the node's own executor, on local files.

        Raises what that raises, ConfigError for a bad `config`, and Refused where a model was not pushed: a pipeline has no
        exit code to alert on but that of a task.
        """
        config = from_json(exec_properties[CONFIG])
        node = _node(config, exec_properties[NODE])
        assert isinstance(self._context, base_beam_executor.BaseBeamExecutor.Context)
        self._context.beam_pipeline_args = [*beam_runners.arguments(config.beam)]
        given = dict(input_dict)
        with _local([*_artifacts(input_dict), *_artifacts(output_dict)]):
            if node.id == TRAINER and config.train.teacher:
                teacher = standard_artifacts.Model()
                teacher.uri = teachers.find(workdir(config).root, config.train.teacher)
                given[standard_component_specs.BASE_MODEL_KEY] = [teacher]
            node.executor_spec.executor_class(self._context).Do(given, output_dict, _properties(config, node))
            _keep(config, input_dict, output_dict)
        _require_push(_artifacts(input_dict), _artifacts(output_dict))


def workdir(config: Config) -> ClusterWorkdir:
    """Where a run on the cluster keeps what outlives it."""
    return ClusterWorkdir(Path(config.cluster.workdir), Path(config.cluster.serving))


def properties(node: base_node.BaseNode) -> dict[str, Any]:
    """The execution properties of a node as its executor gets them on Kubeflow: numbers, strings and JSON."""
    given = {}
    for name, value in node.exec_properties.items():
        if isinstance(value, int | float | str):
            given[name] = value
        elif converted := compiler_utils.value_converter(value):
            given[name] = converted.constant.string_value
    return given


def _properties(config: Config, node: base_node.BaseNode) -> dict[str, Any]:
    """Those of the node; a Trainer of several workers gets the `run_fn` that has a TFJob train."""
    given = properties(node)
    if node.id != TRAINER or config.cluster.workers == 1:
        return given
    custom = {**json.loads(given[standard_component_specs.CUSTOM_CONFIG_KEY]), **launcher.custom_config(config)}
    return {
        **given,
        "run_fn": f"{launcher.__name__}.run_fn",
        standard_component_specs.CUSTOM_CONFIG_KEY: json.dumps(custom),
    }


def _node(config: Config, name: str) -> base_node.BaseNode:
    nodes = {node.id: node for node in graph.components(config, workdir(config), resolve=False)}
    if name not in nodes:
        raise ValueError(f"the graph of this configuration has no node {name!r}; it has {', '.join(nodes)}")
    return nodes[name]


def _keep(config: Config, inputs: Channels, outputs: Channels) -> None:
    """Leaves the model of a Trainer, and one that the judge has blessed, for those who learn from it."""
    root = workdir(config).root
    for model in outputs.get(standard_component_specs.MODEL_KEY, ()):
        teachers.keep(model.uri, root, config.name, teachers.TRAINED)
    for blessing in outputs.get(standard_component_specs.BLESSING_KEY, ()):
        if isinstance(blessing, standard_artifacts.ModelBlessing) and model_utils.is_model_blessed(blessing):
            [model] = inputs[standard_component_specs.MODEL_KEY]
            teachers.keep(model.uri, root, config.name, teachers.BLESSED)


def _require_push(inputs: list[Artifact], outputs: list[Artifact]) -> None:
    """Raises Refused, with the reasons that the blessings give, where a PushedModel names no version."""
    for pushed in outputs:
        if isinstance(pushed, standard_artifacts.PushedModel) and not pushed.get_int_custom_property("pushed"):
            told = [artifact.get_string_custom_property(REASON) for artifact in (pushed, *inputs)]
            for blessing in inputs:
                reasons = json.loads(blessing.get_string_custom_property("reasons") or "[]")
                told += [reason for reason in reasons if not reason.startswith("ok")]
            raise Refused("the model was not pushed: " + ("; ".join(filter(None, told)) or "it is not blessed"))


def _artifacts(channels: Channels) -> list[Artifact]:
    return [artifact for artifacts in channels.values() for artifact in artifacts]


@contextlib.contextmanager
def _local(artifacts: list[Artifact]) -> Iterator[None]:
    """Artifacts of a bucket under the paths where the launcher keeps them, and under their own URIs again afterwards."""
    uris = [artifact.uri for artifact in artifacts]
    try:
        for artifact in artifacts:
            artifact.uri = local_path(artifact.uri)
        yield
    finally:
        for artifact, uri in zip(artifacts, uris, strict=True):
            artifact.uri = uri


def local_path(uri: str) -> str:
    """The path in a pod at which the launcher keeps an artifact."""
    for scheme, mount in _MOUNTS.items():
        if uri.startswith(scheme):
            return mount + uri.removeprefix(scheme)
    return uri
