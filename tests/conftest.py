"""What every test needs: an environment before TensorFlow is imported, a directory of its own, the research data."""

from __future__ import annotations

import logging
import os
import re
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

ROOT = Path(__file__).resolve().parent.parent
CACHES = (".venv", ".tools", "__pycache__", ".pytest_cache", ".ruff_cache", ".hypothesis")
UNTRACKED = pytest.StashKey[frozenset[str] | None]()


def _untracked() -> frozenset[str] | None:
    """Files of the checkout that git does not hold, ignored ones too, caches apart; None where this is no checkout."""
    command = ["git", "-C", ROOT, "ls-files", "--others", "-z", *(f"--exclude={name}" for name in CACHES)]
    done = subprocess.run(command, capture_output=True, text=True)
    return frozenset(done.stdout.split("\0")) if done.returncode == 0 else None


def pytest_collection_modifyitems(items: Sequence[pytest.Item]) -> None:
    """Slow tests take the time that they take; of the others one that hangs shall not hold up the whole run."""
    for item in items:
        if item.get_closest_marker("slow"):
            item.add_marker(pytest.mark.timeout(0))


def pytest_sessionstart(session: pytest.Session) -> None:
    if not hasattr(session.config, "workerinput"):
        session.config.stash[UNTRACKED] = _untracked()


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A run that leaves files in the checkout fails: the next one would meet them."""
    before = session.config.stash.get(UNTRACKED, None)
    if before is not None and (left := sorted((_untracked() or frozenset()) - before)):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
        more = f" and {len(left) - 3} more" if len(left) > 3 else ""
        reporter = session.config.pluginmanager.get_plugin("terminalreporter")
        reporter.write_line(f"files appeared in the checkout during the tests: {', '.join(left[:3])}{more}", red=True)


@pytest.fixture(scope="session", autouse=True)
def _outside_of_the_checkout(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """For fixtures of a wider scope than a test: what lies in the checkout, as `runs/` of a demo, is nobody's input."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("elsewhere"))
        yield


@pytest.fixture(autouse=True)
def _working_directory_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture(autouse=True)
def _level_of_the_log_as_it_was() -> Iterator[None]:
    """The command line, run in this process, shows errors only; the tests after it log as those before."""
    level = logging.root.level
    yield
    logging.root.setLevel(level)


@dataclass(frozen=True)
class Bucket:
    """A bucket on an S3 server of this machine, and the environment that leads to it."""

    url: str
    client: Any  # boto3's
    environment: Mapping[str, str]

    @property
    def name(self) -> str:
        return self.url.removeprefix("s3://")

    @property
    def keys(self) -> list[str]:
        """All objects, sorted."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.name)
        return sorted(found["Key"] for page in pages for found in page.get("Contents", ()))

    def upload(self, directory: Path, prefix: str) -> str:
        """Puts every file below a directory under a prefix, or with an empty one into the root; returns where they are."""
        place = f"{self.url}/{prefix}".rstrip("/")
        for file in (path for path in directory.rglob("*") if path.is_file()):
            key = f"{place}/{file.relative_to(directory)}".removeprefix(f"{self.url}/")
            self.client.put_object(Bucket=self.name, Key=key, Body=file.read_bytes())
        return place


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of moto's S3 server, a process of its own."""
    with _s3_server(tmp_path_factory.mktemp("s3") / "log.txt") as (address, _):
        yield address


@pytest.fixture
def own_s3_server(tmp_path: Path) -> Iterator[tuple[str, subprocess.Popen]]:
    """One of the test's own, which it may stop."""
    with _s3_server(tmp_path / "s3.txt") as server:
        yield server


@contextmanager
def _s3_server(log: Path) -> Iterator[tuple[str, subprocess.Popen]]:
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"]
    with log.open("wb") as file, subprocess.Popen(command, stdout=file, stderr=file) as process:
        try:
            end = time.monotonic() + 60
            while not (found := re.search(r"http://127\.0\.0\.1:\d+", log.read_text())):
                assert time.monotonic() < end, log.read_text()
                assert process.poll() is None, log.read_text()
                time.sleep(0.1)
            yield found[0], process
        finally:
            process.terminate()


@pytest.fixture
def bucket(s3_server: str, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    """A new bucket; this process and those that it starts reach it. TensorFlow keeps the first endpoint that it meets."""
    return _bucket(s3_server, monkeypatch)


@pytest.fixture
def bucket_to_lose(
    own_s3_server: tuple[str, subprocess.Popen], monkeypatch: pytest.MonkeyPatch
) -> tuple[Bucket, subprocess.Popen]:
    """A bucket, for processes that the test starts, and its server, which the test may kill."""
    address, process = own_s3_server
    return _bucket(address, monkeypatch), process


def _bucket(s3_server: str, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    environment = {
        "S3_ENDPOINT": s3_server,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": "us-east-1",
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    import boto3

    client = boto3.client("s3", endpoint_url=s3_server, region_name="us-east-1")
    name = f"bucket-{uuid.uuid4().hex[:12]}"
    client.create_bucket(Bucket=name)
    return Bucket(f"s3://{name}", client, environment)


@pytest.fixture(scope="session")
def datasets() -> Path:
    """The directory of real data: beside the checkout, or where STEMLINE_DATASETS says."""
    return Path(os.environ.get("STEMLINE_DATASETS", ROOT.parent / "shared" / "datasets"))


@pytest.fixture(scope="session")
def mir1k(datasets: Path) -> Path:
    """MIR-1K in its native layout."""
    return _present(datasets / "MIR-1K")


@pytest.fixture(scope="session")
def musdb18(datasets: Path) -> Path:
    """Two tracks of MUSDB18 as .stem.mp4."""
    return _present(datasets / "MUSDB18-7-SAMPLE")


@pytest.fixture(scope="session")
def free_songs(datasets: Path) -> Path:
    """Seven songs of EverythingIsFree (CC0), a folder each with a file a stem."""
    return _present(datasets / "EverythingIsFree")


def _present(path: Path) -> Path:
    if not path.is_dir():
        pytest.skip(f"research data not here: {path.name} (set STEMLINE_DATASETS to the folder that holds it)")
    return path


@pytest.fixture(scope="session")
def arrive():
    """Writes a week of rendered songs as a span: `arrive(root, week, {"train": 3, "dev": 1, "test": 1})`."""
    return _arrive


def _arrive(root: Path, week: int, tracks: Mapping[str, int]) -> None:
    """Songs of 3 s under names and of sounds that no other week has."""
    import soundfile

    from pipeline.data.datasets.layouts import synthetic

    options = {**synthetic.OPTIONS, "tracks": dict(tracks), "seconds": 3, "seed": week}
    for ref in synthetic.discover(None, options):
        track = synthetic.load(ref, options)
        directory = root / f"week-{week}" / track.split / f"{track.name} of week {week}"
        directory.mkdir(parents=True)
        for name, stem in track.stems.items():
            soundfile.write(directory / f"{name}.wav", stem, track.sample_rate_hz, subtype="FLOAT")


@pytest.fixture(scope="session")
def free_ports():
    """Ports of this machine that nothing listens on, all different: `free_ports(2)`."""
    return _free_ports


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


@pytest.fixture(scope="session")
def serve_in_thread():
    """Runs the embedded server in this process, which has TensorFlow already: `with serve_in_thread(arguments, grpc_port)`.

    Raises what the server fails to start with.
    """
    return _serve_in_thread


@contextmanager
def _serve_in_thread(arguments: Sequence[str], grpc_port: int) -> Iterator[None]:
    import grpc

    from serving.server import __main__ as server
    from serving.server import flags

    parsed = flags.parse([*arguments, f"--port={grpc_port}"])
    stopping, failures = threading.Event(), []

    def run() -> None:
        try:
            server.start(parsed, stopping)
        except server.StartError as error:
            failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        with grpc.insecure_channel(f"localhost:{grpc_port}") as channel:
            ready = grpc.channel_ready_future(channel)
            while thread.is_alive():
                try:
                    ready.result(timeout=0.1)
                    break
                except grpc.FutureTimeoutError:
                    continue
        if failures:
            raise failures[0]
        yield
    finally:
        stopping.set()
        thread.join()
