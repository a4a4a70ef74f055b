"""How far the tracks leave an aggregated score open: percentile intervals of a bootstrap over the tracks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipeline.evaluation.scores import Figure, TrackScores, by_track

CONFIDENCE = 0.95
MIN_TRACKS = 5  # of fewer the interval is hardly more than the lowest and the highest of them
RESAMPLES = 2000
_SEED = 15


def interval(tracks: Sequence[TrackScores], figure: Figure) -> tuple[float, float] | None:
    """The interval, in dB, of a figure over the tracks, aggregated as `scores.over_tracks` does.

    The percentile interval of Efron and Tibshirani, An Introduction to the Bootstrap (1993), section 13.3: tracks are
    drawn with replacement. None where fewer than MIN_TRACKS have the figure, or where it is not finite.
    """
    values = by_track(tracks, figure)
    kept = ~np.isnan(values)
    if kept.sum() < MIN_TRACKS:
        return None
    values, weights = values[kept], np.array([track.samples for track in tracks], float)[kept]
    drawn = np.random.default_rng(_SEED).integers(len(values), size=(RESAMPLES, len(values)))
    if figure.version == "v3":
        found = np.average(values[drawn], weights=weights[drawn], axis=1)
    else:
        found = np.median(values[drawn], axis=1)
    if not np.isfinite(found).all():
        return None
    low, high = np.quantile(found, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)
