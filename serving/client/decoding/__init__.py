"""Any audio file as a stream of blocks, of which no header is trusted: its length is what was decoded.

    with decoding.opened(Path("song.m4a")) as song:
        for block in song.blocks():  # float32 [samples, song.channels] at song.sample_rate_hz
            ...
    waveform, sample_rate_hz = decoding.read(Path("song.m4a"))

What libsndfile reads soundly is read by libsndfile, everything else by the `ffmpeg` executable on PATH; which of them, the
content of a file tells, not its suffix.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from serving.client.decoding import ffmpeg, libsndfile
from serving.client.decoding.files import BadFileError, Decoding, Problem, check_format, named, regular

__all__ = ["BadFileError", "Decoding", "opened", "read"]


@contextlib.contextmanager
def opened(path: str | Path, *, stream: int = 0, most_seconds: float | None = None) -> Iterator[Decoding]:
    """Opens one audio stream of a file.

    Args:
      stream: counted from 0 among the audio streams of the file; without a choice the first, as Spleeter and Demucs do.
      most_seconds: a file that lasts longer is bad; memory and time are not spent on it.

    Raises (here and in `blocks`):
      BadFileError: in one sentence, which names the file without its directory and says what is wrong.
    """
    path = Path(path)
    with contextlib.ExitStack() as stack:
        with named(path):
            regular(path)
            sound = stack.enter_context(libsndfile.opened(path))
            if sound is not None and stream:
                raise Problem(f"has no audio stream {stream} (counted from 0)")
            sound = sound or stack.enter_context(ffmpeg.opened(path, stream))
            check_format(sound.sample_rate_hz, sound.channels)

        def blocks() -> Iterator[np.ndarray]:
            with named(path):
                yield from _limited(sound.blocks(), sound.sample_rate_hz, most_seconds)

        yield sound._replace(blocks=blocks)


def read(path: str | Path, *, stream: int = 0, most_seconds: float | None = None) -> tuple[np.ndarray, int]:
    """Decodes a whole file; see `opened`.

    Returns:
      float32 [samples, channels], and the sample rate in Hz.
    """
    with opened(path, stream=stream, most_seconds=most_seconds) as decoding:
        blocks = list(decoding.blocks())
        audio = np.empty((sum(map(len, blocks)), decoding.channels), np.float32)
        end = len(audio)
        while blocks:  # each is freed when it is copied: not twice the memory
            block = blocks.pop()
            audio[end - len(block) : end] = block
            end -= len(block)
        return audio, decoding.sample_rate_hz


def _limited(blocks: Iterator[np.ndarray], rate_hz: int, most_seconds: float | None) -> Iterator[np.ndarray]:
    left = None if most_seconds is None else most_seconds * rate_hz
    for block in blocks:
        if left is not None:
            left -= len(block)
            if left < 0:
                raise Problem(f"lasts more than {most_seconds:g} s, which is the limit")
        yield block
