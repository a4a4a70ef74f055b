"""BSS Eval version 4, images: scores per frame with distortion filters over the whole track.

Stöter, Liutkus, Ito, "The 2018 Signal Separation Evaluation Campaign", LVA/ICA 2018. The numbers are those of
`museval.metrics.bss_eval`, which refuses silent signals; here they have a defined value instead.
"""

import itertools

import numpy as np

from pipeline.evaluation.bss_eval.energies import energies
from pipeline.evaluation.bss_eval.signals import Material, adds_up_to_nothing, decibels, is_finite

RATIOS = {
    "SDR": ("true", "error"),
    "ISR": ("true", "spatial"),
    "SIR": ("own", "interference"),
    "SAR": ("projected", "artefacts"),
}
"""Which energies of `frames.KINDS` the metrics compare."""
METRICS = tuple(RATIOS)


def images(
    references: np.ndarray, estimates: np.ndarray, window_samples: int, hop_samples: int
) -> dict[str, np.ndarray]:
    """SDR, ISR, SIR and SAR in dB per frame of each estimate against the reference at the same place.

    Args:
        references: [targets, samples, channels], or [targets, samples] for one channel.
        estimates: the same shape, or one more axis in front: several sets of estimates of the same references.
        window_samples: length of a frame; a shorter track is one frame.
        hop_samples: distance between the starts of two frames.

    Returns:
        {"SDR", "ISR", "SIR", "SAR"} of shape [targets, frames], or [sets, targets, frames], equal to
        `museval.metrics.bss_eval(references, estimates, window_samples, hop_samples)`, so a frame in which any
        reference or estimate of the set is silent is NaN for all of the set. Where museval raises: a reference that is
        silent throughout makes every frame NaN; an estimate that is silent throughout scores -inf and one that holds
        NaN or infinity scores NaN, and neither touches the other targets.

    Raises:
        ValueError: the shapes do not fit each other, there are no samples, or a reference is not finite.
    """
    several = np.ndim(estimates) == np.ndim(references) + 1
    scores = score(Material(references, estimates if several else [estimates], window_samples, hop_samples))
    return scores if several else {metric: values[0] for metric, values in scores.items()}


def score(material: Material) -> dict[str, np.ndarray]:
    """The same of material: metric -> [sets, targets, frames]."""
    scores = np.full((len(METRICS), *material.shape, len(material.frames)), np.nan)
    if not any(adds_up_to_nothing(reference) for reference in material.references):
        values = _ratios(material) if material.judged else scores
        for pair, judged in enumerate(material.judged):
            scores[:, judged.set, judged.target] = values[:, pair]
        _fill_silence(scores, material)
    return dict(zip(METRICS, scores, strict=True))


def _ratios(material: Material) -> np.ndarray:
    """[metrics, pairs, frames] in the order of METRICS."""
    space, kinds = material.space, sorted({*itertools.chain(*RATIOS.values())})
    correlations = space.correlations.in_frames()
    of = energies(space, material.pairs, material.filters, material.frames, correlations, kinds)
    return np.stack([decibels(of[numerator], of[denominator]) for numerator, denominator in RATIOS.values()])


def _fill_silence(scores: np.ndarray, material: Material) -> None:
    """NaN for all of a set where a reference or an estimate is silent in a frame; -inf for silence throughout."""
    silent = _silent_frames(material.references, material.frames)
    for values, estimates in zip(scores.transpose(1, 2, 0, 3), material.sets, strict=True):
        nothing = [is_finite(estimate) and adds_up_to_nothing(estimate) for estimate in estimates]
        partly = [e for e, none in zip(estimates, nothing, strict=True) if not none and is_finite(e)]
        values[nothing] = -np.inf
        values[..., silent | _silent_frames(partly, material.frames)] = np.nan


def _silent_frames(signals: list[np.ndarray], frames: list[slice]) -> np.ndarray:
    return np.array([any(adds_up_to_nothing(signal[frame]) for signal in signals) for frame in frames])
