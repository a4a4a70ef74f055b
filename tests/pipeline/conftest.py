"""The command line as a user types it, without a new process for every call; and records to train on."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True)
class Outcome:
    """What a command left: exit code and both streams."""

    code: int
    out: str
    err: str


@pytest.fixture
def stemline(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture) -> Callable[..., Outcome]:
    """Runs `stemline ARGS` through the installed entry point's function."""
    from pipeline.cli import main

    def run(*args: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["stemline", *map(str, args)])
        capfd.readouterr()
        code = 0
        try:
            main.main()
        except SystemExit as stopped:
            code = int(stopped.code or 0)
        streams = capfd.readouterr()
        return Outcome(code, streams.out, streams.err)

    return run


@pytest.fixture(scope="session")
def small_records(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """Split -> TFRecords of four rendered songs of 3 s for training, and one for dev, at 8 kHz."""
    from pipeline.config.config import load
    from pipeline.data import corpus, ingest, tfrecords

    root = str(tmp_path_factory.mktemp("records"))
    options = {"tracks": {"train": 4, "dev": 1, "test": 1}, "seconds": 3}
    data = dataclasses.replace(load("demo").data, sample_rate_hz=8000, segment_seconds=2, options=options)
    for shard in ingest.plan(corpus.discover(data)):
        Path(shard.path(root)).parent.mkdir(exist_ok=True)
        ingest.write_shard(shard, data, root)
    return {split: tfrecords.shards(f"{root}/Split-{split}") for split in ("train", "dev")}
