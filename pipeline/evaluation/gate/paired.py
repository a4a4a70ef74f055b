"""Is a model not worse than another by more than a margin? One paired test over the tracks that both were judged on.

A non-inferiority test with two requirements on the paired differences, model less rival, of a figure by track:

1. What is measured may not be below the margin: neither the average track's difference nor the median track's.
2. That the model is truly worse by `PairedConfig.boundary` times the margin (twice) has to be excluded with
   `PairedConfig.confidence` (95 %), by the lower bound of the figure's own difference: of its mean in v3, median in v4.

So a margin of -0.3 dB promises: of models that are truly worse by 0.6 dB at most 5 % pass, however few the tracks; of
models worse by 0.3 dB at most half; and equal ones pass where the tracks are enough, which
`pipeline.evaluation.gate.power` tells. A boundary of 1 is the textbook's test, and needs three to four times the tracks.

The intervals are `pipeline.evaluation.gate.intervals`'.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from pipeline.config.gate import AUTO, PairedConfig
from pipeline.evaluation.gate import intervals

Aggregation = Literal["mean", "median"]

LIMIT_DB = 120.0
CLUSTER_KEYS = ("singer", "artist", "album")
_ROUNDING_DB = 1e-9


@dataclass(frozen=True)
class Comparison:
    """Model less rival, in dB.

    tracks: usable pairs. left_out: pairs without a score of the rival. clusters: groups of tracks that belong together;
    as many as tracks where each stands for itself. difference_db: of the figure, so the mean or the median of the paired
    differences. other_db: the median or the mean. low_db, high_db: the ends of the interval of `difference_db`, each the
    one-sided bound at the confidence asked for. tie: no track differs. better: tracks on which the model is above.
    """

    tracks: int
    left_out: int
    clusters: int
    aggregation: Aggregation
    difference_db: float
    other_db: float
    low_db: float
    high_db: float
    tie: bool
    better: int
    margin_db: float
    settings: PairedConfig

    @property
    def clusters(metadata: Sequence[Mapping[str, str]], settings: PairedConfig) -> list[str] | None:
    """The group of every track by its metadata and `PairedConfig.cluster`; None where each stands for itself.

    A track without the key stands for itself.
    """
    keys = CLUSTER_KEYS if settings.cluster == AUTO else (settings.cluster,)
    key = next((key for key in keys if key and any(key in of for of in metadata)), None)
    if key is None:
        return None
    return [f"{key} {of[key]}" if of.get(key) else f"track {place}" for place, of in enumerate(metadata)]


def boundary_db(margin_db: float, settings: PairedConfig) -> float:
    """The difference that has to be excluded where `margin_db` is required."""
    return min(margin_db, settings.boundary * margin_db)
