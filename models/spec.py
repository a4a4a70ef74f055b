"""What a model is, as a plain frozen value: no TensorFlow, no files, no YAML."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterable, Mapping
from typing import Any

WINDOWS = ("hann", "hamming", "sine")
PRECISIONS = ("float32", "bfloat16")


@dataclasses.dataclass(frozen=True)
class ModelSpec:
    """A separator: the network, the STFT around it and the audio it is made for.

    network: module name in models/networks; `sizes`: keyword arguments of that module's `build`.
    channels: how many channels the network sees; 1 separates every audio channel on its own.
    normalise_level: divide the waveform by the mixture's RMS before the network sees it.
    input_power: the network sees |X| ** input_power.
    standardise: per-bin mean and deviation of that input, measured on training data.
    """

    network: str = "drnn"
    sizes: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    targets: tuple[str, ...] = ("vocals", "accompaniment")
    sample_rate_hz: int = 16000
    channels: int = 1
    frame_length: int = 1024
    hop: int = 512
    window: str = "sine"
    normalise_level: bool = False
    input_power: float = 1.0
    standardise: bool = False

    def __post_init__(self) -> None:
        _freeze_mapping(self, "sizes")
        object.__setattr__(self, "targets", _names(self.targets, "model.targets"))
        if not self.targets or len(set(self.targets)) != len(self.targets) or not all(self.targets):
            raise ValueError(f"model.targets is {self.targets!r}; legal: at least one name, none empty, none twice.")
        if not isinstance(self.network, str) or not self.network:
            raise ValueError(f"model.network is {self.network!r}; legal: the name of a module in models/networks.")
        for field in ("sample_rate_hz", "channels", "frame_length", "hop"):
            _check_positive_integer(f"model.{field}", getattr(self, field))
        if self.frame_length % 2:
            raise ValueError(f"model.frame_length is {self.frame_length}; legal: an even number of samples.")
        if self.hop > self.frame_length // 2:
            raise ValueError(
                f"model.hop is {self.hop}; legal: 1 to {self.frame_length // 2} (half of frame_length {self.frame_length})."
            )
        _check_choice("model.window", self.window, WINDOWS)
        _check_flag("model.normalise_level", self.normalise_level)
        _check_flag("model.standardise", self.standardise)
        _check_number("model.input_power", self.input_power, above=0)

    @property
    def bins(self) -> int:
        """Frequency bins of the one-sided spectrum."""
        return self.frame_length // 2 + 1


def nearest(name: str, legal: Iterable[str]) -> str:
    """`; did you mean 'x'?` for the closest legal name, or nothing when none is close."""
    matches = difflib.get_close_matches(str(name), list(legal), n=1, cutoff=0.5)
    return f"; did you mean {matches[0]!r}?" if matches else ""


def _freeze_mapping(spec: Any, field: str) -> None:
    value = getattr(spec, field)
    if not isinstance(value, Mapping):
        raise ValueError(f"{field} is {value!r}; legal: a mapping of option names to values.")
    object.__setattr__(spec, field, dict(value))


def _names(value: Any, field: str) -> tuple[str, ...]:
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise ValueError(f"{field} is {value!r}; legal: a list of names.")
    names = tuple(value)
    if not all(isinstance(name, str) for name in names):
        raise ValueError(f"{field} is {value!r}; legal: a list of names.")
    return names


def _check_choice(field: str, value: Any, legal: tuple[str, ...]) -> None:
    if value not in legal:
        raise ValueError(f"{field} is {value!r}; legal: {', '.join(legal)}{nearest(value, legal)}")


def _check_flag(field: str, value: Any) -> None:
    if not isinstance(value, bool):
        raise ValueError(f"{field} is {value!r}; legal: true or false.")


def _check_positive_integer(field: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{field} is {value!r}; legal: a whole number of at least 1.")


def _check_whole_number(field: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError(f"{field} is {value!r}; legal: a whole number of at least 0.")


def _check_number(
    field: str,
    value: Any,
    above: float = -float("inf"),
    below: float = float("inf"),
    least: float = -float("inf"),
    most: float = float("inf"),
) -> None:
    """Checks above < value < below and least <= value <= most; NaN and infinities are never legal."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not (above < value < below and least <= value <= most):
        bounds = [("above", above), ("below", below), ("at least", least), ("at most", most)]
        legal = " and ".join(f"{word} {bound:g}" for word, bound in bounds if abs(bound) != float("inf"))
        raise ValueError(f"{field} is {value!r}; legal: a number {legal}.")
