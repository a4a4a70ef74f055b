"""What the paired test can decide: how often equal and worse models pass, how many tracks or what margin it takes.

By simulation of the rule itself (`gate.paired`): differences whose truth is 0 are drawn many times, and the truth is added
to the estimates, which shift with it. Nothing here depends on the clock or on a global state of random numbers.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.stats

from pipeline.config.gate import PairedConfig
from pipeline.evaluation.gate import intervals, paired
from pipeline.evaluation.gate.paired import Aggregation

TRUTHS = {"equal": 0, "better by the margin": 1, "worse by the margin": -1, "worse by twice the margin": -2}
"""By how many margins the model is truly better."""

TARGET = 0.9
MOST_TRACKS = 2_000
DRAWS = 2_000
_SEED = 0


@dataclass(frozen=True)
class Spread:
    """How paired differences vary from track to track, as seen on real pairs or as assumed. dB.

    within: what may be drawn for a track beside its cluster's share. between_db: standard deviation of the clusters' shares.
    sizes: tracks of every cluster; none where each track stands for itself. weights: of the tracks in a mean.
    """

    within: np.ndarray
    between_db: float
    sizes: Sequence[int]
    weights: np.ndarray

    @property
    def of_a_track_db(self) -> float:
        """Standard deviation of a track's difference."""
        return float(np.hypot(np.std(self.within), self.between_db))


@dataclass(frozen=True)
class Power:
    """Of one threshold at its margin and `tracks`: chances to pass by truth, and what gives equal models `TARGET`.

    clusters: of the tracks; as many as tracks where each stands for itself. tracks_needed: None where more than `MOST_TRACKS`
    would be, or where no number gives it. margin_allowed_db: None where none does.
    """

    tracks: int
    clusters: int
    spread_db: float
    between_db: float
    margin_db: float
    chances: dict[str, float]
    tracks_needed: int | None
    margin_allowed_db: float | None


def seen(differences: np.ndarray, weights: np.ndarray, clusters: Sequence[str] | None) -> Spread:
    """The spread of real paired differences [tracks], as `paired.paired_differences` without NaN: within and between clusters by analysis of variance."""
    count = len(differences)
    names, sizes = np.unique(
        np.arange(count) if clusters is None else np.asarray(clusters, dtype=str), return_counts=True
    )
    if not 1 < len(sizes) < count:
        residuals = (differences - np.mean(differences)) * np.sqrt(count / max(count - 1, 1))
        return Spread(residuals, 0.0, (), weights)
    groups = intervals.membership(np.asarray(clusters, dtype=str))
    means = differences @ groups / sizes
    residuals = (differences - groups @ means) * np.sqrt(count / (count - len(names)))
    among = np.sum(sizes * (means - np.mean(differences)) ** 2) / (len(names) - 1)
    typical_size = (count - np.sum(sizes**2) / count) / (len(names) - 1)
    between = max(0.0, (among - np.mean(residuals**2)) / typical_size)
    return Spread(residuals, float(np.sqrt(between)), tuple(sizes.tolist()), weights)


def normal(deviation_db: float) -> Spread:
    """Independent tracks whose differences are normally distributed, as tables assume them."""
    quantiles = (np.arange(10_000) + 0.5) / 10_000
    return Spread(deviation_db * scipy.stats.norm.ppf(quantiles), 0.0, (), np.ones(1))


def of_threshold(
    spread: Spread, aggregation: Aggregation, margin_db: float, tracks: int, settings: PairedConfig
) -> Power:
    """What the paired test of a threshold can decide on so many tracks that vary like `spread`."""
    found = _simulated(spread, aggregation, tracks, settings)
    needed = np.maximum(-np.minimum(found[0], found[1]), -found[2] / settings.boundary)
    allowed = -float(np.quantile(needed, TARGET, method="higher"))
    return Power(
        tracks=tracks,
        clusters=len(_sizes(spread, tracks)) or tracks,
        spread_db=spread.of_a_track_db,
        between_db=spread.between_db,
        margin_db=margin_db,
        chances=acceptance(spread, aggregation, margin_db, tracks, settings),
        tracks_needed=_tracks_needed(spread, aggregation, margin_db, settings),
        margin_allowed_db=allowed if tracks >= settings.min_tracks and np.isfinite(allowed) else None,
    )


def acceptance(
    spread: Spread,
    aggregation: Aggregation,
    margin_db: float,
    tracks: int,
    settings: PairedConfig,
    seeds_db: float = 0.0,
    draws: int = DRAWS,
) -> dict[str, float]:
    """Chance to pass, by truth.

    seeds_db: standard deviation of what the trainings of one recipe are truly worth, from seed to seed: two of them differ by
        sqrt(2) times as much, on top of the truth and in all tracks alike.
    """
    if tracks < settings.min_tracks:
        return dict.fromkeys(TRUTHS, 0.0)
    average, median, low, _ = _simulated(spread, aggregation, tracks, settings, draws)
    seeds = np.sqrt(2) * seeds_db * np.random.default_rng(_SEED + 1).standard_normal(draws)
    chances = {}
    for name, margins in TRUTHS.items():
        truth = seeds + margins * abs(margin_db)
        passed = paired.passes(average + truth, median + truth, low + truth, margin_db, settings)
        chances[name] = float(np.mean(passed))
    return chances


def _tracks_needed(spread: Spread, aggregation: Aggregation, margin_db: float, settings: PairedConfig) -> int | None:
    """The fewest tracks on which equal models pass in `TARGET`, by doubling and halving."""

    def enough(tracks: int) -> bool:
        return acceptance(spread, aggregation, margin_db, tracks, settings)["equal"] >= TARGET

    low = high = max(settings.min_tracks, 2)
    if margin_db >= 0:
        return None
    while not enough(high):
        if high >= MOST_TRACKS:
            return None
        low, high = high, min(2 * high, MOST_TRACKS)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def _simulated(
    spread: Spread, aggregation: Aggregation, tracks: int, settings: PairedConfig, draws: int = DRAWS
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """What `intervals.estimate` finds where the truth is 0: equal models are exchangeable, so each draw has either sign."""
    generator = np.random.default_rng(_SEED)
    drawn = generator.choice(spread.within, (draws, tracks)) * generator.choice((-1.0, 1.0), (draws, tracks))
    sizes, groups = _sizes(spread, tracks), None
    if sizes:
        member = np.repeat(np.arange(len(sizes)), sizes)
        drawn += spread.between_db * generator.standard_normal((draws, len(sizes)))[:, member]
        groups = intervals.membership(member)
    return intervals.estimate(drawn, np.resize(spread.weights, tracks), groups, aggregation, settings.confidence)


def _sizes(spread: Spread, tracks: int) -> list[int]:
    """Tracks of every cluster among so many: fewer of each cluster, or more clusters; two or three get more tracks each."""
    if not spread.sizes:
        return []
    seen = sum(spread.sizes)
    if tracks <= seen or len(spread.sizes) < intervals.FEW:
        ends = np.round(np.cumsum(spread.sizes) / seen * tracks).astype(int)
        return [size for size in np.diff(ends, prepend=0).tolist() if size]
    sizes: list[int] = []
    while (left := tracks - sum(sizes)) > 0:
        sizes.append(min(left, spread.sizes[len(sizes) % len(spread.sizes)]))
    return sizes
