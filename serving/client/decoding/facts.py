"""What the headers of a file say of its sound, in a millisecond and without decoding it: claims, but for what decoding holds them to."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import soundfile

from serving.client import decoding
from serving.client.decoding import boxes, mpeg, ogg
from serving.client.decoding.ffmpeg import DEMUXERS
from serving.client.decoding.files import at, named, regular

CHUNKED = (b"RIFF", b"RIFX", b"RF64", b"BW64", b"riff", b"FORM", b".snd", b"dns.", b"caff", b"fLaC")
"""Beginnings of files whose true length decoding finds without a walk through all of them."""
PATIENCE_SECONDS = 60
_ENTRIES = "stream=codec_name,sample_rate,channels,duration:format=duration"


@dataclass(frozen=True)
class Facts:
    """What is said of one audio stream of a file.

    codec: such as `WAV PCM_16` or `aac`. samples: per channel; None where nothing is said. sure: decoding gives as many, or
    fails; otherwise it may give others.
    """

    codec: str
    sample_rate_hz: int
    channels: int
    samples: int | None
    sure: bool


class _Told(NamedTuple):
    codec: str
    sample_rate_hz: int
    channels: int
    samples: int


def facts(path: str | Path, whole: bool = True) -> tuple[Facts, ...]:
    """Of every audio stream of a file, in their order.

    whole: False where there is nothing but a hole between the file's ends.

    Raises:
      BadFileError: what `decoding.opened` says of the file.
    """
    path = Path(path)
    with named(path):
        regular(path)
        with path.open("rb") as file:
            begin = _begin(file)
            known = begin in (*CHUNKED, b"OggS") or boxes.is_mp4(at(file, 0, 8))
            claim = None if known else mpeg.claimed(file)
            one_ogg = begin == b"OggS" and ogg.is_one_by_its_ends(file)
            if whole:
                boxes.check(file)
    if claim:
        first, samples = claim
        return (Facts(f"MP{first.layer}", first.rate_hz, first.channels, samples, sure=False),)
    info = _by_libsndfile(path)
    if info and (one_ogg or (begin == b"OggS" and not whole)):
        return (Facts(*info, sure=one_ogg),)
    if info is None and begin not in CHUNKED and (streams := _by_ffprobe(path)):
        return streams
    with decoding.opened(path) as found:  # says what is wrong with it, if anything is
        if found.samples_told is None and (streams := _by_ffprobe(path)):
            return streams
        codec = info.codec if info else begin.decode(errors="backslashreplace").strip(". ").upper()
        told = found.samples_told
        return (Facts(codec, found.sample_rate_hz, found.channels, told, sure=told is not None),)


def _begin(file: BinaryIO) -> bytes:
    """Four bytes that tell what it is, behind tags that may lie before FLAC and MP3."""
    return at(file, mpeg.after_id3(file), 4)


def _by_libsndfile(path: Path) -> _Told | None:
    """None where it does not read the file."""
    try:
        with soundfile.SoundFile(os.open(path, os.O_RDONLY)) as file:  # its name would be a hint, and UTF-8
            return _Told(f"{file.format} {file.subtype}", file.samplerate, file.channels, file.frames)
    except soundfile.LibsndfileError:
        return None


def _by_ffprobe(path: Path) -> tuple[Facts, ...]:
    """None of them where it is not installed, or finds no sound."""
    program = shutil.which("ffprobe")
    if program is None:
        return ()
    command = [program, "-v", "error", "-protocol_whitelist", "file", "-format_whitelist", DEMUXERS]
    command += ["-select_streams", "a", "-of", "json", "-show_entries", _ENTRIES, f"file:{path.absolute()}"]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=PATIENCE_SECONDS)
        said = json.loads(done.stdout or b"{}")
        return tuple(_stream(each, said.get("format", {})) for each in said.get("streams", ()))
    except (subprocess.TimeoutExpired, ValueError, KeyError):
        return ()


def _stream(said: Mapping[str, Any], container: Mapping[str, Any]) -> Facts:
    """Raises ValueError or KeyError where rate or channels are not known."""
    rate_hz, channels = int(said["sample_rate"]), int(said["channels"])
    if not rate_hz or not channels:
        raise ValueError("its name alone says what it is")
    seconds = said.get("duration") or container.get("duration")
    samples = round(float(seconds) * rate_hz) if seconds else None
    return Facts(said["codec_name"], rate_hz, channels, samples, sure=False)
