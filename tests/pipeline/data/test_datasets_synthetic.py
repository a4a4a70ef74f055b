"""The synthetic songs, heard by numbers."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import signal

from pipeline.data import datasets
from pipeline.data.datasets.layouts import synthetic
from pipeline.data.datasets.loading import of_track
from pipeline.data.datasets.track import group
from pipeline.data.quarantine.measures import Measures


def options(**given):
    return datasets.resolve_options("synthetic", given, {})


def energy_db(x: np.ndarray) -> float:
    return 10 * np.log10(np.sum(x.astype(np.float64) ** 2))


def ideal_ratio_mask_sdr(target: np.ndarray, other: np.ndarray) -> float:
    forward = [signal.stft(x, nperseg=1024, noverlap=512)[2] for x in (target, other)]
    mask = np.abs(forward[0]) / (np.abs(forward[0]) + np.abs(forward[1]) + 1e-9)
    estimate = signal.istft(sum(forward) * mask, nperseg=1024, noverlap=512)[1][: len(target)]
    return energy_db(target) - energy_db(target - estimate)


SONGS = options(tracks={"train": 3, "dev": 1, "test": 2})


@pytest.fixture(scope="module")
def songs():
    return [synthetic.load(ref, SONGS) for ref in synthetic.discover(None, SONGS)]


def test_discovers_the_songs_asked_for():
    refs = synthetic.discover(None, SONGS)
    assert [ref.name for ref in refs] == [
        "train-0000", "train-0001", "train-0002", "dev-0000", "test-0000", "test-0001",
    ]  # fmt: skip
    assert all(ref.name.startswith(ref.split) for ref in refs)


def test_songs_are_sound_and_sum_to_their_mixture(songs):
    for song in songs:
        stream = of_track(song)
        measures = Measures(stream)
        assert len(list(measures.watched(stream.blocks()))) == 3
        measures.check()
        assert song.mixture.shape == (160000, 1)
        assert song.mixture.dtype == np.float32
        assert sorted(song.stems) == ["bass", "drums", "other", "vocals"]
        assert np.allclose(song.mixture, sum(song.stems.values()), atol=1e-6)
        assert np.abs(song.mixture).max() == pytest.approx(0.8, abs=1e-3)
        assert max(measures.clipping_ratios().values()) < 1e-3


def test_the_voice_is_as_loud_as_the_rest_and_can_be_separated(songs):
    for song in songs:
        vocals, backing = (stem[:, 0] for stem in group(song, ("vocals", "accompaniment")).stems.values())
        assert abs(energy_db(vocals) - energy_db(backing)) < 1.5
        assert ideal_ratio_mask_sdr(vocals, backing) > 10


def test_the_voice_pauses_between_phrases(songs):
    for song in songs:
        blocks = np.sqrt((song.stems["vocals"].reshape(-1, 320) ** 2).mean(axis=1))
        assert 0.5 < np.mean(blocks > 0.02 * np.abs(song.stems["vocals"]).max()) < 0.98


def test_songs_depend_on_seed_and_number_only(songs):
    more = options(tracks={"train": 1, "test": 9})
    again = {ref.name: synthetic.load(ref, more) for ref in synthetic.discover(None, more)[:2]}
    assert np.array_equal(again["train-0000"].mixture, songs[0].mixture)
    assert not np.array_equal(again["test-0000"].mixture, songs[0].mixture)
    other = options(tracks={"train": 1}, seed=1)
    assert not np.array_equal(synthetic.load(synthetic.discover(None, other)[0], other).mixture, songs[0].mixture)


def test_stereo_at_44100_hz_is_panned():
    given = options(tracks={"train": 1}, sample_rate_hz=44100, channels=2, seconds=3.0)
    song = synthetic.load(synthetic.discover(None, given)[0], given)
    assert song.sample_rate_hz == 44100
    assert song.mixture.shape == (132300, 2)
    left, right = song.stems["other"].T
    assert not np.allclose(left, right, atol=1e-2)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"tracks": {"training": 3}}, "must map train, dev, test to numbers of songs, but it is {'training': 3}"),
        ({"tracks": {"train": -1}}, "numbers of songs"),
        ({"seconds": 0.5}, "seconds must be at least 1, but it is 0.5"),
        ({"channels": 3}, "must be 1 or 2, but it is 3"),
        ({"sample_rate_hz": 100}, "at least 8000, but it is 100"),
    ],
)
def test_options_out_of_range_are_refused(given, words):
    with pytest.raises(ValueError, match=words):
        synthetic.discover(None, options(**given))


def test_a_path_is_refused():
    with pytest.raises(ValueError, match="reads no files"):
        synthetic.discover("/somewhere", options())
