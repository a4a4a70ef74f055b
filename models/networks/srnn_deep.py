"""Stacked bidirectional RNN of any depth with a joint masking layer: the S-RNN that Yuan et al. 2019 compare with.

The twin of `p_drnn`: the same layers, sizes and parameters, without the proximal interlayers. What `p_drnn` states of
its sizes holds here.
"""

from __future__ import annotations

from typing import ClassVar

import tensorflow as tf
import tf_keras as keras

from models import masking
from models.layers.network import Network, check_at_least
from models.layers.recurrence import ReluRecurrence
from models.layers.sequences import slice_sequences


class StackedNetwork(Network):
    """7,766,046 parameters at 513 bins, 1 channel, 2 targets and the default sizes.

    units: width of one direction of an RNN. layers: how many bidirectional RNNs.
    sequence_frames: T, frames after which the recurrences start anew; None for never.
    """

    SMALL: ClassVar = {"units": 12, "layers": 2, "sequence_frames": 4}
    MASKS_SUM_TO_ONE = True
    NAME = "srnn_deep"

    def __init__(
        self,
        bins: int,
        channels: int,
        targets: int,
        units: int = 128,
        layers: int = 12,
        sequence_frames: int | None = 10,
    ) -> None:
        check_at_least(1, units=units, layers=layers, sequence_frames=sequence_frames)
        super().__init__(self.NAME, bins, channels, targets)
        self.sequence_frames = sequence_frames
        self.hidden = [self.hidden_layer(units, f"hidden_{number}") for number in range(1, layers + 1)]
        self.estimates = keras.layers.Dense(bins * channels * targets, name="estimates")

    def call(self, features: tf.Tensor) -> dict[str, tf.Tensor]:
        bins, channels, targets = self.mask_shape
        batch, frames = tf.unstack(tf.shape(features)[:2])
        width = bins * channels
        mixture = tf.reshape(features, [batch, frames, width])
        if self.sequence_frames is not None:
            mixture = slice_sequences(mixture, self.sequence_frames, repeat_last=True)
        x = self.refine(tf.stack([mixture / targets] * targets, axis=-1), mixture)
        length, count = tf.shape(x)[1], tf.shape(x)[0] // tf.maximum(batch, 1)
        estimates = tf.cast(self.estimates(tf.reshape(x, [batch, count * length, width * targets])), tf.float32)
        return {"masks": masking.joint(tf.reshape(estimates[:, :frames], [batch, frames, bins, channels, targets]))}

    def hidden_layer(self, units: int, name: str) -> keras.layers.Layer:
        """A layer of `hidden`."""
        return BidirectionalRecurrence(units, name=name)

    def refine(self, x: tf.Tensor, mixture: tf.Tensor) -> tf.Tensor:
        """Sources [sequences, T, width, targets] through all hidden layers, from the mixture [sequences, T, width]."""
        for layer in self.hidden:
            x = layer(x)
        return x


class BidirectionalRecurrence(keras.layers.Layer):
    """All sources together through an RNN in each direction and a linear map back to their shape.

    [sequences, T, width, targets] -> the same shape, in the compute dtype.
    """

    def __init__(self, units: int, **kwargs) -> None:
        super().__init__(**kwargs)
        self.forward = ReluRecurrence(units, name="forward")
        self.backward = ReluRecurrence(units, name="backward")

    def build(self, input_shape) -> None:
        self.back_to_sources = keras.layers.Dense(input_shape[-2] * input_shape[-1], name="back_to_sources")
        super().build(input_shape)

    def call(self, sources: tf.Tensor) -> tf.Tensor:
        shape = tf.shape(sources)
        x = tf.reshape(sources, [shape[0], shape[1], self.back_to_sources.units])
        backward = tf.reverse(self.backward(tf.reverse(x, [1])), [1])
        return tf.reshape(self.back_to_sources(tf.concat([self.forward(x), backward], axis=-1)), shape)
