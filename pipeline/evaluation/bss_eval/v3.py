"""BSS Eval version 3, sources: the whole track, distortion filters of 512 taps, no permutation.

Vincent, Gribonval, Févotte, "Performance measurement in blind audio source separation", IEEE TASLP 14(4), 2006. The
numbers are those of `mir_eval.separation.bss_eval_sources(compute_permutation=False)` and, for several channels, of
`museval.metrics.bss_eval_sources`: each channel of an estimate is projected on all channels of the references, and
energies add up over channels.
"""

import itertools

import numpy as np

from pipeline.evaluation.bss_eval.energies import energies
from pipeline.evaluation.bss_eval.signals import FILTER_LENGTH, Material, decibels, sounds

RATIOS = {"SDR": ("own", "distortion"), "SIR": ("own", "interference"), "SAR": ("projected", "artefacts")}
"""Which energies of `frames.KINDS` the metrics compare."""
METRICS = tuple(RATIOS)


def sources(references: np.ndarray, estimates: np.ndarray, filter_length: int = FILTER_LENGTH) -> dict[str, np.ndarray]:
    """SDR, SIR and SAR in dB of each estimate against the reference at the same place.

    Args:
        references: [targets, samples, channels], or [targets, samples] for one channel.
        estimates: the same shape, or one more axis in front: several sets of estimates of the same references, which
            share the references' correlations and their factorisation.
        filter_length: taps of the distortion filters.

    Returns:
        {"SDR", "SIR", "SAR"} of shape [targets], or [sets, targets]. A silent reference scores NaN and is left out as
        interference; SIR is NaN when no other reference sounds; an estimate that holds NaN or infinity scores NaN; a
        silent estimate of a reference that sounds scores -inf; a ratio to exactly nothing is +inf.

    Raises:
        ValueError: the shapes do not fit each other, there are no samples, or a reference is not finite.
    """
    several = np.ndim(estimates) == np.ndim(references) + 1
    scores = score(Material(references, estimates if several else [estimates], filter_length=filter_length))
    return scores if several else {metric: values[0] for metric, values in scores.items()}


def score(material: Material) -> dict[str, np.ndarray]:
    """The same of material: metric -> [sets, targets]."""
    scores = np.full((len(METRICS), *material.shape), np.nan)
    for number, estimates in enumerate(material.sets):
        for target in material.sounding:
            if not sounds(estimates[target]):
                scores[:, number, target] = -np.inf
    values = _ratios(material) if material.judged else scores
    for pair, judged in enumerate(material.judged):
        scores[:, judged.set, judged.target] = values[:, pair]
    return dict(zip(METRICS, scores, strict=True))


def _ratios(material: Material) -> np.ndarray:
    """[metrics, pairs] in the order of METRICS."""
    space, kinds = material.space, sorted({*itertools.chain(*RATIOS.values())})
    track = [slice(0, material.samples)]
    of = energies(space, material.pairs, material.filters, track, [space.correlations.whole], kinds)
    ratios = np.stack([decibels(of[numerator], of[denominator])[:, 0] for numerator, denominator in RATIOS.values()])
    if space.targets == 1:
        ratios[METRICS.index("SIR")] = np.nan
    return ratios
