"""Broken, hostile and unusual files: each decodes to what is in it, or is refused in one sentence that says why."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from hostile_files import KINDS, NAMES, RATE_HZ, SAMPLES, Kind, by_libsndfile, sound

from serving.client import decoding

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


@pytest.mark.parametrize("name", NAMES, ids=range(len(NAMES)))
def test_any_name_may_be_a_files(name: bytes, tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(name)
    path.write_bytes(by_libsndfile("WAV"))
    np.testing.assert_array_equal(decoding.read(path)[0], sound())
