"""Between a signal and a model: its channels, its rate, its length. Knows of no server and no file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import soxr

Stems = dict[str, np.ndarray]  # by target


class SeparationError(ValueError):
    """A separation that cannot be done; one sentence that names what was received and what is legal."""


# ---- channels


def fold(block: np.ndarray, shape: tuple[int | None, ...]) -> np.ndarray:
    """[samples, channels] as a model of input shape `shape` wants it: channels as batch for rank 2, one item for rank 3.

    A mono signal is repeated on every channel of a model of more.

    Raises:
      SeparationError: another number of channels.
    """
    if len(shape) == 2:
        return np.ascontiguousarray(block.T)
    wanted = shape[2]
    if wanted is not None and block.shape[1] == 1:
        block = np.repeat(block, wanted, axis=1)
    if wanted not in (None, block.shape[1]):
        raise SeparationError(f"the audio has {block.shape[1]} channels; the model takes 1 or {wanted}")
    return block[np.newaxis]


def unfold(output: np.ndarray, channels: int) -> np.ndarray:
    """The way back: [samples, channels]; the mean over channels where mono was repeated."""
    wide = output.T if output.ndim == 2 else output[0]
    return wide if wide.shape[1] == channels else wide.mean(axis=1, keepdims=True)


# ---- rate and length


class Resampler:
    """Streaming soxr; hands blocks through when the rates are the same."""

    def __init__(self, from_hz: int, to_hz: int, channels: int) -> None:
        self._stream = None if from_hz == to_hz else soxr.ResampleStream(from_hz, to_hz, channels, dtype="float32")

    def __call__(self, block: np.ndarray, last: bool = False) -> np.ndarray:
        if self._stream is None:
            return block
        return self._stream.resample_chunk(np.ascontiguousarray(block), last)


def resampled(blocks: Iterable[np.ndarray], from_hz: int, to_hz: int, channels: int) -> Iterator[np.ndarray]:
    """Blocks [samples, channels] at another rate."""
    resampler = Resampler(from_hz, to_hz, channels)
    for block in blocks:
        yield resampler(block)
    if from_hz != to_hz:
        yield resampler(np.zeros((0, channels), np.float32), True)


def fit(block: np.ndarray, left: int, last: bool) -> np.ndarray:
    """Resampling there and back may end a sample or two off: cut, or repeat the last sample, to `left`."""
    if len(block) >= left or not last:
        return block[:left]
    return np.pad(block, ((0, left - len(block)), (0, 0)), "edge" if len(block) else "constant")
