"""What the container of every task runs: `python -P -m pipeline.orchestration.cluster.executor EXECUTOR_INPUT`.

It runs the executor of one node, in the graph that the run's configuration gives: the compiled tasks carry no values of
their own but the name of their node, so that whatever a configuration changes in the graph of one machine, it changes in
a run on the cluster, without another compilation.

TFX's own entry point cannot read what Kubeflow Pipelines' driver writes: it takes the class of every artifact from the
input, where the driver leaves it empty for inputs (2.3.0 to 2.17.0, backend/src/v2/metadata/client.go, ToRuntimeArtifact) and
adds an output of a class that is none (from 2.5.0, backend/src/v2/driver, provisionOutputs). Here the node says which artifacts
there are and of what class, and everything else is left out.
"""

from __future__ import annotations

import itertools
import json
import os
import sys
import tempfile
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from google.protobuf import json_format
from kfp.pipeline_spec.pipeline_spec_pb2 import ExecutorInput, ExecutorOutput
from tfx.components.util import model_utils
from tfx.dsl.components.base import base_beam_executor, base_node
from tfx.orchestration.kubeflow.v2 import compiler_utils
from tfx.orchestration.kubeflow.v2.container import kubeflow_v2_entrypoint_utils as artifacts
from tfx.orchestration.portable import outputs_utils
from tfx.types import Artifact, standard_artifacts, standard_component_specs
from tfx.types.channel import BaseChannel

from models import storage
from pipeline.common import files, stopping
from pipeline.common.process import quiet, sentence
from pipeline.components import graph
from pipeline.config.cluster import TRAINER
from pipeline.config.config import Config, from_json
from pipeline.orchestration import beam_runners
from pipeline.orchestration.cluster import kfp_versions, teachers
from pipeline.orchestration.cluster.package import CONFIG, NODE
from pipeline.orchestration.cluster.workers import launcher
from pipeline.runs.workdir import Workdir

Channels = dict[str, list[Artifact]]
# Below which directory the launcher's paths lie: in a pod that is the root, in an emulated one its own directory.
POD_ROOT = "STEMLINE_POD_ROOT"


@dataclass(frozen=True)
class ClusterWorkdir(Workdir):
    """The working directory in the pods; all recipes are pushed to the one directory that the servers read."""

    served: Path

    def __post_init__(self) -> None:
        """Absolute as it is."""

    def serving(self, name: str) -> Path:
        return self.served


def run(given: ExecutorInput) -> None:
    """Runs the executor of the node that the parameter `node` names, with what the parameter `config` makes of it, on the
    launcher's local files, and writes the ExecutorOutput.

    Raises what that executor raises, ConfigError for a bad `config`, and ValueError for an input of another graph.
    """
    config = from_json(_parameter(given, CONFIG))
    node = _node(config, _parameter(given, NODE))
    names: dict[int, str] = {}
    inputs = _typed(given.inputs.artifacts, node.inputs, "input", names)
    outputs = _typed(given.outputs.artifacts, node.outputs, "output", names)
    for artifact in itertools.chain(*inputs.values(), *outputs.values()):
        artifact.uri = local_path(artifact.uri)
    with tempfile.TemporaryDirectory() as scratch:
        _execute(config, node, inputs, outputs, scratch)
    _keep(config, inputs, outputs)
    for name, [artifact] in outputs.items():  # some executors put others in the place of those that they were given
        artifact.uri = given.outputs.artifacts[name].artifacts[0].uri
    outputs_utils.tag_output_artifacts_with_version(outputs)
    told = ExecutorOutput(artifacts=artifacts.translate_executor_output(outputs, names))
    files.write_text(Path(_in_pod(given.outputs.output_file)), json_format.MessageToJson(told))


def workdir(config: Config) -> ClusterWorkdir:
    """Where a run on the cluster keeps what outlives it."""
    return ClusterWorkdir(storage.path(config.cluster.workdir), storage.path(config.cluster.serving))


def properties(node: base_node.BaseNode) -> dict[str, Any]:
    """The execution properties of a node as its executor gets them on Kubeflow: numbers, strings and JSON."""
    given = {}
    for name, value in node.exec_properties.items():
        if isinstance(value, int | float | str):
            given[name] = value
        elif converted := compiler_utils.value_converter(value):
            given[name] = converted.constant.string_value
    return given


def local_path(uri: str) -> str:
    """Where the launcher puts an input before a task starts, and takes an output from when it has ended; a path stays one."""
    return _in_pod(kfp_versions.local_path(uri)) if "://" in uri else uri


def _parameter(given: ExecutorInput, name: str) -> str:
    """Vertex has it among the `parameters`, Kubeflow Pipelines among the `parameterValues`."""
    return given.inputs.parameter_values[name].string_value or given.inputs.parameters[name].string_value


def _in_pod(path: str) -> str:
    return os.path.join(os.environ.get(POD_ROOT, "/"), path.lstrip("/"))


def _node(config: Config, name: str) -> base_node.BaseNode:
    nodes = {node.id: node for node in graph.components(config, workdir(config), resolve=False, gated=True)}
    if name not in nodes:
        raise ValueError(f"the graph of this configuration has no node {name!r}; it has {', '.join(nodes)}")
    return nodes[name]


def _typed(given: Any, declared: Mapping[str, BaseChannel], kind: str, names: dict[int, str]) -> Channels:
    """The artifacts of the declared channels, of their classes. names: takes what Kubeflow calls each, by id."""
    if absent := sorted(name for name in declared if name not in given or not given[name].artifacts):
        raise ValueError(f"Kubeflow has given no {kind} {absent[0]!r}, but {', '.join(sorted(given)) or 'none at all'}")
    for name, channel in declared.items():
        for artifact in given[name].artifacts:
            artifact.type.schema_title = f"{channel.type.__module__}.{channel.type.__name__}"
    return artifacts.parse_raw_artifact_dict({name: given[name] for name in declared}, names)


def _execute(config: Config, node: base_node.BaseNode, inputs: Channels, outputs: Channels, scratch: str) -> None:
    given = dict(inputs)
    if node.id == TRAINER and config.train.teacher:
        teacher = standard_artifacts.Model()
        teacher.uri = teachers.find(workdir(config).root, config.train.teacher)
        given[standard_component_specs.BASE_MODEL_KEY] = [teacher]
    context = base_beam_executor.BaseBeamExecutor.Context(
        beam_pipeline_args=[*beam_runners.arguments(config.beam)], unique_id=node.id, tmp_dir=scratch
    )
    node.executor_spec.executor_class(context).Do(given, outputs, _properties(config, node))


def _properties(config: Config, node: base_node.BaseNode) -> dict[str, Any]:
    """Those of the node; a Trainer with workers gets the `run_fn` that has others train."""
    given = properties(node)
    if node.id != TRAINER or config.cluster.workers is None:
        return given
    custom = {**json.loads(given[standard_component_specs.CUSTOM_CONFIG_KEY]), **launcher.custom_config(config)}
    return {
        **given,
        "run_fn": f"{launcher.__name__}.run_fn",
        standard_component_specs.CUSTOM_CONFIG_KEY: json.dumps(custom),
    }


def _keep(config: Config, inputs: Channels, outputs: Channels) -> None:
    """Leaves the model of a Trainer, and one that the judge has blessed, for those who learn from it."""
    root = workdir(config).root
    for model in outputs.get(standard_component_specs.MODEL_KEY, ()):
        teachers.keep(model.uri, root, config.name, teachers.TRAINED)
    for blessing in outputs.get(standard_component_specs.BLESSING_KEY, ()):
        if isinstance(blessing, standard_artifacts.ModelBlessing) and model_utils.is_model_blessed(blessing):
            [model] = inputs[standard_component_specs.MODEL_KEY]
            teachers.keep(model.uri, root, config.name, teachers.BLESSED)


def main(text: str) -> int:
    """The exit code; what went wrong is the last line on standard error, and begins with the name of the task."""
    quiet()
    given = json_format.Parse(text, ExecutorInput(), ignore_unknown_fields=True)
    try:
        with stopping.heard(f"task {_parameter(given, NODE)} was stopped"):
            run(given)
    except (ValueError, OSError) as error:
        words = sentence(error)
    except Exception as error:
        traceback.print_exc()
        words = f"{type(error).__name__}: {sentence(error)}"
    else:
        return 0
    print(f"task {_parameter(given, NODE)} failed: {words}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
