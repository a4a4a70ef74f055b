"""The optimiser of a recipe and the course of its learning rate."""

from __future__ import annotations

import math

import tensorflow as tf
import tf_keras as keras

from pipeline.config.train import TrainSpec


class Schedule(keras.optimizers.schedules.LearningRateSchedule):
    """Linear warm-up over steps; then constant, or constant for a fraction of the training and a cosine to 1 % of the peak.

    `fraction` holds how much of the training is done, 0 to 1.
    """

    def __init__(self, train: TrainSpec, fraction: tf.Variable) -> None:
        self.train, self.fraction = train, fraction

    def __call__(self, step: tf.Tensor) -> tf.Tensor:
        train = self.train
        warm = tf.minimum((tf.cast(step, tf.float32) + 1) / max(train.warmup_steps, 1), 1.0)
        if train.schedule == "constant":
            return train.learning_rate * warm
        done = (self.fraction - train.constant_fraction) / max(1 - train.constant_fraction, 1e-6)
        annealed = tf.clip_by_value(done, 0.0, 1.0)
        return train.learning_rate * warm * (0.01 + 0.99 * 0.5 * (1 + tf.cos(math.pi * annealed)))


def build(spec: TrainSpec, fraction: tf.Variable) -> keras.optimizers.Optimizer:
    """Adam by `Schedule`; for L-BFGS, which keeps no state between calls, the smallest optimiser there is, never applied."""
    if spec.optimizer == "lbfgs":
        return keras.optimizers.SGD(jit_compile=False)
    return keras.optimizers.Adam(
        learning_rate=Schedule(spec, fraction),  # pyright: ignore[reportArgumentType]  # typed by its default
        global_clipnorm=spec.clip_norm,
        use_ema=spec.ema is not None,
        ema_momentum=spec.ema if spec.ema is not None else 0.99,
        jit_compile=False,
    )
