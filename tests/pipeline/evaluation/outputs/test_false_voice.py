"""What sounds where the reference is silent: its energy is measured, and where it begins and ends."""

import math

import numpy as np
import pytest

from pipeline.evaluation.outputs import false_voice
from pipeline.evaluation.outputs.false_voice import FalseVoice

RATE_HZ = 8000
SILENT = slice(2 * RATE_HZ, 5 * RATE_HZ)
TIME = np.arange(8 * RATE_HZ)[:, np.newaxis] / RATE_HZ
REST = 0.2 * np.sin(2 * np.pi * 300 * TIME)


def voice(amplitude: float = 0.5) -> np.ndarray:
    reference = amplitude * np.sin(2 * np.pi * 1000 * TIME)
    reference[SILENT] = 0
    return reference


def measured(estimate: np.ndarray, reference: np.ndarray | None = None) -> FalseVoice:
    reference = voice() if reference is None else reference
    return false_voice.measure(reference, estimate, reference + REST, RATE_HZ)


@pytest.mark.parametrize("gain", [1.0, 0.3, 1e-3])
def test_predicted_energy_at_silence_is_that_of_the_tone_that_is_there(gain: float) -> None:
    """A sine of amplitude a has a mean square of a^2 / 2."""
    found = measured(voice() + gain * REST)
    assert found.pes_db == pytest.approx(10 * math.log10((0.2 * gain) ** 2 / 2), abs=0.01)
    assert found.over_mixture_db == pytest.approx(20 * math.log10(gain), abs=0.01)
    assert found.own_db == pytest.approx(10 * math.log10(0.5**2 / 2), abs=0.1)


def test_silence_has_the_lowest_energy_that_the_literature_gives() -> None:
    found = measured(voice())
    assert found.pes_db == -80
    assert {each.level_db for each in found.stretches} == {-math.inf}


def test_stretches_cover_the_silence_but_for_its_edges() -> None:
    found = measured(voice() + REST)
    assert found.seconds == pytest.approx(3 - 2 * 0.1, abs=0.02)
    assert found.stretches[0].start_seconds == pytest.approx(2.1, abs=0.01)
    assert len(found.stretches) == 3
    starts = [each.start_seconds for each in found.stretches[1:]]
    assert starts == pytest.approx([each.start_seconds + each.seconds for each in found.stretches[:-1]])


def test_a_short_pause_counts_in_no_stretch() -> None:
    reference = 0.5 * np.sin(2 * np.pi * 1000 * TIME)
    reference[RATE_HZ : RATE_HZ + RATE_HZ // 4] = 0
    assert measured(REST, reference).stretches == ()


@pytest.mark.parametrize("level", [0.0, 2**-15, 2**-14])
def test_dither_is_silence_and_a_target_that_never_sounds_has_no_level(level: float) -> None:
    dither = level * np.random.default_rng(0).uniform(-1, 1, TIME.shape)
    found = measured(REST, dither)
    assert found.seconds == 8
    assert math.isnan(found.own_db)
    assert math.isnan(found.leakage_db)
    assert found.over_mixture_db == pytest.approx(0, abs=0.01)


def test_a_faint_voice_is_a_voice() -> None:
    assert measured(REST, voice(0.002)).own_db == pytest.approx(10 * math.log10(0.002**2 / 2), abs=0.1)


def test_leakage_is_what_is_left_of_the_others_where_both_sound() -> None:
    quiet = voice(0.1)
    assert measured(quiet + 0.25 * REST, quiet).leakage_db == pytest.approx(20 * math.log10(0.25), abs=0.1)
    assert math.isnan(measured(voice() + 0.25 * REST).leakage_db)  # the voice is louder throughout


def test_a_share_of_the_mixture_is_not_invented_and_another_sound_is() -> None:
    assert {each.invented_db for each in measured(voice() + 0.7 * REST).stretches} == {-math.inf}
    late = np.roll(0.7 * REST, 5, axis=0)
    assert max(each.invented_db for each in measured(voice() + late).stretches) < -60
    other = 0.1 * np.sin(2 * np.pi * 700 * TIME)
    for each in measured(voice() + other).stretches:
        assert each.invented_db == pytest.approx(10 * math.log10(0.1**2 / 2), abs=0.1)


def test_where_everything_is_silent_anything_is_over_the_mixture() -> None:
    found = false_voice.measure(voice(), voice() + 1e-3 * REST, voice(), RATE_HZ)
    assert found.over_mixture_db == math.inf
    assert false_voice.measure(voice(), voice(), voice(), RATE_HZ).over_mixture_db == -math.inf


@pytest.mark.parametrize("samples", [1, 10, 399, 401, 4000])
def test_short_signals_are_measured_or_have_no_stretch(samples: int) -> None:
    silent, mixture = np.zeros((samples, 2)), 0.1 * np.ones((samples, 2))
    found = false_voice.measure(silent, mixture, mixture, RATE_HZ)
    assert found.seconds == pytest.approx(samples / RATE_HZ if samples == 4000 else 0)
