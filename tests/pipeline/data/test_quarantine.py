"""What is wrong with a track, on signals with faults that were put there."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.data.datasets.loading import of_track
from pipeline.data.datasets.track import BadTrackError, Track
from pipeline.data.quarantine.measures import Measures


def measured(track: Track) -> Measures:
    stream = of_track(track)
    measures = Measures(stream)
    assert sum(len(block["mixture"]) for block in measures.watched(stream.blocks())) == len(track.mixture)
    return measures


def a_track(**stems: np.ndarray) -> Track:
    signals = {name: stem.astype(np.float32) for name, stem in stems.items()}
    return Track("a", "train", 16000, sum(signals.values()), signals)


def clipping(**stems: np.ndarray) -> float:
    return max(measured(a_track(**stems)).clipping_ratios().values())


@pytest.mark.parametrize(
    ("mixture", "stem", "rate_hz", "reason"),
    [
        (np.zeros((0, 1)), np.zeros((0, 1)), 16000, "0 samples"),
        (np.zeros((2, 1)), np.zeros((2, 1)), 16000, "2 samples, less than the 0.1 s"),
        (np.zeros((2, 1)), np.zeros((2, 1)), 0, "sample rate is 0 Hz"),
        (np.zeros((9000, 1)), np.full((9000, 1), np.nan), 16000, "vocals has 9000 values that are NaN"),
        (np.full((9000, 1), np.inf), np.zeros((9000, 1)), 16000, "mixture has 9000 values that are NaN or infinite"),
    ],
)
def test_unusable_tracks_are_refused(mixture, stem, rate_hz, reason):
    with pytest.raises(BadTrackError, match=reason):
        measured(Track("a", "train", rate_hz, mixture, {"vocals": stem})).check()


def test_clipping_is_seen_whatever_the_level():
    clean = np.random.default_rng(1).normal(0, 0.2, (20000, 1))
    clipped = np.clip(clean, -0.3, 0.3)  # 13 % of a normal distribution lies beyond 1.5 deviations
    assert clipping(vocals=clean) < 0.001
    assert clipping(vocals=clipped) == pytest.approx(0.134, abs=0.01)
    assert clipping(vocals=0.2 * clipped) == pytest.approx(0.134, abs=0.01)
    assert clipping(vocals=np.zeros((100, 1))) == 0.0
