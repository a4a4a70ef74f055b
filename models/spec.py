"""What a model is and how it is trained, as plain frozen values: no TensorFlow, no files, no YAML."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterable, Mapping
from typing import Any

WINDOWS = ("hann", "hamming", "sine")
PRECISIONS = ("float32", "bfloat16")
SCHEDULES = ("constant", "cosine")
OPTIMIZERS = ("adam", "lbfgs")
AUGMENTATIONS = ("channel_swap", "circular_shift", "gain", "remix", "speed")


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


@dataclasses.dataclass(frozen=True)
class StageSpec:
    """A training before the recipe's own one, of another network on the same data (staged joint training).

    A stage starts with the layers that an earlier stage trained under the same name. What it does not say is the
    recipe's. share: its part of the recipe's steps, or of its CPU minutes.
    """

    name: str
    network: str
    share: float
    sizes: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    loss: str | None = None
    loss_options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    learning_rate: float | None = None

    def __post_init__(self) -> None:
        _freeze_mapping(self, "sizes")
        _freeze_mapping(self, "loss_options")
        for field in ("name", "network"):
            if not isinstance(getattr(self, field), str) or not getattr(self, field).isidentifier():
                raise ValueError(f"train.stages has {field} {getattr(self, field)!r}; legal: letters, digits and _.")
        _check_number(f"train.stages share of {self.name}", self.share, above=0, below=1)
        if self.learning_rate is not None:
            _check_number(f"train.stages learning_rate of {self.name}", self.learning_rate, above=0)


@dataclasses.dataclass(frozen=True)
class TrainSpec:
    """How a separator is trained.

    schedule: `cosine` holds the rate for `constant_fraction` of the training, then anneals it; both warm up first.
    ema: decay of the moving average of the weights, None for none.
    segment_frames: frames in a training excerpt. patience: dev evaluations without improvement before stopping, None for never.
    cpu_minutes: a budget, None for none; training ends when it is spent, or at `steps`, and the schedule runs over it.
    optimizer: `adam`, or `lbfgs`, whose steps are iterations (no rate, clipping or EMA); `optimizer_options` are
    lbfgs's `history` (pairs that it keeps) and `batches` (how many batches its objective is summed over).
    stages: what is trained before the recipe's own network. teacher: the recipe whose newest model the loss looks through.
    warm_start: whether to begin with the weights of the recipe's served model, where it is of the same spec.
    """

    loss: str = "mse"
    loss_options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    learning_rate: float = 1e-3
    schedule: str = "cosine"
    warmup_steps: int = 100
    constant_fraction: float = 0.4
    clip_norm: float | None = 1.0
    ema: float | None = None
    batch: int = 16
    segment_frames: int = 100
    steps: int = 1000
    precision: str = "float32"
    augment: tuple[str, ...] = ()
    augment_options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    evaluate_every_steps: int = 200
    patience: int | None = None
    checkpoint_minutes: float = 5.0
    seed: int = 0
    shuffle_buffer: int = 512
    cpu_minutes: float | None = None
    optimizer: str = "adam"
    optimizer_options: Mapping[str, int] = dataclasses.field(default_factory=dict)
    stages: tuple[StageSpec, ...] = ()
    teacher: str | None = None
    warm_start: bool = False

    def __post_init__(self) -> None:
        _freeze_mapping(self, "loss_options")
        _freeze_mapping(self, "augment_options")
        _check_flag("train.warm_start", self.warm_start)
        object.__setattr__(self, "augment", _names(self.augment, "train.augment"))
        if not isinstance(self.loss, str) or not self.loss:
            raise ValueError(f"train.loss is {self.loss!r}; legal: the name of a loss in models/losses.py.")
        for field in ("batch", "segment_frames", "steps", "evaluate_every_steps", "shuffle_buffer"):
            _check_positive_integer(f"train.{field}", getattr(self, field))
        for field in ("warmup_steps", "seed"):
            _check_whole_number(f"train.{field}", getattr(self, field))
        if self.patience is not None:
            _check_positive_integer("train.patience", self.patience)
        _check_number("train.learning_rate", self.learning_rate, above=0)
        _check_number("train.checkpoint_minutes", self.checkpoint_minutes, above=0)
        _check_number("train.constant_fraction", self.constant_fraction, least=0, most=1)
        if self.clip_norm is not None:
            _check_number("train.clip_norm", self.clip_norm, above=0)
        if self.ema is not None:
            _check_number("train.ema", self.ema, above=0, below=1)
        _check_choice("train.schedule", self.schedule, SCHEDULES)
        _check_choice("train.precision", self.precision, PRECISIONS)
        for name in self.augment:
            _check_choice("train.augment", name, AUGMENTATIONS)
        if self.cpu_minutes is not None:
            _check_number("train.cpu_minutes", self.cpu_minutes, above=0)
        self._check_optimizer()
        self._check_stages()

    def _check_optimizer(self) -> None:
        _check_choice("train.optimizer", self.optimizer, OPTIMIZERS)
        _freeze_mapping(self, "optimizer_options")
        legal = ("batches", "history") if self.optimizer == "lbfgs" else ()
        for name, value in self.optimizer_options.items():
            if name not in legal:
                raise ValueError(
                    f"train.optimizer_options has {name!r}; legal with {self.optimizer}: {', '.join(legal) or 'none'}"
                )
            _check_positive_integer(f"train.optimizer_options.{name}", value)

    def _check_stages(self) -> None:
        object.__setattr__(self, "stages", tuple(self.stages))
        names = [stage.name for stage in self.stages]
        if len(set(names)) != len(names) or "own" in names:
            raise ValueError(f"train.stages has the names {names}; legal: each once, and not 'own'.")
        if sum(stage.share for stage in self.stages) >= 1:
            raise ValueError(
                "train.stages has shares that add up to 1 or more; legal: a rest for the recipe's own network."
            )


@dataclasses.dataclass(frozen=True)
class Recipe:
    """A model and its training under one name, with what its paper reports."""

    name: str
    paper: str = ""
    published: str = ""
    command: str = ""
    expected: str = ""
    model: ModelSpec = dataclasses.field(default_factory=ModelSpec)
    train: TrainSpec = dataclasses.field(default_factory=TrainSpec)

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            raise ValueError(f"recipe.name is {self.name!r}; legal: a text that is not empty.")


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
