"""Energies of one frame from its samples: differences are taken between samples, not between energies, so nothing cancels.

By overlap-save in a few short blocks after the other, so that memory does not grow with the frames. The spectra of the
references serve all estimates, and those of the filters all frames.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from pipeline.evaluation.bss_eval.correlations import blocks_at_once, fft_length, irfft, rfft, rows
from pipeline.evaluation.bss_eval.projection import Space


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

_FFT_LENGTH = 8192


class Samples:
    """The signals of a space in the time domain, through its filters."""

    def __init__(self, space: Space) -> None:
        self._space = space
        self._filters: dict[tuple[int, bool, int], np.ndarray] = {}

    def energies(self, frame: slice, kinds: Mapping[int, Sequence[str]]) -> dict[int, np.ndarray]:
        """Energies of a frame that begins from silence and rings out over taps - 1 more samples.

        Args:
            kinds: by the place of a pair of the space, names in KINDS.

        Returns:
            the place of the pair -> [kinds].
        """
        space = self._space
        references = [signal[frame] for signal in space.references]
        mixes = {pair: [KINDS[kind] for kind in names] for pair, names in kinds.items()}
        projected = any(mix.own or mix.projected for mixed in mixes.values() for mix in mixed)
        totals = {pair: np.zeros(len(names)) for pair, names in kinds.items()}
        lead, end = space.taps - 1, len(references[0]) + space.taps - 1
        width = fft_length(end, space.taps, _FFT_LENGTH)
        step = width - lead
        stride = step * blocks_at_once(space.rows, width)
        for first in range(0, end, stride):
            blocks = -(-min(stride, end - first) // step)
            entering = rows(references, first - lead, first + blocks * step)
            windows = np.lib.stride_tricks.sliding_window_view(entering, width, axis=1)[:, ::step]
            spectra = rfft(windows) if projected else windows
            for pair, mixed in mixes.items():
                estimate, reference = space.pairs[pair]
                mine, needed = space.span(reference), Mix(*(any(signs) for signs in zip(*mixed, strict=True)))
                signals = (
                    rows([space.estimates[estimate][frame]], first, first + blocks * step).reshape(-1, blocks, step),
                    windows[mine, :, lead:],
                    self._filtered(spectra[mine], pair, width, own=True) if needed.own else windows,
                    self._filtered(spectra, estimate, width, own=False) if needed.projected else windows,
                )
                for place, mix in enumerate(mixed):
                    totals[pair][place] += _energy(mix, signals)
        return totals

    def _filtered(self, spectra: np.ndarray, place: int, width: int, own: bool) -> np.ndarray:
        """Spectra [rows, blocks, bins] of windows through the filters of a pair, or of an estimate, as samples
        [channels, blocks, width - taps + 1]."""
        key = width, own, place
        if key not in self._filters:
            filters = self._space.filters.own if own else self._space.filters.whole
            self._filters[key] = rfft(filters[place], width)
        filters = self._filters[key]
        filtered = sum(blocks * filters[:, row, np.newaxis] for row, blocks in enumerate(spectra))
        return irfft(filtered, width)[..., self._space.taps - 1 :]


def _energy(mix: Mix, signals: tuple[np.ndarray, ...]) -> float:
    """Of a mix of (e, s, own, projected); the sign of the whole does not matter."""
    (sign, mixed), *others = [(sign, signal) for sign, signal in zip(mix, signals, strict=True) if sign]
    for other, signal in others:
        mixed = mixed + signal if other == sign else mixed - signal
    return float(np.einsum("cbt,cbt->", mixed, mixed))
