"""Is a model not worse than another by more than a margin? One paired test over the tracks that both were judged on.

A non-inferiority test with two requirements on the paired differences, model less rival, of a figure by track:

1. What is measured may not be below the margin: neither the average track's difference nor the median track's.
2. That the model is truly worse by `PairedConfig.boundary` times the margin (twice) has to be excluded with
   `PairedConfig.confidence` (95 %), by the lower bound of the figure's own difference: of its mean in v3, median in v4.

So a margin of -0.3 dB promises: of models that are truly worse by 0.6 dB at most 5 % pass, however few the tracks; of
models worse by 0.3 dB at most half; and equal ones pass where the tracks are enough, which
`pipeline.evaluation.gate.power` tells. A boundary of 1 is the textbook's test, and needs three times the tracks.

The intervals are `pipeline.evaluation.gate.intervals`'.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from pipeline.config.gate import AUTO, PairedConfig
from pipeline.evaluation.gate import intervals

Aggregation = Literal["mean", "median"]

LIMIT_DB, MOST_DB = 120.0, 20.0  # of a score, and of a difference: beyond, one of the two is silent or broken
CLUSTER_KEYS = ("singer", "artist", "album")
_ROUNDING_DB = 1e-9


@dataclass(frozen=True)
class Comparison:
    """Model less rival, in dB.

    tracks: usable pairs. left_out: pairs without a score of the rival. clusters: groups of tracks that belong together;
    as many as tracks where each stands for itself. average_db, median_db: of the paired differences. low_db, high_db: the
    ends of the interval of the one that `aggregation` names, each the one-sided bound at the confidence asked for. tie: no
    track differs. better: tracks on which the model is above.
    """

    tracks: int
    left_out: int
    clusters: int
    aggregation: Aggregation
    average_db: float
    median_db: float
    low_db: float
    high_db: float
    tie: bool
    better: int
    margin_db: float
    settings: PairedConfig

    @property
    def difference_db(self) -> float:
        """Of the figure: the average or the median of the paired differences."""
        return self.average_db if self.aggregation == "mean" else self.median_db

    @property
    def decided(self) -> bool:
        """Whether there are pairs enough to decide on."""
        return self.tracks >= self.settings.min_tracks

    @property
    def passed(self) -> bool:
        """Measured no worse than the margin, and worse than the boundary excluded; a tie if the margin allows it."""
        if not self.decided or self.tie:
            return self.decided and self.margin_db <= 0
        return bool(passes(self.average_db, self.median_db, self.low_db, self.margin_db, self.settings))


def compare(
    model: np.ndarray,
    rival: np.ndarray,
    weights: np.ndarray,
    aggregation: Aggregation,
    margin_db: float,
    settings: PairedConfig,
    clusters: Sequence[str] | None = None,
) -> Comparison:
    """Compares two models by their scores in dB on the same tracks; the order of the tracks does not matter.

    Args:
        model, rival: [tracks]; no score counts as more than +-120 dB, no difference as more than +-20 dB. A track without a
            score of the rival (NaN) is left out; one that only the rival has a score on is lost by the model, by 20 dB.
        weights: [tracks], above 0: each track's in a mean; a median does not use them.
        margin_db: the difference that is just good enough; below 0 for "may be a little worse".
        clusters: of each track the group that it belongs to, such as its singer; None where each stands for itself.
    """
    found = paired_differences(model, rival)
    usable = ~np.isnan(found)
    differences, weights = found[usable], weights[usable]
    names = np.asarray(np.arange(len(rival)) if clusters is None else clusters, dtype=str)[usable]
    order = np.lexsort((names, weights, differences))
    differences, weights, groups = differences[order], weights[order], intervals.membership(names[order])
    average, median, low, high = [np.nan] * 4
    if len(differences):
        found = intervals.estimate(differences, weights, groups, aggregation, settings.confidence)
        average, median, low, high = (float(each) for each in found)
    return Comparison(
        tracks=len(differences),
        left_out=int(np.sum(~usable)),
        clusters=groups.shape[1],
        aggregation=aggregation,
        average_db=average,
        median_db=median,
        low_db=low,
        high_db=high,
        tie=bool(len(differences)) and bool(np.all(np.abs(differences) < _ROUNDING_DB)),
        better=int(np.sum(differences > _ROUNDING_DB)),
        margin_db=margin_db,
        settings=settings,
    )


def paired_differences(model: np.ndarray, rival: np.ndarray) -> np.ndarray:
    """Model less rival by track [tracks], as `compare` takes them; NaN where the rival has no score."""
    ours = np.clip(np.where(np.isnan(model), -LIMIT_DB, model), -LIMIT_DB, LIMIT_DB)
    return np.clip(ours - np.clip(rival, -LIMIT_DB, LIMIT_DB), -MOST_DB, MOST_DB)


def clusters_of(metadata: Sequence[Mapping[str, str]], settings: PairedConfig) -> list[str] | None:
    """The group of every track by its metadata and `PairedConfig.cluster`; None where each stands for itself.

    A track without the key stands for itself.
    """
    keys = CLUSTER_KEYS if settings.cluster == AUTO else (settings.cluster,)
    key = next((key for key in keys if key and any(key in of for of in metadata)), None)
    if key is None:
        return None
    return [f"{key} {of[key]}" if of.get(key) else f"track {place}" for place, of in enumerate(metadata)]


def boundary_db(margin_db: float, settings: PairedConfig) -> float:
    """The difference that has to be excluded: so many margins for one below 0; a gain that is demanded has to be shown."""
    return min(margin_db, settings.boundary * margin_db)


def passes(
    average_db: ArrayLike, median_db: ArrayLike, low_db: ArrayLike, margin_db: float, settings: PairedConfig
) -> np.ndarray:
    """Both requirements, of one comparison or of many."""
    measured = reaches(average_db, margin_db) & reaches(median_db, margin_db)
    return measured & reaches(low_db, boundary_db(margin_db, settings))


def reaches(value_db: ArrayLike, floor_db: float) -> np.ndarray:
    """Whether a figure is at or above its floor, but for rounding."""
    return np.asarray(value_db) >= floor_db - _ROUNDING_DB
