"""The section `train` of a configuration: how a model is trained, and the part of a run that the trainer needs."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from models.checked import Count, Flag, Name, PlainName, Positive, Share, Whole, checked, nearest
from models.spec import ModelSpec, Precision
from pipeline.config import augment
from pipeline.config.augment import Augmentation

Identifier = Annotated[str, Field(pattern=r"^[A-Za-z_]\w*$", description="letters, digits and _, no digit first")]
LearningRate = Annotated[float, Field(gt=0, le=10)]
InnerShare = Annotated[float, Field(gt=0, lt=1)]


@checked("train.stages")
class StageSpec:
    """A training before the recipe's own one, of another network on the same data (staged joint training).

    A stage starts with the layers that an earlier stage trained under the same name. What it does not say is the
    recipe's. share: its part of the recipe's steps, or of its CPU minutes.
    """

    name: Identifier
    network: Identifier
    share: InnerShare
    sizes: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    loss: str | None = None
    loss_options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    learning_rate: LearningRate | None = None


@checked("train")
class TrainSpec:
    """How a separator is trained.

    schedule: `cosine` holds the rate for `constant_fraction` of the training, then anneals it; both warm up first.
    ema: decay of the moving average of the weights, None for none.
    augment, augment_options: see `pipeline.config.augment`.
    segment_frames: frames in a training excerpt.
    patience: dev evaluations without improvement before stopping, None for never.
    cpu_minutes: a budget, None for none; training ends when it is spent, or at `steps`, and the schedule runs over it.
    optimizer: `adam`, or `lbfgs`, whose steps are iterations (no rate, clipping or EMA); `optimizer_options` are
    lbfgs's `history` (pairs that it keeps) and `batches` (how many batches its objective is summed over).
    stages: what is trained before the recipe's own network. teacher: the recipe whose newest model the loss looks through.
    warm_start: whether to begin with the weights of the recipe's served model, where it is of the same spec.
    start: the model that comes with Stemline, of the same spec, to begin with its weights; with warm_start, while none is served.
    """

    loss: Name = "mse"
    loss_options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    learning_rate: LearningRate = 1e-3
    schedule: Literal["constant", "cosine"] = "cosine"
    warmup_steps: Whole = 100
    constant_fraction: Share = 0.4
    clip_norm: Positive | None = 1.0
    ema: InnerShare | None = None
    batch: Annotated[int, Field(strict=True, ge=1, le=2**16)] = 16
    segment_frames: Count = 100
    steps: Count = 1000
    precision: Precision = "float32"
    augment: tuple[Augmentation, ...] = ()
    augment_options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    evaluate_every_steps: Count = 200
    patience: Count | None = None
    checkpoint_minutes: Positive = 5.0
    seed: Annotated[int, Field(strict=True, ge=0, le=2**32 - 1)] = 0
    cpu_minutes: Positive | None = None
    optimizer: Literal["adam", "lbfgs"] = "adam"
    optimizer_options: Mapping[str, Count] = dataclasses.field(default_factory=dict)
    stages: tuple[StageSpec, ...] = ()
    teacher: str | None = None
    warm_start: Flag = False
    start: Literal["default"] | None = None

    @property
    def augmentations(self) -> dict[str, Any]:
        """The options of every augmentation that is on, an object of `pipeline.config.augment`, by name."""
        return augment.options(self.augment, self.augment_options)

    def __post_init__(self) -> None:
        augment.options(self.augment, self.augment_options)
        legal = ("batches", "history") if self.optimizer == "lbfgs" else ()
        for name in self.optimizer_options:
            if name not in legal:
                raise ValueError(f"optimizer_options has {name!r}; with {self.optimizer}, {nearest(name, legal)}")
        names = [stage.name for stage in self.stages]
        if len(set(names)) != len(names) or "own" in names:
            raise ValueError(f"stages has the names {names}; legal: each once, and not 'own'")
        if sum(stage.share for stage in self.stages) >= 1:
            raise ValueError("stages has shares that add up to 1 or more; legal: a rest for the recipe's own network")


@checked("recipe")
class Recipe:
    """A model and its training under one name, with what its paper reports."""

    name: PlainName
    paper: str = ""
    published: str = ""
    command: str = ""
    expected: str = ""
    model: ModelSpec = dataclasses.field(default_factory=ModelSpec)
    train: TrainSpec = dataclasses.field(default_factory=TrainSpec)
