"""Artefacts are measured as large as they were made, and a mask's errors are none."""

import math

import numpy as np
import pytest

from pipeline.evaluation.outputs import artefacts
from pipeline.evaluation.outputs.artefacts import Artefacts

RATE_HZ = 8000
_GENERATOR = np.random.default_rng(6)
TIME = np.arange(4 * RATE_HZ)[:, np.newaxis] / RATE_HZ
REFERENCE = 0.1 * _GENERATOR.standard_normal((len(TIME), 1))
OTHER = 0.1 * _GENERATOR.standard_normal((len(TIME), 1))
MIXTURE = REFERENCE + OTHER


def measured(
    estimate: np.ndarray,
    mixture: np.ndarray = MIXTURE,
    reference: np.ndarray = REFERENCE,
    unclaimed: np.ndarray | None = None,
) -> Artefacts:
    given = np.zeros_like(mixture) if unclaimed is None else unclaimed
    return artefacts.measure(reference, estimate, mixture, given, RATE_HZ)


def quieter(decibels: float, seconds: float) -> np.ndarray:
    """The reference, so much quieter for so long, every other second."""
    return np.where(seconds > (TIME - 0.6) % 2, 10 ** (decibels / 20), 1.0) * REFERENCE


@pytest.mark.parametrize("leak", [0.0, 0.3, 1.0])
def test_leakage_is_no_artefact(leak: float) -> None:
    facts = measured(REFERENCE + leak * OTHER)
    assert facts.unevenness_db < 0.3
    assert facts.clicks_per_minute == 0
    assert facts.foreign_db == -math.inf
    assert facts.resolution_db == math.inf


@pytest.mark.parametrize("decibels", [3.0, 6.0])
def test_a_level_that_jumps_up_and_down_deviates_by_the_jump(decibels: float) -> None:
    """Half of the time +d and half -d deviate by d; the correlation of the whole with the reference is known, too."""
    gain = 10 ** (decibels / 20 * np.where(TIME // 0.5 % 2, 1, -1))
    correlation = np.mean(gain) / np.sqrt(np.mean(gain**2))
    expected = decibels + 20 * math.log10(correlation)
    assert measured(gain * REFERENCE).unevenness_db == pytest.approx(expected, abs=0.1)


@pytest.mark.parametrize("seconds", [0.15, 0.3, 0.6])
@pytest.mark.parametrize("decibels", [-15.0, -30.0, -50.0])
def test_notes_that_another_target_has_are_lost_and_not_uneven(seconds: float, decibels: float) -> None:
    facts = measured(quieter(decibels, seconds))
    assert facts.lost_share == pytest.approx(seconds / 2, abs=0.02)
    assert facts.kept_unevenness_db < 1 < 3 < facts.unevenness_db


@pytest.mark.parametrize(("decibels", "seconds"), [(-8.0, 0.3), (-30.0, 0.08), (-300.0, 0.3)])
def test_what_is_softer_or_shorter_or_gone_altogether_is_no_lost_note(decibels: float, seconds: float) -> None:
    facts = measured(quieter(decibels, seconds))
    assert facts.lost_share == 0
    assert facts.kept_unevenness_db == facts.unevenness_db > 2


def test_what_no_target_has_is_no_lost_note() -> None:
    estimate = quieter(-30.0, 0.3)
    facts = measured(estimate, unclaimed=REFERENCE - estimate)
    assert facts.lost_share == 0
    assert facts.kept_unevenness_db == facts.unevenness_db > 4.5


def test_clicks_are_counted_where_nothing_else_clicks() -> None:
    clicking = REFERENCE.copy()
    places = round(0.5 * RATE_HZ) + np.arange(6) * RATE_HZ // 2
    clicking[places] += 2.5
    assert measured(clicking).clicks_per_minute == 6 * 60 / 4
    assert measured(clicking, MIXTURE + clicking - REFERENCE).clicks_per_minute == 0
    assert measured(clicking, MIXTURE, clicking).clicks_per_minute == 0
    assert measured(np.tile(clicking, 2), np.tile(MIXTURE, 2), np.tile(REFERENCE, 2)).clicks_per_minute == 90


def test_the_clicks_of_the_worst_channel_count() -> None:
    stereo = [np.tile(each, 2) for each in (REFERENCE, MIXTURE)]
    clicking = stereo[0].copy()
    clicking[[8000, 20000], 1] = 2.5
    assert measured(clicking, stereo[1], stereo[0]).clicks_per_minute == 2 * 60 / 4


def test_a_tone_that_the_mixture_lacks_is_foreign_by_its_energy() -> None:
    """Of a mixture without energy above 2 kHz, a tone at 3 kHz is foreign as a whole."""
    spectrum = np.fft.rfft(np.concatenate([REFERENCE, OTHER], axis=1), axis=0)
    spectrum[np.fft.rfftfreq(len(TIME), 1 / RATE_HZ) > 2000] = 0
    reference, other = np.split(np.fft.irfft(spectrum, axis=0), 2, axis=1)
    tone = 0.01 * np.sin(2 * np.pi * 3000 * TIME)
    expected = 10 * math.log10(np.mean(tone**2) / np.mean(reference**2))
    facts = measured(reference + tone, reference + other, reference)
    assert facts.foreign_db == pytest.approx(expected, abs=0.5)
    assert measured(reference + tone, reference + other + tone, reference).foreign_db < -60


@pytest.mark.parametrize("bits", [4, 6, 8, 10])
def test_the_resolution_is_the_signal_to_noise_ratio_of_the_quantiser(bits: int) -> None:
    """Bennett 1948: the noise of a step d is d^2 / 12."""
    step = 2.0 ** (1 - bits)
    quantised = step * np.round(REFERENCE / step)
    expected = 10 * math.log10(np.mean(quantised**2) / (step**2 / 12))
    assert measured(quantised).resolution_db == pytest.approx(expected, abs=0.1)
    assert measured(quantised, step * np.round(MIXTURE / step), quantised).resolution_db == math.inf
    sixteen = np.round(REFERENCE * 2**15) / 2**15
    assert measured(sixteen).resolution_db == math.inf


@pytest.mark.parametrize("samples", [1, 2, 50, 400])
def test_blips_have_no_artefacts(samples: int) -> None:
    cut = slice(0, samples)
    facts = measured(MIXTURE[cut], MIXTURE[cut], REFERENCE[cut])
    assert facts.clicks_per_minute == 0
    assert not facts.foreign_db > -60
    assert math.isnan(facts.unevenness_db) or facts.unevenness_db < 2
