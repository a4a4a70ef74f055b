"""Is a model not worse than another by more than a margin? A paired test over the tracks that both were judged on.

Non-inferiority: what is to be refused is "worse by more than the margin", and both of two tests have to refuse it.
The bootstrap (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, ch. 13: percentile interval) draws tracks
with replacement and takes the difference of the two models' aggregates, just as the figure in question is aggregated;
Wilcoxon's signed-rank test (Biometrics Bulletin 1, 1945) asks whether the differences by track, each less the margin,
lie above 0, and is not moved by the size of one outlier.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import scipy.stats

from pipeline.config.gate import PairedConfig

Aggregation = Literal["mean", "median"]

LIMIT_DB = 120.0
_SEED = 0
_DRAWS_AT_ONCE = 2**20
_ROUNDING_DB = 1e-9


@dataclass(frozen=True)
class Comparison:
    """Model less baseline, in dB.

    tracks: usable pairs. left_out: pairs of which one side is not a number. difference_db: of the aggregates. low_db,
    high_db: the ends of the percentile interval, each the one-sided bound at the confidence asked for. p_value: of
    Wilcoxon's one-sided test. tie: no track differs. better: tracks on which the model is above the baseline.
    """

    tracks: int
    left_out: int
    difference_db: float
    low_db: float
    high_db: float
    p_value: float
    tie: bool
    better: int
    margin_db: float
    settings: PairedConfig

    @property
    def decided(self) -> bool:
        """Whether there are pairs enough to decide on."""
        return self.tracks >= self.settings.min_tracks

    @property
    def passed(self) -> bool:
        """Both tests show that the model is not worse by more than the margin; a tie does so if the margin allows it."""
        if not self.decided or self.tie:
            return self.decided and self.margin_db <= 0
        return self.low_db >= self.margin_db and self.p_value <= 1 - self.settings.confidence


def compare(
    model: np.ndarray,
    baseline: np.ndarray,
    weights: np.ndarray,
    aggregation: Aggregation,
    margin_db: float,
    settings: PairedConfig,
) -> Comparison:
    """Compares two models by their scores in dB on the same tracks; the order of the tracks does not matter.

    Args:
        model, baseline: [tracks]; NaN leaves the track out, and no score counts as more than +-120 dB.
        weights: [tracks], above 0: each track's in a mean; a median does not use them.
        margin_db: the difference that is just good enough; below 0 for "may be a little worse".
    """
    usable = ~(np.isnan(model) | np.isnan(baseline))
    pairs = np.stack([np.clip(model, -LIMIT_DB, LIMIT_DB), np.clip(baseline, -LIMIT_DB, LIMIT_DB), weights])[:, usable]
    pairs = pairs[:, np.lexsort(pairs)]
    count, differences = pairs.shape[1], pairs[0] - pairs[1]
    found = _differences(pairs, aggregation, settings.resamples)
    low, high = np.quantile(found, [1 - settings.confidence, settings.confidence]) if count else (np.nan, np.nan)
    return Comparison(
        tracks=count,
        left_out=int(np.sum(~usable)),
        difference_db=float(_aggregate(pairs[:, np.newaxis], aggregation)[0]) if count else np.nan,
        low_db=float(low),
        high_db=float(high),
        p_value=_wilcoxon(differences - margin_db),
        tie=bool(count) and bool(np.all(np.abs(differences) < _ROUNDING_DB)),
        better=int(np.sum(differences > _ROUNDING_DB)),
        margin_db=margin_db,
        settings=settings,
    )


def _differences(pairs: np.ndarray, aggregation: Aggregation, resamples: int) -> np.ndarray:
    """The difference of the aggregates in every resample of the tracks: [resamples]."""
    generator, count = np.random.default_rng(_SEED), pairs.shape[1]
    if not count:
        return np.empty(0)
    rows = max(1, _DRAWS_AT_ONCE // count)
    blocks = [
        _aggregate(pairs[:, generator.integers(count, size=(min(rows, resamples - start), count))], aggregation)
        for start in range(0, resamples, rows)
    ]
    return np.concatenate(blocks)


def _aggregate(pairs: np.ndarray, aggregation: Aggregation) -> np.ndarray:
    """Difference of the aggregates of pairs [(model, baseline, weight), resamples, tracks]: [resamples]."""
    model, baseline, weights = pairs
    if aggregation == "median":
        return np.median(model, axis=1) - np.median(baseline, axis=1)
    return np.sum((model - baseline) * weights, axis=1) / np.sum(weights, axis=1)


def _wilcoxon(differences: np.ndarray) -> float:
    """p of the hypothesis that differences do not lie above 0; those that are 0 count for neither side."""
    differences = np.where(np.abs(differences) < _ROUNDING_DB, 0.0, differences)
    if not differences.any():
        return 1.0
    return float(scipy.stats.wilcoxon(differences[differences != 0], alternative="greater").pvalue)
