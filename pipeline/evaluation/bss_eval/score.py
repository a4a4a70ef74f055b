"""Both versions of BSS Eval of one track at once: they share the correlations, the factorisation and the filters."""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from pipeline.evaluation.bss_eval import v3, v4
from pipeline.evaluation.bss_eval.signals import Audio, Material

Engine = Literal["stemline", "reference"]

METRICS = {"v3": v3.METRICS, "v4": v4.METRICS}


def judge(
    references: Audio, sets: Sequence[Audio], versions: Sequence[str], window_samples: int, engine: Engine = "stemline"
) -> dict[str, dict[str, np.ndarray]]:
    """Scores in dB of sets of estimates of the same references.

    Args:
        references: [targets, samples(, channels)], or a sequence of [samples(, channels)].
        sets: the same for each set; real numbers of any type, of which no copy as a whole is made.
        versions: "v3", "v4" or both.
        window_samples: length of v4's frames, which do not overlap.
        engine: "stemline" computes here; "reference" has mir_eval and museval compute, many times as slowly.

    Returns:
        version -> metric -> [sets, targets] in v3 and [sets, targets, frames] in v4; see `v3.sources` and `v4.images`
        for silent signals and samples that are not finite.

    Raises:
        ValueError: an unknown version or engine, shapes that do not fit each other, no samples, or a reference that is
            not finite.
    """
    for version in versions:
        if version not in METRICS:
            raise ValueError(f"BSS Eval version is {version!r}; legal: {', '.join(METRICS)}")
    if engine not in ("stemline", "reference"):
        raise ValueError(f"engine is {engine!r}; legal: stemline, reference")
    framing = (window_samples, window_samples) if "v4" in versions else (None, None)
    material = Material(references, sets, *framing)
    if engine == "reference":
        from pipeline.evaluation.bss_eval import libraries

        scores = {"v3": libraries.score_v3, "v4": lambda m: libraries.score_v4(m, window_samples, window_samples)}
    else:
        scores = {"v3": v3.score, "v4": v4.score}
    return {version: scores[version](material) for version in versions}
