"""Trainer: TFX's own component around `pipeline.training.loop.train`."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf
from tfx.components import Trainer
from tfx.components.trainer.fn_args_utils import FnArgs
from tfx.proto import trainer_pb2
from tfx.types.channel import BaseChannel

from models import exported, losses, storage, weights
from models.directory import ModelDirectory
from models.separator import Separator
from pipeline.common import progress
from pipeline.config.config import Config, from_json, saved_config, to_json
from pipeline.training import devices, loop, warm_start
from pipeline.training.warm_start import Start

SPLITS = ("train", "dev")


def trainer(
    examples: BaseChannel,
    config: Config,
    checkpoint_root: str,
    serving_directory: str,
    teacher: BaseChannel | None = None,
) -> Trainer:
    """The Trainer node. `checkpoint_root` outlives executions: a killed training continues from there.

    serving_directory: has the version that a warm start begins with; another version does not make the Trainer run again.
    teacher: the model that the loss looks through; another one makes the Trainer run again. It comes as TFX's base model,
        which is why a warm start comes from a directory: one as good on Kubeflow, which resolves neither.
    """
    train, dev = SPLITS
    return Trainer(
        run_fn=f"{__name__}.run_fn",
        examples=examples,
        train_args=trainer_pb2.TrainArgs(num_steps=config.train.steps, splits=[train]),
        eval_args=trainer_pb2.EvalArgs(splits=[dev]),
        base_model=teacher,
        custom_config={
            "config": to_json(config.only("data", "model", "train")),
            "checkpoint_root": checkpoint_root,
            "serving_directory": serving_directory,
        },
    )


def run_fn(fn_args: FnArgs) -> None:
    """Trains from TFRecords, writes the SavedModel, and leaves config and figures beside it.

    Raises:
      ValueError: see `pipeline.training.loop.train`, or a teacher that is missing or cannot teach this recipe.
      OSError: the directory of the checkpoints cannot be read or written.
    """
    devices.strategy()  # while TensorFlow has run nothing
    config = from_json(fn_args.custom_config["config"])
    progress.line(f"building {config.model.network} and reading what it trains on")
    teacher = teacher_of(config, fn_args.base_model)
    train_files, dev_files = files(fn_args.train_files), files(fn_args.eval_files)
    key = training_key(config, train_files + dev_files, teacher)
    checkpoint_dir = storage.path(fn_args.custom_config["checkpoint_root"]) / key
    storage.listed(checkpoint_dir)  # to TensorFlow a bucket that does not answer is one without checkpoints
    serving_directory = fn_args.custom_config["serving_directory"]
    start = devices.chief_first(lambda: warm_start.begin(config, serving_directory, checkpoint_dir))
    given = start.separator if start else None
    if start:
        progress.line(f"training starts {start.words}")
    with progress.training(config.recipe.name) as report:
        result = loop.train(
            config.recipe, train_files, dev_files, str(checkpoint_dir), fn_args.model_run_dir, report, teacher, given
        )
    if not devices.is_chief():
        return
    progress.line("writing the SavedModel with its signatures")
    exported.save(result.separator, fn_args.serving_model_dir, recipe_name=config.name)
    _write_record(ModelDirectory(fn_args.serving_model_dir), config, result, start)
    # The checkpoints of the recipe's earlier trainings are useless now; its own serve a repeat.
    for other in storage.listed(checkpoint_dir.parent):
        if other != key and re.fullmatch(rf"{re.escape(config.name)}-[0-9a-f]{{16}}", other):
            storage.remove(checkpoint_dir.parent / other)


def training_key(config: Config, files: Sequence[str], teacher: Separator | None = None) -> str:
    """Names a training by what it is made of: the recipe, the bytes of its records, its teacher's weights.

    Not by what it starts with (see `pipeline.training.warm_start`): on the same data there is nothing to train again.
    """
    digest = hashlib.sha256(_canonical(config.recipe))
    for name in sorted(files, key=lambda name: Path(name).parts[-2:]):  # split and name, wherever they lie
        with Path(name).open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    if teacher:
        digest.update(_canonical(teacher.spec))
        for weight in teacher.get_weights():
            digest.update(weight.tobytes())
    return f"{config.name}-{digest.hexdigest()[:16]}"


def _canonical(spec: Any) -> bytes:
    return json.dumps(dataclasses.asdict(spec), sort_keys=True, default=dict).encode()


def teacher_of(config: Config, base_model: str | None) -> Separator | None:
    """The separator of the model that the Teacher node found, in the precision of this training.

    Raises ValueError where there is none, or one that cannot teach this recipe.
    """
    if config.train.teacher is None:
        return None
    if not base_model:
        raise ValueError(f"train.teacher is {config.train.teacher!r}, of which there is no trained model")
    spec = saved_config(base_model).model
    losses.check_teacher(spec, config.model)
    return weights.restore(base_model, spec, config.train.precision)


def files(patterns: Sequence[str]) -> list[str]:
    """The files that FnArgs name by patterns."""
    return sorted(name for pattern in patterns for name in tf.io.gfile.glob(pattern))


def _write_record(directory: ModelDirectory, config: Config, result: loop.Result, start: Start | None) -> None:
    """Configuration and figures: what TF Serving ignores and people look for."""
    directory.config_file.write_text(to_json(config) + "\n")
    figures = {**_figures(result.own), "cpu_minutes": round(result.cpu_minutes, 3)}
    figures["stages"] = [
        {"name": stage.name, "network": stage.network, **_figures(stage), "curve": stage.curve}
        for stage in result.stages
    ]
    if start:
        figures["warm_start"] = {
            "model": start.model,
            "reason": start.reason,
            "dev_loss": _finite(result.own.start_loss),
        }
    directory.training_file.write_text(json.dumps(figures, indent=2) + "\n")


def _figures(stage: loop.StageResult) -> dict[str, Any]:
    return {
        "steps": stage.steps,
        "stopped_early": stage.stopped_early,
        "dev_loss": _finite(stage.dev_loss),
        "cpu_minutes": round(stage.cpu_minutes, 3),
    }


def _finite(loss: float | None) -> float | None:
    return loss if loss is not None and math.isfinite(loss) else None
