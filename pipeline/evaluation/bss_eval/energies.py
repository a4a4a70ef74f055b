"""Energies of estimates, of their projections and of the differences between them, frame by frame.

Each frame is on its own: it begins from silence, and its projections ring out over taps - 1 more samples, as in
`museval.metrics`. So the energy of what filters make of the references is a quadratic form of the filters with the
frame's own correlations, and no filtered signal is made. What cancellation would blur is computed from samples.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import scipy.fft

from pipeline.evaluation.bss_eval.correlations import energy
from pipeline.evaluation.bss_eval.frames import KINDS, energies_of_samples
from pipeline.evaluation.bss_eval.projection import Filters, Pairs, Space

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
    sizes = [_sizes(form) for form in forms]
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


def _sizes(forms: _Forms) -> _Forms:
    """The weights' magnitudes, summed over lags."""
    return _Forms(forms.constant, np.abs(forms.linear).sum(axis=-1), np.abs(forms.quadratic).sum(axis=-1))


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
        values[chosen, pair, number] = energies_of_samples(
            references,
            space.estimates[estimate][frames[number]],
            reference,
            filters.whole[estimate],
            filters.own[pair],
            [kinds[kind] for kind in chosen],
        )
