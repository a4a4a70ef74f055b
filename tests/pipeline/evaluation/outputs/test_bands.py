"""Energy by third octaves: of noise, tones and filters whose energies are known."""

import math

import numpy as np
import pytest
import scipy.signal

from pipeline.evaluation.outputs import bands

RATE_HZ = 16000
NOISE = 0.1 * np.random.default_rng(0).standard_normal((4 * RATE_HZ, 2))
REST = 0.1 * np.random.default_rng(1).standard_normal(NOISE.shape)


def measured(estimate: np.ndarray, reference: np.ndarray = NOISE, rate_hz: int = RATE_HZ, delay: int = 0):
    return bands.measure(reference, estimate, reference + REST[: len(reference)], rate_hz, delay)


def test_white_noise_has_its_energy_by_the_width_of_the_bands() -> None:
    found = measured(NOISE)
    for each in found[5:]:
        share = (each.high_hz - each.low_hz) / (RATE_HZ / 2)
        assert each.reference == pytest.approx(0.1**2 * share, rel=0.15)
        assert each.octaves == pytest.approx(math.log2(10) / 10)


def test_bands_are_those_of_iec_61260() -> None:
    edges = [each.high_hz for each in measured(NOISE)]
    assert pytest.approx(min(edges, key=lambda hz: abs(hz - 1122)), abs=0.5) == 1122
    assert edges[-1] == pytest.approx(7079, abs=1)  # the next one does not end below the highest frequency


def test_a_tone_is_in_its_band_with_its_energy() -> None:
    tone = 0.5 * np.sin(2 * np.pi * 1000 * np.arange(len(NOISE)) / RATE_HZ)[:, np.newaxis]
    [found] = bands.measure(tone, tone, tone, RATE_HZ)
    assert found.low_hz < 1000 < found.high_hz
    assert found.reference == pytest.approx(0.5**2 / 2, rel=0.01)


@pytest.mark.parametrize("gain_db", [-60.0, -12.0, 3.0])
def test_a_gain_is_an_error_in_every_band(gain_db: float) -> None:
    for each in measured(10 ** (gain_db / 20) * NOISE):
        assert each.level_db == pytest.approx(gain_db)
        assert each.level_error_db == pytest.approx(gain_db, abs=0.01)


def test_a_filter_is_measured_as_it_is_whatever_its_phase() -> None:
    sections = scipy.signal.butter(4, 2000, fs=RATE_HZ, output="sos")
    for each in measured(scipy.signal.sosfilt(sections, NOISE, axis=0))[5:]:
        frequencies = np.linspace(each.low_hz, each.high_hz, 50)
        response = np.abs(scipy.signal.sosfreqz(sections, frequencies, fs=RATE_HZ)[1])
        assert each.level_db == pytest.approx(10 * math.log10(np.mean(response**2)), abs=0.6)
        assert each.level_error_db == pytest.approx(each.level_db, rel=0.08, abs=0.5)


def test_what_leaks_and_what_is_shrunk_is_no_error_of_level() -> None:
    for estimate in (NOISE + 2 * REST, 0.2 * (NOISE + 2 * REST)):
        for each in measured(estimate)[8:]:
            assert each.level_error_db == pytest.approx(0, abs=0.7)


def test_a_band_of_nothing_but_a_trace_of_noise_was_cut_out() -> None:
    for each in measured(1e-3 * REST):
        assert each.level_error_db < -10


def test_a_mask_invents_nothing_and_noise_does() -> None:
    other = 0.1 * np.random.default_rng(2).standard_normal(NOISE.shape)
    assert max(each.invented_db for each in measured(0.8 * (NOISE + REST))) == -100
    for each in measured(other)[8:]:
        assert each.invented_db == pytest.approx(0, abs=3)


def test_a_delay_is_set_right() -> None:
    late = np.roll(NOISE, 50, axis=0)
    assert max(abs(each.level_error_db) for each in measured(late, delay=50)) < 0.01


def test_bands_without_a_reference_are_left_out() -> None:
    sections = scipy.signal.butter(10, 1000, fs=RATE_HZ, output="sos")
    reference = scipy.signal.sosfiltfilt(sections, NOISE, axis=0)
    assert measured(NOISE, reference)[-1].high_hz < 2000
    assert measured(NOISE, 0 * NOISE) == ()
    assert measured(NOISE, 1e-5 * NOISE) == ()


@pytest.mark.parametrize("rate_hz", [8000, 22050, 44100, 48000])
@pytest.mark.parametrize("samples", [1, 1000, 20001])
def test_any_rate_and_length_is_measured(rate_hz: int, samples: int) -> None:
    for each in measured(0.5 * NOISE[:samples], NOISE[:samples], rate_hz):
        assert each.high_hz < rate_hz / 2
        assert each.level_error_db == pytest.approx(-6.02, abs=0.01)
