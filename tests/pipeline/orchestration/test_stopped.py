"""Ctrl-C, SIGTERM and SIGKILL at every point of a run: what is left, and what the same command does then.

`pytest -m slow -n 0 -s` prints the figures of docs/training.md.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import pytest

from pipeline.runs import history
from pipeline.runs.workdir import Workdir

STEMLINE = str(Path(sys.executable).with_name("stemline"))
SMALL = (
    "data.options={tracks: {train: 2, dev: 1, test: 2}, seconds: 3}",
    "model.sizes={units: 16}",
    "train.steps=40",
    "train.batch=4",
    "train.segment_frames=40",
    "train.evaluate_every_steps=3",
    "evaluate.metrics=[v3]",
    "serve.chunk_seconds=2",
    "gate.thresholds=[{target: vocals, metric: v3/SDR, at_least_db: -60}]",
    "gate.better_than_mixture=false",
    "gate.outputs=null",
)
# Where a run is stopped: what its standard error has said by then, and the seconds after that.
MOMENTS = {
    "import": ("loading", 1.0),
    "ingest": ("StemsExampleGen …", 1.5),
    "statistics": ("StatisticsGen …", 1.0),
    "training, before its first step": ("Trainer …", 1.0),
    "training": (" step 1,", 0.5),
    "serving check": ("ServingValidator …", 2.0),
    "evaluation": ("BssEvaluator …", 1.0),
    "push": ("waiting: another model is being pushed", 0.5),
}
pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class End:
    """How a command ended, and what it had said; left: processes of its session, a moment later."""

    code: int
    said: str
    seconds: float
    left: Sequence[str]


def of_session(session: int) -> list[str]:
    """The command lines of the processes in a session that are no zombies."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, ProcessLookupError):
            if os.getsid(process.pid) == session and process.status() != psutil.STATUS_ZOMBIE:
                found.append(" ".join(process.cmdline()))
    return found


def stopped(command: Sequence[str], scratch: Path, number: int, moment: str, seconds: float) -> End:
    """A command that gets a signal so long after it has said something: SIGINT as by a terminal, all its processes at once."""
    scratch.mkdir(exist_ok=True)
    heard = functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # a shell's background jobs ignore it
    log = scratch.with_suffix(".log")
    with log.open("w") as said:
        process = subprocess.Popen(
            command, stdout=said, stderr=said, start_new_session=True, preexec_fn=heard,
            env={**os.environ, "TMPDIR": str(scratch)},
        )  # fmt: skip
    while moment not in log.read_text():
        assert process.poll() is None, log.read_text()
        time.sleep(0.02)
    time.sleep(seconds)
    assert process.poll() is None, f"it had ended before the signal: {log.read_text()}"
    began = time.monotonic()
    (os.killpg if number == signal.SIGINT else os.kill)(process.pid, number)
    code = process.wait(timeout=120)
    lasted = time.monotonic() - began
    while (left := of_session(process.pid)) and time.monotonic() - began < lasted + 15:
        time.sleep(0.05)
    print(f"{moment}: ended after {lasted:.1f} s, its processes after {time.monotonic() - began:.1f} s", flush=True)
    return End(code, log.read_text(), lasted, left)


def run_of(workdir: Path) -> list[str]:
    return [STEMLINE, "run", "--workdir", str(workdir), *(word for each in SMALL for word in ("--set", each))]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> list[np.ndarray]:
    """Of the model of a run that nobody stopped."""
    workdir = tmp_path_factory.mktemp("whole") / "runs"
    done = subprocess.run(run_of(workdir), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return weights_of(workdir)


def weights_of(workdir: Path) -> list[np.ndarray]:
    import tensorflow as tf

    variables = f"{Workdir(workdir).latest_version('demo')}/variables/variables"
    return [
        tf.train.load_variable(variables, name) for name, _ in tf.train.list_variables(variables) if "OBJ" not in name
    ]


@contextlib.contextmanager
def pushing(base: Path) -> Iterator[None]:
    """Another run is at its push, and does not come to its end."""
    base.mkdir(parents=True, exist_ok=True)
    with (base / ".push.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_run_that_is_stopped_wherever_it_is_goes_on(
    request: pytest.FixtureRequest, tmp_path: Path, number: int
) -> None:
    """Eight times in one working directory; in the end it has the very weights of a run that nobody stopped."""
    workdir = tmp_path / "runs"
    for place, (name, (moment, seconds)) in enumerate(MOMENTS.items()):
        scratch = tmp_path / f"scratch-{place}"
        with pushing(Workdir(workdir).serving("demo")) if name == "push" else contextlib.nullcontext():
            end = stopped(run_of(workdir), scratch, number, moment, seconds)
        assert end.left == [], name
        assert "Traceback" not in end.said, name
        last = end.said.splitlines()[-1]
        if number == signal.SIGKILL:
            assert end.code == -number, name
        else:
            ours = [each for each in scratch.iterdir() if not each.name.startswith("beam-pipeline-temp")]
            assert (end.code, ours) == (128 + number, []), name
            assert last.startswith(
                f"stopped: finished steps are kept in {workdir}, and this goes on after them: stemline run "
            ), name
            assert not (workdir / ".lock.holder").exists(), name
            assert half_written(workdir) == [], name
        assert end.seconds < 10, name
        if name == "training":
            assert ("training is kept at step" in end.said) == (number != signal.SIGKILL)
    began = time.monotonic()
    done = subprocess.run(run_of(workdir), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    print(f"the last run took {time.monotonic() - began:.0f} s")
    assert half_written(workdir) == []
    states = [run.states for run in history.runs(Workdir(workdir))]
    assert [[name for name, state in each.items() if state == "stopped"] for each in states[:-1]] == [
        [], ["Pusher"], ["BssEvaluator"], ["ServingValidator"], ["Trainer"], ["Trainer"], ["StatisticsGen"], ["StemsExampleGen"],
    ][: len(states) - 1]  # fmt: skip
    for ours, theirs in zip(weights_of(workdir), request.getfixturevalue("weights"), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def half_written(workdir: Path) -> list[str]:
    """Directories of artifacts that no execution has put out, but for the logs of trainings."""
    from pipeline.runs import metadata

    if (store := metadata.store(Workdir(workdir))) is None:
        return []
    known = {Path(artifact.uri) for artifact in store.get_artifacts()}
    found = (path for path in (workdir / "artifacts" / "demo").glob("*/*/*") if path.parent.name != "model_run")
    return [str(path) for path in found if path not in known and ".system" not in path.parts]
