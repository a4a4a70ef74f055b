"""A compiled graph on this machine, as Kubeflow Pipelines runs it: task by task, each attempt in a process of its own.

Everything comes from the pipeline file, by the rules of one version (see `kfp_versions`) and of Argo: the order of the tasks,
their command lines, the input that the driver makes, what the launcher fetches before and takes away afterwards, and
whether a failed task is tried again. A pod is a directory of its own, in which the launcher's paths lie; its environment
says where (executor.POD_ROOT), for nobody can have /minio on every machine. What is left out: images, volumes, resources,
waiting before a retry, and the workers of a training, which is one process here: no job is made in a cluster that
KUBECONFIG may lead to.
"""

from __future__ import annotations

import dataclasses
import graphlib
import itertools
import json
import os
import re
import shutil
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from models import storage
from pipeline.config.config import Config
from pipeline.orchestration.cluster import argo, kfp_versions, package
from pipeline.orchestration.cluster.executor import POD_ROOT
from pipeline.orchestration.cluster.kfp_versions import Artifact, Version
from serving import process

LOG = "log.txt"
_DEFAULT_ROOT = "minio://mlpipeline/v2/artifacts"  # of Kubeflow Pipelines, where a run names none
_EXECUTOR_INPUT = "{{$}}"  # what the launcher replaces by the ExecutorInput


class TaskError(Exception):
    """A task, named by the attribute `task`, failed as often as it was tried; the message says where its log is."""

    def __init__(self, task: str, words: str):
        super().__init__(words)
        self.task = task


@dataclass(frozen=True)
class EmulatedRun:
    """What a run left: its directory, with buckets/ and the pods by task, and by task and key the recorded artifacts."""

    directory: Path
    artifacts: Mapping[str, Mapping[str, Artifact]]

    def local(self, task: str, key: str) -> Any:
        """Where an artifact lies: of a bucket of this machine a Path, see `storage.path`."""
        return _stored(self.artifacts[task][key]["uri"], self.directory)

    def metadata(self, task: str, key: str) -> Mapping[str, Any]:
        """Its properties: strings and floats."""
        return self.artifacts[task][key].get("metadata", {})


def placed(config: Config, root: Path) -> Config:
    """The configuration with the places that outlive runs below `root`, which takes the part of volumes and buckets: what is
    tried here is not to be served elsewhere."""
    places = {"workdir": str(root / "pipeline"), "serving": str(root / "stemline"), "pipeline_root": ""}
    return dataclasses.replace(config, cluster=dataclasses.replace(config.cluster, **places))


def run(
    pipeline_file: Path,
    config: Config,
    root: Path,
    python: Path,
    show: Callable[[str, str, str], None] = lambda name, state, why: None,
    version: Version = kfp_versions.NEWEST,
) -> EmulatedRun:
    """Runs all tasks with `config` as the parameter; what they leave on this machine goes below `root`.

    python: the interpreter that the command `python` of a task stands for, of an environment with this project. show: takes
        a task, its state as Kubeflow calls it, and what went wrong.

    Raises:
      TaskError: a task failed; later ones did not run.
      ValueError: the file is no compiled graph, see `package.read`, or the version refuses it.
      OSError: `root` is no directory, or cannot be written.
    """
    root.mkdir(parents=True, exist_ok=True)
    documents = package.read(pipeline_file)
    kfp_versions.check_platform(version, documents)
    spec = documents[0]
    run_id = uuid.uuid4().hex[:12]
    alone = dataclasses.replace(config, cluster=dataclasses.replace(config.cluster, workers=None))
    pipeline_root = (
        f"{(config.cluster.pipeline_root or _DEFAULT_ROOT).rstrip('/')}/{spec['pipelineInfo']['name']}/{run_id}"
    )
    emulation = _Emulation(
        spec, version, package.parameters(alone), pipeline_root, root.resolve() / "runs" / run_id, python
    )
    needs = {name: task.get("dependentTasks", ()) for name, task in spec["root"]["dag"]["tasks"].items()}
    for name in graphlib.TopologicalSorter(needs).static_order():
        show(name, "RUNNING", "")
        try:
            emulation.run_task(name)
        except TaskError as error:
            show(name, "FAILED", str(error))
            raise
        show(name, "SUCCEEDED", "")
    return EmulatedRun(emulation.directory, emulation.done)


@dataclass
class _Emulation:
    spec: Mapping[str, Any]
    version: Version
    arguments: Mapping[str, str]
    pipeline_root: str
    directory: Path
    python: Path
    done: dict[str, dict[str, Artifact]] = field(default_factory=dict)
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def run_task(self, name: str) -> None:
        """Driver, then launcher as often as Argo says; records the artifacts. Raises TaskError."""
        task = self.spec["root"]["dag"]["tasks"][name]
        component = self.spec["components"][task["componentRef"]["name"]]
        container = self.spec["deploymentSpec"]["executors"][component["executorLabel"]]["container"]
        root = kfp_versions.task_root(self.version, self.pipeline_root, name, str(uuid.uuid4()))
        given = {
            "inputs": kfp_versions.inputs(task, self.arguments, self.done),
            "outputs": kfp_versions.outputs(self.version, component, root),
        }
        strategy = kfp_versions.retry_strategy(self.version, task)
        attempts: list[argo.Attempt] = []
        upcoming: argo.Next | str = argo.Next(0.0, None)
        why = ""
        while isinstance(upcoming, argo.Next):
            attempt = kfp_versions.for_attempt(self.version, given, len(attempts))
            pod = _Pod(self.directory / name / f"pod-{len(attempts)}", self.directory, self.version)
            began = time.monotonic()
            left = None if upcoming.deadline is None else upcoming.deadline - upcoming.begins
            try:
                why = pod.run([*container["command"], *container["args"]], container, attempt, self.python, left)
                if not why:
                    self.done[name] = pod.record(attempt, self._numbers)
            finally:
                pod.clear()
            if not why:
                return
            attempts.append(argo.Attempt(upcoming.begins, upcoming.begins + time.monotonic() - began))
            upcoming = argo.after(strategy, attempts)
        times = "once" if len(attempts) == 1 else f"{len(attempts)} times"
        raise TaskError(name, f"task {name} failed {times} ({upcoming}), see {pod.log}: {why}")


@dataclass(frozen=True)
class _Pod:
    """One attempt of a task, in a directory that takes the part of its root."""

    root: Path
    run_directory: Path
    version: Version

    @property
    def log(self) -> Path:
        return self.root / LOG

    def run(
        self,
        words: list[str],
        container: Mapping[str, Any],
        given: Mapping[str, Any],
        python: Path,
        seconds: float | None,
    ) -> str:
        """What the launcher does; empty when the command succeeded, else the last line that it wrote."""
        for [artifact] in (each["artifacts"] for each in given["inputs"]["artifacts"].values()):
            self._fetch(artifact["uri"])
        for [artifact] in (each["artifacts"] for each in given["outputs"]["artifacts"].values()):
            self._path(kfp_versions.local_path(artifact["uri"])).parent.mkdir(parents=True, exist_ok=True)
        text = _expanded(json.dumps(given), {"KFP_POD_NAME": self.root.name})
        command = [_placeholders(word.replace(_EXECUTOR_INPUT, text), given) for word in words]
        # The environment's own programs come first, as in the image.
        environment = {**os.environ, "PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}"}
        environment.pop("PYTHONPATH", None)
        environment |= {"TF_USE_LEGACY_KERAS": "1", POD_ROOT: str(self.root)}
        environment |= {each["name"]: each["value"] for each in container.get("env", ())}
        with (
            self.log.open("wb") as log,
            subprocess.Popen(command, cwd=self.root, env=environment, stdout=log, stderr=log) as task,
        ):
            try:
                code = task.wait(seconds)
            except subprocess.TimeoutExpired:
                task.kill()
                return "Pod was active on the node longer than the specified deadline"
            except BaseException:
                process.stop(task)
                raise
        if code == 0:
            return ""
        last = next(reversed(self.log.read_text(errors="replace").splitlines()), "it wrote nothing")
        return f"signal {-code}, after: {last}" if code < 0 else last

    def record(self, given: Mapping[str, Any], numbers: Iterator[int]) -> dict[str, Artifact]:
        """Takes the declared outputs away to their buckets, and what the task has told about them into the records."""
        file = self._path(given["outputs"]["outputFile"])
        told = json.loads(file.read_text()).get("artifacts", {}) if file.is_file() else {}
        artifacts = {}
        for key, listed in given["outputs"]["artifacts"].items():
            [artifact] = listed["artifacts"]
            [about] = told.get(key, {}).get("artifacts", [{}])
            told_path = about.get("customPath") if self.version.task_root else None
            path = told_path or kfp_versions.local_path(artifact["uri"])
            source = self.log if key == kfp_versions.LOGS else self._path(path)
            _copy(source, _stored(artifact["uri"], self.run_directory))
            artifacts[key] = kfp_versions.recorded(key, artifact, about, next(numbers))
        return artifacts

    def clear(self) -> None:
        """Leaves nothing but the log: a pod takes what it has copied with it."""
        for path in self.root.iterdir():
            if path.is_dir():
                shutil.rmtree(path)

    def _path(self, path: str) -> Path:
        return self.root / path.lstrip("/")

    def _fetch(self, uri: str) -> None:
        """Copies an artifact into the pod, and with it those beside it that the version takes for parts of it."""
        source, target = _stored(uri, self.run_directory), self._path(kfp_versions.local_path(uri))
        if not self.version.by_prefix:
            _copy(source, target)
        elif source.parent.is_dir():
            for each in source.parent.iterdir():
                if each.name.startswith(source.name):
                    _copy(each, target.parent / each.name)


def _expanded(text: str, environment: Mapping[str, str]) -> str:
    """A word of a container's command as Kubernetes passes it on (third_party/forked/golang/expansion/expand.go, v1.31)."""
    return re.sub(r"\$(?:(\$)|\(([^)]*)\))", lambda found: found[1] or environment.get(found[2], found[0]), text)


def _placeholders(word: str, given: Mapping[str, Any]) -> str:
    """The launcher's own, in a word of a command, wherever they stand: also in a value that was put in."""
    for name, value in given["inputs"]["parameterValues"].items():
        word = word.replace(f"{{{{$.inputs.parameters['{name}']}}}}", value)
    for side in ("inputs", "outputs"):
        for name, listed in given[side]["artifacts"].items():
            [artifact] = listed["artifacts"]
            word = word.replace(f"{{{{$.{side}.artifacts['{name}'].uri}}}}", artifact["uri"])
            local = kfp_versions.local_path(artifact["uri"])
            word = word.replace(f"{{{{$.{side}.artifacts['{name}'].path}}}}", local)
    return word


def _stored(uri: str, run_directory: Path) -> Any:
    """The place of an artifact: in its bucket, or below the run for the bucket that Kubeflow itself brings."""
    scheme, _, rest = uri.partition("://")
    return storage.path(uri) if storage.is_remote(uri) else run_directory / "buckets" / scheme / rest


def _copy(source: Any, target: Any) -> None:
    """Files only: a store knows no empty directories. What is not there is not copied, as the launcher does it."""
    if source.is_dir():
        for child in source.iterdir():
            _copy(child, target / child.name)
    elif source.is_file():
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(source.read_bytes())
