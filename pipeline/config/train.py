"""The section `train` of a configuration: how a model is trained, and the part of a run that the trainer needs."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from models.spec import (
    PRECISIONS,
    ModelSpec,
    _check_choice,
    _check_flag,
    _check_number,
    _check_positive_integer,
    _check_whole_number,
    _freeze_mapping,
    _names,
)

SCHEDULES = ("constant", "cosine")
OPTIMIZERS = ("adam", "lbfgs")
AUGMENTATIONS = ("channel_swap", "circular_shift", "gain", "remix", "speed")


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
