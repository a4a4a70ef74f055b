"""Tags and cover art, from any format to any; the samples stay."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile

from serving.client import decoding
from serving.client.files import tagging, writing
from serving.client.files.encodings import FORMATS, Encoding

RATE_HZ = 44100
TEXT = {"title": "Später; = #1\\", "artist": "Die Ärzte\nBand 2", "album": "Ω", "date": "1998", "track": "3/9"}
pytestmark = pytest.mark.skipif(not tagging.available(), reason="ffmpeg is not installed")


def noise() -> np.ndarray:
    return 0.1 * np.random.default_rng(0).standard_normal((RATE_HZ // 2, 2)).astype(np.float32)


def write(path: Path, encoding: Encoding, tags: tagging.Tags = tagging.Tags()) -> Path:  # noqa: B008
    with writing.written({"stem": path}, RATE_HZ, 2, encoding, tags) as files:
        files.write({"stem": noise()})
    return path


@pytest.fixture(scope="module")
def cover(tmp_path_factory) -> bytes:
    path = tmp_path_factory.mktemp("cover") / "cover.jpg"
    lavfi = ["-f", "lavfi", "-i", "testsrc=s=1000x1000", "-frames:v", "1"]
    subprocess.run(["ffmpeg", "-v", "error", *lavfi, path], check=True)
    return path.read_bytes()


def facts(path: Path) -> tuple[dict[str, str], list[str]]:
    """Tags as ffprobe names them, of file and sound, and the codecs of the streams."""
    show = ["-show_format", "-show_streams", "-of", "json"]
    told = json.loads(subprocess.run(["ffprobe", "-v", "error", *show, path], capture_output=True, check=True).stdout)
    sound = next(stream for stream in told["streams"] if stream["codec_type"] == "audio")
    tags = {**sound.get("tags", {}), **told["format"].get("tags", {})}
    return {name.lower(): value for name, value in tags.items()}, [each["codec_name"] for each in told["streams"]]


@pytest.mark.parametrize("format", FORMATS)
def test_they_are_kept_from_format_to_format(tmp_path: Path, cover: bytes, format: str) -> None:
    tags = tagging.Tags(TEXT, cover, "image/jpeg")
    plain = decoding.read(write(tmp_path / f"plain.{format}", Encoding(format)))[0]
    path = write(tmp_path / f"song.{format}", Encoding(format), tags)
    np.testing.assert_array_equal(decoding.read(path)[0], plain)
    told, codecs = facts(path)
    assert {name: told.get(name) for name in TEXT} == TEXT
    assert "mjpeg" in codecs
    again = tagging.read(path)
    assert again.picture == cover
    assert {name.lower(): value for name, value in again.text.items() if name.lower() in TEXT} == TEXT


def test_what_is_of_the_old_file_is_not_kept(tmp_path: Path) -> None:
    write(tmp_path / "a.m4a", Encoding("m4a"), tagging.Tags({"title": "A", "iTunSMPB": " 00000000 00000840 0000"}))
    assert tagging.read(tmp_path / "a.m4a").text == {"title": "A"}


def test_a_wav_has_the_common_ones_where_libsndfile_reads_them(tmp_path: Path, cover: bytes) -> None:
    tags = tagging.Tags({**TEXT, "artist": "Ärzte"}, cover, "image/jpeg")
    with soundfile.SoundFile(write(tmp_path / "a.wav", Encoding(), tags)) as file:
        assert (file.title, file.artist, file.album, file.date) == (TEXT["title"], "Ärzte", "Ω", "1998")
        np.testing.assert_array_equal(file.read(dtype="float32"), noise())


def test_an_rf64_keeps_them_too(tmp_path: Path, cover: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "WAV_BYTES", 1000)
    path = write(tmp_path / "a.wav", Encoding(), tagging.Tags(TEXT, cover, "image/jpeg"))
    data = path.read_bytes()
    assert data[:4] == b"RF64"
    assert int.from_bytes(data[20:28], "little") == len(data) - 8
    assert facts(path)[0]["title"] == TEXT["title"]
    np.testing.assert_array_equal(soundfile.read(path, dtype="float32")[0], noise())


@pytest.mark.parametrize(("format", "bits"), [("wav", 16), ("wav", 24), ("wav", 32)])
def test_a_wav_that_grows_beyond_itself_keeps_its_samples(tmp_path, monkeypatch, format, bits) -> None:
    small, wide = tmp_path / "small.wav", tmp_path / "wide.wav"
    for path, limit in ((small, writing.WAV_BYTES), (wide, 100_000)):
        monkeypatch.setattr(writing, "WAV_BYTES", limit)
        with writing.written({"stem": path}, RATE_HZ, 2, Encoding(format, bits)) as files:
            for block in np.array_split(noise(), 7):
                files.write({"stem": block})
    assert wide.read_bytes()[:4] == b"RF64"
    np.testing.assert_array_equal(soundfile.read(wide)[0], soundfile.read(small)[0])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["small.wav", "wide.wav"]


def test_no_tags_where_there_are_none_or_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    soundfile.write(tmp_path / "a.wav", noise(), RATE_HZ)
    (tmp_path / "words.wav").write_text("words")
    assert not tagging.read(tmp_path / "a.wav")
    assert not tagging.read(tmp_path / "words.wav")
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert not tagging.available()
    assert not tagging.read(tmp_path / "a.wav")


@pytest.mark.parametrize(
    ("format", "rate_hz", "channels", "words"),
    [
        ("mp3", 96000, 2, "mp3 holds no 96000 Hz; it holds 8000, 11025"),
        ("mp3", 44100, 6, "mp3 holds no 6 channels; it holds up to 2"),
        ("ogg", 250_000, 2, "ogg holds no 250000 Hz; it holds up to 200000"),
        ("flac", 44100, 9, "flac holds no 9 channels; it holds up to 8"),
        ("m4a", 192_000, 2, "m4a holds no 192000 Hz"),
    ],
)
def test_what_a_format_does_not_hold_is_said_before_a_file_is_made(tmp_path, format, rate_hz, channels, words) -> None:
    path = tmp_path / "new" / f"a.{format}"
    with pytest.raises(ValueError, match=words), writing.written({"stem": path}, rate_hz, channels, Encoding(format)):
        pass
    assert not path.parent.exists()
