"""Test tracks that are in the training split too: what is found, and that real corpora raise no alarm."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile

from pipeline.data import leaks
from pipeline.data.catalogue import IngestedTrack
from pipeline.data.datasets import mir1k as reader
from pipeline.data.datasets import synthetic
from pipeline.data.datasets.track import Track

SECONDS = 4.0


def songs(split: str, count: int) -> list[Track]:
    options = {**synthetic.OPTIONS, "tracks": {split: count}, "seconds": SECONDS}
    return [synthetic.load(ref, options) for ref in synthetic.discover(None, options)]


@pytest.fixture(scope="module")
def trained() -> list[Track]:
    return songs("train", 12)


def listed(tracks: Sequence[Track]) -> list[IngestedTrack]:
    return [
        IngestedTrack(t.name, t.split, "", len(t.mixture), t.sample_rate_hz, t.metadata, leaks.audio_fingerprint(t))
        for t in tracks
    ]


def copy(track: Track, change: Callable[[np.ndarray, int], np.ndarray], name: str = "copy") -> Track:
    """The track under another name with all its signals changed."""
    signals = {key: change(signal, track.sample_rate_hz) for key, signal in track.stems.items()}
    return Track(name, "test", track.sample_rate_hz, change(track.mixture, track.sample_rate_hz), signals)


def noisy(signal: np.ndarray, _: int) -> np.ndarray:
    """With white noise 20 dB below the signal."""
    generator = np.random.default_rng(0)
    return signal + 0.1 * np.sqrt(np.mean(signal**2)) * generator.standard_normal(signal.shape).astype(np.float32)


def encoded(kind: str) -> Callable[[np.ndarray, int], np.ndarray]:
    def through_a_file(signal: np.ndarray, rate_hz: int) -> np.ndarray:
        file = io.BytesIO()
        soundfile.write(file, signal, rate_hz, format=kind)
        file.seek(0)
        return soundfile.read(file, dtype="float32", always_2d=True)[0]

    return through_a_file


CHANGES = {
    "exact": lambda signal, _: signal.copy(),
    "quiet": lambda signal, _: 0.3 * signal,
    "inverted": lambda signal, _: -signal,
    "noisy": noisy,
    "mp3": encoded("MP3"),
    "ogg": encoded("OGG"),
    "stereo": lambda signal, _: np.repeat(signal, 2, axis=1),
}


@pytest.mark.parametrize("kind", CHANGES)
def test_copies_are_found_whatever_their_level_noise_or_encoding(trained: list[Track], kind: str) -> None:
    tested = [copy(track, CHANGES[kind], f"copy of {track.name}") for track in trained]
    found = leaks.find(listed(tested), listed(trained))
    assert found == {f"copy of {track.name}": track.name for track in trained}


def test_the_same_voice_over_other_music_is_found(trained: list[Track]) -> None:
    """A mixture that sounds different: the voice of one song with the instruments of another."""
    voice, music = trained[3], trained[4]
    played = music.mixture - music.stems["vocals"]
    remixed = Track("remix", "test", voice.sample_rate_hz, voice.stems["vocals"] + 2 * played, dict(voice.stems))
    assert leaks.find(listed([remixed]), listed(trained)) == {"remix": voice.name}


def test_an_exact_copy_of_a_steady_signal_is_found_and_another_is_not() -> None:
    """The level of a steady tone says nothing; its samples do."""
    time = np.arange(16000)[:, None]
    tones = [np.sin(2 * np.pi * hz * time / 16000).astype(np.float32) for hz in (200, 300)]
    known, same, other = (
        Track(name, "test", 16000, tone, {"vocals": tone})
        for name, tone in (("known", tones[0]), ("same", tones[0]), ("other", tones[1]))
    )
    silent = Track("silent", "test", 16000, 0 * tones[0], {"vocals": 0 * tones[0]})
    assert leaks.find(listed([same, other, silent]), listed([known])) == {"same": "known"}


def test_different_songs_of_one_length_raise_no_alarm(trained: list[Track]) -> None:
    assert leaks.find(listed(songs("test", 12)), listed(trained)) == {}
    assert leaks.find([], listed(trained)) == leaks.find(listed(trained), []) == {}


def test_a_short_signal_has_a_fingerprint_too() -> None:
    assert leaks.envelope(np.ones((3, 2))) == [0, 0, 0, *[-300] * 61]


def test_no_pair_of_mir_1k_raises_an_alarm_and_a_planted_copy_does(mir1k: Path) -> None:
    refs = reader.discover(str(mir1k), {})
    tested, trained = ([reader.load(ref, {}) for ref in refs if ref.split == split] for split in ("test", "train"))
    assert len(tested) == 124
    assert leaks.find(listed(tested), listed(trained)) == {}
    for kind in ("quiet", "noisy", "mp3"):
        planted = copy(trained[70], CHANGES[kind])
        assert leaks.find(listed([*tested, planted]), listed(trained)) == {"copy": trained[70].name}


def test_three_leaks_are_named_and_the_rest_counted() -> None:
    found = {f"t{index}": f"s{index}" for index in range(5)}
    told = leaks.problems(found)
    assert told[0] == "test track 't0' is also in the training split, as 's0'"
    assert told[3:] == ["and 2 more test tracks are also in the training split"]
    assert len(leaks.problems({"a": "b"})) == 1
    assert leaks.problems({}) == []


def test_readers_tell_the_groups_of_their_tracks(trained: list[Track]) -> None:
    assert {track.metadata["singer"] for track in trained} == {"high voice", "low voice"}
    assert {track.metadata["genre"] for track in trained} <= {"organ", "strings", "pluck", "piano"}
    assert all(isinstance(value, str) for track in trained for value in track.metadata.values())
