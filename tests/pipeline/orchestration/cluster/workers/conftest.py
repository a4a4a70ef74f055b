"""Kubernetes with JobSet on a local socket; a JobSet's pods are processes, each in a network namespace of its own.

The controllers do what was read in JobSet v0.12.0 (`pkg/`) and in Kubernetes' own of Jobs (`pkg/controller/job/`, at its
commit 6ae037f1db84); every rule names its file.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubeflow_trainer_api import models

PATH = "/apis/jobset.x-k8s.io/v1alpha2/namespaces/kubeflow/jobsets"
Object = dict[str, Any]


def as_jobset_reads(manifest: Object) -> Object:
    """A JobSet through the models that Trainer 2.3 makes of JobSet v0.12.0, which drop what they do not know."""
    read = models.JobsetV1alpha2JobSet.from_dict(manifest)
    assert read
    return read.to_dict()


@pytest.fixture(scope="session")
def read_by_jobset() -> Callable[[Object], Object]:
    return as_jobset_reads


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


class Network:
    """The network of the pods: each has an address, and finds those that have a node by the names of a headless service."""

    def __init__(self, directory: Path) -> None:
        self.hosts = directory / "hosts"
        self._switch, self._numbers, self._names = f"pods-{os.getpid()}", itertools.count(2), dict[str, str]()
        self._publish()
        ip("netns", "add", self._switch)
        ip("-n", self._switch, "link", "add", "bridge", "type", "bridge")
        ip("-n", self._switch, "link", "set", "bridge", "up")

    def join(self, name: str) -> str:
        """A new namespace, in which another has the address of this name."""
        number = next(self._numbers)
        space = f"{self._switch}-{number}"
        ip("netns", "add", space)
        ip("-n", space, "link", "add", "eth0", "type", "veth", "peer", "name", f"pod{number}", "netns", self._switch)
        ip("-n", self._switch, "link", "set", f"pod{number}", "master", "bridge", "up")
        ip("-n", space, "address", "add", f"10.244.0.{number}/24", "dev", "eth0")
        for device in ("lo", "eth0"):
            ip("-n", space, "link", "set", device, "up")
        self._names[space] = f"10.244.0.{number} {name}"
        self._publish()
        return space

    def leave(self, space: str) -> None:
        del self._names[space]
        self._publish()
        ip("netns", "delete", space)

    def close(self) -> None:
        ip("netns", "delete", self._switch)

    def _publish(self) -> None:
        self.hosts.write_text("\n".join(["127.0.0.1 localhost", *self._names.values(), ""]))


class Pod:
    """One worker: Pending, then the process of its container; it is not started again (restartPolicy Never)."""

    def __init__(self, network: Network, name: str, command: list[str], index: int, log: Path) -> None:
        python, *arguments = command
        assert python == "python"
        self.log, self.disrupted = log, False
        self._network, self._space = network, network.join(name)
        within = ["ip", "netns", "exec", self._space, "sh", "-c", 'mount --bind "$0" /etc/hosts && exec "$@"']
        # indexed_job_utils.go, addCompletionIndexEnvVariables; the image sets the other.
        environment = {**os.environ, "JOB_COMPLETION_INDEX": str(index), "TF_USE_LEGACY_KERAS": "1"}
        with log.open("ab") as file:
            self.process = subprocess.Popen(
                [*within, str(network.hosts), sys.executable, *arguments], env=environment, stdout=file, stderr=file
            )

    @property
    def phase(self) -> str:
        code = self.process.poll()
        return "Running" if code is None else "Failed" if code else "Succeeded"

    def drain(self) -> None:
        """As a drained node ends it: with a condition, and by SIGKILL at last, for TensorFlow's workers heed no SIGTERM."""
        self.disrupted = True
        self.process.kill()

    def delete(self) -> None:
        self.process.kill()
        self.process.wait()
        self._network.leave(self._space)


@dataclass
class Cluster:
    """What the API server has, and what the controllers do with it.

    network: without one, jobs get no pods. nodes: as many pods find a node. instead: answers by method, in place of the
    real ones.
    """

    directory: Path
    network: Network | None = None
    nodes: int = 100
    jobs: dict[str, Object] = field(default_factory=dict)
    pods: dict[str, list[Pod]] = field(default_factory=dict)
    instead: dict[str, tuple[int, Any]] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)
    _threads: dict[str, threading.Thread] = field(default_factory=dict)

    def create(self, manifest: Object) -> tuple[int, Object]:
        name = manifest["metadata"]["name"]
        assert as_jobset_reads(manifest) == manifest
        if name in self.jobs:
            return 409, {"message": f'jobsets.jobset.x-k8s.io "{name}" already exists'}
        self.jobs[name] = manifest
        manifest["status"] = {"conditions": [], "restarts": 0, "restartsCountTowardsMax": 0}
        if self.network:
            self._threads[name] = threading.Thread(target=self._reconcile, args=(manifest,), daemon=True)
            self._threads[name].start()
        return 201, manifest

    def delete(self, name: str) -> tuple[int, Object]:
        if name not in self.jobs:
            return 404, {"message": f'jobsets.jobset.x-k8s.io "{name}" not found'}
        job = self.jobs.pop(name)
        if thread := self._threads.pop(name, None):
            thread.join()
        return 200, job

    def tell(self, name: str, kind: str, message: str) -> None:
        """Sets a condition; a job restarts until all its pods are ready, or it has ended (jobset_controller.go)."""
        conditions = self.jobs[name]["status"]["conditions"]
        for earlier in conditions:
            if earlier["type"] == "RestartingJobSet":
                earlier["status"] = "False"
        if kind:
            conditions.append({"type": kind, "status": "True", "reason": kind, "message": message})

    def _start(self, name: str, replicated: Object) -> list[Pod]:
        """Names: `GenJobName` in placement.go, `Hostname` in job_controller.go, `GetSubdomain` in jobset_controller.go."""
        assert self.network
        job = replicated["template"]["spec"]
        [container] = job["template"]["spec"]["containers"]
        hosts = [f"{name}-{replicated['name']}-0-{index}" for index in range(job["completions"])]
        return [
            Pod(self.network, f"{host}.{name}", container["command"], index, self.directory / f"{host}.log")
            for index, host in enumerate(hosts[: self.nodes])
        ]

    def _reconcile(self, job: Object) -> None:
        """The loops of both controllers for one JobSet."""
        name, spec, status = job["metadata"]["name"], job["spec"], job["status"]
        [replicated] = spec["replicatedJobs"]
        workers, policy = replicated["template"]["spec"], spec["failurePolicy"]
        first = f"(first failed job: {name}-{replicated['name']}-0)"
        pods = self.pods[name] = self._start(name, replicated)
        while self.jobs.get(name) is job:
            # calculateReplicatedJobStatuses and allJobsReady in jobset_controller.go
            ready = sum(pod.phase != "Failed" for pod in pods) >= workers["completions"]
            status["replicatedJobsStatus"] = [{"name": replicated["name"], "ready": int(ready)}]
            if ready:
                self.tell(name, "", "")
            if reason := job_failure(workers, pods):
                for pod in pods:
                    pod.delete()
                # executeFailurePolicy and its actions in failure_policy.go
                rules = [rule["action"] for rule in policy["rules"] if reason in rule["onJobFailureReasons"]]
                action = rules[0] if rules else "RestartJobSet"
                if action == "RestartJobSet":
                    if status["restartsCountTowardsMax"] >= policy["maxRestarts"]:
                        self.tell(name, "Failed", f"jobset failed due to reaching max number of restarts {first}")
                        return
                    status["restartsCountTowardsMax"] += 1
                status["restarts"] += 1
                self.tell(name, "RestartingJobSet", f"applying {action} failure policy action {first}")
                pods = self.pods[name] = self._start(name, replicated)
            elif pods[int(workers["successPolicy"]["rules"][0]["succeededIndexes"])].phase == "Succeeded":
                break
            time.sleep(0.05)
        for pod in pods:
            pod.delete()
        if self.jobs.get(name) is job:
            self.tell(name, "Completed", "jobset completed successfully")


def job_failure(job: Object, pods: list[Pod]) -> str:
    """The reason for which a Job fails, as in syncJob of job_controller.go and in pod_failure_policy.go; empty of none."""
    failed = [pod for pod in pods if pod.phase == "Failed"]
    [rule] = job["podFailurePolicy"]["rules"]
    assert (rule["action"], rule["onPodConditions"][0]["type"]) == ("FailJob", "DisruptionTarget")
    if any(pod.disrupted for pod in failed):
        return "PodFailurePolicy"
    return "BackoffLimitExceeded" if len(failed) > job["backoffLimit"] else ""


class _Handler(BaseHTTPRequestHandler):
    cluster: Cluster

    def log_message(self, format: str, *args: object) -> None:
        pass

    def _handle(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = self.path.partition("?")[0]
        self.cluster.asked.append((self.command, self.path))
        status, value = self._answer(path, body)
        data = value.encode() if isinstance(value, str) else json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain" if isinstance(value, str) else "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = do_DELETE = _handle

    def _answer(self, path: str, body: bytes) -> tuple[int, Any]:
        if self.command in self.cluster.instead:
            return self.cluster.instead[self.command]
        if not path.startswith(PATH):
            return 404, "404 page not found\n"
        name = path.removeprefix(PATH).strip("/")
        if self.command == "POST":
            return self.cluster.create(json.loads(body))
        if self.command == "DELETE":
            return self.cluster.delete(name)
        if name in self.cluster.jobs:
            return 200, self.cluster.jobs[name]
        return 404, {"message": f'jobsets.jobset.x-k8s.io "{name}" not found'}


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """A cluster that KUBECONFIG leads to, whose JobSets get no pods."""
    state = Cluster(tmp_path)
    handler = type("Handler", (_Handler,), {"cluster": state})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "local", "cluster": {"server": f"http://127.0.0.1:{server.server_address[1]}"}}],
            "users": [{"name": "local", "user": {"token": "t"}}],
            "contexts": [{"name": "local", "context": {"cluster": "local", "user": "local"}}],
            "current-context": "local",
        }
        (tmp_path / "kubeconfig").write_text(yaml.safe_dump(config))
        monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield state
        for name in list(state.jobs):
            state.delete(name)
        server.shutdown()
        thread.join()


@pytest.fixture
def nodes(tmp_path: Path, cluster: Cluster) -> Iterator[Cluster]:
    """The cluster with a network, so that its JobSets get pods."""
    if os.getuid() or not shutil.which("ip"):
        pytest.skip("network namespaces need root and iproute2")
    cluster.network = Network(tmp_path)
    yield cluster
    for name in list(cluster.jobs):
        cluster.delete(name)
    cluster.network.close()
