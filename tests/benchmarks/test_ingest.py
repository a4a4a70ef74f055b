"""Ingest against bare decoding and resampling of the same files. Run with `pytest -s -m slow tests/benchmarks/test_ingest.py`."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from threadpoolctl import threadpool_limits

from pipeline.config.config import DataConfig
from pipeline.data import corpus, ingest
from pipeline.data.datasets import audio

pytestmark = pytest.mark.slow
RATE_HZ = 16000


@pytest.fixture
def songs(free_songs: Path, tmp_path: Path) -> Path:
    """Two real songs of 4 and 3 stems, 4 times each under other names."""
    for index in range(4):
        for name in ("Sodium", "Hydrogen"):
            shutil.copytree(free_songs / name, tmp_path / "songs" / "test" / f"{name} {index}")
    return tmp_path / "songs"


def wall(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def test_ingest_against_decoding_and_resampling_and_two_workers_against_one(songs: Path, tmp_path: Path) -> None:
    files = sorted(songs.rglob("*.ogg"))
    options = {"allow_empty_splits": ["train", "dev"]}
    data = DataConfig(format="folder", path=str(songs), options=options)

    def bare() -> None:
        for file in files:
            signal, rate_hz = audio.read(file)
            audio.resample(audio.to_channels(signal, 1), rate_hz, RATE_HZ)

    def ingested(workers: int) -> None:
        out = tmp_path / f"{workers} workers"
        for split in ("train", "dev", "test"):
            (out / f"Split-{split}").mkdir(parents=True)
        with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(workers) as threads:
            list(threads.map(lambda shard: ingest.write_shard(shard, data, str(out), "code"), shards))
        shutil.rmtree(out)

    shards = ingest.plan(corpus.discover(data))
    wall(lambda: ingested(1))  # the first pays for what is loaded
    of_bare, of_one, of_two = wall(bare), wall(lambda: ingested(1)), wall(lambda: ingested(2))
    print(
        f"ingest: {of_bare / of_one:.2f} x the speed of decoding and resampling; two workers {of_one / of_two:.2f} x one"
    )
    assert of_bare / of_one >= 0.85
    assert of_one / of_two >= 1.6
