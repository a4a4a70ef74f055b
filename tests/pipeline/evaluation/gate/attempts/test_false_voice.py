"""What sounds where the reference is silent: in whole tracks, in parts of them, on any share of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from attempts.attempt import V3, Attempt, assert_passes, assert_refused
from attempts.models import (
    RATE_HZ,
    Estimates,
    Model,
    binary_mask,
    delayed,
    each,
    leaky,
    noise,
    oracle,
    song,
    songs,
)

from pipeline.config.gate import FalseVoiceLimits, GateConfig, OutputLimits
from pipeline.data.datasets.track import Track
from pipeline.evaluation import baselines
from pipeline.evaluation.baselines import Stft

PAUSE = slice(6000, 14000)  # one second of the two
BREATH = slice(6000, 10000)

Tracks = Callable[[], Sequence[Track]]


def without(track: Track, target: str, part: slice = slice(None)) -> Track:
    """The song with a target that is silent there."""
    stems = {name: stem.copy() for name, stem in track.stems.items()}
    stems[target][part] = 0
    return dataclasses.replace(track, stems=stems, mixture=np.sum(list(stems.values()), axis=0))


def with_instrumentals(count: int = 1, of: int = 8, target: str = "vocals", channels: int = 1) -> Tracks:
    """So many songs, in the first of which a target never sounds."""
    return lambda: [without(s, target) if i < count else s for i, s in enumerate(songs(of, channels))]


def with_pauses(count: int = 8, target: str = "vocals") -> Tracks:
    """Eight songs; in the first of them a target is silent for a second."""
    return lambda: [without(s, target, PAUSE) if i < count else s for i, s in enumerate(songs())]


def with_breaths(count: int) -> Tracks:
    """Eight songs with pauses of the singer, in the first of them of half a second only."""
    return lambda: [without(s, "vocals", BREATH if i < count else PAUSE) for i, s in enumerate(songs())]


def with_silence() -> list[Track]:
    """Songs in which everything is silent for a second."""
    return [without(without(s, "vocals", PAUSE), "accompaniment", PAUSE) for s in songs()]


def singing(
    false: Callable[[Track], np.ndarray], target: str = "vocals", share: float = 1, base: Model = oracle
) -> Model:
    """The model, but for what it puts out at the beginning of where a target is silent: a share of that time."""

    def model(track: Track) -> Estimates:
        estimates = dict(base(track))
        silent = np.flatnonzero(~track.stems[target].any(axis=1))
        if len(silent) > 0.2 * RATE_HZ:  # not between two notes
            where = silent[: round(share * len(silent))]
            estimates[target] = estimates[target].copy()
            estimates[target][where] = false(track)[where]
        return estimates

    return model


def the_mixture(gain: float = 1.0) -> Callable[[Track], np.ndarray]:
    return lambda track: gain * track.mixture


def hiss(level: float) -> Callable[[Track], np.ndarray]:
    return lambda track: level * noise(track)


def another_voice(track: Track) -> np.ndarray:
    return song(11, track.mixture.shape[1]).stems["vocals"]


def tone(track: Track) -> np.ndarray:
    return np.broadcast_to(
        0.1 * np.sin(2 * np.pi * 1000 / RATE_HZ * np.arange(len(track.mixture)))[:, None], track.mixture.shape
    )


def backwards(track: Track) -> np.ndarray:
    return track.mixture[::-1]


def robust_pca(track: Track) -> Estimates:
    return baselines.robust_pca(track.mixture, Stft(256, 64, "hann"))


def with_dither(tracks: Tracks) -> Tracks:
    """The songs with references that are never quite silent: two steps of 16 bits."""

    def dithered() -> list[Track]:
        return [
            dataclasses.replace(t, stems={name: stem + 2**-16 * noise(t, 7) for name, stem in t.stems.items()})
            for t in tracks()
        ]

    return dithered


def refused(model: Model, words: Sequence[str], tracks: Tracks, kinds: str = "output", **keys) -> Attempt:
    return Attempt(model, kinds, words, metrics=V3, tracks=tracks, **keys)


def passes(model: Model, tracks: Tracks, **keys) -> Attempt:
    return Attempt(model, metrics=V3, tracks=tracks, **keys)


VOCALS = "estimates of vocals sound where their references are silent"
ONE = [f"{VOCALS} on 1 of 1 track: 'song-0'"]
ALL = [f"{VOCALS} on 8 of 8 tracks"]

BAD: dict[str, Attempt] = {
    "the whole music as the vocals of an instrumental": refused(singing(the_mixture()), ONE, with_instrumentals()),
    "the music of an instrumental, 3 dB quieter": refused(singing(the_mixture(0.7)), ONE, with_instrumentals()),
    "the music of an instrumental, 6 dB quieter": refused(singing(the_mixture(0.5)), ONE, with_instrumentals()),
    "loud noise on an instrumental": refused(singing(hiss(0.3)), ONE, with_instrumentals()),
    "soft noise on an instrumental": refused(singing(hiss(0.03)), ONE, with_instrumentals()),
    "another singer on an instrumental": refused(singing(another_voice), ONE, with_instrumentals()),
    "a tone on an instrumental": refused(singing(tone), ONE, with_instrumentals()),
    "the music backwards on an instrumental": refused(singing(backwards), ONE, with_instrumentals()),
    "the music upside down on an instrumental": refused(singing(the_mixture(-1.0)), ONE, with_instrumentals()),
    "the music louder on an instrumental": refused(singing(the_mixture(1.4)), ONE, with_instrumentals()),
    "the whole music of one instrumental among fifty songs": refused(
        singing(the_mixture()),
        [VOCALS, "'song-0' (+0.0 dB over the mixture, false for 2.0 of 2.0 s)"],
        with_instrumentals(1, 50),
    ),
    "the whole music of one instrumental of four": refused(
        lambda t: (singing(the_mixture()) if t.name == "song-2" else oracle)(t),
        [f"{VOCALS} on 1 of 4 tracks: 'song-2'"],
        with_instrumentals(4),
    ),
    "the first half of an instrumental": refused(singing(the_mixture(), share=0.5), ONE, with_instrumentals()),
    "the whole music of an instrumental in stereo": refused(
        singing(the_mixture()), ONE, with_instrumentals(1, 8, channels=2)
    ),
    "a weak model, and the whole music of an instrumental": refused(
        singing(the_mixture(), base=leaky(0.4)), ONE, with_instrumentals()
    ),
    "the voice as the accompaniment of a voice alone": refused(
        singing(the_mixture(), "accompaniment"),
        ["estimates of accompaniment sound where their references are silent on 1 of 1 track: 'song-0'"],
        with_instrumentals(target="accompaniment"),
    ),
    "the music in every pause of the singer": refused(singing(the_mixture()), ALL, with_pauses()),
    "the music in one pause of one song": refused(singing(the_mixture()), ONE, with_pauses(1)),
    "noise in every pause of the singer": refused(singing(hiss(0.1)), ALL, with_pauses()),
    "another singer in every pause": refused(singing(another_voice), ALL, with_pauses()),
    "the music in a half of every pause": refused(singing(the_mixture(), share=0.5), ALL, with_pauses()),
    "the music at the end of the pause, which is a fifth of all silence": refused(
        lambda t: (singing(the_mixture()) if t.name in ("song-1", "song-2") else oracle)(t),
        [f"{VOCALS} on 2 of 8 tracks: 'song-1'"],
        with_pauses(),
    ),
    "a syllable in the short pause of every song": refused(
        singing(the_mixture()), [f"{VOCALS} for 2.4 of 2.4 s on 8 tracks", "legal: up to 10%"], with_breaths(8)
    ),
    "noise where everything is silent": refused(
        singing(hiss(0.01)), [*ALL, "false for 0.8 of 0.8 s"], with_silence, "output"
    ),
    "the voice in every pause of the music": refused(
        singing(the_mixture(), "accompaniment"),
        ["estimates of accompaniment sound where their references are silent on 8 of 8 tracks"],
        with_pauses(8, "accompaniment"),
    ),
    "half of every instrumental, where only all together are limited": refused(
        singing(the_mixture(), share=0.5),
        [f"{VOCALS} for 4.0 of 8.0 s", "legal: up to 30% of all silent time"],
        with_instrumentals(4),
        gate=GateConfig(outputs=OutputLimits(false_voice=FalseVoiceLimits(share_of_track=1, share=0.3))),
    ),
}  # fmt: skip

GOOD: dict[str, Attempt] = {
    "ideal ratio masks on instrumentals": passes(oracle, with_instrumentals(4)),
    "ideal binary masks on instrumentals": passes(binary_mask, with_instrumentals(4)),
    "ideal ratio masks and pauses": passes(oracle, with_pauses()),
    "a weak model leaks the same everywhere": passes(leaky(0.7), with_instrumentals(4)),
    "one that takes hardly anything away": passes(leaky(0.9), with_instrumentals(4)),
    "a better one, too": passes(leaky(0.25), with_instrumentals(1, 20)),
    "it leaks in pauses": passes(leaky(0.5), with_pauses()),
    "the references themselves and an instrumental": passes(leaky(1e-3), with_instrumentals()),
    "robust PCA, which knows no silence": passes(
        robust_pca,
        with_instrumentals(4),
        gate=GateConfig(better_than_mixture=False, outputs=OutputLimits(stray_share=1.0, bands=None)),
    ),
    "a syllable in the short pause of one song": passes(
        lambda t: (singing(the_mixture()) if t.name == "song-0" else oracle)(t), with_breaths(1)
    ),
    "late by a sample": passes(delayed(1, leaky(0.5)), with_instrumentals(4)),
    "a bit too loud": passes(each(lambda e: 1.3 * e, leaky(0.5)), with_instrumentals(4)),
    "references with dither": passes(leaky(0.5), with_dither(with_instrumentals(4))),
    "dither where everything is silent": passes(
        lambda t: {target: e + 2**-15 * noise(t) for target, e in oracle(t).items()}, with_silence
    ),
    "the whole music of an instrumental, where that is allowed": passes(
        singing(the_mixture()), with_instrumentals(), gate=GateConfig(outputs=OutputLimits(false_voice=None))
    ),
    "a stereo song without a voice": passes(oracle, with_instrumentals(1, 8, channels=2)),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_refused_for_the_right_reason(name: str) -> None:
    assert_refused(BAD[name])


@pytest.mark.parametrize("name", GOOD)
def test_passes(name: str) -> None:
    assert_passes(GOOD[name])
