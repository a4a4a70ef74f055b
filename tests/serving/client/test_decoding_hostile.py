"""Broken, hostile and unusual files: each decodes to what is in it, or is refused in one sentence that says why."""

from __future__ import annotations

import contextlib
import os
import struct
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hostile_files import (
    KINDS,
    NAMES,
    RATE_HZ,
    SAMPLES,
    Kind,
    by_libsndfile,
    chunk,
    crc,
    fmt,
    mp3,
    riff,
    silent_flac,
    sound,
    without_facts,
)

from serving.client import decoding
from serving.wire.words import shown

BAD = [kind for kind in KINDS if kind.reason]
GOOD = [kind for kind in KINDS if not kind.reason]


@pytest.mark.parametrize("kind", BAD, ids=lambda kind: kind.id)
def test_what_is_bad_is_one_sentence(kind: Kind, tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    path = kind.make(tmp_path)
    with pytest.raises(decoding.BadFileError, match=kind.reason) as raised:
        decoding.read(path, most_seconds=600)
    sentence = str(raised.value)
    assert sentence.startswith(f"{path.name} ")
    assert "\n" not in sentence
    assert str(tmp_path) not in sentence
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("kind", GOOD, ids=lambda kind: kind.id)
def test_what_is_unusual_is_whole(kind: Kind, tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    audio, rate_hz = decoding.read(kind.make(tmp_path))
    assert (len(audio), audio.shape[1], rate_hz) == (kind.samples, 2, RATE_HZ)
    if kind.samples == SAMPLES:  # no delay is left
        assert np.corrcoef(audio.ravel(), sound().ravel())[0, 1] > 0.99
    assert capfd.readouterr() == ("", "")


def test_a_sentence_is_one_line_whatever_the_name(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"new\nline \xff.wav")
    path.touch()
    with pytest.raises(decoding.BadFileError, match=r"^new\\nline \\xff\.wav is empty"):
        decoding.read(path)


def test_what_cannot_be_printed_is_escaped() -> None:
    assert shown(os.fsdecode(b"a\nb\x1b\xe9 \xc3\xa4")) == "a\\nb\\x1b\\xe9 ä"


@pytest.mark.parametrize("name", NAMES, ids=range(len(NAMES)))
def test_any_name_may_be_a_files(name: bytes, tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(name)
    path.write_bytes(by_libsndfile("WAV"))
    np.testing.assert_array_equal(decoding.read(path)[0], sound())


def fake_frames_of_flac() -> bytes:
    """A megabyte of headers with true checksums, none of which ends the file."""
    header = bytes((0xFF, 0xF8, 0x79, 0x18, 0)) + b"\0\xff"
    header += bytes((crc(8, 0x07, header),))
    return silent_flac(1) + header * (2**20 // len(header)) + b"no frame"


def tags_between_frames_of_mp3() -> bytes:
    data = without_facts(mp3())
    at = data.index(b"\xff\xfb")
    frame = data[at : data.index(b"\xff\xfb", at + 4)]
    return (frame + b"ID3\x04\0\0\0\0\0\0") * (2**22 // (len(frame) + 10))


def chain_of_nothing_in_ogg() -> bytes:
    packet = b"\x01vorbis\0\0\0\0\x02\x44\xac\0\0" + bytes(14)
    page = b"OggS\0\x06" + bytes(20) + bytes((1, len(packet))) + packet
    return (page[:22] + crc(32, 0x04C11DB7, page).to_bytes(4, "little") + page[26:]) * (2**21 // len(page))


def tracks_of_nothing_in_mp4() -> bytes:
    tracks = struct.pack(">I4sI4s", 16, b"trak", 8, b"mdia") * 100_000
    return struct.pack(">I4s", 8, b"ftyp") + struct.pack(">I4s", 8 + len(tracks), b"moov") + tracks


def silence_behind_a_wav() -> bytes:
    return riff(chunk(b"fmt ", fmt()), chunk(b"data", bytes(4000)), bytes(2**25))


@pytest.mark.parametrize(
    "make",
    [
        fake_frames_of_flac,
        tracks_of_nothing_in_mp4,
        tags_between_frames_of_mp3,
        chain_of_nothing_in_ogg,
        silence_behind_a_wav,
    ],
    ids=lambda make: make.__name__,
)
def test_work_does_not_grow_faster_than_the_file(make: Callable[[], bytes], tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(make())
    begun = time.process_time()
    with contextlib.suppress(decoding.BadFileError):
        decoding.read(tmp_path / "a", most_seconds=600)
    assert time.process_time() - begun < 5
