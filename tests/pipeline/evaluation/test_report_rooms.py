"""What the listening room tells of a track: SDR from second to second, false sound, the worst stretches, the excerpt."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.data.datasets.track import Track
from pipeline.evaluation.report import rooms, timeline
from pipeline.evaluation.report.rooms import Heard, Shown
from pipeline.evaluation.scores import Figure, score_track

RATE_HZ = 8000
BLOCK = timeline.block_samples(RATE_HZ)
TARGETS = ("vocals", "accompaniment")


def noise(seconds: float, seed: int, channels: int = 2) -> np.ndarray:
    return 0.1 * np.random.default_rng(seed).standard_normal((round(seconds * RATE_HZ), channels))


def seconds(begin: float, end: float) -> slice:
    return slice(round(begin * RATE_HZ), round(end * RATE_HZ))


def song(length: float, silent: slice = slice(0, 0), channels: int = 2) -> Track:
    stems = {target: noise(length, place, channels) for place, target in enumerate(TARGETS)}
    stems["vocals"][silent] = 0
    return Track("song", "test", RATE_HZ, stems["vocals"] + stems["accompaniment"], stems)


def good(track: Track) -> dict[str, np.ndarray]:
    """Estimates that are 20 dB above their error wherever their reference sounds."""
    return {target: 0.9 * stem for target, stem in track.stems.items()}


def room(track: Track, estimates: dict[str, np.ndarray], **more: dict[str, np.ndarray]) -> dict:
    return rooms.whole(Heard(track, {"model": estimates, **more}), "worst", TARGETS)


def test_sdr_over_time_is_bss_eval_v4s() -> None:
    track = song(5.3)
    estimates = {target: stem + noise(5.3, 7) * 0.3 for target, stem in track.stems.items()}
    methods = {"mixture": dict.fromkeys(TARGETS, track.mixture), "model": estimates}
    expected = score_track(track, methods, TARGETS, ("v4",), 1.0).values[Figure("model", "vocals", "v4", "SDR")]
    measured = timeline.measure(track.stems["vocals"], {"model": estimates["vocals"]}, track.mixture, BLOCK)
    found = timeline.sdr_db(measured, "model")
    assert len(found) == 22 - 3
    np.testing.assert_allclose(found[::4], expected, atol=1e-9)


def test_where_the_reference_is_silent_the_level_of_the_false_sound_stands_for_sdr() -> None:
    """Of noise at a tenth of an accompaniment that sounds alone there: −20 dB, but for the mixture's mean."""
    track = song(8.0, silent=seconds(2, 5))
    estimates = good(track)
    estimates["vocals"][seconds(2, 5)] = 0.1 * track.stems["accompaniment"][seconds(2, 5)]
    mean = np.sum(track.mixture**2) / len(track.mixture)
    alone = np.sum(track.stems["accompaniment"][seconds(3, 4)] ** 2) / RATE_HZ
    frames = room(track, estimates)["frames"]["vocals"]["model"]
    assert [place for place, value in enumerate(frames["sdr"]) if value is None] == list(range(8, 17))
    assert [value is None for value in frames["sdr"]] == [value is not None for value in frames["false"]]
    assert frames["false"][12] == pytest.approx(-20 + 10 * np.log10(alone / mean), abs=0.1)
    assert frames["sdr"][0] == pytest.approx(20.0, abs=0.05)


@pytest.mark.parametrize("begin", [0.0, 5.0, 8.0])
@pytest.mark.parametrize("channels", [1, 2])
def test_the_worst_stretch_is_where_the_estimate_is_bad(begin: float, channels: int) -> None:
    """An estimate of the wrong sign has twice its reference as error: −6.02 dB."""
    track = song(10.0, channels=channels)
    estimates = good(track)
    estimates["accompaniment"][seconds(begin, begin + 2)] *= -1 / 0.9
    worst = room(track, estimates, baseline=good(track))["stretches"][0]
    assert (worst["target"], worst["begin"], worst["end"], worst["silent"]) == (
        "accompaniment",
        begin,
        begin + 2,
        False,
    )
    assert worst["figures"] == {"model": -6.02, "baseline": 20.0}


def test_false_sound_in_silence_is_the_worst_and_told_by_its_level() -> None:
    track = song(10.0, silent=seconds(4, 8))
    estimates = good(track)
    estimates["accompaniment"][seconds(0, 2)] *= 0.1
    estimates["vocals"][seconds(5, 7)] = 0.5 * track.stems["accompaniment"][seconds(5, 7)]
    first, second = room(track, estimates)["stretches"][:2]
    assert (first["target"], first["begin"], first["end"], first["silent"]) == ("vocals", 5.0, 7.0, True)
    mean = np.mean(track.mixture**2)
    level = 10 * np.log10(np.mean(estimates["vocals"][seconds(5, 7)] ** 2) / mean)
    assert first["figures"]["model"] == pytest.approx(level, abs=0.05)
    assert (second["target"], second["begin"], second["silent"]) == ("accompaniment", 0.0, False)
    assert second["figures"]["model"] == pytest.approx(-20 * np.log10(1 - 0.09), abs=0.05)


def test_stretches_do_not_overlap_and_an_error_that_nobody_hears_is_none() -> None:
    track = song(9.0)
    found = room(track, good(track))["stretches"]
    assert len(found) == 2 * timeline.STRETCHES_OF_TARGET
    for target in TARGETS:
        one, other = sorted(each["begin"] for each in found if each["target"] == target)
        assert other - one >= timeline.STRETCH_SECONDS
    assert [each["badness"] for each in found] == sorted(each["badness"] for each in found)
    assert room(track, dict(track.stems))["stretches"] == []
    hiss = {target: stem + 0.02 * noise(9.0, 5) for target, stem in track.stems.items()}
    assert room(track, hiss)["stretches"] == [], "34 dB below each target"


@pytest.mark.parametrize("length", [0.1, 0.26, 1.0, 1.9])
def test_short_tracks_have_rooms_too(length: float) -> None:
    track = song(length)
    found = room(track, good(track))
    assert found["seconds"] == pytest.approx(length)
    assert len(found["frames"]["vocals"]["model"]["sdr"]) == max(1, -(-round(4 * length, 6) // 1) - 3)
    assert (found["stretches"][0]["begin"], found["stretches"][0]["inside"]) == (0, True)
    assert found["stretches"][0]["end"] == pytest.approx(length)


@pytest.mark.parametrize("worth", [np.nan, np.inf, -np.inf, 1e30])
def test_estimates_that_are_no_audio_still_make_a_room(worth: float) -> None:
    track = song(3.0)
    estimates = {**good(track), "vocals": np.full_like(track.mixture, worth)}
    found = room(track, estimates)
    assert max(found["signals"]["vocals/estimate"]["wave"]) in (0, 100)
    assert np.isfinite([each["badness"] for each in found["stretches"]]).all()
    assert set(room(track, {"vocals": estimates["vocals"]})["frames"]["accompaniment"]) == set()


def test_silence_throughout_has_no_worst_stretch() -> None:
    silence = np.zeros((2 * RATE_HZ, 1))
    track = Track("silence", "test", RATE_HZ, silence, dict.fromkeys(TARGETS, silence))
    found = room(track, dict.fromkeys(TARGETS, silence))
    assert found["stretches"] == []
    assert set(found["frames"]["vocals"]["model"]["sdr"]) == {None}


def test_the_excerpt_holds_the_worst_stretch_and_is_as_lively_as_it_can_be() -> None:
    """25 s of which the vocals sing 3–9 s only, and whose accompaniment fails at 12–14 s."""
    track = song(25.0, channels=1)
    track.stems["vocals"][seconds(0, 3)] = track.stems["vocals"][seconds(9, 25)] = 0
    estimates = good(track)
    estimates["accompaniment"][seconds(12, 14)] *= -1
    shown = Shown("worst", "song", lambda: Heard(track, {"model": estimates}))
    [found] = rooms.excerpts([shown], TARGETS)
    assert found["seconds"] == 10
    assert found["start"] == 4.0, "the earliest that reaches to the end of the stretch"
    assert found["stretches"][0] | {"inside": True, "begin": 12.0, "end": 14.0} == found["stretches"][0]
    assert len(found["frames"]["vocals"]["model"]["sdr"]) == 37
    frames = found["frames"]["accompaniment"]["model"]["sdr"]
    assert min(frames) == pytest.approx(-5.6, abs=0.1)
    assert frames.index(min(frames)) in range(32, 37), "times are of the excerpt"


@pytest.mark.parametrize(
    ("rate", "channels", "kind", "length"),
    [(16000, 2, "mpeg", 1.0), (48000, 2, "mpeg", 1.0), (96000, 2, "flac", 0.5), (44100, 3, "flac", 0.5)],
)
def test_every_rate_and_number_of_channels_has_an_encoding(rate: int, channels: int, kind: str, length: float) -> None:
    """MP3 knows nine rates and two channels; where it cannot be, lossless audio is shorter, so that five tracks fit."""
    stems = {t: 0.1 * np.random.default_rng(i).standard_normal((rate, channels)) for i, t in enumerate(TARGETS)}
    track = Track("song", "test", rate, sum(stems.values()), stems)
    heard = Heard(track, {"model": stems, "baseline": stems})
    room = rooms.excerpts([Shown("worst", "song", lambda: heard)] * 5, TARGETS)[-1]
    assert {signal["audio"].split(";")[0] for signal in room["signals"].values()} == {f"data:audio/{kind}"}
    assert room["seconds"] == pytest.approx(length, abs=0.01)
    if kind == "flac":
        assert 5 * sum(len(signal["audio"]) for signal in room["signals"].values()) < 1.1 * rooms.AUDIO_BUDGET_BYTES


def test_lively_is_where_all_targets_sound() -> None:
    vocals, band = np.zeros(100), np.ones(100)
    vocals[60:70] = 1
    assert 50 <= timeline.liveliest([vocals, band], 20) <= 60
    assert timeline.liveliest([vocals], 100) == timeline.liveliest([vocals], 500) == 0


def test_a_track_beyond_the_excerpt_tells_of_what_lies_outside() -> None:
    track = song(30.0, channels=1)
    estimates = good(track)
    estimates["vocals"][seconds(2, 4)] *= -1
    estimates["vocals"][seconds(25, 27)] *= -0.5
    [found] = rooms.excerpts([Shown("worst", "song", lambda: Heard(track, {"model": estimates}))], TARGETS)
    told = {(each["begin"], each["inside"]) for each in found["stretches"] if each["target"] == "vocals"}
    assert told == {(2.0, True), (25.0, False)}


def test_pictures_show_loud_and_silent_and_high_and_low() -> None:
    """A tone of 3 kHz in the second half alone: the picture's only bright part is right and above the middle."""
    import base64
    import io

    from matplotlib import image

    from pipeline.evaluation.report import figures

    time = np.arange(2 * RATE_HZ)[:, np.newaxis] / RATE_HZ
    tone = 0.5 * np.sin(2 * np.pi * 3000 * time) * (time > 1)
    uri = figures.spectrogram(tone, RATE_HZ, figures.peak_db(tone, RATE_HZ))
    picture = image.imread(io.BytesIO(base64.b64decode(uri.split(",")[1])), format="webp")[..., :3].mean(axis=2)
    rows, columns = np.nonzero(picture > 0.6 * picture.max())
    assert columns.min() > 0.45 * picture.shape[1]
    assert rows.mean() == pytest.approx(0.25 * picture.shape[0], abs=3), "3 of 4 kHz, from below"
