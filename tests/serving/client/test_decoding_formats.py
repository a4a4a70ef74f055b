"""Of every format the length is ffmpeg's to the sample, or what the format defines; the samples are those that went in.

What each format says of an encoder's delay: LAME's tag in MP3 ("Mp3 Info Tag rev 1", G. Bouvigne), the edit list in MP4
(ISO/IEC 14496-12, 8.6.6), the packet table in CAF (Apple), the pre-skip of Opus (RFC 7845, 4.2) with CodecDelay in Matroska
(RFC 9559), the last granule position of Ogg Vorbis ("Vorbis I specification", A.2). AAC in ADTS and FLV, AC-3, DTS, WMA and MP3
without a tag say nothing, and nothing is removed, as by ffmpeg. Where ffmpeg 5.1 does not go by it, `samples` is how many the
format defines, which is what went in.

The HE-AAC beside `hostile_files` is its `sound()` by libfdk_aac, which Debian's ffmpeg has not (ffmpeg.wasm-core 0.11.1,
`-profile:a aac_he -b:a 48k` and `aac_he_v2 -b:a 32k`).
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import soundfile
from hostile_files import (
    CHANNELS,
    RATE_HZ,
    SAMPLES,
    by_ffmpeg,
    by_libsndfile,
    caf_of_aac,
    flac_with,
    later_in_ogg,
    m4a_by_itunes,
    mp3,
    sound,
    without_facts,
)

from serving.client import decoding
from serving.client.files.encodings import Encoding

pytestmark = pytest.mark.skipif(not shutil.which("ffmpeg"), reason="ffmpeg is not here")


class Format(NamedTuple):
    """bits: of a lossless one, else None. lag: what is left of its delay, in samples; None where the format is lossless.
    samples: where ffmpeg 5.1 gives another number."""

    make: object
    suffix: str
    bits: int | None = None
    lag: int | None = 0
    rate_hz: int = RATE_HZ
    samples: int | None = None


def ff(
    suffix: str,
    *options: str,
    bits: int | None = None,
    lag: int | None = 0,
    rate_hz: int = RATE_HZ,
    samples: int | None = None,
) -> Format:
    return Format(lambda: by_ffmpeg(suffix, *options), suffix, bits, lag, rate_hz, samples)


def beside(name: str, lag: int) -> Format:
    return Format((Path(__file__).parents[2] / "hostile" / name).read_bytes, ".m4a", None, lag, RATE_HZ, SAMPLES)


def sf(suffix: str, container: str, subtype: str, bits: int | None = None, rate_hz: int = RATE_HZ) -> Format:
    return Format(lambda: by_libsndfile(container, subtype), suffix, bits, 0, rate_hz)


FORMATS = {
    "wav 8": sf(".wav", "WAV", "PCM_U8", 8),
    "wav 16": sf(".wav", "WAV", "PCM_16", 16),
    "wav 24": ff(".wav", "-c:a", "pcm_s24le", bits=16),
    "wav 32": sf(".wav", "WAV", "PCM_32", 16),
    "wav float": sf(".wav", "WAV", "FLOAT", 16),
    "wav float64": sf(".wav", "WAV", "DOUBLE", 16),
    "wav extensible": sf(".wav", "WAVEX", "PCM_24", 16),
    "wav u-law": sf(".wav", "WAV", "ULAW"),
    "wav a-law": sf(".wav", "WAV", "ALAW"),
    "wav ms adpcm": ff(".wav", "-c:a", "adpcm_ms"),
    "wav ima adpcm": ff(".wav", "-c:a", "adpcm_ima_wav"),
    "wav g722": ff(".wav", "-c:a", "adpcm_g722", "-ar", "16000", "-ac", "1", lag=None, rate_hz=16000),
    "wav gsm": ff(".wav", "-c:a", "libgsm_ms", "-ar", "8000", "-ac", "1", lag=None, rate_hz=8000),
    "wav mp3": ff(".wav", "-c:a", "libmp3lame", lag=1105),
    "rf64": ff(".wav", "-rf64", "always", bits=16),
    "w64": sf(".w64", "W64", "PCM_16", 16),
    "aiff": ff(".aiff", bits=16),
    "aifc float": sf(".aifc", "AIFF", "FLOAT", 16),
    "aifc little-endian": ff(".aiff", "-c:a", "pcm_s16le", bits=16),
    "aifc ima": ff(".aifc", "-f", "aiff", "-c:a", "adpcm_ima_qt"),
    "caf": ff(".caf", bits=16),
    "caf alac": ff(".caf", "-c:a", "alac", bits=16),
    "caf aac": Format(caf_of_aac, ".caf", samples=SAMPLES),
    "au": ff(".au", bits=16),
    "voc": ff(".voc", bits=16),
    "flac": sf(".flac", "FLAC", "PCM_16", 16),
    "flac 24": sf(".flac", "FLAC", "PCM_24", 16),
    "flac of unknown length": Format(lambda: flac_with(by_libsndfile("FLAC"), 0), ".flac", 16),
    "flac in ogg": ff(".ogg", "-c:a", "flac", bits=16),
    "alac": ff(".m4a", "-c:a", "alac", bits=16),
    "wavpack": ff(".wv", bits=16),
    "tta": ff(".tta", bits=16),
    "mp3 cbr": ff(".mp3", "-b:a", "192k"),
    "mp3 vbr": ff(".mp3", "-q:a", "3"),
    "mp3 by libsndfile": Format(mp3, ".mp3"),
    "mp3 22050 Hz": ff(".mp3", "-ar", "22050", lag=None, rate_hz=22050),
    "mp3 mono": ff(".mp3", "-ac", "1", lag=None),
    "mp3 vbr without tag": ff(".mp3", "-q:a", "3", "-write_xing", "0", lag=1105),
    "mp3 cbr without tag": ff(".mp3", "-b:a", "128k", "-write_xing", "0", lag=1105),
    "mp3 tag cut away": Format(lambda: without_facts(mp3(vbr=True)), ".mp3", lag=1105),
    "mp2": ff(".mp2", lag=481),
    "vorbis": sf(".ogg", "OGG", "VORBIS"),
    "vorbis in matroska": ff(".mkv", "-c:a", "libvorbis"),
    "opus": ff(".opus", lag=None, rate_hz=48000),
    "opus that begins later": Format(
        lambda: later_in_ogg(by_ffmpeg(".opus", signal=sound(2 * RATE_HZ)), 10**6), ".opus", lag=None, rate_hz=48000
    ),
    "vorbis that begins later": Format(
        lambda: later_in_ogg(by_libsndfile("OGG", "VORBIS", sound(2 * RATE_HZ)), 10**6), ".ogg", lag=None
    ),
    "opus of 16 kHz": ff(".opus", "-ar", "16000", lag=None, rate_hz=48000),
    "opus in webm": ff(".webm", "-c:a", "libopus", lag=None, rate_hz=48000),
    "speex": ff(".ogg", "-c:a", "libspeex", "-ar", "16000", lag=None, rate_hz=16000),
    "aac in m4a": ff(".m4a", samples=SAMPLES),
    "aac in m4a, index first": ff(".m4a", "-movflags", "+faststart", samples=SAMPLES),
    "aac in mov": ff(".mov", "-c:a", "aac", samples=SAMPLES),
    "aac in m4a of 48 kHz": ff(".m4a", "-ar", "48000", lag=None, rate_hz=48000, samples=32672),
    "aac in m4a that begins later": ff(".m4a", "-output_ts_offset", "0.5", lag=1024, samples=1024 + SAMPLES),
    "aac in m4a of iTunes": Format(lambda: m4a_by_itunes(1024, 703, SAMPLES), ".m4a", samples=SAMPLES),
    "aac in fragments": ff(".mp4", "-movflags", "+frag_keyframe+empty_moov", lag=1024),
    "aac in fragments with an edit list": ff(".mp4", "-movflags", "+frag_keyframe+delay_moov", samples=30 * 1024),
    "he-aac in m4a": beside("he_aac.m4a", lag=-1),
    "he-aac v2 in m4a": beside("he_aac_v2.m4a", lag=0),
    "mp3 in mp4": ff(".mp4", "-c:a", "libmp3lame", samples=SAMPLES),
    "opus in mp4": ff(".mp4", "-c:a", "libopus", lag=None, rate_hz=48000, samples=32672),
    "ac3 in mp4": ff(".mp4", "-c:a", "ac3"),
    "aac in adts": ff(".aac", lag=1024),
    "aac in mpeg-ts": ff(".ts", "-c:a", "aac", lag=1024),
    "aac in flv": ff(".flv", "-c:a", "aac", lag=1024),
    "wma": ff(".wma", lag=-2048),  # ffmpeg decodes nothing from the first of its frames
    "ac3": ff(".ac3", lag=256),
    "eac3": ff(".eac3", lag=256),
    "dts": ff(".dts", "-c:a", "dca", "-strict", "-2", lag=512),
    "avi": ff(".avi", "-c:a", "pcm_s16le", bits=16),
    "mov": ff(".mov", "-c:a", "pcm_s16le", bits=16),
}


@pytest.fixture(scope="module", params=FORMATS.items(), ids=FORMATS)
def decoded(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Format, Path, np.ndarray]:
    _, form = request.param
    path = tmp_path_factory.mktemp("formats") / f"a{form.suffix}"
    path.write_bytes(form.make())
    audio, rate_hz = decoding.read(path)
    assert rate_hz == form.rate_hz
    return form, path, audio


def by_ffmpeg_alone(path: Path, channels: int) -> np.ndarray:
    command = ["ffmpeg", "-nostdin", "-v", "error", "-i", path, "-map", "0:a:0", "-f", "f32le", "-"]
    done = subprocess.run(command, capture_output=True, check=True)
    return np.frombuffer(done.stdout, "<f4").reshape(-1, channels)


def test_length_is_ffmpegs_to_the_sample(decoded: tuple[Format, Path, np.ndarray]) -> None:
    form, path, audio = decoded
    if form.samples is not None:
        assert len(audio) == form.samples
        return
    theirs = by_ffmpeg_alone(path, audio.shape[1])
    assert len(audio) == len(theirs)
    np.testing.assert_allclose(
        audio, theirs, atol=5e-3
    )  # the IMA decoders round differently; the others differ by 1e-6


def test_samples_are_those_that_went_in(decoded: tuple[Format, Path, np.ndarray]) -> None:
    form, _, audio = decoded
    if form.bits:
        assert audio.shape == (SAMPLES, CHANNELS)
        assert np.abs(audio - sound()).max() <= 2.0 ** (1 - form.bits)
    elif form.lag is not None:
        assert lag(audio[:, 0], sound()[:, 0]) == form.lag


LAYOUTS = {5: "5.0", 6: "5.1", 7: "6.1", 8: "7.1"}


@pytest.mark.parametrize("channels", LAYOUTS)
@pytest.mark.parametrize("options", [("libvorbis",), ("libopus", "-mapping_family", "1")], ids=["vorbis", "opus"])
def test_channels_of_ogg_are_in_the_order_of_wav(options: tuple[str, ...], channels: int, tmp_path: Path) -> None:
    """Which is ffmpeg's, and not that in which libsndfile gives them."""
    soundfile.write(tmp_path / "a.wav", tones(channels), 48000)
    command = ["ffmpeg", "-v", "error", "-channel_layout", LAYOUTS[channels], "-i", "a.wav", "-c:a", *options, "a.ogg"]
    subprocess.run(command, cwd=tmp_path, check=True)
    audio = decoding.read(tmp_path / "a.ogg")[0]
    theirs = by_ffmpeg_alone(tmp_path / "a.ogg", channels)
    same = min(len(audio), len(theirs))  # ffmpeg 5.1 does not end Vorbis where its last page says
    np.testing.assert_allclose(audio[:same], theirs[:same], atol=5e-3)
    assert np.argmax(tones(channels).T @ audio[:48000], axis=0).tolist() == list(range(channels))


@pytest.mark.parametrize("channels", LAYOUTS)
def test_channels_that_are_written_as_ogg_are_heard_in_their_order(channels: int, tmp_path: Path) -> None:
    encoding = Encoding("ogg")
    with encoding.opened(tmp_path / "a.ogg", 48000, channels) as file:
        file.write(encoding.samples(tones(channels)))
    for audio in (by_ffmpeg_alone(tmp_path / "a.ogg", channels), decoding.read(tmp_path / "a.ogg")[0]):
        assert np.argmax(tones(channels).T @ audio[:48000], axis=0).tolist() == list(range(channels))


def tones(channels: int) -> np.ndarray:
    """One of another pitch in each channel, low enough for the bass: a second at 48 kHz."""
    return np.sin(2 * np.pi * 5 * np.outer(np.arange(48000) / 48000, 4 + np.arange(channels))) / 4


def lag(late: np.ndarray, early: np.ndarray) -> int:
    """By how many samples one is the other, later: where their correlation peaks."""
    size = 2 ** (len(late) + len(early) - 1).bit_length()
    product = np.fft.rfft(late, size) * np.conj(np.fft.rfft(early, size))
    peak = int(np.argmax(np.fft.irfft(product, size)))
    return peak - size if peak > size // 2 else peak
