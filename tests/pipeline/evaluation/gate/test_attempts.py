"""Attempts to get a bad model through the gate, and good models that must pass it.

Every "model" is a function of a rendered song; its estimates go the way of any model's: BSS Eval of each track
(`score_track`), aggregation and the gate (`conclude`). The default gate, without a threshold, has to refuse what is
no separation at all; what only a threshold can see is tried against one.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import scipy.signal

from models.spec import ModelSpec
from pipeline.config.config import Config, DataConfig
from pipeline.config.gate import Budgets, GateConfig, Threshold
from pipeline.data.datasets import synthetic
from pipeline.data.datasets.track import Track, TrackRef, group
from pipeline.evaluation import baselines
from pipeline.evaluation.baselines import Stft
from pipeline.evaluation.bss_eval.score import score
from pipeline.evaluation.evaluation import Evaluation, conclude
from pipeline.evaluation.gate.checks import ModelFacts
from pipeline.evaluation.scores import TrackScores, score_track

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
    rendered = synthetic.load(TrackRef(f"song-{index}", "test", (), {"index": index}), options)
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
    if len(track.mixture) == SECONDS * RATE_HZ and all(stem.any() for stem in track.stems.values()):
        return _oracle(number(track), track.mixture.shape[1])
    return baselines.ratio_mask(track.mixture, track.stems, STFT)


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


def delayed(samples: int) -> Model:
    return each(lambda estimate: np.roll(estimate, samples, axis=0))


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


def at_least(decibels: float, metric: str = "v3/SDR", **keys: Any) -> GateConfig:
    return GateConfig((Threshold("vocals", metric, decibels, **keys),))


@dataclass(frozen=True)
class Attempt:
    """A model, what it is judged against, and what the gate must say: all kinds of checks that refuse, and words."""

    model: Model
    kinds: str = ""
    words: Sequence[str] = ()
    gate: GateConfig = field(default_factory=GateConfig)
    baseline: Model | None = None
    metrics: tuple[str, ...] = ("v3", "v4")
    tracks: Callable[[], Sequence[Track]] = songs
    conclude: Mapping[str, Any] = field(default_factory=dict)


V3 = ("v3",)
MARGIN = at_least(-0.3, over="baseline")
BUDGETS = GateConfig(budgets=Budgets(real_time_factor=0.5, megabytes=30, parameters=6_000_000))
UNFIT = "the last blessed model cannot be judged on these tracks: the mixtures have 8000 Hz; the model takes 44100 Hz"
LEAKED = "track 'song-3' of the test split is also in the train split, as 'song-3 (copy)'"


def cost(*facts: Any) -> dict[str, ModelFacts]:
    return {"facts": ModelFacts(*facts)}


BAD: dict[str, Attempt] = {
    # what is no separation at all: refused without a threshold
    "silence": Attempt(each(np.zeros_like), "mixture, output", ["vocals are silent", "on 8 of 8 tracks: 'song-0' (-inf dB)"]),
    "near silence": Attempt(each(lambda e: 1e-4 * e), "mixture, output", ["vocals are silent", "and 5 more"]),
    "silence in one song": Attempt(
        by_song(lambda n: each(np.zeros_like) if n == 5 else oracle),
        "mixture, output",
        ["on 1 of 8 tracks: 'song-5' (-inf dB)"],
    ),
    "silence in half of every song": Attempt(each(muted_in_the_middle), "mixture, output", ["drop out where the reference"]),
    "a copy of the mixture": Attempt(mixture, "mixture", ["vocals v3/SDR is +0.00 dB over the mixture"]),
    "a mixture turned down a little": Attempt(each(lambda e: 0.9 * e, mixture), "mixture", ["above it on 0 of 8"]),
    "a mixture turned down by half, judged by v4 alone": Attempt(
        each(lambda e: 0.5 * e, mixture),
        "mixture",
        ["vocals at any level is +0.00 dB SDR over the mixture"],
        metrics=("v4",),
    ),
    "white noise": Attempt(lambda t: dict.fromkeys(TARGETS, 0.1 * noise(t)), "mixture", ["above it on 0 of 8 tracks"]),
    "the oracle under loud noise": Attempt(noisy(1.0), "mixture", ["needed are more than 0.01 dB"]),
    "not a number": Attempt(
        each(lambda e: np.full_like(e, np.nan)), "mixture, output", ["vocals hold samples that are not finite on 8 of 8"]
    ),
    "one infinite sample": Attempt(
        one_infinite_sample, "output", ["not finite on 1 of 8 tracks: 'song-3' (1 samples)"]
    ),
    "swapped targets": Attempt(
        swapped, "mixture, output", ["vocals are swapped: they resemble accompaniment on 8 of 8 tracks"]
    ),
    "inverted polarity": Attempt(each(np.negative), "mixture, output", ["opposite polarity of their references on 8 of 8"]),
    "a tenth of the level": Attempt(each(lambda e: 0.1 * e), "output", ["dB too quiet on the median of 8 tracks"]),
    "ten times the level": Attempt(
        each(lambda e: 10 * e), "mixture, output", ["dB too loud on the median", "vocals clip on 8 of 8 tracks"]
    ),
    "clipped at a third of its peak": Attempt(each(squashed), "output", ["vocals clip on 8 of 8 tracks"]),
    "late by 100 samples": Attempt(delayed(100), "mixture, output", ["vocals lag behind their references by 100 samples"]),
    "early by 12 samples": Attempt(delayed(-12), "mixture, output", ["vocals run ahead of their references by 12 samples"]),
    "played back at a wrong rate": Attempt(each(pitched), "mixture", ["above it on 0 of 8 tracks"]),
    "a constant": Attempt(each(lambda e: np.full_like(e, 0.3)), "mixture, output", ["constant offset", "0.3"]),
    "the oracle on a constant offset": Attempt(each(lambda e: e + 0.03), "output", ["offset", "(0.030 of full scale)"]),
    "the accompaniment left in the mixture": Attempt(
        vocals_only_separated, "mixture", ["accompaniment v3/SDR is +0.00 dB over the mixture"]
    ),
    "a target missing": Attempt(
        vocals_alone, "mixture, output", ["the model's estimates of accompaniment are missing: it separates no such target"]
    ),
    "the vocals for every target": Attempt(vocals_for_everything, "mixture", ["accompaniment v3/SDR is -"]),
    "another song's stems": Attempt(another_songs_vocals, "mixture", ["above it on 0 of 8 tracks"]),
    "played backwards": Attempt(each(lambda e: e[::-1]), "mixture, output", ["above it on 0 of 8 tracks"]),
    "one perfect song among mixtures": Attempt(
        by_song(lambda n: leaky(1e-4) if n == 2 else mixture), "mixture", ["above it on 1 of 8 tracks", "75%"]
    ),
    "a mean that one perfect song carries": Attempt(
        by_song(lambda n: leaky(1e-4) if n == 2 else hissing_mixture), "mixture", ["vocals v3/SDR is +", "on 1 of 8 tracks"]
    ),
    # what only a threshold can see
    "below the floor": Attempt(leaky(0.8), "floor", ["vocals v3/SDR is", "misses the required 4.00 dB"], at_least(4.0)),
    "hardly over the mixture": Attempt(
        leaky(0.8), "mixture", ["over the mixture", "misses the required 3.00 dB"], at_least(3.0, over="mixture")
    ),
    "low-passed, which version 3 forgives": Attempt(
        each(low_passed), "floor", ["vocals v4/SDR is", "misses the required 5.00 dB"], at_least(5.0, "v4/SDR")
    ),
    "good on all songs but one": Attempt(
        by_song(lambda n: noisy(0.7) if n == 4 else oracle),
        "worst track",
        ["misses the required 2.00 dB on 1 of 8 tracks: 'song-4'"],
        at_least(2.0, across="worst"),
    ),
    "bad for one singer": Attempt(
        by_song(lambda n: leaky(0.9) if SINGERS[n] == "ben" else oracle),
        "group",
        ["vocals v3/SDR of singer 'ben' is", "misses the required 3.00 dB"],
        at_least(3.0, across="singer"),
    ),
    "a song whose singer is unknown": Attempt(
        oracle,
        "group",
        ["1 of 8 tracks have no singer: 'song-7'"],
        at_least(3.0, across="singer"),
        tracks=lambda: [*songs(7), dataclasses.replace(song(7), metadata={})],
    ),
    # against the last blessed model
    "worse by a hair more than the margin": Attempt(
        worse_by(0.31), "baseline", ["better on 0 of 8 tracks", "is not shown to meet"], MARGIN, oracle, V3
    ),
    "better by less than is demanded": Attempt(
        better_by(0.02), "baseline", ["better on 8 of 8", "required 0.50 dB"], at_least(0.5, over="baseline"), oracle, V3
    ),
    "the last blessed model again, where a better one is demanded": Attempt(
        oracle, "baseline", ["a tie, equal on 8 tracks, misses the required 0.10"], at_least(0.1, over="baseline"), oracle, V3
    ),
    "equal in the mean, worse on most songs": Attempt(
        by_song(lambda n: better_by(0.2) if n in (1, 6) else worse_by(0.6)), "baseline", ["better on 2 of 8"], MARGIN, oracle, V3
    ),
    "a better mean through one outlier": Attempt(
        by_song(lambda n: leaky(1e-4) if n == 1 else worse_by(0.5)),
        "baseline",
        ["dB over the last blessed model", "better on 1 of 8 tracks", "the interval's lower end and p above 0.05"],
        MARGIN,
        oracle,
        V3,
    ),
    "much worse on one song": Attempt(
        by_song(lambda n: worse_by(3.0) if n == 1 else better_by(0.3)),
        "worst track",
        ["over the last blessed model misses the required -1.00 dB on 1 of 8 tracks: 'song-1' (-2.9"],
        at_least(-1.0, over="baseline", across="worst"),
        oracle,
        V3,
    ),
    "too few songs to decide": Attempt(
        better_by(0.3), "baseline", ["5 tracks cannot decide", "6 are needed"], MARGIN, oracle, V3, lambda: songs(5)
    ),
    "too few songs of a singer to decide": Attempt(
        better_by(0.3),
        "group",
        ["singer 'eve'", "2 tracks cannot decide whether it meets the required -0.30 dB: 6 are needed"],
        at_least(-0.3, over="baseline", across="singer"),
        oracle,
        V3,
    ),
    "a last blessed model that cannot be judged": Attempt(
        oracle, "baseline", [UNFIT], MARGIN, conclude={"baseline_problem": UNFIT}
    ),
    # what is no matter of sound
    "a test song in the training": Attempt(oracle, "leak", [LEAKED], conclude={"problems": [LEAKED]}),
    "too slow": Attempt(oracle, "budget", ["0.9 s of computing"], BUDGETS, conclude=cost(0.9, 20.0, 5_000_000)),
    "too large": Attempt(oracle, "budget", ["takes 31.0 MB on disk"], BUDGETS, conclude=cost(0.1, 31.0, 5_000_000)),
    "too many weights": Attempt(oracle, "budget", ["6,000,001 param"], BUDGETS, conclude=cost(0.1, 20.0, 6_000_001)),
    "not measured": Attempt(oracle, "budget", ["was not measured"], BUDGETS, conclude=cost(None, 20.0, 5_000_000)),
    "no songs": Attempt(oracle, "tracks", ["no track was judged"], tracks=list),
}  # fmt: skip

EVERYTHING = GateConfig(
    (
        Threshold("vocals", "v3/SDR", 4.0),
        Threshold("vocals", "v3/SDR", 3.0, over="mixture"),
        Threshold("vocals", "v3/SDR", -0.3, over="baseline"),
        Threshold("vocals", "v3/SDR", 2.0, across="worst"),
        Threshold("vocals", "v3/SDR", 3.0, across="singer"),
    ),
    budgets=BUDGETS.budgets,
)
CHEAP = cost(0.1, 20.0, 5_000_000)


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


GOOD: dict[str, Attempt] = {
    "the ideal ratio mask, the first model ever": Attempt(oracle, gate=EVERYTHING, conclude=CHEAP),
    "the ideal binary mask": Attempt(
        lambda t: baselines.binary_mask(t.mixture, t.stems, STFT), gate=EVERYTHING, conclude=CHEAP
    ),
    "the references themselves": Attempt(leaky(1e-3), gate=EVERYTHING, conclude=CHEAP),
    "a little better than the last blessed model": Attempt(better_by(0.05), "", (), EVERYTHING, oracle, V3, conclude=CHEAP),
    "the last blessed model again: a tie": Attempt(oracle, "", (), EVERYTHING, oracle, V3, conclude=CHEAP),
    "worse by less than the margin": Attempt(worse_by(0.2), "", (), EVERYTHING, oracle, V3, conclude=CHEAP),
    "mostly better, worse on one song": Attempt(
        by_song(lambda n: worse_by(0.4) if n == 0 else better_by(0.1)), "", (), EVERYTHING, oracle, V3, conclude=CHEAP
    ),
    "much better than a silent last blessed model": Attempt(
        oracle, "", (), EVERYTHING, each(np.zeros_like), V3, conclude=CHEAP
    ),
    "a last blessed model that cannot be judged and is not needed": Attempt(
        oracle, gate=at_least(4.0), conclude={"baseline_problem": UNFIT}
    ),
    "faint noise": Attempt(noisy(0.01), gate=EVERYTHING, conclude=CHEAP),
    "a bit too quiet": Attempt(each(lambda e: 0.7 * e), gate=EVERYTHING, conclude=CHEAP),
    "weak but honest": Attempt(leaky(0.7)),
    "late by a sample": Attempt(delayed(1)),
    "a song without a voice": Attempt(oracle, gate=EVERYTHING, tracks=lambda: with_silent("vocals"), conclude=CHEAP),
    "a song with nothing but a voice": Attempt(oracle, gate=EVERYTHING, tracks=lambda: with_silent("accompaniment"), conclude=CHEAP),
    "a song shorter than the filters": Attempt(oracle, gate=EVERYTHING, tracks=with_a_blip, conclude=CHEAP),
    "stereo": Attempt(oracle, gate=EVERYTHING, tracks=lambda: songs(4, 2), conclude=CHEAP),
    "judged by v3 alone": Attempt(oracle, gate=EVERYTHING, metrics=V3, conclude=CHEAP),
    "judged by v4 alone": Attempt(
        oracle, "", (), at_least(-0.1, "v4/SDR", over="baseline"), worse_by(1.0), metrics=("v4",)
    ),
}  # fmt: skip


@functools.cache
def judged(model: Model, baseline: Model | None, tracks: Callable, metrics: tuple[str, ...]) -> list[TrackScores]:
    """BSS Eval of the tracks, once for all attempts that differ in the gate alone."""
    models = {"model": model} | ({"baseline": baseline} if baseline else {})
    scores = []
    for track in tracks():
        methods = {"mixture": mixture(track), **{name: model(track) for name, model in models.items()}}
        scores.append(score_track(track, methods, TARGETS, metrics, 0.5))
    return scores


def concluded(attempt: Attempt) -> Evaluation:
    config = Config("attempt", data=DataConfig(sample_rate_hz=RATE_HZ), model=SPEC, gate=attempt.gate)
    scores = judged(attempt.model, attempt.baseline, attempt.tracks, attempt.metrics)
    return conclude(scores, config, **attempt.conclude)


@pytest.mark.parametrize("name", BAD)
def test_refused_for_the_right_reason(name: str) -> None:
    verdict = concluded(BAD[name]).verdict
    refused = [check for check in verdict.checks if not check.passed]
    assert not verdict.blessed
    assert {check.kind for check in refused} == set(BAD[name].kinds.split(", "))
    said = "\n".join(check.words for check in refused)
    assert all(words in said for words in BAD[name].words), said


@pytest.mark.parametrize("name", GOOD)
def test_passes(name: str) -> None:
    verdict = concluded(GOOD[name]).verdict
    assert verdict.blessed, [check.words for check in verdict.checks if not check.passed]


def test_the_table_is_as_long_as_it_claims() -> None:
    assert len(BAD) >= 25
    assert len(GOOD) >= 10
