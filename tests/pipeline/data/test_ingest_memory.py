"""How much memory a long track takes: peak RSS of a process of its own, over what it had before the track."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

MEGABYTE = 2**20
INGEST = """
import resource, sys
from pathlib import Path
from pipeline.config.config import DataConfig
from pipeline.data import corpus, ingest

rss = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
options = {"allow_empty_splits": ["dev", "test"]}
out = sys.argv[2]
Path(out, "Split-train").mkdir(parents=True)
for path in sys.argv[1].split(":"):  # a short track first: what is loaded by then is not of the long one
    data = DataConfig(format="folder", path=path, options=options)
    before = rss()
    [entry] = ingest.write_shard(ingest.plan(corpus.discover(data))[0], data, out)
    assert "reason" not in entry, entry
    seconds = entry["seconds"]
print(seconds, before, rss())
"""


def track(root: Path, seconds: int, rate_hz: int, suffix: str) -> Path:
    """Vocals and a backing in stereo, written in blocks of a second: noise that is another at every second."""
    directory = root / "train" / f"{seconds} s"
    directory.mkdir(parents=True)
    second = np.random.default_rng(0).uniform(-0.2, 0.2, (rate_hz, 2)).astype(np.float32)
    for number, stem in enumerate(("vocals", "drums")):
        with soundfile.SoundFile(directory / f"{stem}{suffix}", "w", rate_hz, 2, "PCM_16") as file:
            for index in range(seconds):
                file.write(np.roll(second, 97 * index + 7919 * number, axis=0))
    return root


def taken(tmp_path: Path, seconds: int, rate_hz: int, suffix: str) -> int:
    """The bytes that ingest takes for a long track at its peak, over what it took until a short one was done."""
    paths = [track(tmp_path / f"{length}", length, rate_hz, suffix) for length in (5, seconds)]
    command = [sys.executable, "-c", INGEST, ":".join(map(str, paths)), str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    heard, before, peak = done.stdout.split()
    assert float(heard) == pytest.approx(seconds, abs=0.01)
    print(f"{seconds} s: {int(before) / MEGABYTE:.0f} MB before, {int(peak) / MEGABYTE:.0f} MB at the peak")
    return int(peak) - int(before)


# 16 MB of spool, which grows by copying, before it goes to the disk, a segment of 10 s, and blocks of 2**16 samples.
BOUND = (2 * 16 + 32) * MEGABYTE


@pytest.mark.slow
def test_ten_minutes_take_a_spool_and_blocks(tmp_path):
    """In memory, its three signals alone would be 460 MB."""
    assert taken(tmp_path, 600, 32000, ".wav") < BOUND


@pytest.mark.slow
@pytest.mark.timeout(3600)  # 8 GB of FLAC are written first
def test_three_hours_of_96_khz_take_no_more(tmp_path):
    """In memory, its three signals alone would be 25 GB."""
    assert taken(tmp_path, 3 * 3600, 96000, ".flac") < BOUND
