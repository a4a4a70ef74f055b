"""Ratios between the energies of estimates, of their projections and of the differences between them, frame by frame.

Each frame is on its own: it begins from silence, and its projections ring out over taps - 1 more samples, as in
`museval.metrics`. So the energy of what filters make of the references is a quadratic form of the filters with the
frame's own correlations, and no filtered signal is made. What cancellation would blur is computed from samples.
"""

import itertools
from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from pipeline.evaluation.bss_eval.correlations import Signals, blocks_at_once, energy, fft_length, irfft, rfft, rows
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


class _Form(NamedTuple):
    """Energies as functions of a frame's correlations: weights of e's energy, of e's and of the references'."""

    constant: np.ndarray
    """[kinds]"""
    linear: np.ndarray
    """[kinds, channels, rows, taps]"""
    quadratic: np.ndarray
    """[kinds, rows, rows, taps]"""


def ratios(space: Space, compared: Collection[tuple[str, str]], whole: bool = False) -> np.ndarray:
    """Ratios in dB between pairs of kinds: [ratios, pairs, frames]; +inf over nothing, NaN for nothing over nothing.

    Space, whole and pairs are those of `energies`.
    """
    of = energies(space, sorted({*itertools.chain(*compared)}), whole)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.stack([10 * np.log10(of[numerator] / of[denominator]) for numerator, denominator in compared])


def energies(space: Space, kinds: Sequence[str], whole: bool = False) -> dict[str, np.ndarray]:
    """Energies of all the space's pairs (estimate, reference), by the filters of the whole track.

    Args:
        space: the references and estimates.
        kinds: names in KINDS.
        whole: take the whole track for the only frame.

    Returns:
        kind -> [pairs, frames].
    """
    frames, correlations = space.correlations.frames, space.correlations.in_frames()
    if whole:
        frames, correlations = [slice(0, len(space.references[0]))], iter([space.correlations.whole])
    forms = [_form(space, pair, kinds) for pair in range(len(space.pairs))]
    sizes = [  # the weights' magnitudes, summed over lags
        _Form(form.constant, np.abs(form.linear).sum(axis=-1), np.abs(form.quadratic).sum(axis=-1)) for form in forms
    ]
    values, rounding = np.zeros((2, len(kinds), len(space.pairs), len(frames)))
    for number, (frame, products) in enumerate(zip(frames, correlations, strict=True)):
        of_references, of_estimates = space.split(products)
        loudness = np.sqrt(np.diag(of_references[..., 0]).clip(0))
        own = [energy(estimate[frame]) for estimate in space.estimates]
        for pair, (estimate, _) in enumerate(space.pairs):
            total, level = own[estimate].sum(), np.sqrt(own[estimate])
            values[:, pair, number] = _sum(forms[pair], total, of_estimates[estimate], of_references)
            bounds = np.outer(level, loudness), np.outer(loudness, loudness)
            rounding[:, pair, number] = _sum(sizes[pair], total, *bounds)
    doubtful = _ROUNDING * rounding > _TOLERANCE * values
    for pair, number in np.argwhere(doubtful.any(axis=0)):
        estimate, reference = space.pairs[pair]
        chosen = np.flatnonzero(doubtful[:, pair, number])
        values[chosen, pair, number] = of_samples(
            [signal[frames[number]] for signal in space.references],
            space.estimates[estimate][frames[number]],
            reference,
            space.filters.whole[estimate],
            space.filters.own[pair],
            [kinds[int(kind)] for kind in chosen],
        )
    return dict(zip(kinds, values, strict=True))


def of_samples(
    references: Signals, estimate: np.ndarray, reference: int, whole: np.ndarray, own: np.ndarray, kinds: Sequence[str]
) -> np.ndarray:
    """Energies of one frame, [kinds].

    Differences are taken between samples, not between energies, so that nothing cancels.

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


def _sum(form: _Form, constant: float, linear: np.ndarray, quadratic: np.ndarray) -> np.ndarray:
    """[kinds]"""
    terms = [(form.linear, linear), (form.quadratic, quadratic)]
    sums = [np.einsum("kn,n->k", weights.reshape(len(weights), -1), values.ravel()) for weights, values in terms]
    return form.constant * constant + sums[0] + sums[1]


def _form(space: Space, pair: int, kinds: Sequence[str]) -> _Form:
    estimate, reference = space.pairs[pair]
    projected, mine = space.filters.whole[estimate], space.span(reference)
    itself, own = np.zeros((2, *projected.shape))
    itself[:, mine, 0] = np.eye(space.channels)
    own[:, mine] = space.filters.own[pair]
    mixes = [KINDS[kind] for kind in kinds]
    taps = np.stack([mix.s * itself + mix.own * own + mix.projected * projected for mix in mixes])
    constant = np.array([mix.e**2 for mix in mixes], float)
    linear = 2 * np.array([mix.e for mix in mixes])[:, None, None, None] * taps
    # The filters' autocorrelations, summed over channels; both signs of the lag together.
    spectra = rfft(taps, 2 * space.taps)
    products = np.einsum("kaif,kajf->kijf", np.conj(spectra), spectra)
    quadratic = irfft(products, 2 * space.taps)[..., : space.taps]
    quadratic[..., 1:] *= 2
    return _Form(constant, linear, np.ascontiguousarray(quadratic))


def _blocks(
    references: Signals, estimate: np.ndarray, reference: int, whole: np.ndarray, own: np.ndarray, needed: Mix
) -> Iterator[tuple[np.ndarray, ...]]:
    """(e, s, own, projected) in a few blocks after the other, each [channels, blocks, samples]; 0 for a projection that
    is not needed. By overlap-save, so that memory does not grow with the frames."""
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
    spectra = np.einsum("rbf,crf->cbf", rfft(windows), rfft(filters, width))
    return irfft(spectra, width)[..., taps - 1 :]
