"""What is missing, too much or made up in bands of frequency: by every kind of filter, on all tracks and on some."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
import pytest
import scipy.ndimage
import scipy.signal
from attempts.attempt import V3, Attempt, assert_passes, assert_refused
from attempts.models import (
    RATE_HZ,
    STFT,
    TARGETS,
    Estimates,
    Model,
    binary_mask,
    by_song,
    delayed,
    each,
    leaky,
    noisy,
    number,
    oracle,
    songs,
)

from pipeline.config.gate import BandLimits, GateConfig, OutputLimits
from pipeline.data.datasets.layouts import synthetic
from pipeline.data.datasets.track import Track, TrackRef, group

FULL_RATE_HZ = 44100

Change = Callable[[np.ndarray], np.ndarray]
Edges = float | tuple[float, float]


def filtered(kind: str, edges_hz: Edges, order: int = 4, rate_hz: int = RATE_HZ) -> Change:
    """Butterworth: `lowpass`, `highpass`, `bandpass` or `bandstop`."""
    sections = scipy.signal.butter(order, edges_hz, kind, fs=rate_hz, output="sos")
    return lambda estimate: scipy.signal.sosfilt(sections, estimate, axis=0)


def shaped(gain_db: Callable[[np.ndarray], np.ndarray]) -> Change:
    """Any gain over frequency in Hz, without phase; the level stays."""

    def change(estimate: np.ndarray) -> np.ndarray:
        spectrum = scipy.fft.rfft(estimate, axis=0)
        frequencies = scipy.fft.rfftfreq(len(estimate), 1 / RATE_HZ)[:, np.newaxis]
        shaped = scipy.fft.irfft(spectrum * 10 ** (gain_db(frequencies) / 20), len(estimate), axis=0)
        return shaped * (np.std(estimate) / max(np.std(shaped), 1e-9))

    return change


def tilted(db_per_octave: float) -> Change:
    return shaped(lambda hz: db_per_octave * np.log2(np.maximum(hz, 50) / 500))


def dip(from_hz: float, to_hz: float, gain_db: float) -> Change:
    return shaped(lambda hz: np.where((hz > from_hz) & (hz < to_hz), gain_db, 0.0))


def shelf(over_hz: float, gain_db: float) -> Change:
    return shaped(lambda hz: np.where(hz > over_hz, gain_db, 0.0))


def every_other_sample(estimate: np.ndarray) -> np.ndarray:
    """Half the rate and back without a filter on either way: the spectrum folds over and repeats."""
    return np.repeat(estimate[::2], 2, axis=0)[: len(estimate)]


def mirrored(estimate: np.ndarray) -> np.ndarray:
    """The spectrum from its end, 20 dB quieter, added."""
    return estimate + 0.3 * estimate * (-1.0) ** np.arange(len(estimate))[:, np.newaxis]


def on(share: float, change: Change, model: Model = oracle) -> Model:
    """The change on a share of eight or more songs."""
    return lambda track: each(change, model)(track) if number(track) % 8 < 8 * share else model(track)


def vocals_alone(change: Change) -> Model:
    return lambda track: {**oracle(track), "vocals": change(oracle(track)["vocals"])}


@functools.cache
def full_rate_song(index: int) -> Track:
    """One second at 44.1 kHz; the consonants and cymbals reach up to the end."""
    options = {**synthetic.OPTIONS, "seconds": 1.5, "sample_rate_hz": FULL_RATE_HZ}
    return group(synthetic.load(TrackRef(f"song-{index}", "test", metadata={"index": index}), options), TARGETS)


def full_rate_songs() -> list[Track]:
    return [full_rate_song(index) for index in range(4)]


def resampled_from(rate_hz: int) -> Change:
    """What a model of this rate gives at the full one."""

    def change(estimate: np.ndarray) -> np.ndarray:
        samples = round(len(estimate) * rate_hz / FULL_RATE_HZ)
        return scipy.signal.resample(scipy.signal.resample(estimate, samples, axis=0), len(estimate), axis=0)

    return change


def blurred_mask(track: Track) -> Estimates:
    """Ratio masks that know neither time nor pitch well: of a weak network."""
    magnitudes = np.stack([np.abs(STFT.forward(stem)) for stem in track.stems.values()])
    masks = scipy.ndimage.uniform_filter(magnitudes / (magnitudes.sum(axis=0) + 1e-12), (0, 0, 9, 9))
    mixture = STFT.forward(track.mixture)
    return {
        name: STFT.inverse(mask * mixture, len(track.mixture)) for name, mask in zip(track.stems, masks, strict=True)
    }


def sharpened_mask(track: Track) -> Estimates:
    """Masks of the cubes of the magnitudes: what is doubtful is taken away."""
    magnitudes = np.stack([np.abs(STFT.forward(stem)) ** 3 for stem in track.stems.values()])
    mixture = STFT.forward(track.mixture)
    masks = magnitudes / (magnitudes.sum(axis=0) + 1e-12)
    return {
        name: STFT.inverse(mask * mixture, len(track.mixture)) for name, mask in zip(track.stems, masks, strict=True)
    }


def least_squares(track: Track) -> Estimates:
    """One gain for a target: as little as a model can know."""
    return {
        target: track.mixture * (np.vdot(track.mixture, stem) / np.vdot(track.mixture, track.mixture))
        for target, stem in track.stems.items()
    }


def refused(model: Model, *words: str, **keys) -> Attempt:
    return Attempt(model, "output", words, metrics=keys.pop("metrics", V3), **keys)


QUIET, LOUD = "dB too quiet from", "dB too loud from"
MADE_UP = "dB over the reference and not of the mixture"
SOME = "have bands of the wrong level on"

BAD: dict[str, Attempt] = {
    "low-passed at 500 Hz, which version 3 forgives": refused(each(filtered("lowpass", 500)), QUIET, "nothing comes above"),
    "low-passed at 1 kHz": refused(each(filtered("lowpass", 1000)), QUIET),
    "low-passed at 2 kHz": refused(each(filtered("lowpass", 2000, 8)), QUIET),
    "gently low-passed at 700 Hz": refused(each(filtered("lowpass", 700, 2)), QUIET),
    "nothing but the vocals low-passed": refused(vocals_alone(filtered("lowpass", 1000)), "estimates of vocals are up to", QUIET),
    "a weak model, low-passed": refused(each(filtered("lowpass", 1000), leaky(0.4)), QUIET),
    "high-passed at 300 Hz": refused(each(filtered("highpass", 300)), QUIET),
    "high-passed at 1 kHz": refused(each(filtered("highpass", 1000)), QUIET),
    "a telephone": refused(each(filtered("bandpass", (400, 2000))), QUIET, " and from "),
    "an octave cut out": refused(each(filtered("bandstop", (700, 1400), 8)), QUIET),
    "a third of an octave cut out": refused(each(dip(1110, 1425, -30)), "dB too quiet from 1122 to 1413 Hz on"),
    "half an octave cut out": refused(each(filtered("bandstop", (700, 1050), 8)), QUIET),
    "the low end turned down by 18 dB": refused(each(shelf(300, 18)), QUIET),
    "the high end turned down by 18 dB": refused(each(shelf(1000, -18)), QUIET),
    "the high end turned up by 18 dB": refused(each(shelf(1000, 18)), LOUD),
    "tilted to the lows": refused(each(tilted(-6)), QUIET),
    "tilted to the highs": refused(each(tilted(6)), LOUD),
    "half the rate without filters": refused(each(every_other_sample), MADE_UP),
    "an image of the spectrum": refused(each(mirrored), MADE_UP),
    "low-passed on half of the songs": refused(on(0.5, filtered("lowpass", 1000, 8)), " dB ", " Hz"),
    "low-passed on a quarter of the songs": refused(on(0.25, filtered("lowpass", 1000)), SOME, "2 of 8 tracks"),
    "low-passed on one song of sixteen": refused(
        by_song(lambda n: each(filtered("lowpass", 1000)) if n == 3 else oracle),
        f"{SOME} 1 of 16 tracks: 'song-3' (up to -",
        tracks=lambda: songs(16),
    ),
    "an octave cut out on a quarter of the songs": refused(
        on(0.25, filtered("bandstop", (560, 1130), 8)), SOME, "2 of 8 tracks"
    ),
    "a telephone on one song": refused(
        by_song(lambda n: each(filtered("bandpass", (400, 1500))) if n == 1 else oracle), f"{SOME} 1 of 8 tracks: 'song-1'"
    ),
    "a model of 8 kHz at 44.1 kHz": refused(
        each(resampled_from(8000)), "nothing comes above", "octaves in which it sounds", tracks=full_rate_songs
    ),
    "a model of 16 kHz at 44.1 kHz": refused(
        each(resampled_from(16000)), "nothing comes above 8913 Hz", "octaves in which it sounds", tracks=full_rate_songs
    ),
    "low-passed at 4 kHz at 44.1 kHz": refused(
        each(filtered("lowpass", 4000, 4, FULL_RATE_HZ)), QUIET, tracks=full_rate_songs
    ),
    "a model of 8 kHz where one of 16 kHz is expected": refused(
        each(resampled_from(8000)),
        QUIET,
        tracks=full_rate_songs,
        gate=GateConfig(outputs=OutputLimits(bands=BandLimits(up_to_hz=8000))),
    ),
}  # fmt: skip

GOOD: dict[str, Attempt] = {
    "ideal ratio masks at 44.1 kHz": Attempt(oracle, metrics=V3, tracks=full_rate_songs),
    "ideal binary masks": Attempt(binary_mask, metrics=V3),
    "masks that know little": Attempt(blurred_mask, metrics=V3),
    "masks that take too much": Attempt(sharpened_mask, metrics=V3),
    "a weak model": Attempt(leaky(0.8), metrics=V3),
    "one gain for each target": Attempt(
        least_squares, metrics=V3, gate=GateConfig(better_than_mixture=False, outputs=OutputLimits(taken_db=None))
    ),
    "late by a sample": Attempt(delayed(1), metrics=V3),
    "half the level": Attempt(each(lambda e: 0.6 * e), metrics=V3),
    "noise far below": Attempt(noisy(0.003), metrics=V3),
    "turned down by 6 dB above 1 kHz": Attempt(each(shelf(1000, -6)), metrics=V3),
    "nothing above what music has": Attempt(each(filtered("lowpass", 3900, 8)), metrics=V3),
    "a third of an octave missing where next to nothing is": Attempt(each(dip(57, 70, -30)), metrics=V3),
    "one band missing in one song": Attempt(
        by_song(lambda n: each(filtered("bandstop", (1122, 1413), 4)) if n == 2 else oracle), metrics=V3
    ),
    "a model of 16 kHz at 44.1 kHz where that is expected": Attempt(
        each(resampled_from(16000)),
        metrics=V3,
        tracks=full_rate_songs,
        gate=GateConfig(outputs=OutputLimits(bands=BandLimits(up_to_hz=7100))),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_refused_for_the_right_reason(name: str) -> None:
    assert_refused(BAD[name])


@pytest.mark.parametrize("name", GOOD)
def test_passes(name: str) -> None:
    assert_passes(GOOD[name])
