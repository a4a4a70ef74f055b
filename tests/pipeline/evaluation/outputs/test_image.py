"""The stereo image: each fact is as large as the fault was made, and there is none where there is no such part."""

import math

import numpy as np
import pytest
import scipy.signal

from pipeline.evaluation.outputs import image

RATE_HZ = 8000
_GENERATOR = np.random.default_rng(2)
MIDDLE, SIDE = 0.1 * _GENERATOR.standard_normal((2, 4 * RATE_HZ))
REFERENCE = np.stack([MIDDLE + 0.5 * SIDE, MIDDLE - 0.5 * SIDE], axis=1)
NOISE = 0.05 * _GENERATOR.standard_normal(REFERENCE.shape)


def measured(estimate: np.ndarray, reference: np.ndarray = REFERENCE) -> image.ImageFacts:
    return image.measure(reference, estimate, RATE_HZ)


def test_the_reference_and_a_noisy_estimate_have_no_fault() -> None:
    for estimate in (REFERENCE, REFERENCE + NOISE):
        facts = measured(estimate)
        assert facts.balance_db == pytest.approx(0, abs=0.1)
        assert facts.width_db == pytest.approx(0, abs=0.1)
        assert facts.side_correlation > 0.8
        assert facts.tilt_db == pytest.approx(0, abs=0.3)


@pytest.mark.parametrize("decibels", [-30.0, -6.0, 2.0, 12.0])
def test_balance_and_width_are_as_they_were_shifted(decibels: float) -> None:
    gain = 10 ** (decibels / 20)
    assert measured(REFERENCE * [gain, 1]).balance_db == pytest.approx(decibels, abs=1e-3)
    widened = np.stack([MIDDLE + 0.5 * gain * SIDE, MIDDLE - 0.5 * gain * SIDE], axis=1)
    assert measured(widened).width_db == pytest.approx(decibels, abs=1e-3)
    assert measured(widened).balance_db == pytest.approx(0, abs=1)


def test_a_dead_channel_mono_and_swapped_channels() -> None:
    assert measured(REFERENCE * [1, 0]).balance_db == math.inf
    assert measured(REFERENCE * [0, 1]).balance_db == -math.inf
    mono = np.stack([MIDDLE, MIDDLE], axis=1)
    assert measured(mono).width_db == -math.inf
    assert math.isnan(measured(mono).side_correlation)
    assert measured(REFERENCE[:, ::-1]).side_correlation == pytest.approx(-1)


def test_a_muffled_channel_tilts_the_highest_octave() -> None:
    low_pass = scipy.signal.butter(6, 1000, fs=RATE_HZ, output="sos")
    muffled = np.stack([scipy.signal.sosfiltfilt(low_pass, REFERENCE[:, 0]), REFERENCE[:, 1]], axis=1)
    assert measured(muffled).tilt_db < -20
    assert measured(muffled[:, ::-1]).tilt_db != pytest.approx(0, abs=3)


def test_what_the_reference_does_not_have_is_not_a_number() -> None:
    mono, panned = np.repeat(REFERENCE[:, :1], 2, axis=1), REFERENCE * [1, 0]
    assert math.isnan(measured(mono + NOISE, mono).width_db)
    assert math.isnan(measured(mono + NOISE, mono).side_correlation)
    assert math.isnan(measured(panned + NOISE, panned).balance_db)
    for channels in (1, 3):
        several = np.repeat(REFERENCE[:, :1], channels, axis=1)
        assert measured(several, several) == image.ImageFacts() or math.isnan(measured(several, several).balance_db)
    for blank in (0 * REFERENCE, REFERENCE[:1], REFERENCE[:100]):
        measured(blank, blank)
