"""On how many devices a training runs: those of this machine, or those of all workers that TF_CONFIG names.

`train.batch` is that of all of them together. Workers need a file system in common: the chief (the first worker) saves
the checkpoints from which all continue, and only it has anything to hand on.
"""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Callable
from typing import Any, TypeVar

import tensorflow as tf

from pipeline.config.train import TrainSpec

Answer = TypeVar("Answer")


def strategy() -> tf.distribute.Strategy:
    """All workers of the cluster; without one, all GPUs of this machine, or its default device when there is none.

    With a cluster, ask before TensorFlow has run anything: its workers are connected at the start only.
    """
    if workers() > 1:
        return _connected()
    gpus = tf.config.list_physical_devices("GPU")
    return tf.distribute.MirroredStrategy() if len(gpus) > 1 else tf.distribute.get_strategy()


def workers() -> int:
    """How many processes train together."""
    return len(_cluster().get("cluster", {}).get("worker", ())) or 1


def is_chief() -> bool:
    """Whether this process is the one that saves for all."""
    return _index() == 0


def own(directory: str) -> str:
    """The directory itself for the chief; one of its own below for another worker, which must save where nobody reads."""
    return directory if is_chief() else f"{directory}/worker-{_index()}"


def agreed(value: float) -> float:
    """The mean of a value over all workers, to the last bit the same in each; waits for all of them."""
    if workers() == 1:
        return value
    everywhere = _connected().run(lambda: tf.constant(value, tf.float32))
    return float(_connected().reduce(tf.distribute.ReduceOp.MEAN, everywhere, axis=None))


def chief_first(function: Callable[[], Answer]) -> Answer:
    """`function()` in every worker, in the others once it has returned in the chief: they find what it has left."""
    if not is_chief():
        agreed(0.0)
        return function()
    answer = function()
    agreed(0.0)
    return answer


def check_shareable(spec: TrainSpec, planned: int | None = None, devices: int = 1) -> None:
    """Raises ValueError for a training that workers cannot share, as each would go by its own clock, objective or batch.

    planned: how many `cluster.workers` asks for; None for those that TF_CONFIG names. devices: of each worker.
    """
    count = planned or workers()
    if count == 1:
        return
    told = f"cluster.workers is {planned}" if planned else f"TF_CONFIG names {count} workers"
    if spec.cpu_minutes is not None:
        raise ValueError(f"train.cpu_minutes is {spec.cpu_minutes} and {told}: legal is null, with train.steps")
    if spec.optimizer != "adam":
        raise ValueError(f"train.optimizer is {spec.optimizer} and {told}: legal is adam")
    if spec.batch % (count * devices):
        raise ValueError(f"train.batch is {spec.batch} and {told}: legal are multiples of {count * devices}")


def shared(batches: tf.data.Dataset) -> tf.data.Dataset:
    """The dataset as it is to be distributed: every worker makes all batches and takes its part of each."""
    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    return batches.with_options(options)


@functools.cache
def _connected() -> tf.distribute.Strategy:
    return tf.distribute.MultiWorkerMirroredStrategy()


def _index() -> int:
    return int(_cluster().get("task", {}).get("index", 0)) if workers() > 1 else 0


def _cluster() -> dict[str, Any]:
    return json.loads(os.environ.get("TF_CONFIG") or "{}")
