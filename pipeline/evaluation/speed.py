"""How long models compute for a second of audio: measured, one after the other, on one thread."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from models.directory import ModelDirectory

SECONDS = 10
_REPEATS = 5


def factors(directories: Sequence[str]) -> list[float]:
    """Real-time factor of every SavedModel: the shortest of five separations of 10 s of noise, in seconds per second.

    The process must be a new one: TensorFlow takes its number of threads only before its first operation.

    Raises:
      ValueError: a directory without a model.
    """
    tf.config.set_visible_devices([], "GPU")
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    return [_factor(directory) for directory in directories]


def _factor(directory: str) -> float:
    description = ModelDirectory(directory).description
    model = tf.saved_model.load(directory)  # and no session of a server's, which would have threads of its own
    channels = [description["channels"]] if description["channels"] > 1 else []
    noise = np.random.default_rng(0).standard_normal([1, SECONDS * description["sample_rate_hz"], *channels])
    mixture = tf.constant(0.1 * noise, tf.float32)
    seconds = []
    for _ in range(1 + _REPEATS):
        start = time.perf_counter()
        stems = model.signatures["serving_default"](mixture=mixture)
        _ = [stem.numpy() for stem in stems.values()]
        seconds.append(time.perf_counter() - start)
    return min(seconds[1:]) / SECONDS  # the first call plans and allocates
