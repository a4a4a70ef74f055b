"""What leaks cost at ingest and how many copies are found, as figures. Run with `pytest -s tests/benchmarks/test_leaks.py`."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from pipeline.data import landmarks
from pipeline.data.datasets import audio
from tests.pipeline.data.test_leaks import CHANGES, copy, found, prints, songs

pytestmark = pytest.mark.slow


def cpu_seconds(work: Callable[[], object], repeats: int = 5) -> float:
    """The least of several measurements, after one to warm up."""
    work()
    measured = []
    for _ in range(repeats):
        started = time.process_time()
        work()
        measured.append(time.process_time() - started)
    return min(measured)


def test_landmarks_against_decoding_and_resampling(tmp_path: Path) -> None:
    """A minute of a stereo song at 44.1 kHz from FLAC to 16 kHz; the landmarks of what comes out."""
    [song] = songs("train", 1, 10.0, sample_rate_hz=44100, channels=2)
    path = tmp_path / "song.flac"
    soundfile.write(path, np.tile(song.mixture, (6, 1)), 44100)

    def read() -> np.ndarray:
        return audio.resample(audio.read(path)[0], 44100, 16000)

    signal = read()
    ratio = cpu_seconds(lambda: landmarks.of_signal(signal, 16000)) / cpu_seconds(read)
    print(f"landmarks: {ratio:.2f} of the time that decoding and resampling take")
    assert ratio < 1


def test_how_many_copies_of_short_songs_are_found() -> None:
    """Twelve songs of 4 s, the shortest that MIR-1K's clips are, in each of the ways that copies are changed."""
    trained = songs("train", 12, 4.0)
    known = prints(trained)
    recall = {}
    for kind, change in CHANGES.items():
        tested = [copy(track, change) for track in trained]
        pairs = {(leak.track, leak.other) for leak in found([*trained, *tested], known)}
        right = {(f"copy of {track.name}", track.name) for track in trained}
        assert pairs <= right, "no other song is named"
        recall[kind] = len(pairs)
    print("\n".join(f"| {kind} | {count} of 12 |" for kind, count in recall.items()))
    less = {kind for kind, count in recall.items() if count < 11}
    assert less <= {"an excerpt from the middle"}, "of which 1.8 s are left"
