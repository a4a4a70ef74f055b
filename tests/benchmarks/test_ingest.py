"""Ingest against bare decoding and resampling of the same files. Run with `pytest -s -m slow tests/benchmarks/test_ingest.py`."""

from __future__ import annotations

import multiprocessing
import shutil
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest
from threadpoolctl import threadpool_limits

from pipeline.config.config import DataConfig
from pipeline.data import corpus, ingest
from pipeline.data.datasets import audio

pytestmark = pytest.mark.slow
RATE_HZ, ROUNDS = 16000, 3


@pytest.fixture
def songs(free_songs: Path, tmp_path: Path) -> Path:
    """Two real songs of 4 and 3 stems, 4 times each under other names."""
    for index in range(4):
        for name in ("Sodium", "Hydrogen"):
            shutil.copytree(free_songs / name, tmp_path / "songs" / "test" / f"{name} {index}")
    return tmp_path / "songs"


def bare(files: list[Path]) -> None:
    for file in files:
        signal, rate_hz = audio.read(file)
        audio.resample(audio.to_channels(signal, 1), rate_hz, RATE_HZ)


def ingested(shard: ingest.Shard, data: DataConfig, out: str) -> None:
    with threadpool_limits(1, user_api="blas"):  # as the component has it
        ingest.write_shard(shard, data, out, "code")


def wall(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def test_ingest_against_decoding_and_resampling_and_two_workers_against_one(songs: Path, tmp_path: Path) -> None:
    """Workers are processes, as with Beam's --direct_running_mode=multi_processing, which have loaded their libraries."""
    files = sorted(songs.rglob("*.ogg"))
    data = DataConfig(format="folder", path=str(songs), options={"allow_empty_splits": ["train", "dev"]})
    shards = ingest.plan(corpus.discover(data))

    def everything(workers: ProcessPoolExecutor, name: str) -> None:
        out = tmp_path / name / str(time.monotonic_ns())
        for split in ("train", "dev", "test"):
            (out / f"Split-{split}").mkdir(parents=True)
        count = len(shards)
        list(workers.map(ingested, shards, [data] * count, [str(out)] * count))
        shutil.rmtree(out)

    seconds: dict[str, list[float]] = {"bare": [], "one": [], "two": []}
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, spawn) as one, ProcessPoolExecutor(2, spawn) as two:
        everything(one, "one")  # the first pays for what is loaded
        everything(two, "two")
        for _ in range(ROUNDS):
            seconds["bare"].append(wall(lambda: one.submit(bare, files).result()))
            seconds["one"].append(wall(lambda: everything(one, "one")))
            seconds["two"].append(wall(lambda: everything(two, "two")))
    of = {name: statistics.median(each) for name, each in seconds.items()}
    print(
        f"ingest: {of['bare'] / of['one']:.2f} x the speed of decoding and resampling; two workers {of['one'] / of['two']:.2f} x one"
    )
    assert of["bare"] / of["one"] >= 0.85
    assert of["one"] / of["two"] >= 1.6
