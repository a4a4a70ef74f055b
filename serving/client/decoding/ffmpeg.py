"""Decoding by the `ffmpeg` executable: raw floats over a pipe, in bounded memory."""

from __future__ import annotations

import contextlib
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import numpy as np

from serving.client.decoding.files import Problem

BLOCK_SAMPLES = 2**16
HEADER = struct.Struct(">4sIIIII")
"""Of AU, which ffmpeg can write to a pipe: magic, where the samples begin, their bytes, encoding, rate and channels."""


@contextlib.contextmanager
def opened(path: Path, stream: int) -> Iterator[tuple[int, int, None, Callable[[], Iterator[np.ndarray]]]]:
    """Sample rate, channels, nothing of its length, and blocks."""
    with tempfile.TemporaryFile() as log, _running(path, stream, log) as process:
        assert process.stdout
        header = process.stdout.read(HEADER.size)
        if len(header) < HEADER.size:
            process.wait()
            raise Problem(f"is no audio that ffmpeg can decode{_said(log)}")
        _, begin, _, _, rate_hz, channels = HEADER.unpack(header)
        process.stdout.read(begin - HEADER.size)

        def blocks() -> Iterator[np.ndarray]:
            assert process.stdout
            position = 0
            while data := process.stdout.read(BLOCK_SAMPLES * 4 * channels):
                block = np.frombuffer(data, ">f4").astype(np.float32).reshape(-1, channels)
                position += len(block)
                yield block
            if process.wait():
                raise Problem(f"cannot be decoded after {position} samples{_said(log)}")

        yield rate_hz, channels, None, blocks


@contextlib.contextmanager
def _running(path: Path, stream: int, log: IO[bytes]) -> Iterator[subprocess.Popen]:
    program = shutil.which("ffmpeg")
    if program is None:
        raise Problem("is decoded by ffmpeg, which is not installed: apt install ffmpeg, or brew install ffmpeg")
    command = [program, "-nostdin", "-hide_banner", "-v", "error", "-protocol_whitelist", "file,pipe"]
    command += ["-i", f"file:{path.absolute()}", "-map", f"0:a:{stream}", "-c:a", "pcm_f32be", "-f", "au", "pipe:1"]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def _said(log: IO[bytes]) -> str:
    """ffmpeg's last words, in brackets."""
    log.seek(0)
    lines = log.read(2**16).decode(errors="replace").strip().splitlines()
    return f" ({lines[-1].strip()[:200]})" if lines else ""
