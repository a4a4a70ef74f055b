"""Deep recurrent network with a joint masking layer (Huang et al. 2014, "Singing-voice separation using DRNNs").

`recurrent` selects the paper's variants: () is the DNN, (2,) the DRNN-2, every layer the stacked sRNN.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import ClassVar

import tensorflow as tf
import tf_keras as keras

from models import masking
from models.layers.network import Network, check_at_least
from models.layers.recurrence import ReluRecurrence


class DeepRecurrentNetwork(Network):
    """5,569,026 parameters at 513 bins, 1 channel, 2 targets and the published sizes.

    units: width of a hidden layer. layers: how many. recurrent: numbers (from 1) of the recurrent ones.
    context: neighbouring frames that are concatenated as input, odd.
    """

    SMALL: ClassVar = {"units": 24, "layers": 2, "recurrent": (2,), "context": 3}
    MASKS_SUM_TO_ONE = True

    def __init__(
        self,
        bins: int,
        channels: int,
        targets: int,
        units: int = 1000,
        layers: int = 3,
        recurrent: Sequence[int] = (2,),
        context: int = 3,
    ) -> None:
        check_at_least(1, units=units, layers=layers)
        if context < 1 or context % 2 == 0:
            raise ValueError(f"context is {context}; legal: an odd number of frames.")
        if any(number not in range(1, layers + 1) for number in recurrent):
            raise ValueError(f"recurrent is {tuple(recurrent)}; legal: numbers of hidden layers, 1 to {layers}.")
        super().__init__("drnn", bins, channels, targets)
        self.context = context
        dense = functools.partial(keras.layers.Dense, activation="relu")
        kinds = [ReluRecurrence if number in recurrent else dense for number in range(1, layers + 1)]
        self.hidden = [kind(units, name=f"hidden_{number}") for number, kind in enumerate(kinds, 1)]
        self.estimates = keras.layers.Dense(bins * channels * targets, name="estimates")

    def call(self, features: tf.Tensor) -> dict[str, tf.Tensor]:
        bins, channels, targets = self.mask_shape
        batch, frames = tf.unstack(tf.shape(features)[:2])
        x = tf.reshape(features, [batch, frames, bins * channels])
        x = with_context(x, self.context)
        for layer in self.hidden:
            x = layer(x)
        estimates = tf.cast(self.estimates(x), tf.float32)
        return {"masks": masking.joint(tf.reshape(estimates, [batch, frames, bins, channels, targets]))}


def with_context(frames: tf.Tensor, context: int) -> tf.Tensor:
    """Concatenates every frame with its neighbours, the edge frames repeated.

    frames: [batch, frames, width]; context: odd count of frames. Returns [batch, frames, context * width].
    """
    side = context // 2
    if side == 0:
        return frames
    padded = tf.concat([frames[:, :1]] * side + [frames] + [frames[:, -1:]] * side, axis=1)
    count = tf.shape(frames)[1]
    return tf.concat([padded[:, shift : shift + count] for shift in range(context)], axis=-1)
