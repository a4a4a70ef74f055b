"""When a blessed model takes the anchor's place: once it is shown to be better, on the tracks of today."""

from __future__ import annotations

from pipeline.config.gate import GateConfig
from pipeline.evaluation.gate.checks import Tracks, paired_comparison
from pipeline.evaluation.scores import figure_of


def is_better(tracks: Tracks, config: GateConfig, method: str) -> bool:
    """Whether `model` is better than the anchor, whose figures are those of `method`.

    By a figure that a threshold over the anchor names, it is shown to be, with a margin of 0 dB in the paired test of the gate;
    and by none of these figures is it measured to be worse, so that one target is not paid for with another.
    """
    names = dict.fromkeys((each.target, each.metric) for each in config.thresholds if each.over == "anchor")
    told = [paired_comparison(tracks, figure_of("model", *name), 0.0, config.paired, rival=method) for name in names]
    shown = any(each.passed and not each.tie for each in told)
    return shown and all(each.difference_db >= 0 for each in told)
