"""Judging on Beam: what a killed process had judged stays, and the number of workers changes no digit."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from models import exported
from models.separator import Separator
from models.spec import ModelSpec
from pipeline.components import judging
from pipeline.components.judging import JudgingTask
from pipeline.config.config import Config, DataConfig, EvaluateConfig
from pipeline.data import catalogue, corpus, ingest
from pipeline.evaluation import results
from pipeline.evaluation.evaluation import conclude

RATE_HZ = 8000
SONGS = 16
CONFIG = Config(
    "resume_test",
    data=DataConfig(
        sample_rate_hz=RATE_HZ,
        options={"tracks": {"test": SONGS}, "seconds": 3.0, "allow_empty_splits": ["train", "dev"]},
    ),
    model=ModelSpec(sample_rate_hz=RATE_HZ, frame_length=256, hop=128, sizes={"units": 16}),
    evaluate=EvaluateConfig(baselines=("irm", "ibm")),
)
IN_PROCESS = ("--runner=FnApiRunner",)
TWO_PROCESSES = (*IN_PROCESS, "--direct_num_workers=2", "--direct_running_mode=multi_processing")


def task_in(root: Path) -> JudgingTask:
    models = {method: str(root / method) for method in ("model", "baseline")}
    return JudgingTask(str(root / "examples"), catalogue.read(str(root / "examples")), models, CONFIG)


def judge(root: Path, directory: Path, out: Path, arguments: tuple[str, ...] = IN_PROCESS) -> None:
    """Judges the task in `root`, resuming in `directory`, and writes what an evaluation writes to `out`."""
    options = PipelineOptions(list(arguments))
    results.write(conclude(judging.judge_tracks(beam.Pipeline(options=options), task_in(root), directory), CONFIG), out)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixteen test songs, a file each, and two models with random weights."""
    root = tmp_path_factory.mktemp("resume")
    data = CONFIG.data
    (root / "examples" / "Split-test").mkdir(parents=True)
    shards = [shard for shard in ingest.plan(corpus.discover(data)) if shard.split == "test"]
    entries = [ingest.write_shard(shard, data, str(root / "examples")) for shard in shards]
    ingest.write_catalogue([entry for shard in entries for entry in shard], str(root / "examples"))
    for method in ("model", "baseline"):
        exported.save(Separator(CONFIG.model), str(root / method))
    return root


@pytest.fixture(scope="module")
def undisturbed(root: Path) -> Path:
    judge(root, root / "undisturbed state", root / "undisturbed")
    return root / "undisturbed"


def contents(directory: Path) -> dict[str, bytes]:
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def stamps(directory: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in directory.glob("[!.]*.json")}


def start(root: Path, directory: Path, out: Path) -> subprocess.Popen:
    """`judge` in a process of its own."""
    command = f"import {Path(__file__).stem} as resume; from pathlib import Path; "
    command += f"resume.judge(Path({str(root)!r}), Path({str(directory)!r}), Path({str(out)!r}))"
    paths = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    return subprocess.Popen([sys.executable, "-c", command], env={**os.environ, "PYTHONPATH": paths})


@pytest.mark.slow
def test_a_killed_evaluation_judges_only_the_rest_and_ends_the_same(
    root: Path, undisturbed: Path, tmp_path: Path
) -> None:
    state, out = tmp_path / "state", tmp_path / "out"
    process = start(root, state, out)
    while len(stamps(state)) < 3:
        assert process.poll() is None
        time.sleep(0.002)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    before = stamps(state)
    assert 3 <= len(before) < SONGS
    assert not out.exists()
    resumed = time.time_ns()
    judge(root, state, out)
    after = stamps(state)
    assert len(after) == SONGS
    assert {name: after[name] for name in before} == before
    assert all(stamp > resumed for name, stamp in after.items() if name not in before)
    assert contents(out) == contents(undisturbed)


def test_half_a_file_of_a_killed_process_is_no_result(root: Path, undisturbed: Path, tmp_path: Path) -> None:
    """What SIGKILL can leave is a temporary file; its name is none that counts."""
    state = tmp_path / "state"
    state.mkdir()
    (state / ".123.test-0003.json").write_text('{"track": "test-00')
    judge(root, state, tmp_path / "out")
    assert contents(tmp_path / "out") == contents(undisturbed)


@pytest.mark.slow
def test_two_worker_processes_change_no_digit(root: Path, undisturbed: Path, tmp_path: Path) -> None:
    judge(root, tmp_path / "state", tmp_path / "out", TWO_PROCESSES)
    assert contents(tmp_path / "out") == contents(undisturbed)
    files = contents(undisturbed)
    assert "scores.csv" in files
    assert sum(name.endswith(".json") for name in files) == 1 + 2 * 5 * SONGS


def test_the_key_names_everything_that_decides_the_scores(root: Path, tmp_path: Path) -> None:
    task = task_in(root)
    key = judging.key(task)
    assert judging.key(task_in(root)) == key
    fewer = dataclasses.replace(task, tracks=task.tracks[1:])
    swapped = dataclasses.replace(task, models={"model": task.models["baseline"], "baseline": task.models["model"]})
    alone = dataclasses.replace(task, models={"model": task.models["model"]})
    wider = dataclasses.replace(CONFIG, evaluate=dataclasses.replace(CONFIG.evaluate, window_seconds=2.0))
    others = [fewer, swapped, alone, dataclasses.replace(task, config=wider)]
    assert len({key, *map(judging.key, others)}) == 5
    gate = dataclasses.replace(CONFIG.gate, better_than_mixture=False)
    stricter = dataclasses.replace(task, config=dataclasses.replace(CONFIG, gate=gate))
    assert judging.key(stricter) == key
    shard = Path(task.file(task.tracks[0]))
    original = shard.read_bytes()
    shard.write_bytes(original + b"\0")
    assert judging.key(task) != key
    shard.write_bytes(original)
    variables = next(Path(task.models["model"]).rglob("variables.data*"))
    weights = variables.read_bytes()
    variables.write_bytes(bytes([weights[0] ^ 1]) + weights[1:])
    assert judging.key(task) != key
    variables.write_bytes(weights)
    assert judging.key(task) == key
