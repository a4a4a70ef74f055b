"""Pedalboard's effects as augmentations: lengths and places kept, levels bounded, the same under a seed."""

from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Callable

import numpy as np
import pytest

from models.spec import ModelSpec
from pipeline.config import augment as options
from pipeline.config.train import TrainSpec
from pipeline.data import batches, effects
from pipeline.data.excerpts import Tracks

RATE_HZ = 16000
Effect = Callable[[np.ndarray, np.random.Generator], np.ndarray]
EFFECTS: dict[str, Effect] = {
    "equaliser": lambda signal, rng: effects.equalised(signal, RATE_HZ, options.Equaliser(), rng),
    "reverb": lambda signal, rng: effects.reverberated(signal, RATE_HZ, options.Reverb(), rng),
    "pitch_shift": lambda signal, rng: effects.pitch_shifted(signal, RATE_HZ, 2.0),
    "mp3": lambda signal, rng: effects.as_mp3(signal, RATE_HZ, 7.0),
}


def tones(samples: int, channels: int) -> np.ndarray:
    """Two decaying tones of 440 and 1200 Hz, struck four times a second; other levels in every channel."""
    seconds = np.arange(samples) / RATE_HZ
    struck = np.exp(-8 * (seconds % 0.25)) * (np.sin(2 * np.pi * 440 * seconds) + np.sin(2 * np.pi * 1200 * seconds))
    return (0.1 * struck[:, None] / np.arange(1, channels + 1)).astype(np.float32)


def rms_db(signal: np.ndarray) -> float:
    return 10 * np.log10(np.mean(np.square(signal.astype(np.float64))))


@pytest.mark.parametrize("name", EFFECTS)
@pytest.mark.parametrize(("samples", "channels"), [(RATE_HZ, 1), (25_601, 2), (9000, 3), (40, 1)])
def test_lengths_channels_and_levels_are_kept_and_a_seed_decides(name: str, samples: int, channels: int) -> None:
    signal = tones(samples, channels)
    before = signal.copy()
    once, again = (EFFECTS[name](signal, np.random.default_rng(3)) for _ in range(2))
    assert (once.shape, once.dtype) == (signal.shape, np.float32)
    np.testing.assert_array_equal(once, again)
    np.testing.assert_array_equal(signal, before)
    assert np.all(np.isfinite(once))
    if samples > 1000:
        assert not np.array_equal(once, signal)
        assert rms_db(once) == pytest.approx(rms_db(signal), abs=1e-3 if name in ("equaliser", "reverb") else 1.5)


@pytest.mark.parametrize("name", EFFECTS)
def test_silence_stays_silent(name: str) -> None:
    assert np.abs(EFFECTS[name](np.zeros([8000, 2], np.float32), np.random.default_rng(0))).max() < 1e-4


@pytest.mark.parametrize("name", EFFECTS)
def test_nothing_moves_in_time(name: str) -> None:
    """The envelopes of before and after fit best within 10 ms of each other."""
    signal = tones(2 * RATE_HZ, 1)
    after = EFFECTS[name](signal, np.random.default_rng(1))
    block = RATE_HZ // 200
    first, second = (np.sqrt(np.square(each[:, 0]).reshape(-1, block).mean(axis=1)) for each in (signal, after))
    fits = [np.corrcoef(first[20:-20], np.roll(second, -lag)[20:-20])[0, 1] for lag in range(-20, 21)]
    assert abs(int(np.argmax(fits)) - 20) <= 2


@pytest.mark.parametrize("semitones", [-2.0, 1.0, 12.0])
def test_pitch_moves_by_semitones_and_length_does_not(semitones: float) -> None:
    tone = np.sin(2 * np.pi * 500 * np.arange(2 * RATE_HZ) / RATE_HZ)[:, None].astype(np.float32)
    shifted = effects.pitch_shifted(tone, RATE_HZ, semitones)[:, 0]
    found_hz = np.argmax(np.abs(np.fft.rfft(shifted * np.hanning(len(shifted))))) / 2
    assert found_hz == pytest.approx(500 * 2 ** (semitones / 12), rel=0.01)


@pytest.mark.parametrize("rate_hz", options.MP3_RATES_HZ)
def test_every_rate_that_is_called_legal_goes_through_mp3(rate_hz: int) -> None:
    assert rms_db(effects.as_mp3(tones(rate_hz, 1), rate_hz, 2.0)) == pytest.approx(rms_db(tones(rate_hz, 1)), abs=1.5)


def test_an_equaliser_of_the_first_target_leaves_the_others(small_records) -> None:
    model = ModelSpec(frame_length=256, hop=128, sample_rate_hz=8000)
    plain = TrainSpec(batch=4, segment_frames=20)
    given = {"equaliser": {"probability": 1.0, "first_only": True}}
    train = dataclasses.replace(plain, augment=("equaliser",), augment_options=given)
    tracks = Tracks(small_records["train"], model, plain)
    before, after = (next(iter(batches.training_batches(tracks, spec))).numpy() for spec in (plain, train))
    np.testing.assert_array_equal(before[..., 1], after[..., 1])
    assert all(not np.array_equal(ours, theirs) for ours, theirs in zip(before[..., 0], after[..., 0], strict=True))


def test_a_package_that_is_missing_is_asked_for_in_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    effects.require(["remix", "speed"])
    with pytest.raises(
        ValueError, match=r"names 'reverb', which needs the package pedalboard .* 'stemline\[augment\]'$"
    ):
        effects.require(["remix", "reverb"])
