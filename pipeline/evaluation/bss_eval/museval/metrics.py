"""`museval.metrics` with the same arguments, shapes, warnings and errors, computed here.

The one addition is the keyword `silent`: "raise" refuses a source that is silent throughout, as museval does, and "nan"
gives NaN in all frames, as museval does for single frames in which a source is silent; "source" gives NaN to a source
in the frames in which it or its estimate is silent, and scores the others (sigsep-mus-eval#94, #95). Sources that hold
NaN or infinity score NaN in all, as in museval: an estimate itself, a reference everything.
"""

import functools
import itertools
from collections.abc import Callable
from types import FunctionType
from typing import Any, Literal

import numpy as np
from museval import metrics as library
from museval.metrics import MAX_SOURCES, Framing, validate

from pipeline.evaluation.bss_eval.energies import RATIOS, ratios
from pipeline.evaluation.bss_eval.projection import Space
from pipeline.evaluation.bss_eval.signals import FILTER_LENGTH, adds_up_to_nothing, is_finite

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

Silent = Literal["raise", "nan", "source"]
Scores = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]

_METRICS = tuple(RATIOS["v4"])


class HopError(ValueError, ZeroDivisionError):
    """A hop of 0, of which museval says "division by zero", or below."""


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
        ValueError: shapes that differ, more than 3 axes, over MAX_SOURCES sources, a silent source if `silent` is
            "raise", another word than those for `silent`, or an order that is asked for of sources that may be silent.
        HopError: a hop of 0 or below.
    """
    references, estimates = np.atleast_3d(reference_sources), np.atleast_3d(estimated_sources)
    if silent not in ("raise", "nan", "source"):
        raise ValueError(f"silent is {silent!r}; legal: 'raise', 'nan', 'source'")
    if silent == "source" and compute_permutation:
        raise ValueError("silent is 'source', which knows no order of silent sources; legal: compute_permutation=False")
    if hop <= 0 and window < references.shape[1]:
        raise HopError(f"hop is {hop}; legal: above 0")
    if silent == "raise":
        validate(references, estimates)
    else:  # ones sound: what is left are museval's checks of the shapes
        validate(*(np.broadcast_to(1.0, each.shape) for each in (references, estimates)))
    if references.size == 0 or estimates.size == 0:
        return np.array([]), np.array([]), np.array([]), np.array([]), np.array([])
    count = len(references)
    orders = np.array(list(itertools.permutations(range(count))) if compute_permutation else [range(count)])
    frames = list(Framing(window, hop, references.shape[1]))
    compared = RATIOS["v4"] | (RATIOS["v3"] if bsseval_sources_version else {})
    defined = [m for m, metric in enumerate(_METRICS) if not (bsseval_sources_version and metric == "ISR")]
    scores = np.full((len(_METRICS), count, count, len(frames)), np.nan)
    finite = [place for place, estimate in enumerate(estimates) if is_finite(estimate)]
    pairs = sorted({(finite.index(e), true) for order in orders for true, e in enumerate(order) if e in finite})
    nothing = np.array([[[adds_up_to_nothing(e[f]) for f in frames] for e in each] for each in (references, estimates)])
    sounding = [n for n in range(len(frames)) if silent == "source" or not nothing[..., n].any()]
    if is_finite(references.reshape(-1, 1)) and pairs and sounding:
        spans = [frames[number] for number in sounding]
        parts = [(slice(None), spans)]
        if framewise_filters:
            parts = [(span, [slice(0, span.stop - span.start)]) for span in spans]
        found = []
        for part, within in parts:
            space = Space(list(references[:, part]), [estimates[e, part] for e in finite], pairs, filters_len, within)
            found.append(ratios(space, [compared[_METRICS[m]] for m in defined]))
        values = np.concatenate(found, axis=2)
        values[np.isnan(values)] = np.inf  # museval's: nothing to nothing
        for place, (estimate, true) in enumerate(pairs):
            scores[np.ix_(defined, [true], [finite[estimate]], sounding)] = values[:, place, None, None]
    if silent == "source":
        scores[:, nothing[0][:, None] | nothing[1][None]] = np.nan
    return _best(scores, orders, framewise_filters)


def drop_in(function: Callable[..., Any], calls: str, ours: Callable[..., Any]) -> Callable[..., Any]:
    """A function of museval that calls `ours` in place of its own function of that name, and takes `silent`."""
    assert isinstance(function, FunctionType)
    code, names, defaults = function.__code__, function.__globals__, function.__defaults__

    @functools.wraps(function)
    def called(*arguments: Any, silent: Silent = "raise", **options: Any) -> Any:
        changed = {**names, calls: functools.partial(ours, silent=silent)}
        return FunctionType(code, changed, function.__name__, defaults)(*arguments, **options)

    return called


bss_eval_sources = drop_in(library.bss_eval_sources, "bss_eval", bss_eval)
bss_eval_sources_framewise = drop_in(library.bss_eval_sources_framewise, "bss_eval", bss_eval)
bss_eval_images = drop_in(library.bss_eval_images, "bss_eval", bss_eval)
bss_eval_images_framewise = drop_in(library.bss_eval_images_framewise, "bss_eval", bss_eval)


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
