"""Feed-forward network, the baseline of Grais & Plumbley ("Combining Fully Convolutional and Recurrent Neural Networks").

Dense layers as wide as the spectrum, ReLU throughout, from the mixture's magnitudes to those of the first target.
"""

from __future__ import annotations

from typing import ClassVar

import tensorflow as tf
import tf_keras as keras

from models import masking
from models.layers import segments
from models.layers.network import Network, check_at_least


class FeedForwardNetwork(Network):
    """4,206,600 parameters at 1025 bins and the published sizes.

    Its features must be the mixture's magnitudes, up to one level per item. Besides `masks` it answers `magnitudes` for
    the loss (Eq. 2), [batch, frames, bins, channels, 1] in the unit of the features. The published count is that of
    layers which see one frame at a time, so no segments are cut. The mask is the magnitude over the mixture's, at
    most 1 [C]. Channels are separated on their own.

    units: width of a hidden layer, None for as many as bins (published). layers: how many with the output's.
    Raises ValueError for an illegal size or another number of targets than 2.
    """

    SMALL: ClassVar = {"layers": 2}
    MASKS_SUM_TO_ONE = True
    FILTERS_ITS_INPUT = True

    def __init__(self, bins: int, channels: int, targets: int, units: int | None = None, layers: int = 4) -> None:
        segments.check_targets(targets)
        check_at_least(1, units=units, layers=layers)
        super().__init__("ffn", bins, channels, targets)
        widths = [bins if units is None else units] * (layers - 1) + [bins]
        self.stack = [keras.layers.Dense(width, "relu", name=f"dense_{i}") for i, width in enumerate(widths, 1)]

    def call(self, features: tf.Tensor) -> dict[str, tf.Tensor]:
        x = tf.transpose(features, [0, 1, 3, 2])
        for layer in self.stack:
            x = layer(x)
        magnitudes = tf.expand_dims(tf.cast(tf.transpose(x, [0, 1, 3, 2]), tf.float32), -1)
        mask = masking.alpha_wiener(magnitudes, tf.expand_dims(features, -1), alpha=1.0)
        return {"masks": masking.with_remainder(mask), "magnitudes": magnitudes}
