"""Online LSTM, the baseline of Doire 2019 ("Online singing voice separation using a recurrent one-dimensional U-Net").

Three LSTM layers of 256 units and a fully connected layer, whose sigmoids are the masks.
"""

from __future__ import annotations

from typing import ClassVar

import tensorflow as tf
import tf_keras as keras

from models.layers.frames import FrameNetwork
from models.layers.network import check_at_least


class OnlineLstm(FrameNetwork):
    """2,102,786 parameters at 513 bins, 1 channel, 2 targets and the published sizes.

    units: width of an LSTM layer. layers: how many.
    """

    SMALL: ClassVar = {"units": 16, "layers": 2}
    MASKS_SUM_TO_ONE = False

    def __init__(self, bins: int, channels: int, targets: int, units: int = 256, layers: int = 3) -> None:
        check_at_least(1, units=units, layers=layers)
        super().__init__("lstm_online", bins, channels, targets, [keras.layers.LSTMCell(units) for _ in range(layers)])
        self.estimates = keras.layers.Dense(bins * channels * targets, name="estimates")

    def encode(self, frames: tf.Tensor) -> tuple[tf.Tensor, list[tf.Tensor]]:
        bins, channels, _ = self.mask_shape
        return tf.reshape(frames, [-1, bins * channels]), []

    def decode(self, states: tf.Tensor, skips: list[tf.Tensor]) -> tf.Tensor:
        estimates = tf.cast(self.estimates(states), tf.float32)
        return tf.reshape(tf.sigmoid(estimates), [-1, *self.mask_shape])
