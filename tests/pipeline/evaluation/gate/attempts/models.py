"""Songs and the "models" of the attempts: functions from a rendered song to its estimates."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping

import numpy as np
import scipy.signal

from models.spec import ModelSpec
from pipeline.data.datasets.layouts import synthetic
from pipeline.data.datasets.track import Track, TrackRef, group
from pipeline.evaluation import baselines
from pipeline.evaluation.baselines import Stft
from pipeline.evaluation.bss_eval.score import score

RATE_HZ = 8000
SECONDS = 2.0
SINGERS = ("ann", "ann", "ann", "ben", "ben", "ben", "eve", "eve")
TARGETS = ("vocals", "accompaniment")
SPEC = ModelSpec(sample_rate_hz=RATE_HZ, frame_length=512, hop=256)
STFT = Stft(SPEC.frame_length, SPEC.hop, SPEC.window)

Estimates = Mapping[str, np.ndarray]
Model = Callable[[Track], Estimates]


@functools.cache
def song(index: int, channels: int = 1) -> Track:
    options = {**synthetic.OPTIONS, "seconds": SECONDS, "sample_rate_hz": RATE_HZ, "channels": channels}
    rendered = synthetic.load(TrackRef(f"song-{index}", "test", metadata={"index": index}), options)
    return dataclasses.replace(group(rendered, TARGETS), metadata={"singer": SINGERS[index % len(SINGERS)]})


@functools.cache
def _oracle(index: int, channels: int) -> Estimates:
    each = song(index, channels)
    return baselines.ratio_mask(each.mixture, each.stems, STFT)


def songs(count: int = 8, channels: int = 1) -> list[Track]:
    return [song(index, channels) for index in range(count)]


def number(track: Track) -> int:
    return int(track.name.removeprefix("song-"))


def oracle(track: Track) -> Estimates:
    """The ideal ratio mask: the best that a mask could do, and the start of most attempts."""
    if track is song(number(track), track.mixture.shape[1]):
        return _oracle(number(track), track.mixture.shape[1])
    return baselines.ratio_mask(track.mixture, track.stems, STFT)


def binary_mask(track: Track) -> Estimates:
    return baselines.binary_mask(track.mixture, track.stems, STFT)


def mixture(track: Track) -> Estimates:
    return dict.fromkeys(TARGETS, track.mixture)


def noise(track: Track, seed: int = 0) -> np.ndarray:
    return np.random.default_rng([seed, number(track)]).standard_normal(track.mixture.shape)


def each(change: Callable[[np.ndarray], np.ndarray], model: Model = oracle) -> Model:
    """The model with every estimate changed."""
    return lambda track: {target: change(estimate) for target, estimate in model(track).items()}


def leaky(leak: float) -> Model:
    """The references, and a share of the other one."""
    return lambda track: {target: stem + leak * (track.mixture - stem) for target, stem in track.stems.items()}


def by_song(choose: Callable[[int], Model]) -> Model:
    return lambda track: choose(number(track))(track)


def noisy(level: float) -> Model:
    """The oracle and noise of a level relative to the mixture's."""
    return lambda track: {
        target: estimate + level * np.std(track.mixture) * noise(track) for target, estimate in oracle(track).items()
    }


def worse_by(decibels: float) -> Model:
    """The oracle with just so much noise that the SDR of its vocals in version 3 falls by that much."""

    def model(track: Track) -> Estimates:
        estimates = dict(oracle(track))
        references, judged = ([each[target] for target in TARGETS] for each in (track.stems, estimates))
        sdr_db = score(references, [judged], ["v3"])["v3"]["SDR"][0, 0]
        distortion = np.mean(estimates["vocals"] ** 2) / (1 + 10 ** (sdr_db / 10))
        added = distortion * (10 ** (decibels / 10) - 1)
        estimates["vocals"] = estimates["vocals"] + added**0.5 * noise(track)
        return estimates

    return model


def better_by(share: float) -> Model:
    """The oracle with a share of its errors taken away."""
    return lambda track: {
        target: estimate + share * (track.stems[target] - estimate) for target, estimate in oracle(track).items()
    }


def swapped(track: Track) -> Estimates:
    vocals, accompaniment = (oracle(track)[target] for target in TARGETS)
    return {"vocals": accompaniment, "accompaniment": vocals}


def one_infinite_sample(track: Track) -> Estimates:
    estimates = {target: estimate.copy() for target, estimate in oracle(track).items()}
    if number(track) == 3:
        estimates["vocals"][77] = math.inf
    return estimates


def delayed(samples: int, model: Model | None = None) -> Model:
    return each(lambda estimate: np.roll(estimate, samples, axis=0), model or oracle)


def pitched(estimate: np.ndarray) -> np.ndarray:
    """Played back a little too fast, as at a wrong sample rate."""
    faster = scipy.signal.resample(estimate, round(0.92 * len(estimate)))
    return np.concatenate([faster, np.zeros((len(estimate) - len(faster), estimate.shape[1]))])


def low_passed(estimate: np.ndarray) -> np.ndarray:
    return scipy.signal.sosfiltfilt(scipy.signal.butter(4, 500, fs=RATE_HZ, output="sos"), estimate, axis=0)


def squashed(estimate: np.ndarray) -> np.ndarray:
    ceiling = 0.3 * np.abs(estimate).max()
    return np.clip(estimate, -ceiling, ceiling)


def muted_in_the_middle(estimate: np.ndarray) -> np.ndarray:
    muted = estimate.copy()
    muted[: len(muted) // 2 + 1000] = 0
    return muted


def vocals_alone(track: Track) -> Estimates:
    return {"vocals": oracle(track)["vocals"]}


def vocals_only_separated(track: Track) -> Estimates:
    return {"vocals": oracle(track)["vocals"], "accompaniment": track.mixture}


def vocals_for_everything(track: Track) -> Estimates:
    return dict.fromkeys(TARGETS, oracle(track)["vocals"])


def another_songs_vocals(track: Track) -> Estimates:
    return oracle(song((number(track) + 1) % 8, track.mixture.shape[1]))


def hissing_mixture(track: Track) -> Estimates:
    return dict.fromkeys(TARGETS, track.mixture + 0.1 * np.std(track.mixture) * noise(track))


def with_silent(target: str) -> list[Track]:
    """Eight songs, in one of which a target never sounds."""
    silent = song(3)
    stems = {**silent.stems, target: np.zeros_like(silent.mixture)}
    return [
        dataclasses.replace(silent, mixture=sum(stems.values()), stems=stems),
        *(each for each in songs(8) if each is not silent),
    ]


def with_a_blip() -> list[Track]:
    """Eight songs and one that is shorter than the filters of BSS Eval."""
    cut = slice(4000, 4400)
    stems = {target: stem[cut] for target, stem in song(8).stems.items()}
    return [*songs(8), dataclasses.replace(song(8), mixture=song(8).mixture[cut], stems=stems)]
