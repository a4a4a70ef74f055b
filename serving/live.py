"""Raw PCM in, raw PCM of one stem out, as soon as it is finished: what lies between two pipes.

The format is that of `ffmpeg -f s16le` and `sox -t raw -e signed -b 16 -L`: interleaved little-endian int16, no header.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from io import BufferedIOBase

import numpy as np

from serving.signals import SeparationError
from serving.stream import Stream

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


def separate(source: BufferedIOBase, sink: BufferedIOBase, stream: Stream, target: str, channels: int) -> Tally:
    """Reads until `source` ends, writes the stem `target` to `sink`: as many samples, in step with them.

    A sample is written, and the sink flushed, as soon as the stream has finished it.

    Args:
      stream: with `channels` channels, at its own sample rate.

    Raises:
      SeparationError: no such target (nothing is read then), or the source ends inside a sample (all whole ones are
        written then).
      OSError: a pipe broke.
    """
    if target not in stream.targets:
        raise SeparationError(f"target is {target!r}; legal: {', '.join(stream.targets)}")
    tally, pending, width = Tally(), b"", 2 * channels

    def write(stems: dict[str, np.ndarray]) -> None:
        sink.write(_encode(stems[target], tally))
        sink.flush()

    while data := source.read1(READ_BYTES):  # what there is, without waiting for more
        pending += data
        whole = len(pending) - len(pending) % width
        started = time.perf_counter()
        stems = stream.push(_decode(pending[:whole], channels))
        tally.busy_seconds += time.perf_counter() - started
        pending = pending[whole:]
        write(stems)
    write(stream.finish())
    if pending:
        raise SeparationError(f"the input ends with {len(pending)} bytes; legal are whole samples of {width} bytes")
    return tally


def _decode(data: bytes, channels: int) -> np.ndarray:
    """float32 [samples, channels], full scale 1."""
    return np.frombuffer(data, "<i2").reshape(-1, channels).astype(np.float32) / FULL_SCALE


def _encode(stem: np.ndarray, tally: Tally) -> bytes:
    values = np.round(stem * FULL_SCALE)
    legal = np.clip(values, -FULL_SCALE, FULL_SCALE - 1)
    tally.samples += len(stem)
    tally.clipped += int(np.count_nonzero(values != legal))
    return legal.astype("<i2").tobytes()
