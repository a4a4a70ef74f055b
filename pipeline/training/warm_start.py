"""Warm start: the weights of the served model as the beginning of its recipe's next training, or those of the model that comes with Stemline.

The served model is looked up when a training begins, not when the graph is made, and no key of a cache or of a
checkpoint knows of it: another version alone is no reason to train again, only new data or another configuration is. A
training that was begun before goes on as it began, even if its version is served no more.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from models import storage, weights
from models.directory import ModelDirectory
from models.separator import Separator
from pipeline.common import files
from pipeline.config.config import Config, check_start, other_model


@dataclass(frozen=True)
class Start:
    """What a training begins with: the separator of the version at `model`, or new weights, and `reason` says why."""

    model: str
    separator: Separator | None = None
    reason: str = ""

    @property
    def words(self) -> str:
        return f"from scratch: {self.reason}" if self.reason else f"from the weights of {self.model}"


def begin(config: Config, serving_directory: str, checkpoint_dir: Path) -> Start | None:
    """The start of the training of `config` that keeps its checkpoints in `checkpoint_dir`, where it is written down.

    None where neither `train.warm_start` nor `train.start` asks for one. Raises ConfigError as `check_start` does.
    """
    if not (config.train.warm_start or config.train.start):
        return None
    note, copy = checkpoint_dir / "start.json", checkpoint_dir / "start"
    if note.name in storage.listed(checkpoint_dir):
        told = json.loads(note.read_text())
        return Start(**told) if told["reason"] else Start(**told, separator=_restored(copy, config))
    start = find(config, serving_directory) if config.train.warm_start else Start("")
    if config.train.start and not start.separator:
        check_start(config)
        default = str(ModelDirectory.default().path)
        start = Start(default, _restored(default, config))
    if start.separator:
        storage.copy(start.model, copy)
    files.write_text(note, json.dumps({"model": start.model, "reason": start.reason}) + "\n")
    return start


def find(config: Config, serving_directory: str) -> Start:
    """What the newest version in `serving_directory` allows; the separator computes in the precision of the training."""
    newest = ModelDirectory.newest(serving_directory)
    if newest is None:
        return Start("", reason=f"no version is served from {serving_directory} yet")
    model, version = str(newest.path), newest.version
    try:
        if changed := other_model(model, config):
            return Start(model, reason=f"version {version}, which is served, has another {', '.join(changed)}")
        return Start(model, _restored(model, config))
    except (ValueError, OSError) as error:
        storage.listed(model)  # a bucket that does not answer is no reason to start from scratch
        return Start(model, reason=f"version {version}, which is served, cannot be read: {error}")


def _restored(directory: str | Path, config: Config) -> Separator:
    return weights.restore(directory, config.model, config.train.precision)
