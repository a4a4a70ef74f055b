"""Audio files that are broken, hostile or only unusual, one function a kind, made from nothing (some by ffmpeg).

    from hostile_files import KINDS                    # tests/hostile is on the path of pytest

    for kind in KINDS:
        path = kind.make(folder)                       # folder/<kind.id><kind.suffix>; or kind.make(folder, "vocals")
        kind.reason                                    # a regular expression of what is wrong with it; None if it is good
        kind.samples                                   # how many samples it decodes to, if it is good

Good ones hold `sound()`; what a lossy codec or a block of its format adds is in `samples`.
"""

from __future__ import annotations

import io
import os
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import soundfile

RATE_HZ = 44100
SAMPLES = 30_017
CHANNELS = 2
Write = Callable[[Path], Any]


class Kind(NamedTuple):
    id: str
    suffix: str
    write: Write
    reason: str | None = None
    samples: int = SAMPLES
    needs_ffmpeg: bool = False

    def make(self, folder: Path, stem: str = "") -> Path:
        path = folder / f"{stem or self.id}{self.suffix}"
        self.write(path)
        return path


KINDS: list[Kind] = []


def bad(suffix: str, reason: str, ffmpeg: bool = False, name: str = "") -> Callable[[Write], Write]:
    """Registers a kind that cannot be decoded."""

    def register(write: Write) -> Write:
        KINDS.append(Kind(name or write.__name__, suffix, write, reason, 0, ffmpeg))
        return write

    return register


def good(suffix: str, samples: int = SAMPLES, ffmpeg: bool = False, name: str = "") -> Callable[[Write], Write]:
    """Registers a kind that is only unusual."""

    def register(write: Write) -> Write:
        KINDS.append(Kind(name or write.__name__, suffix, write, None, samples, ffmpeg))
        return write

    return register


# ---- sounds and bytes


def sound(samples: int = SAMPLES, channels: int = CHANNELS) -> np.ndarray:
    """A sweep with noise, different in every channel: float32 [samples, channels], exact in 16 bits."""
    time = np.arange(samples)[:, None] / RATE_HZ
    sweep = 0.3 * np.sin(2 * np.pi * (200 + 4000 * time) * time * (1 + np.arange(channels) / 7))
    noise = 0.02 * np.random.default_rng(7).standard_normal((samples, channels))
    return (np.round((sweep + noise) * 2**15) / 2**15).astype(np.float32)


def by_libsndfile(container: str, subtype: str | None = None, signal: np.ndarray | None = None) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, sound() if signal is None else signal, RATE_HZ, subtype, format=container)
    return file.getvalue()


def by_ffmpeg(suffix: str, *options: str, signal: np.ndarray | None = None) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        soundfile.write(f"{folder}/in.wav", sound() if signal is None else signal, RATE_HZ, "PCM_16")
        command = ["ffmpeg", "-nostdin", "-v", "error", "-i", "in.wav", *options, "-bitexact", f"out{suffix}"]
        subprocess.run(command, cwd=folder, check=True)
        return Path(folder, f"out{suffix}").read_bytes()


def pcm() -> bytes:
    return (sound() * 2**15).astype("<i2").tobytes()


def fmt(tag: int = 1, channels: int = CHANNELS, rate_hz: int = RATE_HZ, bits: int = 16, order: str = "<") -> bytes:
    align = channels * bits // 8 % 2**16
    return struct.pack(order + "HHIIHH", tag, channels, rate_hz, rate_hz * align % 2**32, align, bits)


def chunk(name: bytes, body: bytes, size: int | None = None, pad: bool = True) -> bytes:
    claimed = len(body) if size is None else size
    return name + struct.pack("<I", claimed) + body + b"\0" * (pad and len(body) % 2)


def extensible(bits: int, valid: int, align: int = 8, channels: int = CHANNELS) -> bytes:
    """WAVEFORMATEXTENSIBLE (Microsoft, mmreg.h) of PCM."""
    begin = struct.pack("<HHIIHH", 0xFFFE, channels, RATE_HZ, RATE_HZ * align, align, bits)
    return begin + struct.pack("<HHI", 22, valid, 3) + b"\1\0" + bytes.fromhex("000000001000800000aa00389b71")


def aifc(compression: bytes, bits: int, body: bytes) -> bytes:
    comm = struct.pack(">HIH", CHANNELS, SAMPLES, bits) + bytes.fromhex("400eac44000000000000") + compression + bytes(2)
    chunks = b"COMM" + struct.pack(">I", len(comm)) + comm
    chunks += b"SSND" + struct.pack(">III", len(body) + 8, 0, 0) + body
    return b"FORM" + struct.pack(">I", 4 + len(chunks)) + b"AIFC" + chunks


def upper_bytes(size: int) -> bytes:
    """Samples of so many bytes, in the upper 16 bits of which the sound is."""
    return (sound() * 2**31).astype("<i4").view(np.uint8).reshape(-1, 4)[:, 4 - size :].tobytes()


def m4a_by_itunes(before: int, behind: int, samples: int) -> bytes:
    """AAC without an edit list, whose delay and length are in the tag `iTunSMPB`, as iTunes wrote it."""
    data = by_ffmpeg(".m4a").replace(b"edts", b"free")
    whole = struct.pack(">II", RATE_HZ, 31 * 1024)  # ffmpeg counts what is sound of the last frame
    data = data.replace(struct.pack(">II", RATE_HZ, 1024 + SAMPLES), whole)

    def box(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I4s", 8 + len(body), name) + body

    said = f" 00000000 {before:08X} {behind:08X} {samples:016X}" + " 00000000" * 8
    name = box(b"mean", bytes(4) + b"com.apple.iTunes") + box(b"name", bytes(4) + b"iTunSMPB")
    tag = box(b"----", name + box(b"data", struct.pack(">II", 1, 0) + said.encode()))
    for name in (b"moov", b"udta", b"meta", b"ilst"):  # which all end with the file
        at = data.rindex(name) - 4
        data = data[:at] + (int.from_bytes(data[at : at + 4], "big") + len(tag)).to_bytes(4, "big") + data[at + 4 :]
    return data + tag


def caf_of_aac() -> bytes:
    """AAC as Apple's recorders write it: a table has the sizes of packets, and how many samples are no sound."""
    adts, packets = by_ffmpeg(".aac"), []
    while adts:
        size = int.from_bytes(adts[3:6], "big") >> 5 & 0x1FFF
        packets.append(adts[7:size])
        adts = adts[size:]
    m4a = by_ffmpeg(".m4a")
    at = m4a.index(b"esds")
    cookie = m4a[at + 8 : at - 4 + int.from_bytes(m4a[at - 4 : at], "big")]
    table = struct.pack(">qqii", len(packets), SAMPLES, 1024, len(packets) * 1024 - 1024 - SAMPLES)
    table += b"".join(bytes((len(each) >> 7 | 128, len(each) & 127)) for each in packets)
    described = struct.pack(">d4sIIIII", RATE_HZ, b"aac ", 0, 0, 1024, CHANNELS, 0)
    chunks = {b"desc": described, b"kuki": cookie, b"pakt": table, b"data": bytes(4) + b"".join(packets)}
    return b"caff\0\1\0\0" + b"".join(name + struct.pack(">q", len(body)) + body for name, body in chunks.items())


def later_in_ogg(data: bytes, granule: int) -> bytes:
    """Ogg whose positions begin at `granule`, as when it was recorded from the middle of a broadcast."""
    pages = []
    while data:
        count = data[26]
        size = 27 + count + sum(data[27 : 27 + count])
        page, data, at = data[:size], data[size:], int.from_bytes(data[6:14], "little", signed=True)
        page = page[:6] + (at + granule if at > 0 else at).to_bytes(8, "little", signed=True) + page[14:]
        page = page[:22] + bytes(4) + page[26:]
        pages.append(page[:22] + crc(32, 0x04C11DB7, page).to_bytes(4, "little") + page[26:])
    return b"".join(pages)


def riff(*chunks: bytes, size: int | None = None) -> bytes:
    body = b"WAVE" + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(body) if size is None else size) + body


def flipped(data: bytes, share: float) -> bytes:
    at = int(len(data) * share)
    return data[:at] + bytes((data[at] ^ 0x55,)) + data[at + 1 :]


def cut(data: bytes, share: float = 0.6) -> bytes:
    return data[: int(len(data) * share)]


def mp3(vbr: bool = False, signal: np.ndarray | None = None) -> bytes:
    """By LAME: its first frame says how many follow, and its delay."""
    file = io.BytesIO()
    mode = "VARIABLE" if vbr else "CONSTANT"
    soundfile.write(
        file, sound() if signal is None else signal, RATE_HZ, format="MP3", bitrate_mode=mode, compression_level=0.5
    )
    return file.getvalue()


def without_facts(data: bytes) -> bytes:
    """An MP3 without its first frame."""
    return data[data.index(b"\xff\xfb", 100) :]


def id3(size: int = 300) -> bytes:
    return b"ID3\x04\0\0" + bytes((0, 0, size >> 7, size & 127)) + bytes(size)


def flac_with(data: bytes, samples: int) -> bytes:
    """FLAC whose header claims another length."""
    facts = int.from_bytes(data[18:26], "big") >> 36 << 36 | samples
    return data[:18] + facts.to_bytes(8, "big") + data[26:]


def crc(bits: int, polynomial: int, data: bytes) -> int:
    value = 0
    for byte in data:
        value ^= byte << bits - 8
        for _ in range(8):
            value = (value << 1 ^ (polynomial if value >> bits - 1 & 1 else 0)) & (1 << bits) - 1
    return value


def silent_flac(frames: int, rate_code: int = 9) -> bytes:
    """FLAC of 65,535 silent samples a frame of 16 bytes (RFC 9639: constant subframes): 44.1 kHz, stereo, 16 bit."""
    facts = RATE_HZ << 44 | 1 << 41 | 15 << 36 | frames * 65535
    info = struct.pack(">HH", 65535, 65535) + bytes(6) + facts.to_bytes(8, "big") + bytes(16)
    parts = [b"fLaC\x80\x00\x00\x22" + info]
    for number in range(frames):
        coded = chr(number).encode() if not 0xD800 <= number < 0xE000 else b""
        header = bytes((0xFF, 0xF8, 0x70 | rate_code, 0x18)) + coded + struct.pack(">H", 65534)
        header += bytes((crc(8, 0x07, header),))
        frame = header + b"\0\0\0" * 2  # twice: a constant subframe of 16 bits
        parts.append(frame + struct.pack(">H", crc(16, 0x8005, frame)))
    return b"".join(parts)


# ---- cut off

for container, suffix in {
    "WAV": ".wav",
    "AIFF": ".aiff",
    "W64": ".w64",
    "RF64": ".rf64",
    "AU": ".au",
    "CAF": ".caf",
}.items():
    bad(suffix, rf"breaks off after \d+ of {SAMPLES} samples", name=f"cut_{container.lower()}")(
        lambda path, container=container: path.write_bytes(cut(by_libsndfile(container)))
    )


@bad(".sph", rf"breaks off after \d+ of {SAMPLES} samples")
def cut_nist(path: Path) -> None:
    data = by_libsndfile("NIST", "PCM_16")
    assert f"sample_count -i {SAMPLES}".encode() in data
    path.write_bytes(cut(data))


@bad(".flac", "holds another FLAC file from byte")
def flac_behind_flac(path: Path) -> None:
    path.write_bytes(by_libsndfile("FLAC") * 2)


@bad(".flac", "breaks off in the middle of a frame")
def cut_flac(path: Path) -> None:
    path.write_bytes(cut(by_libsndfile("FLAC")))


@bad(".flac", "breaks off in the middle of a frame")
def cut_flac_of_unknown_length(path: Path) -> None:
    path.write_bytes(cut(flac_with(by_libsndfile("FLAC"), 0)))


@bad(".mp3", r"breaks off after \d+ samples, in the middle of a frame")
def cut_mp3(path: Path) -> None:
    path.write_bytes(cut(mp3()))


@bad(".mp3", r"breaks off after \d+ of \d+ samples")
def mp3_cut_between_frames(path: Path) -> None:
    data = mp3()
    path.write_bytes(data[: data.index(b"\xff\xfb", len(data) // 2)])


@bad(".mp3", r"breaks off after \d+ samples, in the middle of a frame")
def cut_mp3_without_facts(path: Path) -> None:
    path.write_bytes(without_facts(mp3(vbr=True))[:-50])


@bad(".ogg", "breaks off in the middle of the page")
def cut_vorbis(path: Path) -> None:
    path.write_bytes(cut(by_libsndfile("OGG", "VORBIS")))


@bad(".ogg", "breaks off: it has no last page of Ogg")
def vorbis_without_its_last_page(path: Path) -> None:
    data = by_libsndfile("OGG", "VORBIS")
    path.write_bytes(data[: data.rindex(b"OggS")])


@bad(".opus", "breaks off in the middle of the page", ffmpeg=True)
def cut_opus(path: Path) -> None:
    path.write_bytes(cut(by_ffmpeg(".opus")))


@bad(".m4a", r"breaks off: of the \d+ bytes of its mdat there are \d+", ffmpeg=True)
def cut_m4a(path: Path) -> None:
    path.write_bytes(cut(by_ffmpeg(".m4a")))


@bad(".m4a", "breaks off: its index", ffmpeg=True)
def m4a_without_moov(path: Path) -> None:
    data = by_ffmpeg(".m4a")
    path.write_bytes(data[: data.index(b"moov") - 4])


@bad(".mov", r"breaks off: of the \d+ bytes of its moov there are \d+", ffmpeg=True)
def mov_with_half_an_index(path: Path) -> None:
    path.write_bytes(by_ffmpeg(".mov", "-c:a", "pcm_s16le")[:-40])


@bad(".m4a", r"breaks off: of the \d+ bytes of its mdat there are \d+", ffmpeg=True)
def cut_m4a_with_its_index_first(path: Path) -> None:
    path.write_bytes(cut(by_ffmpeg(".m4a", "-movflags", "+faststart")))


for suffix, options in {
    ".mkv": ("-c:a", "libvorbis"),
    ".webm": (),
    ".wma": (),
    ".ac3": (),
    ".tta": (),
    ".aac": (),
}.items():
    bad(suffix, r"breaks off or is damaged after \d+ samples", ffmpeg=True, name=f"cut_{suffix[1:]}")(
        lambda path, suffix=suffix, options=options: path.write_bytes(cut(by_ffmpeg(suffix, *options), 0.63))
    )


# ---- damaged


@bad(".ogg", "is damaged: the page of Ogg at byte .* has a wrong checksum")
def vorbis_with_a_wrong_byte(path: Path) -> None:
    path.write_bytes(flipped(by_libsndfile("OGG", "VORBIS"), 0.5))


@bad(".ogg", r"is damaged: page \d+ of Ogg follows page \d+")
def vorbis_without_a_page(path: Path) -> None:
    data = by_libsndfile("OGG", "VORBIS")
    pages = [at for at in range(len(data)) if data.startswith(b"OggS", at)]
    path.write_bytes(data[: pages[-2]] + data[pages[-1] :])


@bad(".ogg", "is damaged: its position goes back from .* to 7 samples")
def vorbis_whose_position_goes_back(path: Path) -> None:
    data = by_libsndfile("OGG", "VORBIS")
    at = data.rindex(b"OggS")
    page = data[at : at + 6] + (7).to_bytes(8, "little") + data[at + 14 : at + 22] + bytes(4) + data[at + 26 :]
    path.write_bytes(data[:at] + page[:22] + crc(32, 0x04C11DB7, page).to_bytes(4, "little") + page[26:])


@bad(".flac", "cannot be decoded after")
def flac_with_a_wrong_byte(path: Path) -> None:
    path.write_bytes(flipped(by_libsndfile("FLAC"), 0.5))


@bad(".mp3", "is damaged after")
def mp3_with_a_hole(path: Path) -> None:
    data = mp3()
    path.write_bytes(data[:5000] + bytes(3000) + data[8000:])


@bad(".mp3", "changes from 44100 Hz and 2 channel.* to 44100 Hz and 1")
def mp3_that_becomes_mono(path: Path) -> None:
    path.write_bytes(mp3() + without_facts(mp3(signal=sound(channels=1))))


@bad(".ogg", "changes its codec, rate or channels")
def chain_of_ogg_that_becomes_mono(path: Path) -> None:
    path.write_bytes(by_libsndfile("OGG", "VORBIS") + by_libsndfile("OGG", "VORBIS", sound(channels=1)))


# ---- lies


@bad(".flac", r"breaks off after \d+ of 68719476735 samples")
def flac_that_claims_2_to_the_36(path: Path) -> None:
    path.write_bytes(flac_with(by_libsndfile("FLAC", signal=sound(1000)), 2**36 - 1))


@bad(".wav", r"breaks off after 0 of 268435456 samples")
def wav_that_claims_a_gigabyte(path: Path) -> None:
    path.write_bytes(riff(chunk(b"fmt ", fmt()), chunk(b"data", b"", 2**30), size=2**30 + 36))


@bad(".w64", "breaks off after")
def w64_that_claims_an_exabyte(path: Path) -> None:
    data = by_libsndfile("W64", signal=sound(1000))
    at = data.index(b"data") + 16
    path.write_bytes(data[:at] + (2**60).to_bytes(8, "little") + data[at + 8 :])


@bad(".flac", "lasts more than .* which is the limit")
def silent_flac_of_hours(path: Path) -> None:
    """36 KB that hold 3.3 hours, 1.2 GB as floats; good where nothing limits a track."""
    path.write_bytes(silent_flac(2200))


@bad(".wav", "has a sample rate of 0 Hz")
def wav_of_rate_0(path: Path) -> None:
    path.write_bytes(riff(chunk(b"fmt ", fmt(rate_hz=0)), chunk(b"data", pcm())))


@bad(".wav", "has a sample rate of 4294967295 Hz")
def wav_of_absurd_rate(path: Path) -> None:
    path.write_bytes(riff(chunk(b"fmt ", fmt(rate_hz=2**32 - 1)), chunk(b"data", pcm())))


@bad(".wav", "has 0 channels")
def wav_of_0_channels(path: Path) -> None:
    path.write_bytes(riff(chunk(b"fmt ", fmt(channels=0)), chunk(b"data", pcm())))


@bad(".wav", "has 65535 channels")
def wav_of_65535_channels(path: Path) -> None:
    path.write_bytes(riff(chunk(b"fmt ", fmt(channels=65535)), chunk(b"data", pcm())))


@bad(".wav", "it has no data chunk")
def wav_without_samples(path: Path) -> None:
    path.write_bytes(riff(chunk(b"fmt ", fmt())))


@bad(".wav", "has 2 data chunks; legal is one")
def wav_of_two_pieces(path: Path) -> None:
    path.write_bytes(riff(chunk(b"fmt ", fmt()), chunk(b"data", pcm()), chunk(b"data", pcm())))


@bad(".wav", "holds another WAV file from byte 120112 on; legal is one")
def wav_behind_wav(path: Path) -> None:
    path.write_bytes(2 * riff(chunk(b"fmt ", fmt()), chunk(b"data", pcm())))


@bad(".wav", "it has no fmt chunk")
def wav_without_format(path: Path) -> None:
    path.write_bytes(riff(chunk(b"data", pcm())))


# ---- no audio


@bad(".wav", r"is empty \(0 bytes\)")
def empty(path: Path) -> None:
    path.touch()


@bad(".wav", "is no readable audio")
def text(path: Path) -> None:
    path.write_text("This is a text about audio.\n" * 100)


@bad(".mp3", "is no readable audio")
def web_page(path: Path) -> None:
    path.write_text("<!DOCTYPE html><html><body>404 Not Found</body></html>\n" * 50)


@bad(".wav", "is no readable audio|breaks off or is damaged")
def random_bytes(path: Path) -> None:
    path.write_bytes(np.random.default_rng(5).bytes(50_000))


@bad(".flac", "is no readable audio")
def zeros(path: Path) -> None:
    path.write_bytes(bytes(50_000))


@bad(".mp4", "holds no audio", ffmpeg=True)
def video_without_sound(path: Path) -> None:
    path.write_bytes(by_ffmpeg(".mp4", "-f", "lavfi", "-i", "color=size=16x16:duration=1", "-map", "1:v"))


@bad(".mp3", "is no readable audio")
def playlist(path: Path) -> None:
    """Of HLS: it names a file beside it, which must not be opened."""
    path.with_name("secret.wav").write_bytes(by_libsndfile("WAV"))
    path.write_text("#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nsecret.wav\n#EXT-X-ENDLIST\n")


@bad(".flac", "is no readable audio")
def script_of_ffconcat(path: Path) -> None:
    path.with_name("secret.wav").write_bytes(by_libsndfile("WAV"))
    path.write_text("ffconcat version 1.0\nfile secret.wav\n")


# ---- no file


@bad(".wav", "is a link to nothing")
def broken_link(path: Path) -> None:
    path.symlink_to("nowhere.wav")


@bad(".wav", "cannot be read")
def link_to_itself(path: Path) -> None:
    path.symlink_to(path.name)


@bad(".wav", "is a directory")
def directory(path: Path) -> None:
    path.mkdir()


@bad(".wav", "is no regular file")
def pipe(path: Path) -> None:
    os.mkfifo(path)


if os.geteuid():  # root reads everything

    @bad(".wav", r"cannot be read \(Permission denied\)")
    def unreadable(path: Path) -> None:
        path.write_bytes(by_libsndfile("WAV"))
        path.chmod(0)


# ---- unusual WAV

SIZES = {"wav_streamed_by_ffmpeg": 2**32 - 1, "wav_streamed_by_gstreamer": 0, "wav_of_a_size_too_small": 4036}
for name, chunks in {
    "wav_streamed_by_ffmpeg": lambda: (chunk(b"fmt ", fmt()), chunk(b"data", pcm(), 2**32 - 1)),
    "wav_streamed_by_sox": lambda: (chunk(b"fmt ", fmt()), chunk(b"data", pcm(), 0x7FFFF000)),
    "wav_streamed_by_gstreamer": lambda: (chunk(b"fmt ", fmt()), chunk(b"data", pcm(), 0)),
    "wav_of_a_size_too_small": lambda: (chunk(b"fmt ", fmt()), chunk(b"data", pcm(), 4000)),
    "wav_with_odd_list": lambda: (chunk(b"fmt ", fmt()), chunk(b"LIST", b"INFOICMT\3\0\0\0abc"), chunk(b"data", pcm())),
    "wav_with_odd_list_without_pad": lambda: (
        chunk(b"fmt ", fmt()),
        chunk(b"LIST", b"INFOICMT\3\0\0\0abc", pad=False),
        chunk(b"data", pcm()),
    ),
    "wav_with_chunks_around": lambda: (
        chunk(b"JUNK", bytes(28)),
        chunk(b"bext", bytes(602)),
        chunk(b"fmt ", fmt()),
        chunk(b"fact", struct.pack("<I", 7)),
        chunk(b"data", pcm()),
        chunk(b"id3 ", id3()),
        chunk(b"LIST", b"INFOICMT\3\0\0\0abc"),
    ),
    "wav_with_its_format_last": lambda: (chunk(b"data", pcm()), chunk(b"fmt ", fmt())),
    "wav_of_a_sampler": lambda: (  # notes in odd chunks behind the samples
        chunk(b"fmt ", fmt()),
        chunk(b"data", pcm()),
        chunk(b"cue ", struct.pack("<I", 1) + bytes(24)),
        chunk(b"smpl", bytes(36)),
        chunk(b"afsp", bytes(33)),
    ),
    "wav_of_24_bits_in_32": lambda: (chunk(b"fmt ", extensible(32, 24)), chunk(b"data", upper_bytes(4))),
    "wav_of_24_bits_in_4_bytes": lambda: (chunk(b"fmt ", extensible(24, 24)), chunk(b"data", upper_bytes(4))),
    "wav_with_id3_behind": lambda: (chunk(b"fmt ", fmt()), chunk(b"data", pcm()), b"TAG" + bytes(125)),
    "wav_with_zeros_behind": lambda: (chunk(b"fmt ", fmt()), chunk(b"data", pcm()), bytes(5000)),
}.items():
    good(".wav", name=name)(
        lambda path, chunks=chunks, name=name: path.write_bytes(riff(*chunks(), size=SIZES.get(name)))
    )

for name, (container, subtype, suffix) in {
    "wav_u8": ("WAV", "PCM_U8", ".wav"),
    "wav_24": ("WAV", "PCM_24", ".wav"),
    "wav_32": ("WAV", "PCM_32", ".wav"),
    "wav_float64": ("WAV", "DOUBLE", ".wav"),
    "wav_ulaw": ("WAV", "ULAW", ".wav"),
    "wav_alaw": ("WAV", "ALAW", ".wav"),
    "wav_extensible": ("WAVEX", "PCM_24", ".wav"),
    "rf64": ("RF64", "PCM_16", ".wav"),
    "w64": ("W64", "PCM_24", ".w64"),
    "aiff": ("AIFF", "PCM_24", ".aif"),
    "aifc_float": ("AIFF", "FLOAT", ".aifc"),
    "caf": ("CAF", "FLOAT", ".caf"),
    "au": ("AU", "PCM_16", ".au"),
}.items():
    good(suffix, name=name)(
        lambda path, container=container, subtype=subtype: path.write_bytes(by_libsndfile(container, subtype))
    )


@good(".au")
def au_of_unknown_length(path: Path) -> None:
    data = by_libsndfile("AU", "PCM_16")
    path.write_bytes(data[:8] + b"\xff\xff\xff\xff" + data[12:])


@good(".w64")
def w64_streamed(path: Path) -> None:
    data = by_libsndfile("W64", "PCM_16")
    at = data.index(b"data") + 16
    path.write_bytes(data[:16] + b"\xff" * 8 + data[24:at] + b"\xff" * 7 + b"\x7f" + data[at + 8 :])


@good(".wav")
def rf64_without_sizes(path: Path) -> None:
    data = by_libsndfile("RF64", "PCM_16")
    at = data.index(b"ds64") + 8
    path.write_bytes(data[:at] + bytes(24) + data[at + 24 :])


@good(".aiff")
def aiff_without_sizes(path: Path) -> None:
    """As ffmpeg leaves them where it cannot go back."""
    data = by_libsndfile("AIFF", "PCM_16")
    at, sound_at = data.index(b"COMM") + 10, data.index(b"SSND") + 4
    data = data[:4] + bytes(4) + data[8:at] + bytes(4) + data[at + 4 :]
    path.write_bytes(data[:sound_at] + bytes(4) + data[sound_at + 4 :])


for compression, size in {"sowt": 3, "23ni": 3}.items():
    good(".aifc", name=f"aifc_{compression}_of_{size}_bytes")(
        lambda path, compression=compression, size=size: path.write_bytes(
            aifc(compression.encode(), 8 * size, upper_bytes(size))
        )
    )


@good(".caf")
def caf_streamed(path: Path) -> None:
    data = by_libsndfile("CAF", "PCM_16")
    at = data.index(b"data") + 4
    path.write_bytes(data[:at] + b"\xff" * 8 + data[at + 8 : at + 12 + 4 * SAMPLES])


# ---- unusual FLAC, MP3, Ogg and names that deceive


@good(".flac")
def flac_of_unknown_length(path: Path) -> None:
    path.write_bytes(flac_with(by_libsndfile("FLAC"), 0))


@good(".flac")
def flac_of_a_length_too_small(path: Path) -> None:
    path.write_bytes(flac_with(by_libsndfile("FLAC"), 1000))


@good(".flac")
def flac_between_tags(path: Path) -> None:
    path.write_bytes(id3() + by_libsndfile("FLAC") + b"TAG" + bytes(125))


@good(".mp3", samples=27 * 1152 - 1105)  # LAME's delay of 576 and the decoder's; the padding is that of another end
def mp3_with_a_frame_less_and_half_its_length_claimed(path: Path) -> None:
    data = mp3()
    at = max(data.find(b"Xing"), data.find(b"Info")) + 8
    data = data[:at] + (14).to_bytes(4, "big") + data[at + 4 :]
    path.write_bytes(data[: data.rindex(b"\xff\xfb")])


@good(".flac")
def flac_with_zeros_behind(path: Path) -> None:
    path.write_bytes(by_libsndfile("FLAC") + bytes(5000))


@good(".mp3", samples=28 * 1152)  # 26 of sound, one that the encoder's delay begins, one that its padding fills
def mp3_without_facts(path: Path) -> None:
    path.write_bytes(without_facts(mp3(vbr=True)))


@good(".mp3")
def mp3_with_junk_behind(path: Path) -> None:
    path.write_bytes(mp3() + b"hello world" * 20)


@good(".mp3", samples=(28 + 1 + 28) * 1152 - 1105)  # the second file's facts are a frame of silence
def mp3_behind_mp3(path: Path) -> None:
    path.write_bytes(id3() + mp3() + id3() + mp3())


@good(".mp3")
def mp3_between_tags(path: Path) -> None:
    ape = b"APETAGEX" + struct.pack("<IIII", 2000, 32, 0, 0) + bytes(8)
    path.write_bytes(id3() + mp3() + ape + b"TAG" + bytes(125))


for name, frames in (("half", 14), ("twice", 56)):  # its number of bytes shows that nothing is missing

    @good(".mp3", name=f"mp3_that_claims_{name}_its_frames")
    def mp3_that_claims(path: Path, frames: int = frames) -> None:
        data = mp3()
        at = max(data.find(b"Xing"), data.find(b"Info")) + 8
        path.write_bytes(data[:at] + frames.to_bytes(4, "big") + data[at + 4 :])


@good(".ogg", samples=2 * SAMPLES)
def chain_of_ogg(path: Path) -> None:
    path.write_bytes(by_libsndfile("OGG", "VORBIS") * 2)


for name, container, suffix in (("flac", "FLAC", ".wav"), ("wav", "WAV", ".mp3"), ("aiff", "AIFF", ".flac")):
    good(suffix, name=f"{name}_named_{suffix[1:]}")(
        lambda path, container=container: path.write_bytes(by_libsndfile(container))
    )


@good(".m4a", ffmpeg=True)
def alac(path: Path) -> None:
    path.write_bytes(by_ffmpeg(".m4a", "-c:a", "alac"))


@good(".m4a", samples=31 * 1024, ffmpeg=True)
def m4a_with_the_tag_of_another_file(path: Path) -> None:
    path.write_bytes(m4a_by_itunes(1024, 1000, SAMPLES))


@good(".m4a", samples=30 * 1024, ffmpeg=True)
def m4a_that_claims_a_day(path: Path) -> None:
    data = by_ffmpeg(".m4a").replace(struct.pack(">III", 1, 680, 1024), struct.pack(">III", 1, 2**31 - 1, 1024))
    path.write_bytes(data.replace(struct.pack(">II", RATE_HZ, 1024 + SAMPLES), struct.pack(">II", RATE_HZ, 2**32 - 2)))


@good(".m4a", samples=31 * 1024, ffmpeg=True)
def m4a_without_a_clock(path: Path) -> None:
    clock = struct.pack(">II", RATE_HZ, 1024 + SAMPLES)
    path.write_bytes(by_ffmpeg(".m4a").replace(clock, bytes(4) + clock[4:]))


@good(".m4a", samples=44 * 441, ffmpeg=True)
def m4a_cut_by_an_editor(path: Path) -> None:
    """Without another encoding: its edit list takes 440 ms of it."""
    path.write_bytes(by_ffmpeg(".m4a").replace(struct.pack(">III", 1, 680, 1024), struct.pack(">III", 1, 440, 1024)))


@good(".m4a", samples=30 * 1024, ffmpeg=True)
def m4a_whose_index_counts_too_few(path: Path) -> None:
    """Half of its samples, by its media and by its edit list: nothing is lost of what is there."""
    data = by_ffmpeg(".m4a").replace(struct.pack(">III", 1, 680, 1024), struct.pack(">III", 1, 340, 1024))
    path.write_bytes(data.replace(struct.pack(">II", RATE_HZ, 1024 + SAMPLES), struct.pack(">II", RATE_HZ, 16018)))


@good(".wv", ffmpeg=True)
def wavpack(path: Path) -> None:
    path.write_bytes(by_ffmpeg(".wv"))


NAMES = (
    b"-i.wav",
    b"100%d.wav",
    b"new\nline.wav",
    b"not utf-8 \xff\xfe.wav",
    b"concat:a|b.wav",
    "Ünïcödé 🎤.wav".encode(),
)
"""Names that good files may have."""

if not shutil.which("ffmpeg"):
    KINDS[:] = [kind for kind in KINDS if not kind.needs_ffmpeg]
