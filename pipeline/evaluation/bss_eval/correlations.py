"""Correlations of long signals, of the whole and of its frames, in memory that does not grow with their length.

A signal is an array [samples, channels] of any real type, computed in float64. Rows are the channels of all signals,
one signal after the other.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, cast

import numpy as np
import scipy.fft

Signals = Sequence[np.ndarray]
"""Arrays [samples, channels], all of one shape."""

# scipy dispatches these at run time, which hides their types.
rfft: Callable[..., np.ndarray] = cast(Any, scipy.fft.rfft)
irfft: Callable[..., np.ndarray] = cast(Any, scipy.fft.irfft)
next_fast_len: Callable[..., int] = cast(Any, scipy.fft.next_fast_len)

_FFT_LENGTH = 4096
_VALUES_AT_ONCE = 2**18
_BYTES_KEPT = 2**25
_BYTES_HELD = 2**25 - 2**16
"""A little below the largest block that glibc learns from (DEFAULT_MMAP_THRESHOLD_MAX)."""


class Correlations:
    """Correlations of signals with references, of the whole track and of its frames, each as if all else were silent.

    Where frames do not overlap, the whole is the sum of frames and rests and of what reaches across their borders, so
    one pass over the samples makes both. Frames that do not fit into a fixed memory are computed again when needed.
    """

    def __init__(self, signals: Signals, references: Signals, frames: Sequence[slice], lags: int) -> None:
        _hold_freed_memory()
        self.frames, self.lags = frames, lags
        self._signals, self._references = signals, references
        self._kept: dict[int, np.ndarray] = {}
        disjoint = all(frame.stop <= following.start for frame, following in itertools.pairwise(frames))
        whole, room = 0.0, _BYTES_KEPT
        for number, piece in _pieces(frames if disjoint else [], len(references[0])):
            products = self._of(piece)
            whole = whole + products
            if piece.start and lags > 1:
                whole = whole + self._across(piece)
            if number is not None and room >= products.nbytes:
                self._kept[number] = products
                room -= products.nbytes
        self.whole = np.asarray(whole)
        """[rows of signals, rows of references, lags]"""

    def in_frames(self) -> Iterator[np.ndarray]:
        """The same of one frame after the other."""
        for number, frame in enumerate(self.frames):
            kept = self._kept.get(number)
            yield self._of(frame) if kept is None else kept

    def _of(self, piece: slice) -> np.ndarray:
        signals, references = ([signal[piece] for signal in group] for group in (self._signals, self._references))
        return lagged_products(signals, references, self.lags)

    def _across(self, piece: slice) -> np.ndarray:
        """Products of the samples of a piece with those of the references before it."""
        reach = self.lags - 1
        now = rows(self._signals, piece.start, min(piece.start + reach, piece.stop))
        before = rows(self._references, piece.start - reach, piece.start)
        width = next_fast_len(2 * reach, real=True)
        return _lags(_cross(now[:, None], before[:, None], width), width, self.lags)


def lagged_products(signals: Signals, references: Signals, lags: int) -> np.ndarray:
    """Correlations sum_t signals[i, t] references[j, t - lag] for 0 <= lag < lags, as [rows, rows, lags] float64.

    Sums the cross spectra of short blocks.
    """
    samples, count = len(references[0]), sum(signal.shape[1] for signal in (*signals, *references))
    width = fft_length(samples, lags, _FFT_LENGTH)
    step = width - lags + 1
    stride = step * blocks_at_once(count, width)
    cross = 0.0
    for first in range(0, samples, stride):
        blocks = -(-min(stride, samples - first) // step)
        now = rows(signals, first, first + blocks * step).reshape(-1, blocks, step)
        recent = rows(references, first - lags + 1, first + blocks * step)
        windows = np.lib.stride_tricks.sliding_window_view(recent, width, axis=1)[:, ::step]
        cross = cross + _cross(now, windows, width)
    return _lags(np.asarray(cross), width, lags)


def rows(signals: Signals, start: int, stop: int) -> np.ndarray:
    """The samples from start to stop as [rows, samples] float64, zero outside of the signals."""
    samples, channels = signals[0].shape
    out = np.zeros((len(signals), channels, stop - start))
    first = max(start, 0)
    last = max(first, min(stop, samples))
    for place, signal in enumerate(signals):
        out[place, :, first - start : last - start] = signal[first:last].T
    return out.reshape(-1, stop - start)


def energy(signal: np.ndarray) -> np.ndarray:
    """Of each channel, [channels]."""
    spans = range(0, len(signal), _VALUES_AT_ONCE)
    pieces = (signal[start : start + _VALUES_AT_ONCE].astype(float, copy=False) for start in spans)
    return np.sum([np.einsum("tc,tc->c", piece, piece) for piece in pieces], axis=0)


def blocks_at_once(count: int, width: int) -> int:
    """How many blocks of so many rows to work on together: few enough to stay in the caches."""
    return max(1, _VALUES_AT_ONCE // (count * width))


def fft_length(samples: int, taps: int, about: int) -> int:
    """Length of FFTs that divides the samples, each block with taps - 1 more, into equal blocks of about this length."""
    blocks = -(-samples // max(about - taps + 1, taps))
    return next_fast_len(-(-samples // blocks) + taps - 1, real=True)


def _hold_freed_memory() -> None:
    """Frees a large block that was never touched: from then on glibc hands out freed memory again, where it would return
    every block to the system and have it mapped and zeroed anew, which takes a third of the time of a first call."""
    np.empty(_BYTES_HELD, np.uint8)


def _pieces(frames: Sequence[slice], samples: int) -> Iterator[tuple[int | None, slice]]:
    """The frames by their numbers and the rests (None) before, between and after them."""
    start = 0
    for number, frame in enumerate(frames):
        if start < frame.start:
            yield None, slice(start, frame.start)
        yield number, frame
        start = frame.stop
    if start < samples:
        yield None, slice(start, samples)


def _cross(now: np.ndarray, recent: np.ndarray, width: int) -> np.ndarray:
    """Cross spectra [rows, rows, bins] of blocks [rows, blocks, samples], summed over the blocks."""
    left, right = rfft(now, width), rfft(recent, width)
    np.conj(left, out=left)
    return np.stack([(blocks * right).sum(axis=1) for blocks in left])


def _lags(cross: np.ndarray, width: int, lags: int) -> np.ndarray:
    """From cross spectra of blocks in which the references begin lags - 1 samples earlier."""
    return np.ascontiguousarray(irfft(cross, width)[..., lags - 1 :: -1])
