"""Decoding by libsndfile, of the files that it reads soundly."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import soundfile

from serving.client.decoding.files import Problem

BLOCK_SAMPLES = 2**16


def reads(path: Path) -> bool:
    """Whether libsndfile reads it, and its length right."""
    try:
        with soundfile.SoundFile(path) as file:
            return file.format not in ("MP3", "MPEG") and 0 < file.frames < 2**62
    except soundfile.LibsndfileError:
        return False


@contextlib.contextmanager
def opened(path: Path) -> Iterator[tuple[int, int, int, Callable[[], Iterator[np.ndarray]]]]:
    """Sample rate, channels, the samples that the header says, and blocks."""
    with soundfile.SoundFile(path) as file:

        def blocks() -> Iterator[np.ndarray]:
            position = 0
            while position < file.frames:
                try:  # not by its own blocks(), which give memory for samples that could not be read
                    block = file.read(BLOCK_SAMPLES, dtype="float32", always_2d=True)
                except soundfile.LibsndfileError as error:
                    reason = error.error_string.rstrip(".")
                    raise Problem(f"cannot be decoded after {position} samples ({reason})") from error
                if not len(block):
                    raise Problem(f"breaks off after {position} of {file.frames} samples")
                position += len(block)
                yield block

        yield file.samplerate, file.channels, file.frames, blocks
