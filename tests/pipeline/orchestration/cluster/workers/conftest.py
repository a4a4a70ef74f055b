"""Kubernetes with the Training Operator, on a local socket: a TFJob's pods are processes of this machine."""

from __future__ import annotations

import json
import os
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

from kubeflow import training as operator_sdk

PATH = "/apis/kubeflow.org/v1/namespaces/kubeflow/tfjobs"
Object = dict[str, Any]


@dataclass
class _Sent:
    data: str


def as_the_operator_reads(manifest: Object) -> Object:
    """A TFJob through the models of the operator's own SDK, which drop what they do not know."""
    api = operator_sdk.ApiClient()
    return api.sanitize_for_serialization(api.deserialize(_Sent(json.dumps(manifest)), "KubeflowOrgV1TFJob"))


@pytest.fixture(scope="session")
def read_by_the_operator() -> Callable[[Object], Object]:
    return as_the_operator_reads


class Pod:
    """One worker: the process of its container, which is started again in its pod when it fails."""

    def __init__(self, command: list[str], tf_config: Object, log: Path) -> None:
        python, *arguments = command
        assert python == "python"
        environment = {**os.environ, "TF_CONFIG": json.dumps(tf_config), "TF_USE_LEGACY_KERAS": "1"}
        self._start = lambda file: subprocess.Popen(
            [sys.executable, *arguments], env=environment, stdout=file, stderr=file
        )
        self.log, self.restarts, self.phase, self.process = log, 0, "Running", None
        self._gone = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        with self.log.open("ab") as file:
            while not self._gone.is_set():
                self.process = self._start(file)
                if self.process.wait() == 0:
                    self.phase = "Succeeded"
                    return
                if not self._gone.is_set():
                    self.restarts += 1
                self._gone.wait(1)

    def delete(self) -> None:
        self._gone.set()
        while self._thread.is_alive():
            if self.process:
                self.process.kill()
            self._thread.join(0.1)


@dataclass
class Cluster:
    """What the API server has, and what the operator does with it.

    starts: False leaves jobs without pods. instead: answers by method, in place of the real ones.
    """

    directory: Path
    free_ports: Callable[[int], list[int]]
    starts: bool = True
    jobs: dict[str, Object] = field(default_factory=dict)
    pods: dict[str, list[Pod]] = field(default_factory=dict)
    instead: dict[str, tuple[int, Any]] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)

    def create(self, manifest: Object) -> tuple[int, Object]:
        name = manifest["metadata"]["name"]
        assert as_the_operator_reads(manifest) == manifest
        if name in self.jobs:
            return 409, {"message": f'tfjobs.kubeflow.org "{name}" already exists'}
        self.jobs[name] = manifest
        self.tell(name, "Created", f"TFJob {name} is created.")
        if self.starts:
            self.pods[name] = self._start(manifest)
            threading.Thread(target=self._watch, args=(manifest,), daemon=True).start()
        return 201, manifest

    def delete(self, name: str) -> tuple[int, Object]:
        if name not in self.jobs:
            return 404, {"message": f'tfjobs.kubeflow.org "{name}" not found'}
        job = self.jobs.pop(name)
        for pod in self.pods.pop(name, []):
            pod.delete()
        return 200, job

    def tell(self, name: str, kind: str, message: str) -> None:
        """Sets a condition; one that has ended a job makes the earlier ones but its creation false."""
        conditions = self.jobs[name].setdefault("status", {}).setdefault("conditions", [])
        for earlier in conditions:
            if earlier["type"] == "Running" and kind in ("Succeeded", "Failed"):
                earlier["status"] = "False"
        conditions.append({"type": kind, "status": "True", "reason": f"TFJob{kind}", "message": message})

    def _start(self, manifest: Object) -> list[Pod]:
        worker = manifest["spec"]["tfReplicaSpecs"]["Worker"]
        [container] = worker["template"]["spec"]["containers"]
        assert container["name"] == "tensorflow"
        assert worker["restartPolicy"] == "OnFailure"
        workers = range(worker["replicas"])
        cluster = {"worker": [f"localhost:{port}" for port in self.free_ports(len(workers))]}
        name = manifest["metadata"]["name"]
        return [
            Pod(
                container["command"],
                {"cluster": cluster, "task": {"type": "worker", "index": index}, "environment": "cloud"},
                self.directory / f"{name}-worker-{index}.log",
            )
            for index in workers
        ]

    def _watch(self, job: Object) -> None:
        """The operator's loop for one job."""
        name, pods = job["metadata"]["name"], self.pods[job["metadata"]["name"]]
        self.tell(name, "Running", f"TFJob kubeflow/{name} is running.")
        while self.jobs.get(name) is job:
            if pods[0].phase == "Succeeded":
                self.tell(name, "Succeeded", f"TFJob kubeflow/{name} successfully completed.")
                return
            if sum(pod.restarts for pod in pods) >= job["spec"]["runPolicy"]["backoffLimit"]:
                message = f"Job {name} has failed because it has reached the specified backoff limit"
                self.tell(name, "Failed", message)
                for pod in pods:
                    pod.delete()
                return
            time.sleep(0.05)


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
        return 404, {"message": f'tfjobs.kubeflow.org "{name}" not found'}


@pytest.fixture
def cluster(tmp_path: Path, free_ports, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """A cluster that KUBECONFIG leads to."""
    state = Cluster(tmp_path, free_ports)
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
