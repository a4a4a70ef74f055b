"""Between a signal and a model: its channels, its rate, its length. Knows of no server and no file."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

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


# ---- answers and level

LEVEL_FRAME_SAMPLES = 1024
SILENT = 1e-6  # of the loudest frame's power, -60 dB: a frame below it does not count for the level


def check_stems(
    label: str, stems: Stems, targets: Collection[str], shape: tuple[int, ...], finite: bool = True
) -> Stems:
    """`stems`, if a model may answer so: every target, float32 of the mixture's shape, and finite where that is asked.

    Raises:
      SeparationError: it may not; `label` names the model.
    """
    if sorted(stems) != sorted(targets):
        raise SeparationError(f"{label} answered {sorted(stems)}; its signature names {sorted(targets)}")
    for target, stem in stems.items():
        if stem.dtype != np.float32 or stem.shape != shape:
            answered = f"{stem.dtype} {list(stem.shape)}"
            raise SeparationError(f"{label} answered {target} as {answered}; legal is float32 {list(shape)}")
        if finite and not np.isfinite(stem).all():
            raise SeparationError(f"{label} answered NaN or infinity in {target}; legal are finite numbers")
    return stems


def level(blocks: Iterable[np.ndarray], shape: tuple[int | None, ...]) -> np.ndarray:
    """RMS of a signal given in blocks [samples, channels], without its silences; 0 of silence.

    Returns float32 [batch], by what is one item of a model of input shape `shape`: each channel on its own for rank 2,
    all of them for rank 3. Frames of LEVEL_FRAME_SAMPLES 60 dB below the loudest do not count.
    """
    powers = np.array(
        list(_frame_powers(blocks)), np.float64
    )  # [frames, channels]: 8 bytes of 4096, an hour takes 2 MB
    if len(shape) == 3:
        powers = powers.mean(axis=1, keepdims=True)
    sounding = powers > SILENT * powers.max(axis=0, initial=0.0)
    return np.sqrt((powers * sounding).sum(axis=0) / np.maximum(sounding.sum(axis=0), 1)).astype(np.float32)


def _frame_powers(blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Mean square of each frame [channels]; of what is shorter than one, that of all."""
    held, frames = None, 0
    for block in blocks:
        held = block if held is None else np.concatenate([held, block])
        while len(held) >= LEVEL_FRAME_SAMPLES:
            yield np.square(held[:LEVEL_FRAME_SAMPLES]).mean(axis=0)
            held, frames = held[LEVEL_FRAME_SAMPLES:], frames + 1
    if held is not None and not frames:
        yield np.square(held).mean(axis=0) if len(held) else np.zeros(held.shape[1])


# ---- rate and length


class Resampler:
    """Blocks of a signal, float32 [samples, channels], at another rate: the same samples as of the whole signal at once.

    quality: in soxr's words. Blocks are handed through when the rates are the same.
    """

    def __init__(self, from_hz: int, to_hz: int, channels: int, quality: str = "HQ") -> None:
        same = from_hz == to_hz
        self._soxr = None if same else soxr.ResampleStream(from_hz, to_hz, channels, "float32", quality)

    def __call__(self, block: np.ndarray, last: bool = False) -> np.ndarray:
        """What is complete after this block; all the rest after the `last` one."""
        return block if self._soxr is None else self._soxr.resample_chunk(np.ascontiguousarray(block), last)


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
