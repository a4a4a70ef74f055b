"""What is wrong with one channel, or with the stereo image, is refused; what mono, panned and weak models do is not."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
import pytest
import scipy.signal
from attempts.attempt import Attempt, assert_passes, assert_refused
from attempts.models import RATE_HZ, STFT, Estimates, Model, binary_mask, by_song, each, leaky, oracle, song, songs

from pipeline.data.datasets.track import Track
from pipeline.evaluation import baselines


def matrix(*rows: Sequence[float]) -> Model:
    """Left and right mixed anew."""
    return each(lambda estimate: estimate @ np.array(rows))


def widened(factor: float) -> Model:
    return matrix(((1 + factor) / 2, (1 - factor) / 2), ((1 - factor) / 2, (1 + factor) / 2))


def on_left(change: Callable[[np.ndarray], np.ndarray]) -> Model:
    return each(lambda estimate: np.stack([change(estimate[:, 0]), estimate[:, 1]], axis=1))


def muffled(signal: np.ndarray) -> np.ndarray:
    return scipy.signal.sosfiltfilt(scipy.signal.butter(4, 800, fs=RATE_HZ, output="sos"), signal)


def late(signal: np.ndarray) -> np.ndarray:
    return np.roll(signal, 40)


def dead_on_the_right_of_the_second_half(estimate: np.ndarray) -> np.ndarray:
    dead = estimate.copy()
    dead[len(dead) // 2 :, 1] = 0
    return dead


def stereo() -> list[Track]:
    return songs(2, 2)


def remixed(*rows: Sequence[float]) -> Callable[[], list[Track]]:
    """Stereo songs whose stems are mixed to two channels anew."""
    return lambda: [placed(track, dict.fromkeys(track.stems, rows)) for track in stereo()]


def placed(track: Track, rows: dict[str, Sequence[Sequence[float]]]) -> Track:
    stems = {target: (stem @ np.array(rows[target])).astype(np.float32) for target, stem in track.stems.items()}
    return dataclasses.replace(track, mixture=sum(stems.values()), stems=stems)


def dual_mono() -> list[Track]:
    return remixed((0.5, 0.5), (0.5, 0.5))()


def voice_left_music_right() -> list[Track]:
    left, right = ((1, 0), (0, 0)), ((0, 0), (0, 1))
    return [placed(track, {"vocals": left, "accompaniment": right}) for track in stereo()]


def centred_voice() -> list[Track]:
    """The usual mix: a lead in the very middle and music all around it."""
    centre, wide = ((0.5, 0.5), (0.5, 0.5)), ((1, -0.2), (-0.2, 1))
    return [placed(track, {"vocals": centre, "accompaniment": wide}) for track in stereo()]


def one_channel() -> list[Track]:
    return remixed((1, 0), (0, 0))()


def ideal(track: Track) -> Estimates:
    return baselines.ratio_mask(track.mixture, track.stems, STFT)


SWAP = matrix((0, 1), (1, 0))
ON_BOTH = "on 2 of 2 tracks: 'song-0'"

BAD: dict[str, Attempt] = {
    "a dead right channel": Attempt(matrix((1, 0), (0, 0)), "output", [f"vocals are out of balance {ON_BOTH} (left +inf dB"]),
    "a dead left channel": Attempt(matrix((0, 0), (0, 1)), "output", ["(left -inf dB against right)"]),
    "a right channel 26 dB down": Attempt(matrix((1, 0), (0, 0.05)), "output", ["out of balance, left +2", "on the median of 2 tracks"]),
    "a dead right channel in one song": Attempt(
        by_song(lambda n: matrix((1, 0), (0, 0)) if n == 1 else oracle), "output", ["on 1 of 2 tracks: 'song-1' (left +inf"]
    ),
    "a right channel that dies half-way": Attempt(
        each(dead_on_the_right_of_the_second_half), "output", ["are lost in a stretch or a channel on 2 of 2 tracks: 'song-0' (-inf dB at 1 s)"]
    ),
    "left and right swapped": Attempt(SWAP, "output", ["accompaniment have left and right swapped on 2 of 2 tracks"]),
    "left and right swapped in one song": Attempt(
        by_song(lambda n: SWAP if n == 1 else oracle), "output", ["accompaniment have left and right swapped on 1 of 2 tracks"]
    ),
    "collapsed to mono": Attempt(widened(0), "output", ["accompaniment are mono where their references are stereo on 2 of 2"]),
    "collapsed to mono in one song": Attempt(
        by_song(lambda n: widened(0) if n == 1 else oracle), "output", ["are mono where their references are stereo on 1 of 2"]
    ),
    "half as wide": Attempt(widened(0.5), "output", ["accompaniment are 5.", "dB too narrow on the median"]),
    "twice as wide": Attempt(widened(2), "output", ["accompaniment are 5.", "dB too wide on the median"]),
    "the right channel inverted": Attempt(matrix((1, 0), (0, -1)), "output", [f"vocals have the opposite polarity of their references {ON_BOTH}"]),
    "both channels inverted in one song": Attempt(
        by_song(lambda n: matrix((-1, 0), (0, -1)) if n == 0 else oracle), "output", ["the opposite polarity of their references on 1 of 2"]
    ),
    "the balance shifted by 6 dB": Attempt(matrix((1.4, 0), (0, 0.7)), "output", ["out of balance", "legal: up to 3 dB"]),
    "one channel late (Haas)": Attempt(on_left(late), "output", ["vocals lag behind their references on 2 of 2 tracks: 'song-0' (40 samples at 0 s)"]),
    "a muffled left channel": Attempt(on_left(muffled), "output", ["vocals sound unlike left and right", "legal: up to 9 dB"]),
}  # fmt: skip

GOOD: dict[str, Attempt] = {
    "the ideal binary mask, in stereo": Attempt(binary_mask),
    "a leaky model, in stereo": Attempt(leaky(0.6)),
    "mono songs in two channels": Attempt(ideal, tracks=dual_mono),
    "mono songs in two channels, by a leaky model": Attempt(leaky(0.6), tracks=dual_mono),
    "the voice hard left, the music hard right": Attempt(leaky(0.3), tracks=voice_left_music_right),
    "the voice in the middle of wide music": Attempt(ideal, tracks=centred_voice),
    "the voice in the middle of wide music, by a leaky model": Attempt(leaky(0.6), tracks=centred_voice),
    "songs in which the right channel is silent": Attempt(ideal, tracks=one_channel),
    "a balance shifted by half a decibel": Attempt(matrix((1.03, 0), (0, 0.97))),
    "a little narrower": Attempt(widened(0.8)),
}


def in_stereo(attempt: Attempt) -> Attempt:
    tracks = stereo if attempt.tracks is songs else attempt.tracks
    return dataclasses.replace(attempt, tracks=tracks, metrics=("v3",))


@pytest.mark.parametrize("name", BAD)
def test_refused_for_the_right_reason(name: str) -> None:
    assert_refused(in_stereo(BAD[name]))


@pytest.mark.parametrize("name", GOOD)
def test_passes(name: str) -> None:
    assert_passes(in_stereo(GOOD[name]))


def test_the_songs_are_what_they_are_said_to_be() -> None:
    assert not np.ptp(dual_mono()[0].mixture, axis=1).any()
    assert not one_channel()[0].mixture[:, 1].any()
    assert song(0, 2).mixture.shape[1] == 2
