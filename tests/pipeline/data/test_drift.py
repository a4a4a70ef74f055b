"""How fresh the data are and whether they drift, from the catalogue to the report."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import numpy as np
import pytest

from models.checked import ConfigError
from pipeline.config.config import load
from pipeline.config.gate import DriftLimits
from pipeline.data import drift
from pipeline.data.catalogue import IngestedTrack


def span(number: int, level_db: float, segments: int = 10, tracks: int = 20) -> list[IngestedTrack]:
    """Tracks of 36 s whose levels have this mean and a deviation of 2 dB."""
    random = np.random.default_rng(number)
    return [
        IngestedTrack(
            f"{number}-{index}",
            "test" if index == 0 else "dev" if index == 1 else "train",
            file="",
            samples=36 * 8000,
            sample_rate_hz=8000,
            metadata={"span": str(number)},
            fingerprint={},
            modified=f"2026-11-{number:02d}T06:00:00+00:00",
            measured={
                "rms_db/vocals": random.normal(level_db, 2, segments).tolist(),
                "silence_ratio": [0.0] * segments,
            },
        )
        for index in range(tracks)
    ]


def test_a_span_unlike_the_one_before_is_told_with_figures() -> None:
    now = datetime(2026, 11, 20, 18, tzinfo=UTC)
    facts = drift.describe([*span(9, -30), *span(10, -20), *span(17, -14)], DriftLimits(), now)
    assert [each.name for each in facts.spans] == ["9", "10", "17"]
    assert facts.spans[-1].tracks == {"train": 18, "dev": 1, "test": 1}
    assert facts.spans[-1].hours == pytest.approx(0.2)
    assert facts.age_days == pytest.approx(3.5)
    level, silence = facts.features
    assert level.name == "rms_db/vocals"
    assert level.before == pytest.approx((-20, 2), abs=0.5)
    assert level.now == pytest.approx((-14, 2), abs=0.5)
    # Two normal distributions three deviations apart: 0.76 bits by numerical integration.
    assert level.divergence == pytest.approx(0.76, abs=0.06)
    assert (silence.divergence, silence.drifted) == (0, False)
    assert facts.drifted == ["rms_db/vocals"]
    assert facts.words.startswith("span 17 is unlike span 10 in rms_db/vocals: the divergence of rms_db/vocals is 0.")
    told = json.loads(drift.to_json(facts))
    assert told["drifted"] == ["rms_db/vocals"]
    assert told["features"][0]["divergence"] == level.divergence


def test_alike_spans_and_few_values_are_no_drift() -> None:
    alike = drift.describe([*span(1, -20), *span(2, -20)], DriftLimits())
    assert alike.drifted == []
    assert 0 < alike.features[0].divergence < 0.1
    few = drift.describe([*span(1, -20), *span(2, 0, segments=1)], DriftLimits())
    assert few.features == ()
    assert few.unknown == "one of the last two spans has 20 segments, fewer than 30 (gate.drift.min_values)"
    assert drift.describe(span(1, -20), DriftLimits()).unknown == "there is one span only (data.spans)"


@pytest.mark.parametrize("limits", ["divergence: 0", "divergence: 1.5", "min_values: 0"])
def test_limits_that_are_none_are_refused(limits: str) -> None:
    with pytest.raises(ConfigError, match=r"gate\.drift\."):
        load("demo", [f"gate.drift={{{limits}}}"])
