"""What a model is, as a plain frozen value: no TensorFlow, no files, no YAML."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from models.checked import Count, Flag, Name, PlainName, checked

Window = Literal["hann", "hamming", "sine"]
Precision = Literal["float32", "bfloat16"]
SampleRate = Annotated[int, Field(strict=True, ge=1, le=10**6)]
Channels = Annotated[int, Field(strict=True, ge=1, le=64)]
Targets = tuple[PlainName, ...]
WINDOWS: tuple[str, ...] = typing.get_args(Window)
PRECISIONS: tuple[str, ...] = typing.get_args(Precision)


@checked("model")
class ModelSpec:
    """A separator: the network, the STFT around it and the audio it is made for.

    network: module name in models/networks; `sizes`: keyword arguments of its class.
    channels: how many channels the network sees; 1 separates every audio channel on its own.
    normalise_level: divide the magnitudes by the mixture's level (models.separator.Separator.level) before the network sees them.
    input_power: the network sees |X| ** input_power.
    standardise: per-bin mean and deviation of that input, measured on training data.
    """

    network: Name = "drnn"
    sizes: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    targets: Targets = ("vocals", "accompaniment")
    sample_rate_hz: SampleRate = 16000
    channels: Channels = 1
    frame_length: Annotated[int, Field(strict=True, ge=2, le=2**18, multiple_of=2)] = 1024
    hop: Count = 512
    window: Window = "sine"
    normalise_level: Flag = False
    input_power: Annotated[float, Field(gt=0, le=10)] = 1.0
    standardise: Flag = False

    def __post_init__(self) -> None:
        if not self.targets or len(set(self.targets)) != len(self.targets) or not all(self.targets):
            raise ValueError(f"targets is {self.targets!r}; legal: at least one name, none empty, none twice")
        if self.hop > self.frame_length // 2:
            raise ValueError(
                f"hop is {self.hop}; legal: 1 to {self.frame_length // 2} (half of frame_length {self.frame_length})"
            )

    @property
    def bins(self) -> int:
        """Frequency bins of the one-sided spectrum."""
        return self.frame_length // 2 + 1
