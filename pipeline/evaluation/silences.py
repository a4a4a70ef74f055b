"""What the model sounds where references are silent, over all tracks: for summary.json and the report."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.evaluation.outputs.false_voice import FalseVoice
from pipeline.evaluation.scores import TrackScores


@dataclass(frozen=True)
class Silences:
    """One target where its references are silent.

    tracks: that have such stretches, of `seconds` together. pes_db: predicted energy at silence (Schulze-Forster et al.
    2019), the mean of the tracks. over_mixture_db: the median track's energy over the mixture's, and the worst one's.
    leakage_db: energy of the error over that of the rest of the mixture where the target sounds, of the median track.
    """

    tracks: int
    seconds: float
    pes_db: float
    over_mixture_db: float
    worst_db: float
    worst_track: str
    leakage_db: float


def by_target(tracks: Sequence[TrackScores]) -> dict[str, Silences]:
    """Of those targets whose references are silent anywhere."""
    found: dict[str, dict[str, FalseVoice]] = {}
    for track in tracks:
        for target, facts in track.outputs.items():
            found.setdefault(target, {})[track.track] = facts.false_voice
    return {target: _over_tracks(each) for target, each in found.items() if any(f.stretches for f in each.values())}


def _over_tracks(facts: dict[str, FalseVoice]) -> Silences:
    silent = {track: each for track, each in facts.items() if each.stretches}
    worst = max(silent, key=lambda track: silent[track].over_mixture_db)
    leakage = [each.leakage_db for each in facts.values() if not math.isnan(each.leakage_db)]
    return Silences(
        tracks=len(silent),
        seconds=sum(each.seconds for each in silent.values()),
        pes_db=float(np.mean([each.pes_db for each in silent.values()])),
        over_mixture_db=float(np.median([each.over_mixture_db for each in silent.values()])),
        worst_db=silent[worst].over_mixture_db,
        worst_track=worst,
        leakage_db=float(np.median(leakage)) if leakage else math.nan,
    )
