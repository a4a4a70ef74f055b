"""The libraries that define BSS Eval, behind the same functions as ours: mir_eval for v3, museval for v4.

They are what `v3` and `v4` are measured against. Where the libraries raise, the values are those that ours define.
"""

from collections.abc import Callable

import mir_eval.separation
import museval.metrics
import numpy as np

from pipeline.evaluation.bss_eval import v3, v4
from pipeline.evaluation.bss_eval.signals import Material, adds_up_to_nothing, is_finite, sounds

Evaluate = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, ...]]


def sources(references: np.ndarray, estimates: np.ndarray) -> dict[str, np.ndarray]:
    """`v3.sources` by mir_eval, or by museval for several channels. Arguments, values and errors as there."""
    return _like(score_v3, references, estimates)


def images(
    references: np.ndarray, estimates: np.ndarray, window_samples: int, hop_samples: int
) -> dict[str, np.ndarray]:
    """`v4.images` by museval. Arguments, values and errors as there."""
    return _like(lambda material: score_v4(material, window_samples, hop_samples), references, estimates)


def score_v3(material: Material) -> dict[str, np.ndarray]:
    """metric -> [sets, targets]."""
    scores = np.full((len(v3.METRICS), *material.shape), np.nan)
    sounding = material.sounding
    for values, estimates in zip(scores.transpose(1, 2, 0), material.sets, strict=True):
        usable = [t for t in sounding if is_finite(estimates[t]) and sounds(estimates[t])]
        values[[t for t in sounding if not sounds(estimates[t])]] = -np.inf
        if usable:
            references = _stack([material.references[t] for t in sounding])
            judged = _stack([estimates[t] if t in usable else material.references[t] for t in sounding])
            values[usable] = np.stack(_library_v3(references, judged), axis=1)[[sounding.index(t) for t in usable]]
            if len(sounding) == 1:
                values[usable, v3.METRICS.index("SIR")] = np.nan
    return dict(zip(v3.METRICS, scores, strict=True))


def score_v4(material: Material, window_samples: int, hop_samples: int) -> dict[str, np.ndarray]:
    """metric -> [sets, targets, frames]."""
    frames = museval.metrics.Framing(window_samples, hop_samples, len(material.references[0])).nwin
    scores = np.full((len(v4.METRICS), *material.shape, frames), np.nan)
    if not any(adds_up_to_nothing(reference) for reference in material.references):
        for values, estimates in zip(scores.transpose(1, 2, 0, 3), material.sets, strict=True):
            values[:] = _library_v4(material.references, estimates, window_samples, hop_samples)
    return dict(zip(v4.METRICS, scores, strict=True))


def _library_v3(references: np.ndarray, estimates: np.ndarray) -> tuple[np.ndarray, ...]:
    if references.shape[2] == 1:
        return mir_eval.separation.bss_eval_sources(references[..., 0], estimates[..., 0], False)[:3]
    scores = museval.metrics.bss_eval_sources(references, estimates, compute_permutation=False)[:3]
    return tuple(values[:, 0] for values in scores)


def _library_v4(references: list[np.ndarray], estimates: list[np.ndarray], window: int, hop: int) -> np.ndarray:
    """[targets, metrics, frames]; in place of an estimate that museval refuses its reference is judged."""
    undefined = [_undefined_score(estimate) for estimate in estimates]
    judged = [r if score is not None else e for r, e, score in zip(references, estimates, undefined, strict=True)]
    values = museval.metrics.bss_eval(_stack(references), _stack(judged), window=window, hop=hop)[:4]
    scores = np.stack(values, axis=1)
    for place, score in enumerate(undefined):
        if score is not None:
            scores[place] = np.where(np.isnan(scores[place]), np.nan, score)
    return scores


def _undefined_score(estimate: np.ndarray) -> float | None:
    if not is_finite(estimate):
        return np.nan
    return -np.inf if adds_up_to_nothing(estimate) else None


def _stack(signals: list[np.ndarray]) -> np.ndarray:
    return np.stack(signals).astype(float)


def _like(
    score: Callable[[Material], dict[str, np.ndarray]], references: np.ndarray, estimates: np.ndarray
) -> dict[str, np.ndarray]:
    several = np.ndim(estimates) == np.ndim(references) + 1
    scores = score(Material(references, estimates if several else [estimates]))
    return scores if several else {metric: values[0] for metric, values in scores.items()}
