"""The libraries that define BSS Eval, on the same material as ours: mir_eval for v3, museval for v4.

They are what `score` is measured against. Where the libraries raise, the values are those that ours define.
"""

import mir_eval.separation
import museval.metrics
import numpy as np

from pipeline.evaluation.bss_eval.energies import RATIOS
from pipeline.evaluation.bss_eval.signals import Material, adds_up_to_nothing, is_finite, sounds


def score_v3(material: Material) -> dict[str, np.ndarray]:
    """metric -> [sets, targets]."""
    metrics = list(RATIOS["v3"])
    scores = np.full((len(metrics), *material.shape), np.nan)
    sounding = material.sounding
    for values, estimates in zip(scores.transpose(1, 2, 0), material.sets, strict=True):
        usable = [t for t in sounding if is_finite(estimates[t]) and sounds(estimates[t])]
        values[[t for t in sounding if not sounds(estimates[t])]] = -np.inf
        if usable:
            references = _stack([material.references[t] for t in sounding])
            judged = _stack([estimates[t] if t in usable else material.references[t] for t in sounding])
            if references.shape[2] == 1:
                found = mir_eval.separation.bss_eval_sources(references[..., 0], judged[..., 0], False)
            else:
                found = [each[:, 0] for each in museval.metrics.bss_eval_sources(references, judged, False)]
            values[usable] = np.stack(found[:3], axis=1)[[sounding.index(t) for t in usable]]
            if len(sounding) == 1:
                values[usable, metrics.index("SIR")] = np.nan
    return dict(zip(metrics, scores, strict=True))


def score_v4(material: Material) -> dict[str, np.ndarray]:
    """metric -> [sets, targets, frames]; in place of an estimate that museval refuses its reference is judged."""
    scores = np.full((len(RATIOS["v4"]), *material.shape, len(material.frames)), np.nan)
    references, window_samples = material.references, material.frames[0].stop
    if not any(adds_up_to_nothing(reference) for reference in references):
        for values, estimates in zip(scores.transpose(1, 2, 0, 3), material.sets, strict=True):
            undefined = [-np.inf if adds_up_to_nothing(e) else None if is_finite(e) else np.nan for e in estimates]
            judged = [e if score is None else r for r, e, score in zip(references, estimates, undefined, strict=True)]
            found = museval.metrics.bss_eval(_stack(references), _stack(judged), window_samples, window_samples)
            values[:] = np.stack(found[:4], axis=1)
            for place, score in enumerate(undefined):
                if score is not None:
                    values[place] = np.where(np.isnan(values[place]), np.nan, score)
    return dict(zip(RATIOS["v4"], scores, strict=True))


def _stack(signals: list[np.ndarray]) -> np.ndarray:
    return np.stack(signals).astype(float)


SCORES = {"v3": score_v3, "v4": score_v4}
