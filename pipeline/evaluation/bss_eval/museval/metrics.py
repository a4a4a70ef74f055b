"""`museval.metrics` with the same arguments, shapes, warnings and errors, computed here.

The one addition is the keyword `silent`: "raise" refuses a source that is silent throughout, as museval does, and "nan"
gives NaN in all frames, as museval does for single frames in which a source is silent. Sources that hold NaN or
infinity score NaN in both, as in museval: an estimate itself, a reference everything.
"""

import itertools
from collections.abc import Sequence
from typing import Literal

import numpy as np
from museval.metrics import MAX_SOURCES, Framing, validate

from pipeline.evaluation.bss_eval.energies import energies
from pipeline.evaluation.bss_eval.projection import Pairs, Space
from pipeline.evaluation.bss_eval.signals import FILTER_LENGTH, adds_up_to_nothing, is_finite
from pipeline.evaluation.bss_eval.v4 import RATIOS

__all__ = [
    "MAX_SOURCES",
    "Framing",
    "bss_eval",
    "bss_eval_images",
    "bss_eval_images_framewise",
    "bss_eval_sources",
    "bss_eval_sources_framewise",
    "validate",
]

Silent = Literal["raise", "nan"]
Scores = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]

_RATIOS_OF_SOURCES = {**RATIOS, "SDR": ("own", "distortion"), "ISR": None}
_METRICS = tuple(RATIOS)


def bss_eval(
    reference_sources: np.ndarray,
    estimated_sources: np.ndarray,
    window: float = 2 * 44100,
    hop: float = 1.5 * 44100,
    compute_permutation: bool = False,
    filters_len: int = FILTER_LENGTH,
    framewise_filters: bool = False,
    bsseval_sources_version: bool = False,
    *,
    silent: Silent = "raise",
) -> Scores:
    """SDR, ISR, SIR, SAR in dB, each [sources, frames], and the permutation [sources, 1], or with framewise filters
    [sources, frames]; see `museval.metrics.bss_eval` for the arguments.

    Raises:
        ValueError: shapes that differ, more than 3 axes, over MAX_SOURCES sources, a silent source unless `silent` is
            "nan", or another word than those for `silent`.
    """
    references, estimates = np.atleast_3d(reference_sources), np.atleast_3d(estimated_sources)
    _validate(references, estimates, silent)
    if references.size == 0 or estimates.size == 0:
        return tuple(np.array([]) for _ in range(5))  # type: ignore[return-value]
    count = len(references)
    orders = np.array(list(itertools.permutations(range(count))) if compute_permutation else [range(count)])
    pairs = sorted({(int(estimate), true) for order in orders for true, estimate in enumerate(order)})
    frames = list(Framing(window, hop, references.shape[1]))
    scores = np.full((len(_METRICS), count, count, len(frames)), np.nan)
    values = _scores(references, estimates, pairs, frames, filters_len, framewise_filters, bsseval_sources_version)
    for (estimate, true), of_pair in zip(pairs, values, strict=True):
        scores[:, true, estimate] = of_pair
    return _best(scores, orders, framewise_filters)


def bss_eval_sources(
    reference_sources: np.ndarray,
    estimated_sources: np.ndarray,
    compute_permutation: bool = True,
    *,
    silent: Silent = "raise",
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """SDR, SIR, SAR and permutation of the whole signals, as `museval.metrics.bss_eval_sources`."""
    return bss_eval_sources_framewise(
        reference_sources, estimated_sources, np.inf, np.inf, compute_permutation, silent=silent
    )


def bss_eval_sources_framewise(
    reference_sources: np.ndarray,
    estimated_sources: np.ndarray,
    window: float = 30 * 44100,
    hop: float = 15 * 44100,
    compute_permutation: bool = False,
    *,
    silent: Silent = "raise",
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """SDR, SIR, SAR and permutation by frames, as `museval.metrics.bss_eval_sources_framewise`."""
    sdr, _, sir, sar, permutation = bss_eval(
        reference_sources,
        estimated_sources,
        window,
        hop,
        compute_permutation,
        framewise_filters=True,
        bsseval_sources_version=True,
        silent=silent,
    )
    return sdr, sir, sar, permutation


def bss_eval_images(
    reference_sources: np.ndarray,
    estimated_sources: np.ndarray,
    compute_permutation: bool = True,
    *,
    silent: Silent = "raise",
) -> Scores:
    """SDR, ISR, SIR, SAR and permutation of the whole signals, as `museval.metrics.bss_eval_images`."""
    return bss_eval_images_framewise(
        reference_sources, estimated_sources, np.inf, np.inf, compute_permutation, silent=silent
    )


def bss_eval_images_framewise(
    reference_sources: np.ndarray,
    estimated_sources: np.ndarray,
    window: float = 30 * 44100,
    hop: float = 15 * 44100,
    compute_permutation: bool = False,
    *,
    silent: Silent = "raise",
) -> Scores:
    """SDR, ISR, SIR, SAR and permutation by frames, as `museval.metrics.bss_eval_images_framewise`."""
    return bss_eval(
        reference_sources, estimated_sources, window, hop, compute_permutation, framewise_filters=True, silent=silent
    )


def _validate(references: np.ndarray, estimates: np.ndarray, silent: Silent) -> None:
    if silent not in ("raise", "nan"):
        raise ValueError(f"silent is {silent!r}; legal: 'raise', 'nan'")
    if silent == "nan":  # ones sound: what is left are museval's checks of the shapes
        references, estimates = (np.broadcast_to(1.0, each.shape) for each in (references, estimates))
    validate(references, estimates)


def _scores(
    references: np.ndarray,
    estimates: np.ndarray,
    pairs: Pairs,
    frames: Sequence[slice],
    taps: int,
    framewise_filters: bool,
    sources_version: bool,
) -> np.ndarray:
    """[pairs, metrics, frames], NaN where anything is silent or not finite."""
    ratios = _RATIOS_OF_SOURCES if sources_version else RATIOS
    scores = np.full((len(pairs), len(_METRICS), len(frames)), np.nan)
    if not is_finite(references.reshape(-1, 1)):
        return scores
    finite = [estimate for estimate in range(len(estimates)) if is_finite(estimates[estimate])]
    usable = [place for place, (estimate, _) in enumerate(pairs) if estimate in finite]
    sounding = [n for n, frame in enumerate(frames) if _all_sound(references, frame) and _all_sound(estimates, frame)]
    if not usable or not sounding:
        return scores
    judged = [(finite.index(pairs[place][0]), pairs[place][1]) for place in usable]
    kept = [estimates[estimate] for estimate in finite]
    spans = [frames[number] for number in sounding]
    values = _framewise if framewise_filters else _of_whole
    scores[np.ix_(usable, range(len(_METRICS)), sounding)] = values(list(references), kept, judged, spans, taps, ratios)
    return scores


def _all_sound(signals: np.ndarray, frame: slice) -> bool:
    return not any(adds_up_to_nothing(signal[frame]) for signal in signals)


def _of_whole(references, estimates, pairs: Pairs, frames, taps: int, ratios) -> np.ndarray:
    """[pairs, metrics, frames] by filters of the whole signals."""
    space = Space(references, estimates, taps, frames)
    kinds = sorted({kind for ratio in ratios.values() if ratio for kind in ratio})
    of = energies(space, pairs, space.filters(pairs), frames, space.correlations.in_frames(), kinds)
    undefined = np.full((len(pairs), len(frames)), np.nan)
    values = [_decibels(of[ratio[0]], of[ratio[1]]) if ratio else undefined for ratio in ratios.values()]
    return np.stack(values, axis=1)


def _framewise(references, estimates, pairs: Pairs, frames, taps: int, ratios) -> np.ndarray:
    """[pairs, metrics, frames] by new filters for every frame."""
    each = []
    for frame in frames:
        signals = [[signal[frame] for signal in group] for group in (references, estimates)]
        each.append(_of_whole(*signals, pairs, [slice(0, len(signals[0][0]))], taps, ratios))
    return np.concatenate(each, axis=2)


def _decibels(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """museval's: anything to nothing is +inf, nothing to nothing too."""
    infinite = denominator == 0
    return np.where(infinite, np.inf, 10 * np.log10(numerator / np.where(infinite, 1, denominator)))


def _best(scores: np.ndarray, orders: np.ndarray, framewise: bool) -> Scores:
    """Of scores [metrics, true, estimated, frames] the order with the best mean SIR, in all frames or in each."""
    true = np.arange(scores.shape[1])
    sir = scores[_METRICS.index("SIR")]
    means = np.array([sir[true, order].mean(axis=0 if framewise else None, keepdims=True).ravel() for order in orders])
    best = orders[np.argmax(means, axis=0)].T
    chosen = np.stack([scores[:, true, order, number] for number, order in enumerate(best.T)], axis=2)
    if not framewise:
        chosen = scores[:, true, best[:, 0]]
    sdr, isr, sir, sar = chosen
    return sdr, isr, sir, sar, best
