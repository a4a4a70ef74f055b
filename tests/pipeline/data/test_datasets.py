"""Readers on real audio files of every format, good and bad."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hostile_files import SAMPLES, by_ffmpeg, by_libsndfile

from pipeline.data import datasets
from pipeline.data.datasets import audio, splits
from pipeline.data.datasets.conversion import converted
from pipeline.data.datasets.layouts import folder, mir1k, musdb18
from pipeline.data.datasets.loading import load, of_track
from pipeline.data.datasets.track import SPLITS, BadTrackError, Track, group

FRACTIONS = {**splits.OPTIONS, "dev_fraction": 0.2, "test_fraction": 0.2}


def tone(frequency_hz: float, seconds: float = 0.5, rate_hz: int = 16000, channels: int = 1, level: float = 0.3):
    times = np.arange(round(seconds * rate_hz)) / rate_hz
    return np.repeat(level * np.sin(2 * np.pi * frequency_hz * times)[:, None], channels, axis=1).astype(np.float32)


def write(path: Path, signal: np.ndarray, rate_hz: int = 16000, **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, signal, rate_hz, **options)
    return path


def a_track(**stems: np.ndarray) -> Track:
    return Track("a", "train", 16000, sum(stems.values()), stems)


# --- formats and options ---------------------------------------------------------------------------------------------


def test_formats_are_the_reader_modules():
    assert {"folder", "mir1k", "musdb18", "synthetic"} <= set(datasets.formats())
    for name in datasets.formats():
        reader = datasets.reader(name)
        assert callable(reader.discover)
        assert isinstance(reader.OPTIONS, dict)
        assert hasattr(reader, "recognise") != hasattr(reader, "load"), f"{name} lies in files, or is rendered"


def test_unknown_format_names_the_nearest():
    with pytest.raises(ValueError, match=r"'mirk1'; did you mean 'mir1k'\? .*folder, .*mir1k, .*musdb18, .*synthetic"):
        datasets.reader("mirk1")


def test_unknown_option_names_the_nearest():
    with pytest.raises(ValueError, match="'second'; did you mean 'seconds'"):
        datasets.resolve_options("synthetic", {"second": 3}, {})


def test_options_prefer_the_given_over_the_shared_over_the_default():
    resolved = datasets.resolve_options("folder", {"test_fraction": 0.5}, {"test_fraction": 0.3, "dev_fraction": 0.2})
    assert resolved == {**folder.OPTIONS, "dev_fraction": 0.2, "test_fraction": 0.5}
    assert datasets.resolve_options("folder", {}, {"channels": 2}) == folder.OPTIONS


def test_listing_formats_imports_nothing_heavy():
    code = "import sys; from pipeline.data import datasets; datasets.formats(); print(sorted({'numpy', 'soundfile', 'musdb'} & set(sys.modules)))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"


# --- audio -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "error_db"), [("a.wav", -80), ("a.flac", -80), ("a.ogg", -20), ("a.mp3", -20)])
def test_every_file_format_is_read(tmp_path, name, error_db):
    signal = tone(440, 1.0, 44100, channels=2)
    read, rate_hz = audio.read(write(tmp_path / name, signal, 44100))
    assert rate_hz == 44100
    assert read.dtype == np.float32
    assert read.shape == signal.shape
    assert 10 * np.log10(np.mean((read - signal) ** 2) / np.mean(signal**2)) < error_db


def test_no_audio_is_refused_with_a_readable_reason(tmp_path):
    (tmp_path / "text.wav").write_text("this is a shopping list")
    (tmp_path / "empty.wav").touch()
    with pytest.raises(ValueError, match=r"^text\.wav is no readable audio \(.*\)$"):
        audio.read(tmp_path / "text.wav")
    with pytest.raises(ValueError, match=r"^empty\.wav is empty \(0 bytes\)$"):
        audio.read(tmp_path / "empty.wav")


def test_a_cut_off_flac_is_refused(tmp_path):
    path = write(tmp_path / "a.flac", np.random.default_rng(0).uniform(-0.5, 0.5, 40000))
    path.write_bytes(path.read_bytes()[:20000])
    with pytest.raises(ValueError, match=r"^a\.flac "):
        audio.read(path)


@pytest.mark.parametrize("from_hz", [8000, 22050, 44100, 48000])
def test_resampling_keeps_a_tone_and_its_length(from_hz):
    resampled = audio.resample(tone(1000, 1.0, from_hz), from_hz, 16000)
    expected = tone(1000, 1.0, 16000)
    assert resampled.shape == expected.shape
    assert resampled.dtype == np.float32
    middle = slice(1000, -1000)  # the filter rings at the ends of a tone that starts at once
    assert np.abs(resampled[middle] - expected[middle]).max() < 1e-3


def test_channels():
    stereo = np.stack([np.full(10, 0.2), np.full(10, 0.4)], axis=1).astype(np.float32)
    assert np.allclose(audio.to_channels(stereo, 1), 0.3)
    assert np.array_equal(audio.to_channels(stereo[:, :1], 2), np.repeat(stereo[:, :1], 2, axis=1))
    assert audio.to_channels(stereo, 2) is stereo
    with pytest.raises(ValueError, match="3 channels, which cannot be made 2"):
        audio.to_channels(np.zeros((4, 3), np.float32), 2)


# --- the steps of a track --------------------------------------------------------------------------------------------


def test_stems_that_are_no_target_become_the_accompaniment():
    track = a_track(vocals=tone(440), drums=tone(100), bass=tone(60))
    grouped = group(track, ("vocals", "accompaniment"))
    assert list(grouped.stems) == ["vocals", "accompaniment"]
    assert np.array_equal(grouped.stems["accompaniment"], track.stems["drums"] + track.stems["bass"])


def test_no_stem_is_dropped_silently():
    track = a_track(vocals=tone(440), drums=tone(100), bass=tone(60))
    with pytest.raises(BadTrackError, match="no target takes its bass"):
        group(track, ("vocals", "drums"))
    with pytest.raises(BadTrackError, match="no stem for other"):
        group(track, ("vocals", "drums", "bass", "other"))
    with pytest.raises(BadTrackError, match="accompaniment and also drums"):
        group(a_track(vocals=tone(440), accompaniment=tone(60), drums=tone(100)), ("vocals", "accompaniment"))


def test_conversion_changes_rate_and_channels_of_every_signal():
    track = Track("a", "train", 44100, tone(440, 4, 44100, 2), {"vocals": tone(220, 4, 44100, 2)})
    stream = converted(of_track(track), ("vocals",), 16000, 1)
    assert (stream.sample_rate_hz, stream.channels, stream.stems) == (16000, 1, ("vocals",))
    blocks = list(stream.blocks())
    for name, original in {"mixture": track.mixture, **track.stems}.items():
        whole = audio.resample(audio.to_channels(original, 1), 44100, 16000)
        assert np.array_equal(np.concatenate([block[name] for block in blocks]), whole)


def test_hashed_splits_have_about_their_share_and_never_move():
    names = [f"song {index}" for index in range(2000)]
    found = [splits.by_hash(name, 0.1, 0.2) for name in names]
    assert found.count("dev") == pytest.approx(200, abs=50)
    assert found.count("test") == pytest.approx(400, abs=70)
    assert found == [splits.by_hash(name, 0.1, 0.2) for name in names]
    grown = [splits.by_hash(name, 0.2, 0.2) for name in names]
    assert all(new == old for new, old in zip(grown, found, strict=True) if old != "train")


# --- folder ----------------------------------------------------------------------------------------------------------


def songs(root: Path, names: list[str]) -> Path:
    for name in names:
        write(root / name / "vocals.wav", tone(440))
        write(root / name / "drums.flac", tone(100))
    return root


def test_folder_reads_stems_of_several_formats_and_sums_them(tmp_path):
    songs(tmp_path, ["one"])
    write(tmp_path / "one" / "bass.ogg", tone(60, channels=2))
    (tmp_path / "one" / "notes.txt").write_text("not audio")
    (ref,) = folder.discover(str(tmp_path), FRACTIONS)
    track = load(ref)
    assert list(track.stems) == ["bass", "drums", "vocals"]
    assert track.mixture.shape == (8000, 2)
    assert np.allclose(track.mixture, sum(track.stems.values()))


@pytest.mark.skipif(not shutil.which("ffmpeg"), reason="ffmpeg is not here")
def test_folder_takes_stems_of_aac_beside_wav(tmp_path):
    """What AAC adds before the sound and behind it, up to a frame, makes them neither later nor longer."""
    (tmp_path / "song").mkdir()
    (tmp_path / "song/vocals.m4a").write_bytes(by_ffmpeg(".m4a", "-b:a", "256k"))
    (tmp_path / "song/drums.wav").write_bytes(by_libsndfile("WAV"))
    track = load(folder.discover(str(tmp_path), FRACTIONS)[0])
    vocals, drums = track.stems["vocals"], track.stems["drums"]
    assert vocals.shape == drums.shape == (SAMPLES, 2)
    assert np.corrcoef(vocals.ravel(), drums.ravel())[0, 1] > 0.99


@pytest.mark.parametrize("name", ["mixture.wav", "Mix.flac"])
def test_folder_takes_a_given_mixture(tmp_path, name):
    songs(tmp_path, ["one"])
    write(tmp_path / "one" / name, tone(333))
    track = load(folder.discover(str(tmp_path), FRACTIONS)[0])
    assert sorted(track.stems) == ["drums", "vocals"]
    assert np.allclose(track.mixture, tone(333), atol=1e-4)


def test_folder_splits_by_subfolder_or_by_hash(tmp_path):
    for split in SPLITS:
        songs(tmp_path / "given" / split, [f"{split} song"])
    assert {r.name: r.split for r in folder.discover(str(tmp_path / "given"), FRACTIONS)} == {
        f"{split} song": split for split in SPLITS
    }
    names = [f"song {index}" for index in range(20)]
    hashed = folder.discover(str(songs(tmp_path / "hashed", names)), FRACTIONS)
    assert {ref.name: ref.split for ref in hashed} == {name: splits.by_hash(name, 0.2, 0.2) for name in names}
    assert hashed == sorted(hashed, key=lambda ref: (SPLITS.index(ref.split), ref.name))


def test_folder_refuses_what_is_no_such_layout(tmp_path):
    with pytest.raises(ValueError, match="nowhere is not a directory: expected one directory per track"):
        folder.discover(str(tmp_path / "nowhere"), FRACTIONS)
    with pytest.raises(ValueError, match="holds no track"):
        folder.discover(str(tmp_path), FRACTIONS)
    songs(tmp_path / "same", ["train/song", "test/song"])
    with pytest.raises(ValueError, match=r"'song' occurs twice .* \(train and test\)"):
        folder.discover(str(tmp_path / "same"), FRACTIONS)


def test_folder_lists_what_is_in_no_track_or_in_no_split(tmp_path):
    def unused(name: str) -> dict[str, tuple[str, bool]]:
        refs = folder.discover(str(tmp_path / name), FRACTIONS)
        return {ref.name: (ref.reason, ref.skipped) for ref in refs if ref.reason}

    songs(tmp_path / "stray", ["train/song", "lost"])
    (tmp_path / "stray" / "docs").mkdir()
    assert unused("stray") == {
        "lost": ("it lies beside the split folders (train)", False),
        "docs": ("it lies beside the split folders (train)", True),
    }
    write(songs(tmp_path / "loose", ["song"]) / "more.mp3", tone(440))
    assert unused("loose") == {"more.mp3": ("it lies outside of a track", True)}


def test_folder_names_the_reason_of_a_bad_track(tmp_path):
    def reason(name: str) -> str:
        ref = next(ref for ref in folder.discover(str(tmp_path), FRACTIONS) if ref.name == name)
        with pytest.raises(ValueError, match=r"\w") as caught:
            load(ref)
        return str(caught.value)

    songs(tmp_path, ["rates", "lengths", "double", "text", "alien", "ok"])
    write(tmp_path / "rates" / "bass.wav", tone(60), 22050)
    write(tmp_path / "lengths" / "bass.wav", tone(60, 0.4))
    write(tmp_path / "double" / "vocals.flac", tone(60))
    (tmp_path / "text" / "bass.wav").write_text("no audio")
    (tmp_path / "alien" / "bass.m4a").write_bytes(b"whatever")
    (tmp_path / "broken").symlink_to(tmp_path / "nowhere")
    write(tmp_path / "only mix" / "mix.wav", tone(60))
    (tmp_path / "hollow").mkdir()
    assert reason("rates") == "its files differ in sample rate (bass 22050, drums 16000, vocals 16000 Hz)"
    assert reason("lengths") == "its stems differ in length (bass 6400, drums 8000, vocals 8000 samples)"
    assert reason("double") == "it has more than one file for vocals"
    assert reason("text").startswith("bass.wav is no readable audio (")
    assert reason("alien").startswith("bass.m4a ")
    assert reason("broken") == "it is a link to nothing"
    assert reason("only mix") == "it has a mixture but no stems"
    assert reason("hollow").startswith("its directory holds no audio file")


# --- MIR-1K ----------------------------------------------------------------------------------------------------------


def clips(root: Path, names: list[str], vocals_level: float = 0.1) -> Path:
    for name in names:
        both = np.concatenate([tone(200, level=0.4), tone(500, level=vocals_level)], axis=1)
        write(root / "Wavfile" / f"{name}.wav", both)
    return root


def test_mir1k_mixes_at_0_db_without_touching_a_balanced_clip(tmp_path):
    clips(tmp_path / "raw", ["bug_1_01"])
    (ref,) = mir1k.discover(str(tmp_path / "raw"), {})
    track = load(ref)
    vocals, music = (float(np.sum(track.stems[name] ** 2)) for name in ("vocals", "accompaniment"))
    assert 10 * np.log10(vocals / music) == pytest.approx(0.0, abs=1e-4)
    assert ref.metadata == {"singer": "bug"}
    assert np.array_equal(track.mixture, track.stems["vocals"] + track.stems["accompaniment"])
    balanced = load(mir1k.discover(str(clips(tmp_path / "even", ["bug_1_01"], 0.4)), {})[0])
    assert np.allclose(balanced.stems["vocals"], tone(500, level=0.4), atol=1e-4)


def test_mir1k_published_split(tmp_path):
    names = ["abjones_5_08", "abjones_1_01", "amy_9_09", "amy_1_01", "bug_1_01", "Ani_1_01"]
    refs = mir1k.discover(str(clips(tmp_path, names)), {})
    assert [(ref.split, ref.name) for ref in refs] == [
        ("train", "abjones_1_01"),
        ("train", "amy_1_01"),
        ("dev", "abjones_5_08"),
        ("dev", "amy_9_09"),
        ("test", "Ani_1_01"),
        ("test", "bug_1_01"),
    ]


def test_mir1k_follows_lists_and_names_the_clips_that_they_miss(tmp_path):
    clips(tmp_path, ["bug_1_01", "amy_1_01"])
    lists = tmp_path / "splits"
    lists.mkdir()

    def told() -> list[tuple]:
        return [(ref.name, ref.split, ref.reason, ref.skipped) for ref in mir1k.discover(str(tmp_path), {})]

    (lists / "train.txt").write_text("bug_1_01\n")
    assert (
        told() == [("bug_1_01", "train", "", False), ("amy_1_01", "train", f"it is in no list of {lists}", True)][::-1]
    )
    (lists / "test_sample.txt").write_text("amy_1_01\n")
    assert told() == [("bug_1_01", "train", "", False), ("amy_1_01", "test", "", False)]
    (lists / "dev.txt").write_text("bug_1_01\ngone_1_01\n")
    assert told() == [
        ("bug_1_01", "dev", f"it is listed for dev and for train in {lists}", False),
        ("gone_1_01", "dev", f"it is listed in {lists}, but has no file in Wavfile", False),
        ("amy_1_01", "test", "", False),
    ]
    (lists / "more.txt").touch()
    with pytest.raises(ValueError, match=r"more\.txt is no list of a split"):
        mir1k.discover(str(tmp_path), {})


def test_mir1k_refuses_other_layouts_and_clips(tmp_path):
    with pytest.raises(ValueError, match=r"is not MIR-1K: expected clips in .*Wavfile/\*\.wav"):
        mir1k.discover(str(tmp_path), {})
    write(tmp_path / "Wavfile" / "bug_1_01.wav", tone(440))
    write(tmp_path / "Wavfile" / "bug_1_02.wav", np.concatenate([tone(440), 0 * tone(440)], axis=1))
    mono, silent = mir1k.discover(str(tmp_path), {})
    with pytest.raises(BadTrackError, match="1 channel, expected 2"):
        load(mono)
    with pytest.raises(BadTrackError, match="its vocals is silent"):
        load(silent)


def test_real_mir1k(request):
    refs = mir1k.discover(str(request.getfixturevalue("mir1k")), {})
    assert [sum(ref.split == split for ref in refs) for split in SPLITS] == [171, 4, 124]
    assert all(mir1k.published_split(ref.name) == ref.split for ref in refs)
    track = load(refs[0])
    assert track.sample_rate_hz == 16000
    assert track.mixture.shape[1] == 1


# --- MUSDB18 ---------------------------------------------------------------------------------------------------------


def test_real_musdb18(request):
    refs = musdb18.discover(str(request.getfixturevalue("musdb18")), {})
    assert [(ref.split, ref.metadata["artist"]) for ref in refs] == [
        ("train", "Music Delta"),
        ("test", "The Easton Ellises"),
    ]
    track = load(refs[0])
    assert sorted(track.stems) == ["bass", "drums", "other", "vocals"]
    assert track.sample_rate_hz == 44100
    assert track.mixture.shape == (299891, 2)  # by its edit list; ffmpeg 5.1 leaves 141 samples more
    residual = track.mixture - sum(track.stems.values())
    assert 10 * np.log10(np.mean(residual**2) / np.mean(track.mixture**2)) < -30


def test_musdb18_validation_list_is_the_dev_split(tmp_path):
    for name in ("train/ANiMAL - Rockshow", "train/Other - Song", "test/Any - Thing"):
        path = tmp_path / f"{name}.stem.mp4"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"not an mp4")
    refs = musdb18.discover(str(tmp_path), {})
    assert [ref.split for ref in refs] == ["train", "dev", "test"]
    with pytest.raises(ValueError, match=r"Other - Song\.stem\.mp4 is no readable audio"):
        load(refs[0])


def test_musdb18_refuses_other_layouts(tmp_path):
    with pytest.raises(ValueError, match="is not MUSDB18: expected"):
        musdb18.discover(str(tmp_path), {})
