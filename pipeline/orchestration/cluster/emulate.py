"""A compiled graph on this machine, as Kubeflow runs it: task by task, each in a process of its own.

Everything comes from the pipeline file: the order of the tasks, their command lines, the artifacts that they hand on and
how often they are tried again. What a cluster adds is left out: images, volumes, resources, the wait before a retry, and
the workers of a training, which is one process here: no job is made in a cluster that KUBECONFIG may lead to.
"""

from __future__ import annotations

import copy
import dataclasses
import graphlib
import json
import os
import subprocess
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.config.config import Config
from pipeline.orchestration.cluster import package

OUTPUT, LOG = "executor_output.json", "log.txt"
_EXECUTOR_INPUT = "{{$}}"  # what the launcher replaces by the ExecutorInput
Artifact = dict[str, Any]


class TaskError(Exception):
    """A task, named by the attribute `task`, failed as often as it was tried; the message says where its log is."""

    def __init__(self, task: str, words: str):
        super().__init__(words)
        self.task = task


@dataclass(frozen=True)
class EmulatedRun:
    """What a run left: its directory, and by task and key the artifacts as Kubeflow would know them."""

    directory: Path
    artifacts: Mapping[str, Mapping[str, Artifact]]

    def local(self, task: str, key: str) -> Path:
        """The directory of an artifact."""
        return Path(self.artifacts[task][key]["uri"])

    def metadata(self, task: str, key: str) -> Mapping[str, Any]:
        """Its properties: strings and floats."""
        return self.artifacts[task][key].get("metadata", {})


def placed(config: Config, root: Path) -> Config:
    """The configuration with the directories that outlive runs below `root`, which takes the place of the volume."""
    directories = {"workdir": str(root / "pipeline"), "serving": str(root / "stemline")}
    return dataclasses.replace(config, cluster=dataclasses.replace(config.cluster, **directories))


def run(
    pipeline_file: Path,
    config: Config,
    root: Path,
    python: Path,
    show: Callable[[str, str, str], None] = lambda name, state, why: None,
) -> EmulatedRun:
    """Runs all tasks with `config` as the parameter, artifacts going below `root`.

    python: the interpreter that the command `python` of a task stands for, of an environment with this project. show: takes
        a task, its state as Kubeflow calls it, and what went wrong.

    Raises:
      TaskError: a task failed; later ones did not run.
      ValueError: the file is no compiled graph, see `package.read`.
    """
    spec = package.read(pipeline_file)[0]
    directory = root.resolve() / "runs" / uuid.uuid4().hex[:12]
    alone = dataclasses.replace(config, cluster=dataclasses.replace(config.cluster, workers=1))
    arguments = package.parameters(alone)
    done: dict[str, dict[str, Artifact]] = {}
    needs = {name: task.get("dependentTasks", ()) for name, task in spec["root"]["dag"]["tasks"].items()}
    for name in graphlib.TopologicalSorter(needs).static_order():
        show(name, "RUNNING", "")
        try:
            done[name] = _run_task(_CompiledTask(spec, name, directory / name), arguments, done, python)
        except TaskError as error:
            show(name, "FAILED", str(error))
            raise
        show(name, "SUCCEEDED", "")
    return EmulatedRun(directory, done)


@dataclass(frozen=True)
class _CompiledTask:
    spec: Mapping[str, Any]
    name: str
    directory: Path

    @property
    def task(self) -> Mapping[str, Any]:
        return self.spec["root"]["dag"]["tasks"][self.name]

    @property
    def component(self) -> Mapping[str, Any]:
        return self.spec["components"][self.task["componentRef"]["name"]]

    @property
    def container(self) -> Mapping[str, Any]:
        return self.spec["deploymentSpec"]["executors"][self.component["executorLabel"]]["container"]

    def outputs(self) -> dict[str, Artifact]:
        """The artifacts that the task is to fill."""
        defined = self.component.get("outputDefinitions", {}).get("artifacts", {})
        return {
            key: {"name": uuid.uuid4().hex, "uri": str(self.directory / key), "type": output["artifactType"]}
            for key, output in defined.items()
        }

    def inputs(self, arguments: Mapping[str, str], done: Mapping[str, Mapping[str, Artifact]]) -> dict[str, Any]:
        given = self.task["inputs"]
        parameters = {
            name: arguments[source["componentInputParameter"]]
            if "componentInputParameter" in source
            else source["runtimeValue"]["constant"]
            for name, source in given.get("parameters", {}).items()
        }
        sources = {key: source["taskOutputArtifact"] for key, source in given.get("artifacts", {}).items()}
        artifacts = {key: done[source["producerTask"]][source["outputArtifactKey"]] for key, source in sources.items()}
        return {"parameterValues": parameters, "artifacts": _listed(artifacts)}


def _listed(artifacts: Mapping[str, Artifact]) -> dict[str, Any]:
    return {key: {"artifacts": [artifact]} for key, artifact in artifacts.items()}


def _run_task(
    task: _CompiledTask, arguments: Mapping[str, str], done: Mapping[str, Mapping[str, Artifact]], python: Path
) -> dict[str, Artifact]:
    """The artifacts of the task, as it left them."""
    task.directory.mkdir(parents=True)
    outputs = task.outputs()
    executor_input = {
        "inputs": task.inputs(arguments, done),
        "outputs": {"artifacts": _listed(outputs), "outputFile": str(task.directory / OUTPUT)},
    }
    text = json.dumps(executor_input)
    command = [
        text if word == _EXECUTOR_INPUT else word for word in (*task.container["command"], *task.container["args"])
    ]
    attempts = 1 + int(task.task.get("retryPolicy", {}).get("maxRetryCount", 0))
    if not any(_succeeds(command, task.directory, python) for _ in range(attempts)):
        log = task.directory / LOG
        last = next(reversed(log.read_text(errors="replace").splitlines()), "it wrote nothing")
        raise TaskError(task.name, f"task {task.name} failed {attempts} times, see {log}: {last}")
    return _merged(outputs, json.loads((task.directory / OUTPUT).read_text()))


def _succeeds(command: list[str], directory: Path, python: Path) -> bool:
    """Whether one attempt ends with exit code 0. The environment's own programs come first, as in the image."""
    environment = {**os.environ, "PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}", "TF_USE_LEGACY_KERAS": "1"}
    environment.pop("PYTHONPATH", None)
    with (directory / LOG).open("ab") as log:
        return subprocess.run(command, cwd=directory, env=environment, stdout=log, stderr=log).returncode == 0


def _merged(outputs: Mapping[str, Artifact], told: Mapping[str, Any]) -> dict[str, Artifact]:
    """What the task has told about its artifacts over what was planned, as the launcher publishes it."""
    merged = {key: copy.deepcopy(artifact) for key, artifact in outputs.items()}
    for key, listed in told.get("artifacts", {}).items():
        [artifact] = listed["artifacts"]
        merged[key]["uri"] = artifact.get("uri", merged[key]["uri"])
        merged[key]["metadata"] = artifact.get("metadata", {})
    return merged
