"""Trainer: TFX's own component around `pipeline.training.train`."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import tensorflow as tf
from tfx.components import Trainer
from tfx.components.trainer.fn_args_utils import FnArgs
from tfx.proto import trainer_pb2
from tfx.types.channel import BaseChannel

from models import export
from pipeline import progress, training
from pipeline.config import Config, from_json, to_json

SPLITS = ("train", "dev")


def trainer(examples: BaseChannel, config: Config, checkpoint_root: str) -> Trainer:
    """The Trainer node. `checkpoint_root` outlives executions: a killed training continues from there."""
    train, dev = SPLITS
    return Trainer(
        run_fn=f"{__name__}.run_fn",
        examples=examples,
        train_args=trainer_pb2.TrainArgs(num_steps=config.train.steps, splits=[train]),
        eval_args=trainer_pb2.EvalArgs(splits=[dev]),
        custom_config={
            "config": to_json(config.only("data", "model", "train")),
            "checkpoint_root": checkpoint_root,
        },
    )


def run_fn(fn_args: FnArgs) -> None:
    """Trains from TFRecords, writes the SavedModel, and leaves config and figures beside it.

    Raises:
      ValueError: see `pipeline.training.train`.
    """
    config = from_json(fn_args.custom_config["config"])
    train_files, dev_files = _files(fn_args.train_files), _files(fn_args.eval_files)
    key = fingerprint(config, train_files + dev_files)
    checkpoint_dir = Path(fn_args.custom_config["checkpoint_root"]) / key
    with progress.training(config.recipe.name) as report:
        result = training.train(
            config.recipe, train_files, dev_files, str(checkpoint_dir), fn_args.model_run_dir, report
        )
    export.save(result.separator, fn_args.serving_model_dir, recipe_name=config.name)
    _write_record(Path(fn_args.serving_model_dir) / "assets.extra", config, result)
    _forget_others(checkpoint_dir, config.name)


def fingerprint(config: Config, files: Sequence[str]) -> str:
    """Names a training by everything that shapes it: the recipe and the bytes of its records."""
    digest = hashlib.sha256(json.dumps(dataclasses.asdict(config.recipe), sort_keys=True, default=dict).encode())
    for name in sorted(files, key=_split_and_name):
        with Path(name).open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return f"{config.name}-{digest.hexdigest()[:16]}"


def _forget_others(checkpoint_dir: Path, name: str) -> None:
    """A finished training makes the checkpoints of the recipe's earlier trainings useless; its own serve a repeat."""
    for other in checkpoint_dir.parent.glob(f"{name}-{'[0-9a-f]' * 16}"):
        if other != checkpoint_dir:
            shutil.rmtree(other)


def _split_and_name(name: str) -> tuple[str, str]:
    return Path(name).parent.name, Path(name).name


def _files(patterns: Sequence[str]) -> list[str]:
    return sorted(name for pattern in patterns for name in tf.io.gfile.glob(pattern))


def _write_record(directory: Path, config: Config, result: training.Result) -> None:
    """`config.json` and `training.json`: what TF Serving ignores and people look for."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "config.json").write_text(to_json(config) + "\n")
    figures = {
        "steps": result.steps,
        "stopped_early": result.stopped_early,
        "dev_loss": result.dev_loss if result.dev_loss == result.dev_loss else None,
        "cpu_minutes": round(result.cpu_minutes, 3),
    }
    (directory / "training.json").write_text(json.dumps(figures, indent=2) + "\n")
