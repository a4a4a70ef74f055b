"""How long models compute for a second of audio: measured, one after the other, on one thread."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from models import exported

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
    model = exported.load(directory)
    shape = (SECONDS * model.sample_rate_hz, *([model.channels] if model.channels > 1 else []))
    mixture = 0.1 * np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    model.separate(mixture)  # the first call plans and allocates
    return min(_seconds(model, mixture) for _ in range(_REPEATS)) / SECONDS


def _seconds(model: exported.Exported, mixture: np.ndarray) -> float:
    start = time.perf_counter()
    model.separate(mixture)
    return time.perf_counter() - start
