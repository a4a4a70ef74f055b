"""Raw PCM in, raw PCM of one stem out, as soon as it is finished: what lies between two pipes.

The format is that of `ffmpeg -f s16le` and `sox -t raw -e signed -b 16 -L`: interleaved little-endian int16, no header.
"""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass
from io import BufferedReader
from typing import BinaryIO

import numpy as np

from serving.client.separation import Client
from serving.client.signals import SeparationError
from serving.client.stream import Stream

READ_BYTES = 2**16
FULL_SCALE = 32768.0


@dataclass
class Tally:
    """What went through: samples per channel, values that were cut at full scale, seconds of work on them."""

    samples: int = 0
    clipped: int = 0
    busy_seconds: float = 0.0

    def words(self, sample_rate_hz: int) -> str:
        seconds = self.samples / sample_rate_hz
        share = self.busy_seconds / seconds if seconds else 0.0
        clipped = f", {self.clipped} values clipped" if self.clipped else ""
        return f"{seconds:.1f} s separated in {share:.2f} of real time{clipped}"


def check_pipes() -> None:
    """Raises SeparationError when standard input or output is a terminal."""
    for name, pipe in (("input", sys.stdin), ("output", sys.stdout)):
        if pipe.isatty():
            raise SeparationError(f"standard {name} is a terminal; legal is a pipe or a file of raw s16le PCM")


def run(model: Client, target: str, channels: int, hops: int) -> None:
    """From standard input to standard output until one of them ends; words go to standard error.

    Args:
      target: the stem to write.
      channels: of the PCM. hops: how many hops of the model are separated at a time.

    Raises:
      SeparationError: no such target, a model that cannot stream, or see `separate`.
    """
    stream = Stream(model, channels, hops)
    if target not in stream.targets:
        raise SeparationError(f"target is {target!r}; legal: {', '.join(stream.targets)}")
    stream.push(np.zeros((1, channels)))
    stream.finish()  # a model's first request takes long: it is over before anything is heard
    rate_hz, latency = stream.sample_rate_hz, stream.latency_samples
    wait = f"latency {1000 * latency / rate_hz:g} ms ({latency} samples)"
    _say(f"{target}: s16le, {rate_hz} Hz, {channels} channel{'s'[: channels != 1]}, {wait}")
    source = open(sys.stdin.fileno(), "rb", closefd=False)  # noqa: SIM115 (the descriptor is not ours to close)
    try:
        tally = separate(source, sys.stdout.buffer, stream, target, channels)
    except BrokenPipeError:  # as when a player is closed: an end like any other
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # where Python's own flush at exit may go
        _say("standard output was closed by its reader")
    else:
        _say(tally.words(rate_hz))


def separate(source: BufferedReader, sink: BinaryIO, stream: Stream, target: str, channels: int) -> Tally:
    """Reads until `source` ends, writes the stem `target` to `sink`: as many samples, in step with them.

    A sample is written, and the sink flushed, as soon as the stream has finished it.

    Args:
      stream: with `channels` channels, at its own sample rate.

    Raises:
      SeparationError: the source ends inside a sample; all whole ones are written then.
      OSError: a pipe broke.
    """
    tally, pending, width = Tally(), b"", 2 * channels

    def write(stems: dict[str, np.ndarray]) -> None:
        sink.write(_encode(stems[target], tally))
        sink.flush()

    while data := source.read1(READ_BYTES):  # what there is, without waiting for more
        pending += data
        whole = len(pending) - len(pending) % width
        started = time.perf_counter()
        block = np.frombuffer(pending[:whole], "<i2").reshape(-1, channels).astype(np.float32) / FULL_SCALE
        stems = stream.push(block)
        tally.busy_seconds += time.perf_counter() - started
        pending = pending[whole:]
        write(stems)
    write(stream.finish())
    if pending:
        raise SeparationError(
            f"the input ends with {len(pending)} of a sample's {width} bytes; legal are whole samples"
        )
    return tally


def _encode(stem: np.ndarray, tally: Tally) -> bytes:
    values = np.round(stem * FULL_SCALE)
    legal = np.clip(values, -FULL_SCALE, FULL_SCALE - 1)
    tally.samples += len(stem)
    tally.clipped += int(np.count_nonzero(values != legal))
    return legal.astype("<i2").tobytes()


def _say(words: str) -> None:
    print(f"stemline live: {words}", file=sys.stderr, flush=True)
