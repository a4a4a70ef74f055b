"""BSS Eval version 4, images: scores per frame with distortion filters over the whole track, by museval itself.

Stöter, Liutkus, Ito, "The 2018 Signal Separation Evaluation Campaign", LVA/ICA 2018. museval refuses silent signals;
here they have a defined value instead.
"""

import museval.metrics
import numpy as np

METRICS = ("SDR", "ISR", "SIR", "SAR")


def images(
    references: np.ndarray, estimates: np.ndarray, window_samples: int, hop_samples: int
) -> dict[str, np.ndarray]:
    """SDR, ISR, SIR and SAR in dB per frame of each estimate against the reference at the same place.

    Args:
        references: [targets, samples, channels], or [targets, samples] for one channel.
        estimates: the same shape.
        window_samples: length of a frame; a shorter track is one frame.
        hop_samples: distance between the starts of two frames.

    Returns:
        {"SDR", "ISR", "SIR", "SAR"} of shape [targets, frames], equal to
        `museval.metrics.bss_eval(references, estimates, window_samples, hop_samples)`, so a frame in which any
        reference or estimate is silent is NaN for all. Where museval raises: a reference that is silent throughout
        makes every frame NaN; an estimate that is silent throughout scores -inf and one that holds NaN or infinity
        scores NaN, and neither touches the other targets.

    Raises:
        ValueError: the shapes differ or there are no samples.
    """
    if references.shape != estimates.shape or references.ndim not in (2, 3) or not references.size:
        raise ValueError(
            f"references have the shape {references.shape} and estimates {estimates.shape}; "
            "legal: one shape [targets, samples(, channels)] for both, none of them 0"
        )
    references = np.asarray(references, float).reshape(*references.shape[:2], -1)
    estimates = np.asarray(estimates, float).reshape(references.shape)
    frames = museval.metrics.Framing(window_samples, hop_samples, references.shape[1]).nwin
    if any(_silent(reference) for reference in references):
        return {metric: np.full((len(references), frames), np.nan) for metric in METRICS}
    undefined = [_undefined_score(estimate) for estimate in estimates]
    judged = [r if score is not None else e for r, e, score in zip(references, estimates, undefined, strict=True)]
    values = museval.metrics.bss_eval(references, np.stack(judged), window=window_samples, hop=hop_samples)[:4]
    scores = dict(zip(METRICS, values, strict=True))
    for place, score in enumerate(undefined):
        if score is not None:
            _fill(scores, place, score)
    return scores


def _silent(signal: np.ndarray) -> bool:
    """museval's idea of silence: all channels add up to nothing."""
    return not np.any(signal.sum(axis=1))


def _undefined_score(estimate: np.ndarray) -> float | None:
    if not np.isfinite(estimate).all():
        return np.nan
    return -np.inf if _silent(estimate) else None


def _fill(scores: dict[str, np.ndarray], place: int, score: float) -> None:
    """Gives one target the same score in every frame in which the references sound."""
    for values in scores.values():
        values[place] = np.where(np.isnan(scores["SDR"][place]), np.nan, score)
