"""Fixed-length chunks with overlap, and the overlap-add that puts them together again. Pure arithmetic on arrays.

A server that batches wants every request to have the same shape, so a signal of any length is cut into chunks of exactly
`chunk_samples`, each starting `hop_samples = chunk_samples - overlap_samples` after the one before; the last one is
padded with zeros. Neighbours are joined by a crossfade in the middle of their overlap: a network that looks around
knows least at the edges of a chunk, so what it answers there is thrown away.

Chunks start on a grid (`plan_seconds`). A network computes by frames, often by groups of them, and a chunk that starts
between two frames is another signal to it: off the grid, even a network that looks at no neighbours answers something
else (12 to 20 dB less agreement with the whole signal, docs/serving.md).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

# Where the model does not tell its period: a multiple of every common STFT hop, and of 32 frames of 512 samples.
GRID_SAMPLES = 2**14

_STEPS = float(2**23)  # every multiple of 2**-23 in [0, 1] is a float32, and so is one minus it


@dataclass(frozen=True)
class ChunkPlan:
    """Chunks of `chunk_samples` of which two neighbours share `overlap_samples`.

    Raises:
      ValueError: unless chunk_samples >= 1 and 0 <= overlap_samples < chunk_samples.
    """

    chunk_samples: int
    overlap_samples: int = 0

    def __post_init__(self) -> None:
        if self.chunk_samples < 1:
            raise ValueError(f"chunk_samples is {self.chunk_samples}; a chunk has at least 1 sample")
        if not 0 <= self.overlap_samples < self.chunk_samples:
            raise ValueError(
                f"overlap_samples is {self.overlap_samples}; legal is 0 to {self.chunk_samples - 1}, "
                f"less than the chunk's {self.chunk_samples} samples"
            )

    @property
    def hop_samples(self) -> int:
        return self.chunk_samples - self.overlap_samples


def plan_seconds(
    chunk_seconds: float, overlap_seconds: float, sample_rate_hz: int, period_samples: int | None = None
) -> ChunkPlan:
    """The plan in samples of a plan in seconds, with an overlap of at least that: chunks start on a grid.

    Args:
      period_samples: the grid, of the model: delayed by a multiple of it, a signal is separated as it was. None is
        GRID_SAMPLES, halved until it adds no more than an eighth of a chunk. No grid is coarser than a chunk's start allows.

    Raises:
      ValueError: a chunk of less than one sample, an overlap that is negative or not shorter than the chunk, or a period
        of less than one sample.
    """
    if not (math.isfinite(chunk_seconds) and chunk_seconds * sample_rate_hz >= 1):
        raise ValueError(f"chunk_seconds is {chunk_seconds}; legal is at least one sample, {1 / sample_rate_hz:.3g} s")
    if not 0 <= overlap_seconds < chunk_seconds:
        raise ValueError(f"overlap_seconds is {overlap_seconds}; legal is from 0 to less than {chunk_seconds}")
    if period_samples is not None and period_samples < 1:
        raise ValueError(f"period_samples is {period_samples}; legal is 1 or more")
    chunk_samples = round(chunk_seconds * sample_rate_hz)
    longest_hop = max(1, chunk_samples - round(overlap_seconds * sample_rate_hz))
    grid = period_samples or GRID_SAMPLES
    while period_samples is None and grid > 1 and grid > longest_hop / 8:
        grid //= 2
    hop_samples = longest_hop // grid * grid or longest_hop
    return ChunkPlan(chunk_samples, chunk_samples - hop_samples)


def fade_in(overlap_samples: int) -> np.ndarray:
    """The rising half of the crossfade, float32 [overlap_samples].

    A quarter of zeros, sin(pi/2 * (n + 1/2) / fade_samples) ** 2 over the half in the middle, a quarter of ones.
    Rounded to multiples of 2**-23, so that fade_in + (1 - fade_in) is 1 exactly in float32.
    """
    edge = overlap_samples // 4
    phase = (np.arange(overlap_samples) - edge + 0.5) / max(overlap_samples - 2 * edge, 1)
    rising = np.sin(np.clip(phase, 0, 1) * (np.pi / 2)) ** 2
    return (np.round(rising * _STEPS) / _STEPS).astype(np.float32)


def pad(chunk: np.ndarray, chunk_samples: int) -> np.ndarray:
    """`chunk` [samples, ...] followed by zeros up to `chunk_samples`; itself when it is already that long."""
    missing = chunk_samples - len(chunk)
    return chunk if missing == 0 else np.pad(chunk, [(0, missing)] + [(0, 0)] * (chunk.ndim - 1))


def split(blocks: Iterable[np.ndarray], plan: ChunkPlan) -> Iterator[tuple[np.ndarray, bool]]:
    """Cuts a stream of blocks [any samples, ...] into the plan's chunks; yields (chunk, is it the last one).

    Chunks are not padded yet. Holds at most one chunk and one block at a time.
    """
    held: np.ndarray | None = None
    for block in blocks:
        held = block if held is None else np.concatenate([held, block])
        start = 0
        while len(held) - start > plan.chunk_samples:  # more than a chunk: so this one is not the last
            yield held[start : start + plan.chunk_samples], False
            start += plan.hop_samples
        held = held[start:]
    if held is not None and len(held):
        yield held, True


class OverlapAdder:
    """Joins chunks to a signal as they come; holds one overlap.

    Chunk k enters with `fade_in` while what stood before leaves with one minus it. Written as
    `old + fade * (new - old)`, so that where neighbours agree the sum is their value to the last bit.
    """

    def __init__(self, plan: ChunkPlan) -> None:
        self._plan = plan
        self._fade = fade_in(plan.overlap_samples)
        self._tail: np.ndarray | None = None

    def push(self, chunk: np.ndarray, last: bool = False) -> np.ndarray:
        """Takes the next chunk [chunk_samples, ...] (the last one cut to its real samples); returns finished samples.

        Raises:
          ValueError: the chunk is longer than the plan's, or shorter without being the last.
        """
        self._check(len(chunk), last)
        joined = chunk
        if self._tail is not None:
            fade = self._fade.reshape((-1,) + (1,) * (chunk.ndim - 1))
            head = self._tail + fade * (chunk[: len(self._tail)] - self._tail)
            joined = np.concatenate([head, chunk[len(self._tail) :]])
        finished = len(joined) if last else self._plan.hop_samples
        self._tail = None if last else joined[finished:].copy()
        return joined[:finished]

    def _check(self, samples: int, last: bool) -> None:
        legal = self._plan.chunk_samples
        shortest = 1 if self._tail is None else len(self._tail)
        if samples != legal and not (last and shortest <= samples < legal):
            raise ValueError(
                f"chunk has {samples} samples; legal is {legal}, or {shortest} to {legal} for the last one"
            )
