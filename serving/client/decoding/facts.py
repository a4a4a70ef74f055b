"""What the headers of a file say of its sound, in a millisecond and without decoding it: claims, but for what decoding holds them to."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import soundfile

from serving.client import decoding
from serving.client.decoding.ffmpeg import DEMUXERS, INPUT
from serving.client.decoding.files import named, regular

CLAIMS = {"MP3": False, "MPEG": False, "OGG": True}
"""Formats in which a true length would take a walk through the whole file, and whether libsndfile's is sure."""
PATIENCE_SECONDS = 60
_ENTRIES = "stream=codec_name,sample_rate,channels,duration,duration_ts,time_base:format=duration"


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


def facts(path: str | Path) -> tuple[Facts, ...]:
    """Of every audio stream of a file, in their order.

    Raises:
      BadFileError: what `decoding.opened` says of the file.
    """
    path = Path(path)
    with named(path):
        regular(path)
    info = _by_libsndfile(path)
    if info and info.format in CLAIMS:
        codec = f"{info.format} {info.subtype}"
        return (Facts(codec, info.samplerate, info.channels, info.frames, sure=CLAIMS[info.format]),)
    if info is None and (streams := _by_ffprobe(path)):
        return streams
    with decoding.opened(path) as found:  # says what is wrong with it, if anything is
        codec = f"{info.format} {info.subtype}" if info else "unknown"
        told = found.samples_told
        return (Facts(codec, found.sample_rate_hz, found.channels, told, sure=told is not None),)


def _by_libsndfile(path: Path) -> Any:
    """None where it does not read the file."""
    name: Any = os.fsencode(path)  # which soundfile takes, and which any name of a file can be
    try:
        return soundfile.info(name)
    except soundfile.LibsndfileError:
        return None


def _by_ffprobe(path: Path) -> tuple[Facts, ...]:
    """None of them where it is not installed, or finds no sound."""
    program = shutil.which("ffprobe")
    if program is None:
        return ()
    command = [program, "-v", "error", "-protocol_whitelist", "file", "-format_whitelist", DEMUXERS]
    command += ["-select_streams", "a", "-of", "json", "-show_entries", _ENTRIES, INPUT]
    try:
        with path.open("rb") as file:
            done = subprocess.run(command, stdin=file, capture_output=True, timeout=PATIENCE_SECONDS)
        said = json.loads(done.stdout or b"{}")
        return tuple(_stream(each, said.get("format", {})) for each in said.get("streams", ()))
    except (subprocess.TimeoutExpired, ValueError, KeyError):
        return ()


def _stream(said: Mapping[str, Any], container: Mapping[str, Any]) -> Facts:
    """Raises ValueError or KeyError where rate or channels are not known."""
    rate_hz = int(said["sample_rate"])
    seconds = said.get("duration") or container.get("duration")
    samples = round(float(seconds) * rate_hz) if seconds else None
    return Facts(said["codec_name"], rate_hz, int(said["channels"]), samples, sure=False)
