"""What a listener notices in time is refused, on all songs or a few; what is in the music itself is not."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
import scipy.signal
from attempts.attempt import Attempt, assert_passes, assert_refused
from attempts.models import (
    RATE_HZ,
    SECONDS,
    STFT,
    Estimates,
    Model,
    binary_mask,
    by_song,
    each,
    leaky,
    noise,
    oracle,
    song,
    songs,
)

from pipeline.config.gate import ArtefactLimits, GateConfig, OutputLimits
from pipeline.data.datasets.track import Track
from pipeline.evaluation import baselines

SAMPLES = round(SECONDS * RATE_HZ)
TIME = np.arange(SAMPLES)[:, np.newaxis] / RATE_HZ


def times(gain: np.ndarray, model: Model = oracle) -> Model:
    return each(lambda estimate: gain * estimate, model)


def plus(sound: np.ndarray) -> Model:
    return each(lambda estimate: estimate + sound)


def jumps(decibels: float, seconds: float) -> np.ndarray:
    return 10 ** (decibels / 20 * np.where(TIME // seconds % 2, 1, -1))


def tremolo(decibels: float, hertz: float) -> np.ndarray:
    return 10 ** (-decibels / 20 * (0.5 + 0.5 * np.sin(2 * np.pi * hertz * TIME)))


def pumping(decibels: float, hertz: float) -> np.ndarray:
    return 10 ** (-decibels / 20 * (TIME * hertz % 1))


def mutes(seconds: float, every: float) -> np.ndarray:
    return np.where((TIME + 0.2) % every < seconds, 0.0, 1.0)


def dip(decibels: float, seconds: float, at: float = 0.5) -> np.ndarray:
    """Quieter for so long, with edges as smooth as a window of the STFT makes them."""
    edge = np.hanning(STFT.frame_length)[:, np.newaxis]
    inside = (np.abs(TIME - at - seconds / 2) < seconds / 2).astype(float)
    return 1 - (1 - 10 ** (decibels / 20)) * scipy.signal.fftconvolve(inside, edge / edge.sum(), "same")


def given_away(gain: np.ndarray) -> Model:
    """The accompaniment has what the vocals lose, as with masks that take a voice for the music."""

    def model(track: Track) -> Estimates:
        vocals = gain * oracle(track)["vocals"]
        return {"vocals": vocals, "accompaniment": track.mixture - vocals}

    return model


def without_high_notes(track: Track) -> Estimates:
    """A quarter of a second at a time: the half of them that crosses zero most often."""
    blocks = np.diff(np.sign(track.stems["vocals"][:, 0]), append=0).reshape(-1, RATE_HZ // 4)
    crossings = np.count_nonzero(blocks, axis=1)
    return given_away(np.repeat(np.where(crossings > np.median(crossings), 0.03, 1.0), RATE_HZ // 4)[:, np.newaxis])(
        track
    )


def impulses(height: float, every: float) -> np.ndarray:
    sound = np.zeros((SAMPLES, 1))
    sound[round(0.3 * RATE_HZ) :: round(every * RATE_HZ)] = height
    return sound


def tone(height: float, hertz: float) -> np.ndarray:
    return height * np.sin(2 * np.pi * hertz * TIME)


def quantised(bits: int) -> Model:
    return each(lambda estimate: np.round(estimate * 2 ** (bits - 1)) / 2 ** (bits - 1))


def companded(estimate: np.ndarray) -> np.ndarray:
    """Eight bits by the mu-law of telephones (ITU-T G.711)."""
    code = np.round(np.sign(estimate) * np.log1p(255 * np.abs(estimate)) / np.log(256) * 127) / 127
    return np.sign(code) * np.expm1(np.abs(code) * np.log(256)) / 255


def held(samples: int) -> Model:
    return each(lambda estimate: np.repeat(estimate[::samples], samples, axis=0)[:SAMPLES])


def stuttering(estimate: np.ndarray) -> np.ndarray:
    stuck = estimate.copy()
    for start in range(RATE_HZ // 2, SAMPLES - 800, RATE_HZ // 3):
        stuck[start : start + 800] = stuck[start - 800 : start]
    return stuck


def wandering(estimate: np.ndarray) -> np.ndarray:
    walk = np.cumsum(np.random.default_rng(5).standard_normal((SAMPLES, 1)), axis=0)
    return estimate + 0.03 * (walk - walk.mean()) / np.std(walk)


def drifting(samples: int) -> Model:
    """Late by more and more, as by a clock that is too slow."""
    late = TIME[:, 0] * RATE_HZ - samples * TIME[:, 0] / SECONDS
    return each(
        lambda e: np.stack([np.interp(late, np.arange(SAMPLES), channel) for channel in e.T], axis=1).astype(np.float32)
    )


def in_half(change: Callable[[np.ndarray], np.ndarray]) -> Model:
    """The second half changed."""
    return each(lambda e: np.concatenate([e[: SAMPLES // 2], change(e[SAMPLES // 2 :])]))


def some(model: Model, *numbers: int) -> Model:
    return by_song(lambda n: model if n in numbers else oracle)


def ideal(track: Track) -> Estimates:
    return baselines.ratio_mask(track.mixture, track.stems, STFT)


def with_stems(change: Callable[[Track], Estimates]) -> list[Track]:
    tracks = []
    for track in songs(4):
        stems = {target: stem.astype(np.float32) for target, stem in {**track.stems, **change(track)}.items()}
        tracks.append(dataclasses.replace(track, mixture=sum(stems.values()), stems=stems))
    return tracks


def percussive() -> list[Track]:
    """The accompaniment clicks, as claves do."""
    return with_stems(lambda track: {"accompaniment": track.stems["accompaniment"] + impulses(0.5, 0.25)})


def crackling() -> list[Track]:
    """Of a worn record: crackle in the accompaniment, and so in the mixture."""
    return with_stems(
        lambda track: {
            "accompaniment": track.stems["accompaniment"] + 0.2 * np.where(np.abs(noise(track, 3)) > 3, noise(track), 0)
        }
    )


def humming() -> list[Track]:
    return with_stems(lambda track: {"accompaniment": track.stems["accompaniment"] + tone(0.05, 50)})


def clipped() -> list[Track]:
    """Mixtures that were clipped when they were mastered, so that they are not the sum of their stems."""
    return [
        dataclasses.replace(
            track, mixture=np.clip(track.mixture, *(0.5 * np.array([-1, 1]) * np.abs(track.mixture).max()))
        )
        for track in songs(4)
    ]


def dynamic() -> list[Track]:
    """From a whisper to full level, 40 dB up and down."""
    return with_stems(lambda track: {target: stem * tremolo(40, 0.5) for target, stem in track.stems.items()})


def mostly_silent() -> list[Track]:
    """All silent but for half a second."""
    return with_stems(lambda track: {t: np.where(np.abs(TIME - 1) < 0.25, stem, 0) for t, stem in track.stems.items()})


def eight_bits() -> list[Track]:
    return with_stems(lambda track: {t: np.round(stem * 128) / 128 for t, stem in track.stems.items()})


def limited(estimate: np.ndarray) -> np.ndarray:
    """As a soft limiter does: 1.6 dB at the peaks."""
    peak = np.abs(estimate).max()
    return peak * np.tanh(estimate / peak) / np.tanh(1.0) * 0.9


LOST = "vocals lose notes on"
EVEN, CLICKS = "vocals rise and fall in level against their references by", "vocals click on"
FOREIGN, COARSE = "vocals hold sounds of", "vocals are quantised coarsely on"

BAD: dict[str, Attempt] = {
    "level jumps of 4 dB": Attempt(times(jumps(4, 0.5)), "output", [EVEN, "on the median of 4 tracks; legal: up to 2 dB"]),
    "level jumps of 4 dB, a second long": Attempt(times(jumps(4, 1.0)), "output", [EVEN]),
    "level jumps of 3 dB": Attempt(times(jumps(3, 0.2)), "output", [EVEN]),
    "level jumps of 5 dB of a leaky model": Attempt(times(jumps(5, 0.5), leaky(0.2)), "output", [EVEN]),
    "tremolo of 10 dB": Attempt(times(tremolo(10, 5)), "output", [EVEN]),
    "pumping of 12 dB": Attempt(times(pumping(12, 2)), "output", [EVEN]),
    "a fade of 30 dB": Attempt(times(10 ** (-1.5 * TIME / SECONDS)), "output", [EVEN]),
    "mutes of 50 ms": Attempt(times(mutes(0.05, 0.5)), "output", [EVEN]),
    "mutes of 30 ms": Attempt(times(mutes(0.03, 0.3)), "output", [EVEN]),
    "mutes of 50 ms in one song": Attempt(some(times(mutes(0.05, 0.5)), 2), "output", [EVEN, "more than 4.5 dB on 1 of 4 tracks: 'song-2'"]),
    "mutes of 50 ms in one song, which the accompaniment has": Attempt(some(given_away(mutes(0.05, 0.5)), 2), "output", [EVEN, "more than 4.5 dB on 1 of 4 tracks: 'song-2'"]),
    "mutes of 80 ms in one song, which the accompaniment has": Attempt(some(given_away(mutes(0.08, 0.4)), 2), "output", [EVEN]),
    "a drop-out of 0.3 s": Attempt(times(mutes(0.3, 2)), "output", [EVEN]),
    "a drop-out of 0.3 s in one song": Attempt(some(times(mutes(0.3, 2)), 2), "output", [EVEN, "more than 4.5 dB on 1 of 4 tracks: 'song-2'"]),
    "a drop-out of 0.3 s in one song that leaves -30 dB": Attempt(some(times(dip(-30, 0.3)), 2), "output", [EVEN, "1 of 4 tracks: 'song-2'"]),
    "half a second of one song is silent, which the accompaniment has": Attempt(some(given_away(mutes(0.5, 2)), 2), "output", [EVEN, "1 of 4 tracks: 'song-2'"]),
    "the last half second of one song is silent": Attempt(some(times(np.where(TIME < SECONDS - 0.5, 1.0, 0.0)), 2), "output", [EVEN]),
    "every phrase of one song begins 30 dB too quiet": Attempt(some(times(sum(dip(-30, 0.15, at) - 1 for at in (0.1, 0.8, 1.4)) + 1), 1), "output", [EVEN]),
    "a fade of 30 dB in one song": Attempt(some(times(10 ** (-1.5 * TIME / SECONDS)), 2), "output", ["accompaniment rise and fall", "1 of 4 tracks: 'song-2'"]),
    "pumping of 20 dB in one song": Attempt(some(times(pumping(20, 2)), 2), "output", ["accompaniment rise and fall", "1 of 4 tracks: 'song-2'"]),
    "tremolo of 20 dB in one song, which the accompaniment has": Attempt(some(given_away(tremolo(20, 5)), 2), "output", [EVEN]),
    "a note of every song is lost": Attempt(given_away(dip(-30, 0.3)), "output", [EVEN, "on the median of 4 tracks"]),
    "every high note is lost": Attempt(without_high_notes, "output", [EVEN]),
    "half of one song is lost": Attempt(some(given_away(dip(-30, 1.2)), 2), "output", [LOST, "1 of 4 tracks: 'song-2'", "legal: up to 33%"]),
    "a loud click every half second": Attempt(plus(impulses(0.9, 0.5)), "output", [CLICKS, "on 4 of 4 tracks", "legal: up to 1 a minute"]),
    "a single loud click": Attempt(plus(impulses(0.9, 9)), "output", [CLICKS, "(30 a minute)"]),
    "a single loud click in one song": Attempt(some(plus(impulses(-0.9, 9)), 2), "output", [CLICKS, "1 of 4 tracks: 'song-2' (30 a minute)"]),
    "rumble": Attempt(plus(tone(0.1, 3)), "output", [FOREIGN, "where the mixture has none on the median of 4 tracks"]),
    "faint rumble": Attempt(plus(tone(0.02, 5)), "output", [FOREIGN]),
    "mains hum and its harmonics": Attempt(plus(sum(tone(0.02 / k, 50 * k) for k in (1, 2, 3))), "output", [FOREIGN]),
    "a whistle": Attempt(plus(tone(0.02, 3700)), "output", [FOREIGN]),
    "an offset that wanders": Attempt(each(wandering), "output", [FOREIGN]),
    "rumble in one song": Attempt(some(plus(tone(0.1, 3)), 0), "output", [FOREIGN, "more than -20 dB", "on 1 of 4 tracks"]),
    "eight bits": Attempt(quantised(8), "output", [COARSE, "on 4 of 4 tracks", "legal: at least 50 dB"]),
    "six bits": Attempt(quantised(6), "output", [COARSE]),
    "eight bits by the mu-law": Attempt(each(companded), "output", [COARSE]),
    "eight bits in one song": Attempt(some(quantised(8), 3), "output", [COARSE, "on 1 of 4 tracks: 'song-3'"]),
    "every sample held twice": Attempt(held(2), "output", [FOREIGN]),
    "every sample held four times": Attempt(held(4), "output", [FOREIGN]),
    "stuttering": Attempt(each(stuttering), "output", [FOREIGN]),
    "late by more and more": Attempt(drifting(24), "mixture, output", ["lag behind their references on"]),
    "late in the second half": Attempt(in_half(lambda e: np.roll(e, 12, axis=0)), "output", ["vocals lag behind their references"]),
    "the second half inverted": Attempt(in_half(np.negative), "mixture, output", ["opposite polarity of their references on 4 of 4 tracks", "at 1 s)"]),
    "the second half of one song inverted": Attempt(some(in_half(np.negative), 1), "output", ["on 1 of 4 tracks: 'song-1'"]),
    "one song of eight inverted": Attempt(some(each(np.negative), 5), "output", ["opposite polarity of their references on 1 of 8"], tracks=lambda: songs(8)),
    "two songs of eight late": Attempt(some(each(lambda e: np.roll(e, 30, axis=0)), 2, 6), "output", ["lag behind their references on 2 of 8"], tracks=lambda: songs(8)),
    "one song 14 dB too loud": Attempt(some(times(np.array(5.0)), 0), "output", ["too loud in a stretch or a channel on 1 of 4 tracks: 'song-0' (+1"]),
    "the second half 14 dB too quiet": Attempt(in_half(lambda e: 0.2 * e), "output", [EVEN]),
}  # fmt: skip

GOOD: dict[str, Attempt] = {
    "percussion that clicks": Attempt(ideal, tracks=percussive),
    "percussion that clicks, by a leaky model": Attempt(leaky(0.5), tracks=percussive),
    "crackle of a record": Attempt(ideal, tracks=crackling),
    "hum in the music": Attempt(ideal, tracks=humming),
    "hum in the music, by a leaky model": Attempt(leaky(0.5), tracks=humming),
    "mixtures that are clipped": Attempt(ideal, tracks=clipped),
    "40 dB of dynamics": Attempt(ideal, tracks=dynamic),
    "silence but for half a second": Attempt(ideal, tracks=mostly_silent),
    "songs of eight bits": Attempt(quantised(8), tracks=eight_bits),
    "sixteen bits": Attempt(quantised(16)),
    "a model that limits": Attempt(each(limited)),
    "a level that breathes by 1 dB": Attempt(times(tremolo(1, 2))),
    "the ideal binary mask, which switches": Attempt(binary_mask),
    "a note of one song is lost": Attempt(some(given_away(dip(-30, 0.3)), 2)),
    "notes of three of twenty songs are lost": Attempt(some(given_away(dip(-30, 0.3)), 3, 9, 15), tracks=lambda: songs(20)),
    "an offset too small to hear": Attempt(each(lambda estimate: estimate + 2e-4)),
    "clicks, where they are allowed": Attempt(
        plus(impulses(0.9, 9)), gate=GateConfig(outputs=OutputLimits(artefacts=ArtefactLimits(clicks_per_minute=60)))
    ),
}  # fmt: skip


def short(attempt: Attempt) -> Attempt:
    """Judged on four songs and by version 3 alone: this is no matter of scores."""
    tracks = four if attempt.tracks is songs else attempt.tracks
    return dataclasses.replace(attempt, tracks=tracks, metrics=("v3",))


def four() -> list[Track]:
    return songs(4)


@pytest.mark.parametrize("name", BAD)
def test_refused_for_the_right_reason(name: str) -> None:
    assert_refused(short(BAD[name]))


@pytest.mark.parametrize("name", GOOD)
def test_passes(name: str) -> None:
    assert_passes(short(GOOD[name]))


def test_crackle_and_claves_would_be_clicks_if_they_were_the_models() -> None:
    added = {
        number: crackling()[number].stems["accompaniment"] - song(number).stems["accompaniment"] for number in (0, 1)
    }
    for number, sound in added.items():
        assert np.count_nonzero(np.abs(sound) > 0.1) > 10
        assert np.abs(percussive()[number].mixture - song(number).mixture).max() > 0.4
