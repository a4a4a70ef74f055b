"""Decoding by the `ffmpeg` executable: floats over a pipe, in bounded memory, of this file and nothing else."""

from __future__ import annotations

import contextlib
import re
import select
import shutil
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, BinaryIO

import numpy as np

from serving.client.decoding import boxes, chunks
from serving.client.decoding.files import BLOCK_SAMPLES, Decoding, Presentation, Problem

HEADER = struct.Struct(">4sIIIII")
"""Of AU, which ffmpeg can write to a pipe: magic, where the samples begin, their bytes, encoding, rate and channels."""
DEMUXERS = (
    "aac,ac3,aiff,amr,ape,asf,au,avi,caf,dts,dtshd,dsf,eac3,flac,flv,iff,loas,matroska,mov,mp3,mpc,mpc8,mpeg,mpegts,"
    "mxf,nut,ogg,oma,rm,shn,tak,truehd,tta,voc,w64,wav,wv,xwma"
)
"""Formats of ffmpeg that hold sound: no playlist, which would open other files, and no text, picture or device."""
INPUT = "file:/dev/stdin"  # opened anew, so that it can be sought in
INSTALL = "apt install ffmpeg, or brew install ffmpeg"
STALLED_SECONDS = 120
LARGEST_ALLOCATION = 2**30
MOST_MEMORY = 2**33
MOST_LOG = 2**24
MOST_WORDS = 2**16
LONGEST_FRAME = 4096
"""Samples of what MP4 holds: ALAC's."""
DAMAGE = re.compile(
    r"corrupt|partial file|prematurely|incomplete|truncat|error (while decoding|submitting|while filtering)|"
    r"invalid data|input/output error|low score|misdetection",
    re.IGNORECASE,
)
"""What ffmpeg warns of and goes on, with exit code 0 and fewer samples than there should be."""


@contextlib.contextmanager
def opened(path: Path, stream: int) -> Iterator[Decoding]:
    """The audio stream of a file, counted from 0.

    Raises:
      Problem: ffmpeg is not there, or it cannot decode the stream to its end.
    """
    with (
        path.open("rb") as file,
        tempfile.TemporaryFile() as log,
        _running(file, stream, log) as (process, presentation),
    ):
        header = _read(process, HEADER.size)
        if len(header) < HEADER.size:
            process.wait()
            raise Problem(_why_not(_said(log), stream))
        _, begin, _, _, rate_hz, channels = HEADER.unpack(header)
        _read(process, begin - HEADER.size)

        def decoded() -> Iterator[np.ndarray]:
            while data := _read(process, BLOCK_SAMPLES * 4 * channels):
                block = np.frombuffer(data[: len(data) // (4 * channels) * 4 * channels], ">f4").astype(np.float32)
                yield block.reshape(-1, channels)

        def blocks() -> Iterator[np.ndarray]:
            done = 0
            for block in _presented(decoded(), presentation, rate_hz) if presentation else decoded():
                done += len(block)
                yield block
            failed = process.wait()
            said = _said(log)
            damage = [line for line in said if DAMAGE.search(line)]
            if failed or damage:
                said = (damage or said or [f"exit code {failed}"])[0]
                raise Problem(f"breaks off or is damaged after {done} samples (ffmpeg: {said})")
            if not done:
                raise Problem("holds 0 samples")

        yield Decoding(rate_hz, channels, None, blocks)


def _presented(blocks: Iterator[np.ndarray], kept: Presentation, rate_hz: int) -> Iterator[np.ndarray]:
    """What of a track is heard. Where its index alone says where it ends, nothing is dropped but a part of a frame."""
    start = round(kept.start * rate_hz / kept.ticks_hz)
    stop = sys.maxsize if kept.stop is None else round(kept.stop * rate_hz / kept.ticks_hz)
    position, behind = 0, []
    for block in blocks:
        begin, end = max(0, start - position), max(0, stop - position)
        position += len(block)
        if len(inside := block[begin:end]):
            yield inside
        if end < len(block) and not kept.cut:
            behind.append(block[max(begin, end) :])
            if position - stop >= LONGEST_FRAME:
                yield from behind
                behind.clear()


@contextlib.contextmanager
def _running(file: BinaryIO, stream: int, log: IO[bytes]) -> Iterator[tuple[subprocess.Popen, Presentation | None]]:
    """And of what it decodes what is heard; None: all.

    It is not told the name, which would be a hint to it, and could be one that it takes for something else.
    """
    program = shutil.which("ffmpeg")
    if program is None:
        raise Problem(f"is no audio that libsndfile reads; ffmpeg, which reads more, is not installed ({INSTALL})")
    boxes.check(file)
    by_boxes = boxes.presentation(file, stream)
    presentation = by_boxes or chunks.presentation(file)
    file.seek(0)
    command = [program, "-nostdin", "-hide_banner", "-v", "warning", "-max_alloc", str(LARGEST_ALLOCATION)]
    command += ["-protocol_whitelist", "file", "-format_whitelist", DEMUXERS]
    command += ["-reinit_filter", "0"]  # else it resamples where the rate changes in the middle
    command += ["-ignore_editlist", "1"] if by_boxes else []
    command += ["-flags2", "+skip_manual"] if presentation else []
    command += ["-threads", "1", "-i", INPUT, "-map", f"0:a:{stream}"]
    command += ["-c:a", "pcm_f32be", "-f", "au", "-protocol_whitelist", "pipe", "pipe:1"]
    process = subprocess.Popen(command, bufsize=0, stdin=file, stdout=subprocess.PIPE, stderr=log)
    try:
        _bound(process)
        yield process, presentation
    finally:
        process.kill()
        process.communicate()


def _bound(process: subprocess.Popen) -> None:
    """Else a hostile file could make it take all memory, or fill the disk with warnings."""
    if sys.platform == "linux":
        import resource

        with contextlib.suppress(OSError):  # a sandbox may forbid it
            resource.prlimit(process.pid, resource.RLIMIT_AS, (MOST_MEMORY, MOST_MEMORY))
            resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (MOST_LOG, MOST_LOG))


def _read(process: subprocess.Popen, size: int) -> bytes:
    """As many bytes, or fewer at the end."""
    assert process.stdout
    parts: list[bytes] = []
    poll = select.poll()
    poll.register(process.stdout, select.POLLIN)
    while size > 0:
        if not poll.poll(1000 * STALLED_SECONDS):
            raise Problem(f"is given up: ffmpeg has decoded nothing for {STALLED_SECONDS} s")
        part = process.stdout.read(min(size, 2**20))
        if not part:
            break
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def _why_not(said: list[str], stream: int) -> str:
    if any("matches no streams" in line for line in said):
        return f"has no audio stream {stream} (counted from 0)" if stream else "holds no audio"
    return f"is no readable audio (ffmpeg: {said[-1] if said else 'nothing'})"


def _said(log: IO[bytes]) -> list[str]:
    """What ffmpeg wrote, without addresses in memory."""
    log.seek(0)
    text = log.read(MOST_WORDS).decode(errors="backslashreplace").replace(f"{INPUT}: ", "")
    lines = re.sub(r"\[(\S+) @ 0x[0-9a-f]+\]", r"\1:", text).splitlines()
    return [line.strip()[:160] for line in lines if line.strip()]
