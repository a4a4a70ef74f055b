"""Any audio file as blocks: in bounded memory, by a program that is gone afterwards, of the stream that was asked for."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import soundfile
from hostile_files import RATE_HZ, SAMPLES, by_ffmpeg, by_libsndfile, chunk, fmt, riff, silent_flac, sound

from serving.client import decoding
from serving.client.decoding import ffmpeg

needs_ffmpeg = pytest.mark.skipif(not shutil.which("ffmpeg"), reason="ffmpeg is not here")


def test_blocks_add_up_to_the_file(tmp_path: Path) -> None:
    signal = sound(200_000)
    soundfile.write(tmp_path / "a.wav", signal, RATE_HZ, "FLOAT")
    with decoding.opened(tmp_path / "a.wav") as file:
        assert (file.sample_rate_hz, file.channels, file.samples_told) == (RATE_HZ, 2, 200_000)
        blocks = list(file.blocks())
    assert all(0 < len(block) <= 2**16 for block in blocks)
    np.testing.assert_array_equal(np.concatenate(blocks), signal)
    audio, rate_hz = decoding.read(tmp_path / "a.wav")
    np.testing.assert_array_equal(audio, signal)
    assert rate_hz == RATE_HZ


def test_more_than_the_limit_is_refused(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", sound(RATE_HZ), RATE_HZ)
    assert len(decoding.read(tmp_path / "a.wav", most_seconds=1)[0]) == RATE_HZ
    with pytest.raises(decoding.BadFileError, match=r"^a\.wav lasts more than 0\.999 s, which is the limit$"):
        decoding.read(tmp_path / "a.wav", most_seconds=0.999)


def test_a_size_over_4_gb_that_was_wrapped_is_whole(tmp_path: Path) -> None:
    """Most of it is a hole, which takes no room on the disk."""
    header = riff(chunk(b"fmt ", fmt()), chunk(b"data", b"", 4000))
    with (tmp_path / "a.wav").open("wb") as file:
        file.write(header)
        file.truncate(len(header) + 2**32 + 4000)
    with decoding.opened(tmp_path / "a.wav") as opened:
        assert opened.samples_told == (2**32 + 4000) // 4
        assert len(next(opened.blocks())) == 2**16


def peak_megabytes(code: str, path: Path) -> float:
    """Of a process of its own that runs `code`, over one that only imports."""
    setup = "import resource, sys; from serving.client import decoding; path = sys.argv[1]\n"
    peak = "\nprint(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"

    def run(code: str) -> int:
        done = subprocess.run([sys.executable, "-c", setup + code + peak, path], capture_output=True, text=True)
        assert not done.returncode, done.stderr
        return int(done.stdout.split()[-1])

    return (run(code) - run("")) / 1024


def test_what_a_file_claims_is_not_allocated(tmp_path: Path) -> None:
    """100 KB that hold 2.6 hours of silence, 3.3 GB as floats: the limit of a track is met after 2 of its 7000 frames."""
    (tmp_path / "a.flac").write_bytes(silent_flac(6300))
    assert (tmp_path / "a.flac").stat().st_size < 120_000
    code = (
        "try: decoding.read(path, most_seconds=3)\nexcept decoding.BadFileError as error: assert 'limit' in str(error)"
    )
    assert peak_megabytes(code, tmp_path / "a.flac") < 30


def test_blocks_take_no_more_memory_than_one_of_them(tmp_path: Path) -> None:
    (tmp_path / "a.flac").write_bytes(silent_flac(300))
    code = "with decoding.opened(path) as file: assert sum(map(len, file.blocks())) == 300 * 65535"
    assert peak_megabytes(code, tmp_path / "a.flac") < 30
    code = "audio, _ = decoding.read(path)"
    assert peak_megabytes(code, tmp_path / "a.flac") < 1.3 * 300 * 65535 * 2 * 4 / 2**20


@needs_ffmpeg
def test_ffmpeg_is_gone_when_nobody_listens_any_more(tmp_path: Path) -> None:
    path = tmp_path / "a.m4a"
    path.write_bytes(by_ffmpeg(".m4a", signal=sound(60 * RATE_HZ)))
    before = psutil.Process().children()
    with decoding.opened(path) as file:
        next(file.blocks())
        [child] = [each for each in psutil.Process().children() if each not in before]
        assert child.name() == "ffmpeg"
    assert not child.is_running()
    assert psutil.Process().children() == before


@needs_ffmpeg
def test_no_descriptor_stays_open(tmp_path: Path) -> None:
    (tmp_path / "a.m4a").write_bytes(by_ffmpeg(".m4a"))
    (tmp_path / "bad.wav").write_text("no audio")
    (tmp_path / "streamed.flac").write_bytes(by_libsndfile("FLAC"))

    def visit() -> int:
        for path in tmp_path.iterdir():
            if path.name == "bad.wav":
                with pytest.raises(decoding.BadFileError):
                    decoding.read(path)
            else:
                decoding.read(path)
        return psutil.Process().num_fds()

    assert len({visit() for _ in range(3)}) == 1


@needs_ffmpeg
def test_a_stream_is_chosen_and_without_choice_the_first(tmp_path: Path) -> None:
    """As MUSDB18 has five in a file, the mixture first."""
    names = [tmp_path / f"{number}.wav" for number in range(3)]
    for number, name in enumerate(names):
        soundfile.write(name, (number + 1) / 4 * np.ones((RATE_HZ, 2)), RATE_HZ)
    inputs = [word for name in names for word in ("-i", name)]
    maps = [word for number in range(3) for word in ("-map", str(number))]
    path = tmp_path / "a.stem.mp4"
    subprocess.run(["ffmpeg", "-v", "error", *inputs, *maps, "-c:a", "alac", path], check=True)
    for number in range(3):
        np.testing.assert_array_equal(decoding.read(path, stream=number)[0], (number + 1) / 4)
    np.testing.assert_array_equal(decoding.read(path)[0], 0.25)
    for other, number in ((path, 3), (names[0], 1)):
        with pytest.raises(decoding.BadFileError, match=f"has no audio stream {number} \\(counted from 0\\)$"):
            decoding.read(other, stream=number)


def test_streams_of_musdb18_are_those_of_the_musdb_package(musdb18: Path) -> None:
    """The package rounds them to 16 bits and clips what the decoder takes over full scale (musdb 0.4.3, `ffmpeg_format`).

    It ends with a whole frame of AAC, as ffmpeg 5.1 does; ours where the edit list says (of 2018's file 141 samples before).
    """
    musdb = pytest.importorskip("musdb")
    for path in sorted(musdb18.glob("*/*.stem.mp4")):
        theirs = musdb.MultiTrack(path=str(path), name=path.name, stem_id=0, is_wav=False).stems
        ours = np.stack([decoding.read(path, stream=number)[0] for number in range(5)])
        samples = ours.shape[1]
        assert theirs.shape[1] - 1023 <= samples <= theirs.shape[1]
        np.testing.assert_array_equal(np.clip(np.rint(ours * 2**15), -(2**15), 2**15 - 1) / 2**15, theirs[:, :samples])


@needs_ffmpeg
@pytest.mark.parametrize("cut", [False, True], ids=["whole", "cut off"])
def test_rates_that_change_in_the_middle_are_no_song(tmp_path: Path, cut: bool) -> None:
    """ADTS says its rate in every frame; ffmpeg would resample what follows."""
    data = by_ffmpeg(".aac") + by_ffmpeg(".aac", "-ar", "22050")
    (tmp_path / "a.aac").write_bytes(data[:-30] if cut else data)
    with pytest.raises(decoding.BadFileError, match=r"^a\.aac breaks off or is damaged after \d+ samples"):
        decoding.read(tmp_path / "a.aac")


def test_without_ffmpeg_a_sentence_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.wav").write_bytes(by_libsndfile("WAV"))
    (tmp_path / "a.m4a").write_bytes(b"\0\0\0\x18ftypM4A " + bytes(100))
    monkeypatch.setitem(os.environ, "PATH", str(tmp_path))
    assert len(decoding.read(tmp_path / "a.wav")[0]) == SAMPLES
    with pytest.raises(decoding.BadFileError, match=r"^a\.m4a is .* ffmpeg, .* is not installed \(apt install ffmpeg"):
        decoding.read(tmp_path / "a.m4a")


def test_a_decoder_that_says_nothing_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ffmpeg").write_text("#!/bin/sh\nexec sleep 60\n")
    (tmp_path / "ffmpeg").chmod(0o755)
    (tmp_path / "a.m4a").write_bytes(b"sound of a kind that ffmpeg may know")
    monkeypatch.setitem(os.environ, "PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(ffmpeg, "STALLED_SECONDS", 0.2)
    begun = time.monotonic()
    with pytest.raises(decoding.BadFileError, match=r"^a\.m4a is given up: ffmpeg has decoded nothing for 0\.2 s$"):
        decoding.read(tmp_path / "a.m4a")
    assert time.monotonic() - begun < 5
