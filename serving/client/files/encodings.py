"""What stems are written as: a format, the bits of a sample, and what they hold."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from serving.client.decoding import ogg

# Format -> bits of a sample -> libsndfile's word; without a choice the first. 32 bits are float, 0 is a lossy format.
_SUBTYPES: dict[str, dict[int, str]] = {
    "wav": {32: "FLOAT", 24: "PCM_24", 16: "PCM_16"},
    "flac": {24: "PCM_24", 16: "PCM_16"},
    "mp3": {0: "MPEG_LAYER_III"},
    "ogg": {0: "VORBIS"},
    "m4a": {0: "FLOAT"},  # written as WAV, of which ffmpeg makes AAC
}
FORMATS = tuple(_SUBTYPES)
_QUALITY: dict[str, dict[str, Any]] = {  # 320 kbit/s
    "mp3": {"compression_level": 0.0, "bitrate_mode": "CONSTANT"},
    "ogg": {"compression_level": 0.1},
}
_MP3_RATES_HZ = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
_RATES_HZ = {
    "flac": range(1, 655_351),
    "mp3": _MP3_RATES_HZ,
    "ogg": range(1, 200_001),  # beyond it libvorbis crashes
    "m4a": (7350, *_MP3_RATES_HZ, 64000, 88200, 96000),
}
_CHANNELS = {"flac": 8, "mp3": 2, "ogg": 255, "m4a": 2}


@dataclass(frozen=True)
class Encoding:
    """A format of FORMATS, and its bit depth, where it has one.

    Raises:
      ValueError: there is no such format, it has no such depth, or needs what is not installed.
    """

    format: str = "wav"
    bits: int | None = None

    def __post_init__(self) -> None:
        if self.format not in FORMATS:
            raise ValueError(f"format is {self.format!r}; legal: {', '.join(FORMATS)}")
        depths = sorted(_SUBTYPES[self.format])
        if self.bits is not None and (self.bits not in depths or not self.bits):
            legal = f"legal: {', '.join(map(str, depths))}" if any(depths) else "it has none"
            raise ValueError(f"bit depth is {self.bits} for {self.format}; {legal}")
        if self.format == "m4a" and shutil.which("ffmpeg") is None:
            raise ValueError("m4a is written by ffmpeg, which is not installed; legal without: wav, flac, mp3, ogg")

    @property
    def _bits(self) -> int:
        return next(iter(_SUBTYPES[self.format])) if self.bits is None else self.bits

    @property
    def clips(self) -> bool:
        """Whether it does not hold what is beyond full scale, or whoever plays it does not."""
        return self._bits != 32

    def samples(self, block: np.ndarray) -> np.ndarray:
        """Float samples as they are written: rounded, since libsndfile rounds down, which adds half a bit to all; in Ogg in
        the order of its channels, which libsndfile leaves to us."""
        if self.format == "ogg" and block.shape[1] in ogg.ORDER:
            return block[:, np.argsort(ogg.ORDER[block.shape[1]])]
        if self._bits not in (16, 24):
            return block
        full = 2 ** (self._bits - 1)
        rounded = np.clip(np.rint(block.astype(np.float64) * full), -full, full - 1)
        return rounded.astype(np.int16) if self._bits == 16 else rounded.astype(np.int32) << 8

    def check(self, sample_rate_hz: int, channels: int) -> None:
        """Raises ValueError where the format does not hold that."""
        rates, most = _RATES_HZ.get(self.format), _CHANNELS.get(self.format)
        if rates is not None and sample_rate_hz not in rates:
            legal = f"up to {rates[-1]}" if isinstance(rates, range) else ", ".join(map(str, rates))
            raise ValueError(f"{self.format} holds no {sample_rate_hz} Hz; it holds {legal}, and wav any rate")
        if most is not None and channels > most:
            raise ValueError(f"{self.format} holds no {channels} channels; it holds up to {most}, and wav any number")

    def opened(self, path: Path, sample_rate_hz: int, channels: int, container: str = "") -> soundfile.SoundFile:
        """A file to write to; `container` instead of the format's own."""
        container = container or ("WAV" if self.format == "m4a" else self.format.upper())
        subtype = _SUBTYPES[self.format][self._bits]
        descriptor = os.open(
            path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o666
        )  # soundfile opens no name that is not UTF-8
        return soundfile.SoundFile(
            descriptor, "w", sample_rate_hz, channels, subtype, format=container, **_QUALITY.get(self.format, {})
        )
