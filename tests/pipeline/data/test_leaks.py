"""Recordings that lie in two splits: copies of every kind are found, and songs that only resemble each other are not."""

from __future__ import annotations

import functools
import hashlib
import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
import scipy.signal
import soundfile
import soxr

from models.checked import ConfigError
from pipeline.config.gate import LeakRules
from pipeline.data import datasets, landmarks, leaks
from pipeline.data.catalogue import IngestedTrack
from pipeline.data.datasets.layouts import folder, synthetic
from pipeline.data.datasets.layouts import mir1k as reader
from pipeline.data.datasets.loading import load
from pipeline.data.datasets.track import Track, group, mix
from pipeline.data.leaks import Leak, Match, ruling

SECONDS = 8.0
Change = Callable[[np.ndarray, int], np.ndarray]


def songs(split: str, count: int, seconds: float = SECONDS, **options) -> list[Track]:
    options = {**synthetic.OPTIONS, "tracks": {split: count}, "seconds": seconds, **options}
    targets = ("vocals", "accompaniment")
    return [group(synthetic.load(ref, options), targets) for ref in synthetic.discover(None, options)]


@pytest.fixture(scope="module")
def trained() -> list[Track]:
    return songs("train", 8)


@pytest.fixture(scope="module")
def known(trained: list[Track]) -> Mapping[str, landmarks.Prints]:
    return prints(trained)


def prints(tracks: Sequence[Track]) -> dict[str, landmarks.Prints]:
    return {track.name: landmarks.of_track(track) for track in tracks}


def listed(tracks: Sequence[Track]) -> list[IngestedTrack]:
    return [
        IngestedTrack(
            track.name,
            track.split,
            "",
            len(track.mixture),
            track.sample_rate_hz,
            track.metadata,
            {"digest": hashlib.sha256(track.mixture.tobytes()).hexdigest()},
        )
        for track in tracks
    ]


def found(tracks: Sequence[Track], known: Mapping[str, landmarks.Prints] | None = None) -> list[Leak]:
    """The leaks between the splits of tracks, those large enough for the rules; `known` landmarks are not made again."""
    known = known or {}
    missing = [track for track in tracks if track.name not in known]
    return ruling.large(leaks.search(listed(tracks), {**known, **prints(missing)}), LeakRules())


def copy(track: Track, change: Change, name: str = "", split: str = "test") -> Track:
    """The track under another name with all its signals changed."""
    signals = {key: change(signal, track.sample_rate_hz).astype(np.float32) for key, signal in track.stems.items()}
    mixture = change(track.mixture, track.sample_rate_hz).astype(np.float32)
    return Track(name or f"copy of {track.name}", split, track.sample_rate_hz, mixture, signals)


# --- what is done to a copy -------------------------------------------------------------------------------------------


def noisy(signal: np.ndarray, _: int) -> np.ndarray:
    """With white noise 20 dB below the signal."""
    generator = np.random.default_rng(0)
    return signal + 0.1 * np.sqrt(np.mean(signal**2)) * generator.standard_normal(signal.shape)


def encoded(kind: str, level: float) -> Change:
    """Through a lossy file; level 1 is libsndfile's smallest file."""

    def through_a_file(signal: np.ndarray, rate_hz: int) -> np.ndarray:
        file = io.BytesIO()
        soundfile.write(file, signal, rate_hz, format=kind, compression_level=level)
        file.seek(0)
        return np.asarray(soundfile.read(file, dtype="float32", always_2d=True)[0])

    return through_a_file


def shelved(low_db: float, high_db: float) -> Change:
    """A shelf on either side of 800 Hz."""

    def equalise(signal: np.ndarray, rate_hz: int) -> np.ndarray:
        low = 1 / (1 + (np.fft.rfftfreq(len(signal), 1 / rate_hz) / 800) ** 2)
        gains = 10 ** ((low_db * low + high_db * (1 - low)) / 20)
        return np.fft.irfft(np.fft.rfft(signal, axis=0) * gains[:, None], len(signal), axis=0)

    return equalise


def low_passed(hz: float) -> Change:
    def passed(signal: np.ndarray, rate_hz: int) -> np.ndarray:
        return np.asarray(scipy.signal.sosfilt(scipy.signal.butter(6, hz, fs=rate_hz, output="sos"), signal, axis=0))

    return passed


def late(seconds: float) -> Change:
    return lambda signal, rate: np.pad(signal, ((round(seconds * rate), 0), (0, 0)))


def between(start: float, end: float) -> Change:
    return lambda signal, rate: signal[round(start * rate) : round(end * rate)]


def resampled(speed: float) -> Change:
    """Faster and higher, as a tape or a record."""
    return lambda signal, rate: soxr.resample(signal, rate * speed, rate)


def stretched(signal: np.ndarray, speed: float) -> np.ndarray:
    """Faster at the same pitch: WSOLA (Verhelst and Roelands, ICASSP 1993), frames of 64 ms at 16 kHz and half of it a hop.

    Each frame is taken from up to 16 ms beside its place, where it continues the one before best.
    """
    frame, hop, reach = 1024, 512, 256
    window = np.hanning(frame + 1)[:-1]
    changed = []
    for channel in signal.T:
        padded = np.pad(channel, (reach, 2 * frame + reach))
        output = np.zeros(int(len(channel) / speed) + frame)
        taken = reach
        for start in range(0, len(output) - frame, hop):
            place = reach + round(start * speed)
            near, wanted = padded[place - reach : place + reach + frame], padded[taken + hop : taken + hop + frame]
            taken = place - reach + int(np.argmax(scipy.signal.correlate(near, wanted, "valid"))) if start else place
            output[start : start + frame] += window * padded[taken : taken + frame]
        changed.append(output[: int(len(channel) / speed)])
    return np.stack(changed, axis=1)


def transposed(semitones: float) -> Change:
    """Higher at the same tempo."""
    ratio = 2 ** (semitones / 12)
    return lambda signal, rate: soxr.resample(stretched(signal, 1 / ratio), rate * ratio, rate)


def in_a_room(signal: np.ndarray, rate_hz: int) -> np.ndarray:
    """With a decay of 60 dB in a third of a second, 10 dB below the direct sound."""
    time = np.arange(rate_hz // 3) / rate_hz
    decay = np.random.default_rng(1).standard_normal(len(time)) * 10 ** (-9 * time)
    tail = scipy.signal.fftconvolve(signal, decay[:, None], axes=0)[: len(signal)]
    return signal + 10 ** (-10 / 20) * np.std(signal) / np.std(tail) * tail


CHANGES: dict[str, Change] = {
    "exact": lambda signal, _: signal.copy(),
    "quiet": lambda signal, _: 0.03 * signal,
    "inverted": lambda signal, _: -signal,
    "noisy": noisy,
    "mp3": encoded("MP3", 0.9),
    "ogg": encoded("OGG", 0.9),
    "two channels, one inverted": lambda signal, _: signal * np.array([1, -1]),
    "bass up, treble down": shelved(10, -10),
    "bass down, treble up": shelved(-10, 10),
    "low-pass at 4 kHz": low_passed(4000),
    "low-pass at 1.5 kHz": low_passed(1500),
    "50 ms late": late(0.05),
    "57.3 ms late": late(0.0573),
    "2 s of silence in front": late(2),
    "200 ms trimmed": between(0.2, SECONDS),
    "the first half": between(0, SECONDS / 2),
    "an excerpt from the middle": between(2.23, 5.81),
    "1.5 % faster": resampled(1.015),
    "2 % slower": resampled(0.98),
    "4 % faster": resampled(1.04),
    "2 % faster, same pitch": lambda signal, _: stretched(signal, 1.02),
    "2 % slower, same pitch": lambda signal, _: stretched(signal, 0.98),
    "a semitone higher, same tempo": transposed(1),
    "two semitones lower, same tempo": transposed(-2),
    "distorted": lambda signal, _: np.tanh(4 * signal / np.abs(signal).max()),
    "a mean of 8 bits": lambda signal, _: np.rint(127 * signal) / 127,
    "in a room": in_a_room,
    "backwards in level": lambda signal, _: signal * np.linspace(1, 0.1, len(signal))[:, None],
}


@pytest.mark.parametrize("kind", CHANGES)
def test_a_copy_is_found_whatever_was_done_to_it(trained: list[Track], known, kind: str) -> None:
    tested = [copy(track, CHANGES[kind]) for track in trained[:4]]
    leaked = found([*trained, *tested], known)
    assert {(leak.track, leak.other) for leak in leaked} == {(f"copy of {t.name}", t.name) for t in trained[:4]}
    assert all("mixture" in leak.signals for leak in leaked)


def test_where_it_is_and_how_fast_is_told(trained: list[Track], known) -> None:
    """Known by construction: 4 s from 2 s on, 2 % faster, after 1 s of silence."""
    excerpt = copy(trained[0], lambda signal, rate: late(1)(resampled(1.02)(between(2, 6)(signal, rate), rate), rate))
    [leak] = found([*trained, excerpt], known)
    assert leak.signals == ("mixture", "vocals", "accompaniment")
    match = leak.match
    assert match is not None
    assert match.start == pytest.approx(1, abs=0.25)
    assert match.seconds == pytest.approx(4 / 1.02, abs=0.5)
    assert match.other_start - 2 == pytest.approx((match.start - 1) * 1.02, abs=0.05)
    assert match.speed == pytest.approx(1.02, abs=0.004), "a frame of 16 ms over 4 s"
    assert ruling.in_words(leak).endswith(f"(there from 0:02), {match.speed - 1:.1%} faster".replace("%", " %"))


def test_other_sound_in_front_and_behind_is_no_part_of_it(trained: list[Track], known) -> None:
    """8 s of a song between 6 s of another in front and 4 s behind."""
    [around] = songs("dev", 1, 10)

    def inside(signal: np.ndarray, other: np.ndarray) -> np.ndarray:
        return np.concatenate([other[: 6 * 16000], signal, other[6 * 16000 :]])

    stems = {name: inside(stem, around.stems[name]) for name, stem in trained[2].stems.items()}
    medley = Track("medley", "test", 16000, inside(trained[2].mixture, around.mixture), stems)
    [leak] = found([*trained, medley], known)
    assert leak.other == trained[2].name
    assert leak.match is not None
    assert (leak.match.start, leak.match.seconds) == (pytest.approx(6, abs=0.3), pytest.approx(8, abs=0.5))
    assert leak.share == pytest.approx(1, abs=0.07)


def test_the_same_voice_over_other_music_is_found_and_so_is_the_same_music_under_another_voice(trained, known) -> None:
    singer, band = trained[3], trained[4]
    voice, music = singer.stems["vocals"], band.stems["accompaniment"]
    cover = Track("cover", "test", singer.sample_rate_hz, voice + music, {"vocals": voice, "accompaniment": music})
    shared = {leak.other: leak.signals for leak in found([*trained, cover], known)}
    assert shared == {singer.name: ("vocals",), band.name: ("accompaniment",)}


def test_an_instrumental_shares_the_backing_not_the_recording(trained: list[Track], known) -> None:
    music = trained[0].stems["accompaniment"]
    karaoke = Track("karaoke", "test", 16000, music, {"vocals": 0 * music, "accompaniment": music})
    [leak] = found([*trained, karaoke], known)
    assert (leak.other, leak.signals) == (trained[0].name, ("accompaniment",))


@pytest.mark.parametrize("gain_db", [-6, 6])
def test_a_remix_is_found(trained: list[Track], known, gain_db: float) -> None:
    tested = []
    for track in trained[:4]:
        stems = {**track.stems, "vocals": 10 ** (gain_db / 20) * track.stems["vocals"]}
        tested.append(Track(f"remix of {track.name}", "test", track.sample_rate_hz, mix(list(stems.values())), stems))
    leaked = found([*trained, *tested], known)
    assert {(leak.track, leak.other) for leak in leaked} == {(f"remix of {t.name}", t.name) for t in trained[:4]}
    assert all({"vocals", "accompaniment"} <= set(leak.signals) for leak in leaked)


def test_without_vocals_every_stem_speaks(trained: list[Track]) -> None:
    def band(track: Track, name: str, split: str) -> Track:
        return Track(name, split, track.sample_rate_hz, track.mixture, {"piano": track.stems["accompaniment"]})

    [leak] = found([band(trained[0], "a", "train"), band(trained[0], "b", "test")])
    assert leak.signals == ("mixture", "piano")


def test_a_loop_that_two_songs_share_is_no_leak_of_a_song() -> None:
    """2 s of the same music in 16 s: 12 % of a song."""
    first, second, loop = songs("train", 1, 16)[0], songs("test", 1, 16)[0], songs("dev", 1, 2)[0].mixture
    for track in (first, second):
        track.mixture[:] = np.concatenate([track.mixture[: -len(loop)], loop])
        track.stems["accompaniment"][:] = np.concatenate([track.stems["accompaniment"][: -len(loop)], loop])
        track.stems["vocals"][-len(loop) :] = 0
    [leak] = leaks.search(listed([first, second]), prints([first, second]))
    assert leak.share == pytest.approx(2 / 16, abs=0.04), "it is found, and counted as what it is"
    assert ruling.large([leak], LeakRules()) == []
    assert ruling.large([leak], LeakRules(share=0.05)) == ruling.large([leak], LeakRules(seconds=1.0)) == [leak]


def test_any_two_splits_are_compared(trained: list[Track], known) -> None:
    tested = copy(trained[0], noisy, "t")
    held_out = [copy(trained[0], CHANGES["inverted"], "d", "dev"), copy(trained[1], noisy, "e", "dev")]
    leaked = found([*trained, tested, *held_out], known)
    assert [(leak.track, leak.split, leak.other, leak.other_split) for leak in leaked] == [
        ("t", "test", trained[0].name, "train"),
        ("t", "test", "d", "dev"),
        ("d", "dev", trained[0].name, "train"),
        ("e", "dev", trained[1].name, "train"),
    ]


# --- no false alarms --------------------------------------------------------------------------------------------------


def test_different_songs_raise_no_alarm(trained: list[Track], known) -> None:
    """One synthesizer plays them all, four drums among it, and many are of one key and tempo."""
    assert found([*trained, *songs("test", 8), *songs("dev", 8)], known) == []
    assert found([], {}) == found(trained, known) == []


@pytest.mark.slow
@pytest.mark.parametrize(("seconds", "count"), [(4, 60), (10, 40), (30, 20)])
def test_no_pair_of_synthetic_songs_raises_an_alarm(seconds: float, count: int) -> None:
    assert found([*songs("train", count, seconds), *songs("test", count, seconds)]) == []


def test_a_steady_signal_is_known_by_its_samples_only() -> None:
    """Tones and silence have no landmarks that tell where they are; white noise has nothing but."""
    time = np.arange(32000)[:, None] / 16000
    noise = np.random.default_rng(0).standard_normal((2, 32000, 1)).astype(np.float32)
    tones = [np.sin(2 * np.pi * hz * time).astype(np.float32) for hz in (200, 212, 300)]

    def track(name: str, signal: np.ndarray, split: str = "test") -> Track:
        return Track(name, split, 16000, signal, {"vocals": signal})

    trained = [
        track("tone", tones[0], "train"),
        track("noise", noise[0], "train"),
        track("rest", 0 * noise[0], "train"),
    ]
    tested = [track("same", tones[0]), *(track(f"other {hz}", tone) for hz, tone in enumerate(tones[1:]))]
    tested += [track("late", noise[0, 700:]), track("new", noise[1]), track("short", np.zeros((1600, 1), np.float32))]
    assert {leak.track: leak.other for leak in found([*trained, *tested])} == {"same": "tone", "late": "noise"}


@pytest.mark.slow
def test_mir_1k_shares_one_karaoke_track_over_its_published_splits_and_nothing_else(mir1k: Path) -> None:
    """Song 2 of yifen (test) is song 7 of amy (training), to which both sing the same recorded music."""
    tracks = [load(ref) for ref in reader.discover(str(mir1k), {})]
    known = prints(tracks)
    assert {track.split for track in tracks} == {"train", "dev", "test"}
    leaked = found(tracks, known)
    assert {(leak.track[:7], leak.other[:5], leak.signals) for leak in leaked} <= {
        ("yifen_2", "amy_7", ("accompaniment",))
    }
    rules = LeakRules()
    published = functools.partial(datasets.is_published, "mir1k")
    assert ruling.ruled(leaked, rules, published).refused == ()
    source = next(track for track in tracks if track.split == "train")
    for kind in ("mp3", "1.5 % faster"):
        more = found([*tracks, copy(source, CHANGES[kind])], known)
        refused = ruling.ruled(more, rules, published).refused
        assert len(refused) == 1
        assert f"has the mixture, vocals and accompaniment of training track {source.name!r}" in refused[0]


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind",
    ["mp3", "bass up, treble down", "1.5 % faster", "2 % faster, same pitch", "noisy", "a semitone higher, same tempo"],
)
def test_ten_seconds_of_a_song_are_found_among_songs(datasets: Path, kind: str) -> None:
    """EverythingIsFree, its own songs in full: the excerpt's song is named, no other."""
    path = datasets / "EverythingIsFree"
    if not path.is_dir():
        pytest.skip(f"{path} is absent")
    options = {**folder.OPTIONS, "dev_fraction": 0.0, "test_fraction": 0.0}
    tracks = [group(load(ref), ("vocals", "accompaniment")) for ref in folder.discover(str(path), options)[:4]]
    excerpts = [copy(copy(track, between(100, 110)), CHANGES[kind], f"part of {track.name}") for track in tracks]
    assert {(leak.track, leak.other) for leak in found([*tracks, *excerpts])} == {
        (f"part of {t.name}", t.name) for t in tracks
    }


# --- what it comes to -------------------------------------------------------------------------------------------------


def leak(track: str = "t", split: str = "test", other_split: str = "train", *signals: str, share: float = 1.0) -> Leak:
    match = Match(63.4, 41.2, 20.0, 1.015, 1 / 3, 500.0, 0.9, 400)
    return Leak(track, split, "o", other_split, signals or ("mixture",), match, share)


def nobody(_name: str, _split: str) -> bool:
    return False


def test_a_sentence_says_who_what_where_and_how() -> None:
    assert ruling.in_words(leak("t", "test", "train", "mixture", "vocals", "accompaniment")) == (
        "test track 't' has the mixture, vocals and accompaniment of training track 'o', from 1:03 for 0:41 (there from 0:20), "
        "1.5 % faster"
    )
    higher = Leak("t", "dev", "o", "train", ("vocals",), Match(0.0, 9.6, 0.0, 1.0, 1.0, 60.0, 0.8, 40), 0.5)
    assert ruling.in_words(higher) == (
        "dev track 't' has the vocals of training track 'o', from 0:00 for 0:10 (there from 0:00), 1.0 semitones higher"
    )
    same = Leak("t", "test", "o", "train", ("mixture",), None, 1.0)
    assert ruling.in_words(same) == "test track 't' has the mixture of training track 'o', sample for sample"


def test_three_leaks_are_named_and_the_rest_counted() -> None:
    told = ruling.ruled([leak(f"t{number}", share=1 - number / 10) for number in range(5)], LeakRules(), nobody)
    assert [words.split()[2] for words in told.refused[:3]] == ["'t0'", "'t1'", "'t2'"], (
        "those that share most come first"
    )
    assert told.refused[3:] == ("2 more tracks share recordings with another split, see leaks.json of the examples",)
    assert told.told == ()
    assert ruling.ruled([], LeakRules(), nobody) == ruling.Ruling((), ())


@pytest.mark.parametrize(
    ("found", "published", "refused"),
    [
        (leak(), False, True),
        (leak("t", "dev"), False, False),
        (leak("t", "test", "dev"), False, False),
        (leak("t", "test", "train", "accompaniment"), True, False),
        (leak("t", "test", "train", "accompaniment"), False, True),
        (leak("t", "test", "train", "mixture", "accompaniment"), True, True),
    ],
    ids=["test", "dev", "test in dev", "backing as published", "backing", "recording as published"],
)
def test_rules_say_what_refuses_and_what_is_told(found: Leak, published: bool, refused: bool) -> None:
    ruled = ruling.ruled([found], LeakRules(), lambda *_: published)
    assert (len(ruled.refused), len(ruled.told)) == (int(refused), int(not refused))
    other_way = LeakRules(test="tell", dev="refuse", published="refuse")
    turned = ruling.ruled([found], other_way, lambda *_: published)
    assert (len(turned.refused), len(turned.told)) == (int(not refused), int(refused))


def test_a_rule_is_refuse_or_tell() -> None:
    with pytest.raises(ConfigError, match=r"gate\.leaks\.test is 'ignore'; legal: refuse, tell"):
        LeakRules(test="ignore")  # pyright: ignore[reportArgumentType]
    for field in ("share", "seconds"):
        with pytest.raises(ConfigError, match=f"gate.leaks.{field}"):
            LeakRules(**{field: 0.0})  # pyright: ignore[reportArgumentType]


def test_published_splits_are_those_of_the_paper() -> None:
    assert datasets.is_published("mir1k", "amy_7_06", "train")
    assert not datasets.is_published("mir1k", "amy_7_06", "test"), "a list beside the clips has moved it"
    assert datasets.is_published("musdb18", "anything", "test")
    assert not datasets.is_published("folder", "amy_7_06", "train")


# --- files ------------------------------------------------------------------------------------------------------------


def test_landmarks_and_leaks_come_back_from_their_files(trained: list[Track], known, tmp_path: Path) -> None:
    path = f"{tmp_path}/{landmarks.DIRECTORY}/train-00000-of-00001.npz"
    landmarks.write(known, path)
    first = Path(path).read_bytes()
    landmarks.write(known, path)
    assert Path(path).read_bytes() == first
    back = landmarks.read_all(str(tmp_path))
    assert back.keys() == known.keys()
    for name, signals in known.items():
        for signal, kept in signals.items():
            assert np.array_equal(back[name][signal].times, kept.times)
            assert np.array_equal(back[name][signal].bands, kept.bands)
    leaked = [leak(), Leak("t", "test", "o", "train", ("mixture",), None, 1.0)]
    leaks.write(leaked, str(tmp_path))
    assert leaks.read(str(tmp_path)) == leaked


def test_examples_of_earlier_versions_are_refused_in_words(trained: list[Track], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"has no landmarks: ingest the data again"):
        leaks.search(listed(trained), {})
    with pytest.raises(ValueError, match=r"have no leaks.json: ingest the data again"):
        leaks.read(str(tmp_path))


def test_readers_tell_the_groups_of_their_tracks(trained: list[Track]) -> None:
    assert {track.metadata["singer"] for track in trained} == {"high voice", "low voice"}
    assert {track.metadata["genre"] for track in trained} <= {"organ", "strings", "pluck", "piano"}
    assert all(isinstance(value, str) for track in trained for value in track.metadata.values())
