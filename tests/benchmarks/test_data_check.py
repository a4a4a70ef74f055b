"""What a look at a thousand files takes, against opening each of them once by libsndfile: `make test-slow`."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from pipeline.config.config import DataConfig
from pipeline.data.survey.survey import survey

pytestmark = pytest.mark.slow

TRACKS, STEMS = 250, ("vocals", "drums", "bass", "other")
ROUNDS = 3


@pytest.fixture(scope="module", params=["wav", "flac"])
def corpus(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """250 tracks of four stems of 0.5 s, each other than the next."""
    root = tmp_path_factory.mktemp(request.param)
    random = np.random.default_rng(0)
    for number in range(TRACKS):
        song = root / f"song {number:03}"
        song.mkdir()
        for stem in STEMS:
            samples = 0.1 * random.standard_normal((22050, 2))
            soundfile.write(song / f"{stem}.{request.param}", samples, 44100)
    return root


def least(*functions: Callable[[], object]) -> list[float]:
    """CPU seconds of each, the least of three that take turns."""
    rounds = []
    for _ in range(ROUNDS):
        took = []
        for function in functions:
            started = time.process_time()
            function()
            took.append(time.process_time() - started)
        rounds.append(took)
    return [min(times) for times in zip(*rounds, strict=True)]


def test_a_thousand_files_in_seconds(corpus: Path) -> None:
    files = sorted(corpus.glob("*/*.*"))
    assert len(files) == 1000
    found = survey(DataConfig(path=str(corpus), channels=2))
    assert (found["usable"], found["files"]["count"], found["bad_tracks"]) == (True, 1000, [])
    looked, opened, decoded = least(
        lambda: survey(DataConfig(path=str(corpus), channels=2)),
        lambda: [soundfile.info(file) for file in files],
        lambda: [soundfile.read(file) for file in files],
    )
    print(f"\n{corpus.name[:4]}: looked {looked:.2f} s, soundfile.info {opened:.2f} s, decoded {decoded:.2f} s of CPU")
    assert looked < 8  # 1 s of WAV, and 1.7 s of FLAC, whose last frame is checked
    assert looked < 30 * opened
