"""Ratios between the energies of estimates, of their projections and of the differences between them, frame by frame.

Each frame is on its own: it begins from silence, and its projections ring out over taps - 1 more samples, as in
`museval.metrics`. So the energy of what filters make of the references is a quadratic form of the filters with the
frame's own correlations, and no filtered signal is made. What cancellation would blur is computed from samples.
"""

import itertools
from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np

from pipeline.evaluation.bss_eval.correlations import energy, irfft, rfft
from pipeline.evaluation.bss_eval.projection import Space
from pipeline.evaluation.bss_eval.samples import KINDS, Samples

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

_ROUNDING = 1e-15
"""Of a form, as a fraction of the magnitudes of all its terms, by lags: more than was ever seen."""
_TOLERANCE = 1e-6
"""Energies of which rounding might be more than this fraction (4e-6 dB; seen: 2e-7 dB) are computed from samples."""


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
    samples = Samples(space)
    for number in np.flatnonzero(doubtful.any(axis=(0, 1))):
        chosen = {int(pair): np.flatnonzero(doubtful[:, pair, number]) for pair in range(len(space.pairs))}
        asked = {pair: [kinds[int(kind)] for kind in places] for pair, places in chosen.items() if len(places)}
        for pair, exact in samples.energies(frames[number], asked).items():
            values[chosen[pair], pair, number] = exact
    return dict(zip(kinds, values, strict=True))


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
