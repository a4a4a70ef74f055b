"""Both versions of BSS Eval of one track at once: they share the correlations, the factorisation and the filters.

Version 3, sources: the whole track, distortion filters of 512 taps, no permutation (Vincent, Gribonval, Févotte,
"Performance measurement in blind audio source separation", IEEE TASLP 14(4), 2006). The numbers are those of
`mir_eval.separation.bss_eval_sources(compute_permutation=False)` and, for several channels, of
`museval.metrics.bss_eval_sources`: each channel of an estimate is projected on all channels of the references, and
energies add up over channels.

Version 4, images: by frames, distortion filters over the whole track (Stöter, Liutkus, Ito, "The 2018 Signal Separation
Evaluation Campaign", LVA/ICA 2018). The numbers are those of `museval.metrics.bss_eval`, which refuses silent signals;
here they have a defined value instead.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from pipeline.evaluation.bss_eval.energies import RATIOS, ratios
from pipeline.evaluation.bss_eval.signals import Audio, Material, adds_up_to_nothing, is_finite, sounds

Engine = Literal["stemline", "reference"]

METRICS = {version: tuple(compared) for version, compared in RATIOS.items()}


def score(
    references: Audio,
    sets: Sequence[Audio] | np.ndarray,
    versions: Sequence[str],
    window_samples: int | None = None,
    engine: Engine = "stemline",
) -> dict[str, dict[str, np.ndarray]]:
    """Scores in dB of sets of estimates of the same references, each estimate against the reference at its place.

    Args:
        references: [targets, samples(, channels)], or a sequence of [samples(, channels)].
        sets: the same for each set; real numbers of any type, of which no copy as a whole is made.
        versions: "v3", "v4" or both.
        window_samples: length of v4's frames, which do not overlap; a shorter track is one frame, as is any without it.
        engine: "stemline" computes here; "reference" has mir_eval and museval compute, many times as slowly.

    Returns:
        version -> metric -> [sets, targets] in v3 and [sets, targets, frames] in v4.

        An estimate that holds NaN or infinity scores NaN and one that is silent throughout -inf; neither touches the
        other targets. A ratio to exactly nothing is +inf.

        v3: a silent reference scores NaN and is left out as interference; SIR is NaN when no other reference sounds.

        v4: a frame in which any reference or estimate of the set is silent is NaN for all of the set, as in museval; so
        a reference that is silent throughout makes every frame NaN.

    Raises:
        ValueError: an unknown version or engine, shapes that do not fit each other, no samples, or a reference that is
            not finite.
    """
    for version in versions:
        if version not in METRICS:
            raise ValueError(f"BSS Eval version is {version!r}; legal: {', '.join(METRICS)}")
    if engine not in ("stemline", "reference"):
        raise ValueError(f"engine is {engine!r}; legal: stemline, reference")
    material = Material(references, sets, window_samples if "v4" in versions else None)
    if engine == "reference":
        from pipeline.evaluation.bss_eval import libraries

        return {version: libraries.SCORES[version](material) for version in versions}
    scores = {}
    for version in versions:
        values = np.full((len(METRICS[version]), *material.shape, len(material.frames)), np.nan)
        if version == "v3":
            values = values[..., :1]
        if material.projected and (version == "v3" or not any(map(adds_up_to_nothing, material.references))):
            values[:, *material.places] = ratios(material.space, RATIOS[version].values(), whole=version == "v3")
        if version == "v3":
            _fill_silence_v3(values, material)
            values = values[..., 0]
        else:
            _fill_silence_v4(values, material)
        scores[version] = dict(zip(METRICS[version], values, strict=True))
    return scores


def _fill_silence_v3(scores: np.ndarray, material: Material) -> None:
    """No SIR where no other reference sounds; -inf for silence throughout."""
    if len(material.sounding) == 1:
        scores[METRICS["v3"].index("SIR")] = np.nan
    for number, estimates in enumerate(material.sets):
        scores[:, number, [target for target in material.sounding if not sounds(estimates[target])]] = -np.inf


def _fill_silence_v4(scores: np.ndarray, material: Material) -> None:
    """NaN for all of a set where a reference or an estimate is silent in a frame; -inf for silence throughout."""
    silent = _silent_frames(material.references, material.frames)
    for values, estimates in zip(scores.transpose(1, 2, 0, 3), material.sets, strict=True):
        nothing = [is_finite(estimate) and adds_up_to_nothing(estimate) for estimate in estimates]
        partly = [e for e, none in zip(estimates, nothing, strict=True) if not none and is_finite(e)]
        values[nothing] = -np.inf
        values[..., silent | _silent_frames(partly, material.frames)] = np.nan


def _silent_frames(signals: list[np.ndarray], frames: list[slice]) -> np.ndarray:
    return np.array([any(adds_up_to_nothing(signal[frame]) for signal in signals) for frame in frames])
