"""Frames of a track, and the energies in them computed from samples.

Each frame is on its own: it begins from silence, and its projections ring out over taps - 1 more samples, as in
`museval.metrics`. Overlap-save in short blocks, so that memory does not grow with the frames. Differences are taken
between samples, not between energies, so that nothing cancels.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import scipy.fft

from pipeline.evaluation.bss_eval.correlations import Signals, blocks_at_once, fft_length, rows

_FFT_LENGTH = 8192


class Mix(NamedTuple):
    """A signal as a sum of an estimate e, a reference s, and the projections of e on s and on all references."""

    e: int = 0
    s: int = 0
    own: int = 0
    projected: int = 0


KINDS = {
    "true": Mix(s=1),
    "error": Mix(e=1, s=-1),
    "spatial": Mix(own=1, s=-1),
    "own": Mix(own=1),
    "distortion": Mix(e=1, own=-1),
    "interference": Mix(projected=1, own=-1),
    "projected": Mix(projected=1),
    "artefacts": Mix(e=1, projected=-1),
}
"""The signals whose energies the metrics compare."""


def framing(samples: int, window: int, hop: int) -> list[slice]:
    """Frames of a track; a track shorter than the window is one frame, and a rest shorter than it is dropped."""
    frames = (samples - window) // hop + 1 if window < samples else 1
    return [slice(number * hop, min(number * hop + window, samples)) for number in range(frames)]


def energies_of_samples(
    references: Signals, estimate: np.ndarray, reference: int, whole: np.ndarray, own: np.ndarray, kinds: Sequence[str]
) -> np.ndarray:
    """Energies of one frame, [kinds].

    Args:
        references, estimate: arrays [samples, channels] of one shape, the frame's samples alone.
        reference: the place of the estimate's own reference.
        whole: the estimate's distortion filters on all references, [channels, references * channels, taps].
        own: those on its own reference alone, [channels, channels, taps].
        kinds: names in KINDS.
    """
    mixes = [KINDS[kind] for kind in kinds]
    needed = Mix(*(any(signs) for signs in zip(*mixes, strict=True)))
    totals = np.zeros(len(kinds))
    for signals in _signals(references, estimate, reference, whole, own, needed):
        for place, mix in enumerate(mixes):
            mixed = sum(sign * signal for sign, signal in zip(mix, signals, strict=True) if sign)
            totals[place] += np.einsum("cbt,cbt->", mixed, mixed)
    return totals


def _signals(
    references: Signals, estimate: np.ndarray, reference: int, whole: np.ndarray, own: np.ndarray, needed: Mix
) -> Iterator[tuple[np.ndarray, ...]]:
    """(e, s, own, projected) in a few blocks after the other, each [channels, blocks, samples]; 0 for a projection that
    is not needed."""
    (samples, channels), taps = estimate.shape, whole.shape[-1]
    width = fft_length(samples + taps - 1, taps, _FFT_LENGTH)
    step = width - taps + 1
    mine = slice(reference * channels, (reference + 1) * channels)
    nothing = np.zeros(())
    stride = step * blocks_at_once(len(references) * channels, width)
    for first in range(0, samples + taps - 1, stride):
        blocks = -(-min(stride, samples + taps - 1 - first) // step)
        entering = rows(references, first - taps + 1, first + blocks * step)
        windows = np.lib.stride_tricks.sliding_window_view(entering, width, axis=1)[:, ::step]
        e = rows([estimate], first, first + blocks * step).reshape(channels, blocks, step)
        s = windows[mine, :, taps - 1 :]
        on_own = _filtered(windows[mine], own) if needed.own else nothing
        yield e, s, on_own, _filtered(windows, whole) if needed.projected else nothing


def _filtered(windows: np.ndarray, filters: np.ndarray) -> np.ndarray:
    """Windows [rows, blocks, width] through filters [channels, rows, taps]: [channels, blocks, width - taps + 1]."""
    width, taps = windows.shape[-1], filters.shape[-1]
    spectra = np.einsum("rbf,crf->cbf", scipy.fft.rfft(windows), scipy.fft.rfft(filters, width))
    return scipy.fft.irfft(spectra, width)[..., taps - 1 :]
