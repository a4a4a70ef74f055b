"""Estimates of another rate, of one channel or two, and of formats that libsndfile does not read."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import soundfile

from pipeline.evaluation.separated_files import finding, matching, reading
from pipeline.evaluation.separated_files.reading import Loaded

RATE_HZ = 8000
SECONDS = 1
TARGETS = ("vocals", "accompaniment")


def tones(channels: int = 1, rate_hz: int = RATE_HZ) -> dict[str, np.ndarray]:
    """Well below half of the lowest rate here, faded in and out, so that resampling has nothing to lose."""
    time = np.arange(SECONDS * rate_hz)[:, np.newaxis] / rate_hz
    fade = np.sin(np.pi * time / SECONDS) ** 2
    levels = np.linspace(0.3, 0.1, channels)
    return {
        name: levels * fade * np.sin(2 * np.pi * hz * time) for name, hz in (("vocals", 440), ("accompaniment", 1000))
    }


def write(directory: Path, signals: Mapping[str, np.ndarray], rate_hz: int = RATE_HZ) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    for name, signal in signals.items():
        soundfile.write(directory / f"{name}.wav", signal, rate_hz, subtype="FLOAT")


def load(tmp_path: Path) -> Loaded:
    references = finding.references(tmp_path / "references")
    found = matching.match(references, tmp_path / "estimates", without=tmp_path / "references")
    [pair], bad = matching.pair(references, {"model": found})
    assert bad == {}
    return reading.load(pair, TARGETS)


@pytest.mark.parametrize("rate_hz", [4000, 11025, 16000, 44100])
def test_another_rate_is_resampled_and_told(tmp_path: Path, rate_hz: int) -> None:
    """A tone sampled at another rate is the same tone, known by its formula."""
    write(tmp_path / "references" / "song", tones())
    write(tmp_path / "estimates" / "song", tones(rate_hz=rate_hz), rate_hz)
    loaded = load(tmp_path)
    for target, signal in tones().items():
        np.testing.assert_allclose(loaded.estimates["model"][target], signal, atol=1e-3)
    assert [fit.words for fit in loaded.fits] == [[f"resampled from {rate_hz} to {RATE_HZ} Hz"]] * 2


def test_mono_is_copied_and_stereo_averaged(tmp_path: Path) -> None:
    write(tmp_path / "references" / "song", tones(2))
    write(tmp_path / "estimates" / "song", tones(1))
    loaded = load(tmp_path)
    np.testing.assert_allclose(loaded.estimates["model"]["vocals"], np.repeat(tones(1)["vocals"], 2, axis=1), atol=1e-6)
    assert [fit.words for fit in loaded.fits] == [["copied from mono to 2 channels"]] * 2
    write(tmp_path / "references" / "song", tones(1))
    write(tmp_path / "estimates" / "song", tones(2))
    loaded = load(tmp_path)
    np.testing.assert_allclose(
        loaded.estimates["model"]["vocals"], tones(2)["vocals"].mean(axis=1, keepdims=True), atol=1e-6
    )
    assert [fit.words for fit in loaded.fits] == [["averaged from 2 channels to mono"]] * 2


def test_every_file_is_fitted_on_its_own(tmp_path: Path) -> None:
    write(tmp_path / "references" / "song", tones(2))
    voice = tones(1, 16000)["vocals"]
    write(tmp_path / "estimates" / "song", {"vocals": voice[:-160]}, 16000)
    write(tmp_path / "estimates" / "song", {"accompaniment": tones(2)["accompaniment"]})
    [fit] = load(tmp_path).fits
    assert fit.file == "song/vocals.wav"
    assert fit.words == ["resampled from 16000 to 8000 Hz", "copied from mono to 2 channels", "padded by 80 samples"]


def test_a_rate_that_makes_another_length_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "references" / "song", tones())
    write(tmp_path / "estimates" / "song", tones(), 2 * RATE_HZ)
    with pytest.raises(
        ValueError, match=r"vocals.wav has 4000 samples at 8000 Hz, .* 8000: legal is a difference of 800"
    ):
        load(tmp_path)


needs_ffmpeg = pytest.mark.skipif(not shutil.which("ffmpeg"), reason="ffmpeg is not here")


def convert(directory: Path, suffix: str) -> None:
    for file in sorted(directory.glob("*.wav")):
        command = ["ffmpeg", "-v", "error", "-i", file, "-b:a", "128k", file.with_suffix(suffix)]
        subprocess.run(command, check=True)
        file.unlink()


@needs_ffmpeg
@pytest.mark.parametrize("channels", [1, 2])
def test_m4a_is_read_by_ffmpeg(tmp_path: Path, channels: int) -> None:
    """AAC at 128 kbit/s leaves a tone far above its error: at least 20 dB."""
    write(tmp_path / "references" / "song", tones(channels, 44100), 44100)
    write(tmp_path / "estimates" / "song", tones(channels, 44100), 44100)
    convert(tmp_path / "estimates" / "song", ".m4a")
    loaded = load(tmp_path)
    for target, signal in tones(channels, 44100).items():
        error = signal - loaded.estimates["model"][target]
        assert 10 * np.log10((signal**2).sum() / (error**2).sum()) > 20


@needs_ffmpeg
def test_m4a_that_is_none_is_one_sentence(tmp_path: Path) -> None:
    write(tmp_path / "references" / "song", tones())
    (tmp_path / "estimates" / "song").mkdir(parents=True)
    for target in TARGETS:
        (tmp_path / "estimates" / "song" / f"{target}.m4a").write_text("words, not samples")
    with pytest.raises(ValueError, match=r"^song/vocals\.m4a is no readable audio \(ffmpeg: [^\n]*\)$"):
        load(tmp_path)


def test_m4a_without_ffmpeg_is_one_sentence_before_anything_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "references" / "song", tones())
    (tmp_path / "estimates" / "song").mkdir(parents=True)
    for target in TARGETS:
        (tmp_path / "estimates" / "song" / f"{target}.m4a").write_text("anything")
    monkeypatch.setitem(os.environ, "PATH", str(tmp_path))
    with pytest.raises(
        ValueError,
        match=r"^song/vocals\.m4a is no audio that libsndfile reads; ffmpeg, [^\n]* is not installed [^\n]*$",
    ):
        load(tmp_path)
