"""What breaks around a run, and what is served meanwhile: a served version, a server that holds it, and one fault a test.

docs/scaling.md lists all faults with the tests that show them.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from pipeline.runs import history
from pipeline.runs.workdir import Workdir
from serving import process
from serving.client import Client

STEMLINE = str(Path(sys.executable).with_name("stemline"))
SMALL = (
    "data.options={tracks: {train: 2, dev: 1, test: 2}, seconds: 3}",
    "model.sizes={units: 16}",
    "train.steps=8",
    "train.batch=4",
    "train.segment_frames=40",
    "train.evaluate_every_steps=4",
    "evaluate.metrics=[v3]",
    "serve.chunk_seconds=2",
    "gate.thresholds=[{target: vocals, metric: v3/SDR, at_least_db: -60}]",
    "gate.better_than_mixture=false",
    "gate.outputs=null",
)
BEATS_THE_BASELINE = (
    "gate.thresholds=[{target: vocals, metric: v3/SDR, at_least_db: -60, over: baseline, across: worst}]"
)
PORT_OF_SERVERS = 8500
pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Place:
    """A workdir with a served version, and the server that holds it."""

    workdir: Workdir
    server: str

    def command(self, *overrides: str, more: tuple[str, ...] = ()) -> list[str]:
        said = [word for override in (*SMALL, *overrides) for word in ("--set", override)]
        return [STEMLINE, "run", "--workdir", str(self.workdir.root), *said, *more]

    def run(self, *overrides: str, more: tuple[str, ...] = ()) -> subprocess.CompletedProcess:
        return subprocess.run(self.command(*overrides, more=more), capture_output=True, text=True)

    def served(self) -> dict[str, bytes]:
        """Every file of the served versions."""
        base = self.workdir.serving("demo")
        files = [path for path in base.rglob("*") if path.is_file() and path.name != ".push.lock"]
        return {str(path.relative_to(base)): path.read_bytes() for path in files}

    def answer(self) -> np.ndarray:
        """What the server makes of a fixed mixture."""
        mixture = np.random.default_rng(0).normal(0, 0.1, (32000, 1)).astype(np.float32)
        with Client(self.server) as client:
            return client.separate(mixture, 16000)["vocals"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """After one run that pushed."""
    place = Place(Workdir(tmp_path_factory.mktemp("faults") / "runs"), "")
    done = place.run()
    assert done.returncode == 0, done.stderr
    with process.running(place.workdir.serving("demo")) as server:
        yield Place(place.workdir, server)


@contextmanager
def left_alone(place: Place) -> Iterator[None]:
    """What is served before is served afterwards: bit for bit on disk, and in the server's answers."""
    files, answer = place.served(), place.answer()
    yield
    assert place.served() == files
    np.testing.assert_array_equal(place.answer(), answer)


def sentence(done: subprocess.CompletedProcess) -> str:
    """The one line of a run that failed."""
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("stemline: ")
    return last


def test_data_that_cannot_be_read(place: Place, tmp_path: Path) -> None:
    bucket = tmp_path / "bucket"
    bucket.symlink_to(tmp_path / "unmounted")
    with left_alone(place):
        said = sentence(place.run("data.options={}", more=("--format", "folder", "--data", str(bucket))))
    assert f"{bucket} is not a directory" in said


def test_a_worker_that_is_killed_while_it_trains(place: Place) -> None:
    changed = ("train.steps=200", "train.checkpoint_minutes=0.001")
    with left_alone(place):
        killed = subprocess.Popen(place.command(*changed), stderr=subprocess.PIPE, text=True)
        assert killed.stderr
        assert any(line.startswith("Trainer ") for line in killed.stderr)
        time.sleep(2.0)
        os.kill(killed.pid, signal.SIGKILL)
        assert killed.wait() == -signal.SIGKILL
    assert history.runs(place.workdir)[0].states["Trainer"] == "stopped"
    again = place.run(*changed)
    assert again.returncode == 0, again.stderr
    run = history.runs(place.workdir)[0]
    assert run.states["StemsExampleGen"] == "cached"
    assert run.training["stopped_early"]  # the training came to its own end
    assert run.pushed == str(place.workdir.latest_version("demo"))


def test_a_serving_directory_that_cannot_be_written_and_a_port_that_is_taken(place: Place) -> None:
    """The validator takes any free port, so that a server on the usual one is no fault; then the push fails."""
    base = place.workdir.serving("demo")
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("localhost", PORT_OF_SERVERS))
        taken.listen()
        with left_alone(place), immutable(base):
            said = sentence(place.run("train.learning_rate=0.002"))
    assert f"{base} cannot be written" in said
    run = history.runs(place.workdir)[0]
    assert run.infra_blessed
    assert run.states["Pusher"] == "failed"
    assert place.run("train.learning_rate=0.002").returncode == 0
    assert history.runs(place.workdir)[0].pushed == str(place.workdir.latest_version("demo"))


@contextmanager
def immutable(directory: Path) -> Iterator[None]:
    """Nothing can be made or renamed in the directory, not even by root."""
    changed = subprocess.run(["chattr", "+i", directory], capture_output=True, text=True)
    if changed.returncode:
        pytest.skip(f"this needs root and a file system with attributes: {changed.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["chattr", "-i", directory], check=True)


def test_a_baseline_that_is_gone(place: Place) -> None:
    blessed = next(run for run in history.runs(place.workdir) if run.blessed)
    assert blessed.model
    hidden = Path(blessed.model).rename(Path(blessed.model).with_name("hidden"))
    try:
        with left_alone(place):
            done = place.run("train.steps=10", BEATS_THE_BASELINE)
    finally:
        hidden.rename(blessed.model)
    assert done.returncode == 3, done.stderr
    assert "the last blessed model cannot be judged on these tracks" in " ".join(done.stdout.split())
    assert history.runs(place.workdir)[0].pushed is None
