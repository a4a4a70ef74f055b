"""Ratios between the energies of estimates, of their projections and of the differences between them, frame by frame.

Each frame is on its own: it begins from silence, and its projections ring out over taps - 1 more samples, as in
`museval.metrics`. So the energy of what filters make of the references is a quadratic form of the filters with the
frame's own correlations, and no filtered signal is made. What cancellation would blur is computed from samples, in short
blocks by overlap-save, so that memory does not grow with the frames.
"""

import itertools
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import scipy.fft

from pipeline.evaluation.bss_eval.correlations import Signals, blocks_at_once, energy, fft_length, rows
from pipeline.evaluation.bss_eval.projection import Filters, Pairs, Space


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

RATIOS = {
    "v3": {"SDR": ("own", "distortion"), "SIR": ("own", "interference"), "SAR": ("projected", "artefacts")},
    "v4": {
        "SDR": ("true", "error"),
        "ISR": ("true", "spatial"),
        "SIR": ("own", "interference"),
        "SAR": ("projected", "artefacts"),
    },
}
"""Which of the kinds the metrics of each version compare."""

_FFT_LENGTH = 8192
_ROUNDING = 1e-15
"""Of a form, as a fraction of the magnitudes of all its terms, by lags: more than was ever seen."""
_TOLERANCE = 1e-7
"""Energies of which rounding might be more than this fraction (4e-7 dB) are computed from samples."""


class _Forms(NamedTuple):
    """Energies as functions of a frame's correlations: weights of e's energy, of e's and of the references'."""

    constant: np.ndarray
    """[kinds]"""
    linear: np.ndarray
    """[kinds, channels, rows, taps]"""
    quadratic: np.ndarray
    """[kinds, rows, rows, taps]"""


def ratios(
    space: Space,
    pairs: Pairs,
    filters: Filters,
    frames: Sequence[slice],
    correlations: Iterable[np.ndarray],
    compared: Collection[tuple[str, str]],
) -> np.ndarray:
    """Ratios in dB between pairs of kinds: [ratios, pairs, frames]; +inf over nothing, NaN for nothing over nothing.

    Arguments as those of `energies`.
    """
    of = energies(space, pairs, filters, frames, correlations, sorted({*itertools.chain(*compared)}))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.stack([10 * np.log10(of[numerator] / of[denominator]) for numerator, denominator in compared])


def energies(
    space: Space,
    pairs: Pairs,
    filters: Filters,
    frames: Sequence[slice],
    correlations: Iterable[np.ndarray],
    kinds: Sequence[str],
) -> dict[str, np.ndarray]:
    """Energies of all pairs (estimate, reference) in all frames: kind -> [pairs, frames].

    Args:
        space: the references and estimates.
        pairs: in the order of `filters.own`.
        filters: the estimates' distortion filters, of these frames or of the whole track.
        frames: the samples of each frame.
        correlations: of each frame, as in `Correlations`.
        kinds: names in KINDS.
    """
    forms = [_forms(space, filters, pair, pairs[pair], kinds) for pair in range(len(pairs))]
    sizes = [  # the weights' magnitudes, summed over lags
        _Forms(form.constant, np.abs(form.linear).sum(axis=-1), np.abs(form.quadratic).sum(axis=-1)) for form in forms
    ]
    values, rounding = np.zeros((2, len(kinds), len(pairs), len(frames)))
    for number, (frame, products) in enumerate(zip(frames, correlations, strict=True)):
        of_references, of_estimates = space.split(products)
        loudness = np.sqrt(np.diag(of_references[..., 0]).clip(0))
        own = [energy(estimate[frame]) for estimate in space.estimates]
        for pair, (estimate, _) in enumerate(pairs):
            total, level = own[estimate].sum(), np.sqrt(own[estimate])
            values[:, pair, number] = _sum(forms[pair], total, of_estimates[estimate], of_references)
            bounds = np.outer(level, loudness), np.outer(loudness, loudness)
            rounding[:, pair, number] = _sum(sizes[pair], total, *bounds)
    _from_samples(values, _ROUNDING * rounding > _TOLERANCE * values, space, pairs, filters, frames, kinds)
    return dict(zip(kinds, values, strict=True))


def of_samples(
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
    for signals in _blocks(references, estimate, reference, whole, own, needed):
        for place, mix in enumerate(mixes):
            mixed = sum(sign * signal for sign, signal in zip(mix, signals, strict=True) if sign)
            totals[place] += np.einsum("cbt,cbt->", mixed, mixed)
    return totals


def _sum(form: _Forms, constant: float, linear: np.ndarray, quadratic: np.ndarray) -> np.ndarray:
    """[kinds]"""
    return form.constant * constant + _inner(form.linear, linear) + _inner(form.quadratic, quadratic)


def _inner(weights: np.ndarray, values: np.ndarray) -> np.ndarray:
    return np.einsum("kn,n->k", weights.reshape(len(weights), -1), values.ravel())


def _forms(space: Space, filters: Filters, pair: int, of: tuple[int, int], kinds: Sequence[str]) -> _Forms:
    estimate, reference = of
    projected, rows = filters.whole[estimate], space.span(reference)
    itself, own = np.zeros((2, *projected.shape))
    itself[:, rows, 0] = np.eye(space.channels)
    own[:, rows] = filters.own[pair]
    mixes = [KINDS[kind] for kind in kinds]
    taps = np.stack([mix.s * itself + mix.own * own + mix.projected * projected for mix in mixes])
    constant = np.array([mix.e**2 for mix in mixes], float)
    linear = 2 * np.array([mix.e for mix in mixes])[:, None, None, None] * taps
    return _Forms(constant, linear, _autocorrelations(taps))


def _autocorrelations(taps: np.ndarray) -> np.ndarray:
    """Of filters [kinds, channels, rows, taps], summed over channels; both signs of the lag together."""
    length = taps.shape[-1]
    spectra = scipy.fft.rfft(taps, 2 * length)
    products = np.einsum("kaif,kajf->kijf", np.conj(spectra), spectra)
    weights = scipy.fft.irfft(products, 2 * length)[..., :length]
    weights[..., 1:] *= 2
    return np.ascontiguousarray(weights)


def _from_samples(
    values: np.ndarray,
    doubtful: np.ndarray,
    space: Space,
    pairs: Pairs,
    filters: Filters,
    frames: Sequence[slice],
    kinds: Sequence[str],
) -> None:
    """Replaces the doubtful of the values [kinds, pairs, frames]."""
    for pair, number in np.argwhere(doubtful.any(axis=0)):
        estimate, reference = pairs[pair]
        chosen = np.flatnonzero(doubtful[:, pair, number])
        references = [signal[frames[number]] for signal in space.references]
        values[chosen, pair, number] = of_samples(
            references,
            space.estimates[estimate][frames[number]],
            reference,
            filters.whole[estimate],
            filters.own[pair],
            [kinds[kind] for kind in chosen],
        )


def _blocks(
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
