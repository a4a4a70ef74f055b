"""Online LSTM, the baseline of Doire 2019 ("Online singing voice separation using a recurrent one-dimensional U-Net").

Three LSTM layers of 256 units and a fully connected layer, whose sigmoids are the masks.
"""

from __future__ import annotations

import tensorflow as tf
import tf_keras as keras

from models.layers.online import OnlineNetwork

SMALL = {"units": 16, "layers": 2}
MASKS_SUM_TO_ONE = False
FILTERS_ITS_INPUT = False


def build(bins: int, channels: int, targets: int, units: int = 256, layers: int = 3) -> OnlineNetwork:
    """Builds the network; 2,102,786 parameters at 513 bins, 1 channel, 2 targets and the published sizes.

    units: width of an LSTM layer. layers: how many.
    Raises ValueError for an illegal size.
    """
    for name, value in (("units", units), ("layers", layers)):
        if value < 1:
            raise ValueError(f"{name} is {value}; legal: at least 1.")
    network = OnlineLstm(bins, channels, targets, units, layers)
    network(tf.zeros([1, 1, bins, channels]))
    return network


class OnlineLstm(OnlineNetwork):
    """Features [batch, frames, bins, channels] -> masks [batch, frames, bins, channels, targets]."""

    def __init__(self, bins, channels, targets, units, layers):
        super().__init__("lstm_online", [keras.layers.LSTMCell(units) for _ in range(layers)])
        self.mask_shape = (bins, channels, targets)
        self.estimates = keras.layers.Dense(bins * channels * targets, name="estimates")

    def encode(self, frames: tf.Tensor) -> tuple[tf.Tensor, list[tf.Tensor]]:
        bins, channels, _ = self.mask_shape
        return tf.reshape(frames, [-1, bins * channels]), []

    def decode(self, states: tf.Tensor, skips: list[tf.Tensor]) -> tf.Tensor:
        estimates = tf.cast(self.estimates(states), tf.float32)
        return tf.reshape(tf.sigmoid(estimates), [-1, *self.mask_shape])
