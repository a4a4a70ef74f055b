"""Stretches: the worst of them is told, with its place, and quiet ones and errors of separation do not count."""

import math

import numpy as np
import pytest

from pipeline.evaluation.outputs import stretches
from pipeline.evaluation.outputs.stretches import Extreme, StretchFacts

RATE_HZ = 4000
REFERENCE = 0.1 * np.random.default_rng(3).standard_normal((12 * RATE_HZ, 2))
SECOND = slice(7 * RATE_HZ, 8 * RATE_HZ)


def measured(estimate: np.ndarray, reference: np.ndarray = REFERENCE) -> StretchFacts:
    return stretches.measure(reference, estimate, RATE_HZ)


def changed(gain: float, channel: int) -> np.ndarray:
    estimate = REFERENCE.copy()
    estimate[SECOND, channel] *= gain
    return estimate


@pytest.mark.parametrize("channel", [0, 1])
def test_a_second_of_a_channel_is_found(channel: int) -> None:
    inverted = measured(changed(-1.0, channel)).correlation
    assert inverted.value == pytest.approx(-1)
    assert inverted.at_seconds == 7
    assert measured(changed(0.0, channel)).quiet_db == Extreme(-math.inf, 7.0)
    loud = measured(changed(4.0, channel)).loud_db
    assert loud.value == pytest.approx(20 * math.log10(4))
    assert loud.at_seconds == 7


@pytest.mark.parametrize("samples", [-900, -9, 9, 900])
def test_a_late_stretch_of_a_channel_is_found(samples: int) -> None:
    estimate = REFERENCE.copy()
    estimate[6 * RATE_HZ : 9 * RATE_HZ, 1] = np.roll(estimate[6 * RATE_HZ : 9 * RATE_HZ, 1], samples)
    assert measured(estimate).delay_samples == Extreme(samples, 6.0)


def test_a_sound_estimate_has_no_extreme() -> None:
    noise = 0.05 * np.random.default_rng(4).standard_normal(REFERENCE.shape)
    facts = measured(REFERENCE + noise)
    assert facts.correlation.value > 0.8
    assert facts.delay_samples.value == 0
    assert facts.loud_db.value == pytest.approx(0, abs=0.3)
    assert facts.quiet_db.value == pytest.approx(0, abs=0.3)


def test_quiet_stretches_and_silent_references_do_not_count() -> None:
    quiet = REFERENCE.copy()
    quiet[SECOND] *= 0.05
    estimate = quiet.copy()
    estimate[SECOND] *= -1
    assert measured(estimate, quiet).correlation.value == pytest.approx(1)
    facts = measured(REFERENCE, 0 * REFERENCE)
    assert math.isnan(facts.correlation.value)
    assert math.isnan(facts.delay_samples.value)
