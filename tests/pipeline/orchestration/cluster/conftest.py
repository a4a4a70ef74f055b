"""Kubeflow Pipelines' API on a local socket; and the project as the image has it, from its wheel, without the sources."""

from __future__ import annotations

import contextlib
import itertools
import json
import shutil
import ssl
import subprocess
import sys
import sysconfig
import threading
import urllib.parse
import venv
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import kfp_server_api
import pytest
import trustme
from google.protobuf import json_format

from pipeline.config.config import Config, load, to_json
from pipeline.orchestration.cluster.client import Submission

ROOT = Path(__file__).resolve().parents[4]


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment that has the project from its wheel and shares this one's dependencies."""
    uv = shutil.which("uv") or ROOT / ".tools/uv/bin/uv"
    if not Path(uv).exists():
        pytest.skip("uv is not here: `make setup` installs it")
    directory = tmp_path_factory.mktemp("image")
    subprocess.run([uv, "build", "--quiet", "--wheel", "--out-dir", directory, ROOT], check=True)
    [wheel] = directory.glob("*.whl")
    venv.create(directory / "venv", symlinks=True)
    python = directory / "venv/bin/python"
    # A line of a .pth file is a directory whose own .pth files are not read: so not the one that names the source tree.
    shared = Path(sysconfig.get_path("purelib"))
    own = directory / "venv/lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    (own / "shared.pth").write_text(f"{shared}\n")
    subprocess.run([uv, "pip", "install", "--quiet", "--no-deps", "--offline", "--python", python, wheel], check=True)
    return python


@dataclass
class Kubeflow:
    """What the API server has. What is created passes through the models of kfp_server_api."""

    host: str = ""
    multi_user: bool = False
    experiments: dict[str, dict] = field(default_factory=dict)
    recurring: dict[str, dict] = field(default_factory=dict)
    runs: dict[str, dict] = field(default_factory=dict)
    broken: set[str] = field(default_factory=set)  # "POST :enable": answered with 500
    least_active: int | None = None  # since the first was active
    wanted: tuple[str, str] | None = None  # a header, without which the answer is `denial`
    denial: tuple[int, dict[str, str], str] = (401, {}, "")  # status, headers, body
    course: Iterator[dict[str, Any]] = field(
        default_factory=lambda: iter(())
    )  # what a run is, whenever it is asked for
    asked: list[str] = field(default_factory=list)  # every call: method, path and body
    _ids: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def active(self) -> list[dict]:
        return [run for run in self.recurring.values() if run["mode"] == "ENABLE"]

    def create(self, kind: str, table: dict[str, dict], body: dict) -> dict:
        number = next(self._ids)
        created = datetime(2026, 11, 20, tzinfo=UTC) + timedelta(seconds=number)
        item = {**body, f"{kind}_id": f"{kind}-{number}", "created_at": created.isoformat()}
        table[item[f"{kind}_id"]] = item
        return item

    def watch(self) -> None:
        """Keeps how many were active at once, at least."""
        active = len(self.active())
        if active or self.least_active is not None:
            self.least_active = min(active, self.least_active if self.least_active is not None else active)


TYPES = {"experiments": "V2beta1Experiment", "recurringruns": "V2beta1RecurringRun", "runs": "V2beta1Run"}


@dataclass
class _Body:
    data: str


def checked(text: str, type_name: str) -> dict[str, Any]:
    """A body as the model of kfp_server_api has it; raises for a field that the model does not have."""
    api = kfp_server_api.ApiClient()
    known = getattr(kfp_server_api, type_name).attribute_map.values()
    unknown = set(json.loads(text)) - set(known)
    assert not unknown, f"{type_name} has no {unknown}"
    return api.sanitize_for_serialization(api.deserialize(_Body(text), type_name))


class _Handler(BaseHTTPRequestHandler):
    state: Kubeflow

    def log_message(self, format: str, *args: object) -> None:
        pass

    def _answer(self, value: Any, status: int = 200) -> None:
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _deny(self, status: int, headers: dict[str, str], body: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body.encode())

    def _handle(self) -> None:
        url = urllib.parse.urlsplit(self.path)
        path = url.path.removeprefix("/apis/v2beta1/")
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length).decode()
        name, _, verb = path.partition(":")
        self.state.asked.append(f"{self.command} {self.path} {body}")
        if self.state.wanted and self.headers.get(self.state.wanted[0]) != self.state.wanted[1]:
            self._deny(*self.state.denial)
            return
        if any(rule.split()[0] == self.command and rule.split()[1] in path for rule in self.state.broken):
            self._answer({"error": "the database is away", "code": 13, "message": "the database is away"}, 500)
            return
        query = dict(urllib.parse.parse_qsl(url.query))
        value, status = self._route(name.split("/"), verb, body, query)
        self.state.watch()
        self._answer(value, status)

    do_GET = do_POST = do_DELETE = _handle

    def _route(self, path: list[str], verb: str, body: str, query: dict[str, str]) -> tuple[Any, int]:
        if path == ["healthz"]:
            return {"multi_user": self.state.multi_user}, 200
        if "namespace" in query and not self.state.multi_user:
            return {"message": "In single-user mode, the namespace should be empty"}, 400
        kind = {"experiments": "experiment", "recurringruns": "recurring_run", "runs": "run"}[path[0]]
        table = {"experiments": self.state.experiments, "recurringruns": self.state.recurring, "runs": self.state.runs}[
            path[0]
        ]
        if len(path) == 1 and self.command == "POST":
            item = self.state.create(kind, table, checked(body, TYPES[path[0]]))
            return item, 200
        if len(path) == 1:
            wanted = {"experiment_id": query["experiment_id"]} if "experiment_id" in query else {}
            if "filter" in query:
                [predicate] = json.loads(query["filter"])["predicates"]
                wanted[predicate["key"]] = predicate["stringValue"]
            found = [item for item in table.values() if wanted.items() <= item.items()]
            return {path[0].replace("recurringruns", "recurringRuns"): found, "total_size": len(found)}, 200
        item = table.get(path[1])
        if item is None:
            return {"message": f"{path[1]} not found"}, 404
        if path[0] == "runs":
            item.update(next(self.state.course, {}))
        if verb == "terminate":
            self.state.course = itertools.repeat({"state": "CANCELING"})
        elif verb:
            item["mode"] = {"enable": "ENABLE", "disable": "DISABLE"}[verb]
        elif self.command == "DELETE":
            del table[path[1]]
        return (item if self.command == "GET" else {}), 200


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away, for it does not trust this server, is told by its own words alone."""
        if not isinstance(sys.exception(), ssl.SSLError | ConnectionError):
            super().handle_error(request, client_address)


@contextlib.contextmanager
def _serving(tls: ssl.SSLContext | None = None) -> Iterator[Kubeflow]:
    state = Kubeflow()
    handler = type("Handler", (_Handler,), {"state": state})
    with _Server(("127.0.0.1", 0), handler) as server:
        if tls:
            server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        state.host = f"http{'s' if tls else ''}://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield state
        server.shutdown()
        thread.join()


@pytest.fixture
def kubeflow() -> Iterator[Kubeflow]:
    """An API server that nothing runs behind."""
    with _serving() as state:
        yield state


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    """Of `guarded`, and of nobody else."""
    return trustme.CA()


@pytest.fixture
def guarded(authority: trustme.CA) -> Iterator[Kubeflow]:
    """The same over TLS."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(tls)
    with _serving(tls) as state:
        yield state


@pytest.fixture
def submission(tmp_path: Path) -> Submission:
    """A pipeline of two tasks: the server reads its shape, and nothing runs it."""
    config = load("demo")
    spec: dict[str, Any] = {
        "schemaVersion": "2.1.0",
        "sdkVersion": "tfx-1.16.0",
        "pipelineInfo": {"name": "demo"},
        "components": {"Trainer": {"executorLabel": "Trainer_executor"}},
        "deploymentSpec": {
            "executors": {"Trainer_executor": {"container": {"image": "stemline", "command": ["true"]}}}
        },
        "root": {
            "dag": {
                "tasks": {
                    name: {"componentRef": {"name": "Trainer"}, "taskInfo": {"name": name}}
                    for name in ("Trainer", "Pusher", "PushGate")
                }
            },
            "inputDefinitions": {
                "parameters": {"config": {"parameterType": "STRING", "defaultValue": to_json(config)}}
            },
        },
    }
    executors = {"Trainer_executor": {"nodeSelector": {"labels": {"a": "b"}}}}
    platforms = {"platforms": {"kubernetes": {"deploymentSpec": {"executors": executors}}}}
    path = tmp_path / "pipeline.yaml"
    path.write_text(f"{json.dumps(spec)}\n---\n{json.dumps(platforms)}\n")
    return Submission(path, config)


@pytest.fixture
def run_node(tmp_path: Path) -> Callable[..., None]:
    """What a task of a compiled graph does. inputs, outputs: places of artifacts by key; metadata: of inputs, by key."""

    def run(
        config: Config,
        node: str,
        inputs: Mapping[str, Path],
        outputs: Mapping[str, Path],
        metadata: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        from pipeline.orchestration.cluster import executor

        places = {"inputs": inputs, "outputs": outputs}
        given: dict[str, dict[str, Any]] = {
            side: {
                "artifacts": {
                    key: {"artifacts": [{"name": key, "uri": str(place), "metadata": (metadata or {}).get(key, {})}]}
                    for key, place in placed.items()
                }
            }
            for side, placed in places.items()
        }
        given["inputs"]["parameterValues"] = {"config": to_json(config), "node": node}
        given["outputs"]["outputFile"] = str(tmp_path / "output_metadata.json")
        executor.run(json_format.ParseDict(given, executor.ExecutorInput()))

    return run


@pytest.fixture
def stemline(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture) -> Callable[..., tuple[int, str]]:
    """`stemline kubeflow ...` in this process: exit code, and both streams without what a command begins with."""

    def call(*words: str) -> tuple[int, str]:
        from pipeline.cli import main

        monkeypatch.setattr("sys.argv", ["stemline", "kubeflow", *words])
        with pytest.raises(SystemExit) as stopped:
            main.main()
        streams = capfd.readouterr()
        told = [each for each in streams.err.splitlines(keepends=True) if not each.startswith(("reading ", "loading "))]
        return int(stopped.value.code or 0), streams.out + "".join(told)

    return call
