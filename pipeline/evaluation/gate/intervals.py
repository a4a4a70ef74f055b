"""Mean and median of paired differences over tracks that may belong together, with intervals of known size. All [..., tracks].

Mean: weighted, of differences of which the largest and the smallest count as their neighbours (a winsorised mean: one track
neither carries nor sinks it, while two ruined ones count). Interval: Student's t with the factor and the
degrees of freedom of Tukey and McLaughlin ("Less vulnerable confidence and significance procedures for location based on
a single sample: trimming/winsorization 1", Sankhya A 25, 1963).

Median: the interval inverts the sign test through the empirical distribution, interpolated (Woodruff, "Confidence intervals
for medians and other position measures", JASA 47, 1952).

Tracks of one singer, artist or album are not independent. The standard error is then the jackknife's that leaves out one
cluster at a time, with t of as many degrees of freedom as clusters less one: at few and unequal clusters the most
reliable of the simple ones (Hansen, "Jackknife standard errors for clustered regression", 2022; MacKinnon, Nielsen and Webb,
"Cluster-robust inference: a guide to empirical practice", Journal of Econometrics 232, 2023). A bootstrap of clusters is too
narrow below some twenty of them, and the wild cluster bootstrap (Cameron, Gelbach and Miller, "Bootstrap-based improvements
for inference with clustered errors", Review of Economics and Statistics 90, 2008) cannot reach p = 0.05 below five. As
few clusters can agree by chance, the wider one of this interval and that of independent tracks counts.

Two or three clusters are no sample of singers. Then the interval speaks of these alone, with independent tracks, and it
reaches at least to the lowest and the highest cluster of four tracks or more: one singer does not carry another.
"""

from typing import Literal

import numpy as np
import scipy.stats

_WINSORISED_FROM = 6  # tracks
FEW = 4  # fewer clusters, or tracks of a cluster, are no sample


def membership(names: np.ndarray) -> np.ndarray:
    """Which track belongs to which cluster: [tracks, clusters], 1.0 or 0.0."""
    return (names[:, np.newaxis] == np.unique(names)).astype(float)


def estimate(
    differences: np.ndarray,
    weights: np.ndarray,
    groups: np.ndarray | None,
    aggregation: Literal["mean", "median"],
    confidence: float,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Mean and median of differences [..., tracks], and the one-sided bounds of the one that `aggregation` names: [...] each.

    Args:
        weights: [tracks], of the mean. groups: [tracks, clusters], see `membership`; None where each track stands for itself.
        confidence: of each bound.
    """
    clusters = groups.shape[1] if groups is not None else 1
    kept, inner = _winsorised(differences)
    average, median = np.sum(kept * weights, -1) / np.sum(weights), np.median(differences, -1)
    sample = groups if FEW <= clusters < differences.shape[-1] else None
    if aggregation == "mean":
        half = _half_width(kept, weights, sample, inner, confidence)
        low, high = average - half, average + half
    else:
        low, high = _median_bounds(differences, median, sample, confidence)
    for members in groups.T > 0 if groups is not None and 1 < clusters < FEW else ():
        if np.sum(members) >= FEW:
            part, share = kept[..., members], weights[members]
            own = np.sum(part * share, -1) / np.sum(share) if aggregation == "mean" else np.median(part, -1)
            low, high = np.minimum(low, own), np.maximum(high, own)
    return average, median, low, high


def _winsorised(differences: np.ndarray) -> tuple[np.ndarray, int]:
    """The differences with the largest and the smallest pulled in, and how many are neither."""
    count = differences.shape[-1]
    if count < _WINSORISED_FROM:
        return differences, count
    ordered = np.sort(differences, -1)
    return np.clip(differences, ordered[..., 1:2], ordered[..., -2:-1]), count - 2


def _half_width(
    kept: np.ndarray, weights: np.ndarray, groups: np.ndarray | None, inner: int, confidence: float
) -> np.ndarray:
    """Of the interval of a winsorised mean: [...]; infinite where no spread can be known."""
    if inner < 2:
        return np.full(kept.shape[:-1], np.inf)
    width = scipy.stats.t.ppf(confidence, inner - 1) * _jackknife(kept, weights)
    if groups is not None:
        degrees = min(inner, groups.shape[1]) - 1
        width = np.maximum(width, scipy.stats.t.ppf(confidence, degrees) * _jackknife(kept, weights, groups))
    return (kept.shape[-1] - 1) / (inner - 1) * width


def _jackknife(values: np.ndarray, weights: np.ndarray, groups: np.ndarray | None = None) -> np.ndarray:
    """Standard error of the weighted mean of values [..., tracks] by leaving out one track or cluster at a time: [...]."""
    sums, shares = values * weights, weights
    if groups is not None:
        sums, shares = sums @ groups, shares @ groups
    whole = np.sum(sums, -1, keepdims=True)
    others = (whole - sums) / (np.sum(shares) - shares)
    clusters = len(shares)
    return np.sqrt((clusters - 1) / clusters * np.sum((others - whole / np.sum(shares)) ** 2, -1))


def _median_bounds(
    differences: np.ndarray, median: np.ndarray, groups: np.ndarray | None, confidence: float
) -> tuple[np.ndarray, np.ndarray]:
    """The quantiles at a half less and more what the share of tracks above the median may be off by: [...] each."""
    count = differences.shape[-1]
    off = np.full(differences.shape[:-1], scipy.stats.norm.ppf(confidence) * 0.5 / np.sqrt(count))
    if groups is not None:
        above = (np.sign(differences - median[..., np.newaxis]) + 1) / 2
        spread = _jackknife(above, np.ones(count), groups)
        off = np.maximum(off, scipy.stats.t.ppf(confidence, groups.shape[1] - 1) * spread)
    ordered = np.sort(differences, -1)
    return _quantile(ordered, 0.5 - off), -_quantile(-ordered[..., ::-1], 0.5 - off)


def _quantile(ordered: np.ndarray, share: np.ndarray) -> np.ndarray:
    """The quantile of sorted values [..., tracks] at a share of at most a half [...] (Hazen's definition); -inf below them."""
    position = np.clip(share * ordered.shape[-1] - 0.5, 0, ordered.shape[-1] - 1)
    below = np.floor(position).astype(int)
    above = np.minimum(below + 1, ordered.shape[-1] - 1)
    low, high = (np.take_along_axis(ordered, each[..., np.newaxis], -1)[..., 0] for each in (below, above))
    return np.where(share > 0, low + (position - below) * (high - low), -np.inf)
