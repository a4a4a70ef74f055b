"""Bands: high bins merged into them and spread again, and a recurrence over those of a frame."""

from __future__ import annotations

import numpy as np
import tensorflow as tf
import tf_keras as keras

from models.layers.cells import BidirectionalGru
from models.layers.convolution import FrameNormalisation


class MergedBands(keras.layers.Layer):
    """Bins below `kept` as they are, those above in `merged` triangular bands that widen with frequency.

    As the ERB bands of Rong et al. 2024 ("GTCRN: A speech enhancement model requiring ultralow computational resources"),
    whose widths above a few hundred Hz are all but proportional to frequency, as these are: a network that knows bins and
    no rate can have them. The triangles add up to 1 in every bin, so that `spread` interpolates between their centres.

    Raises ValueError for numbers of which no such bands can be made.
    """

    def __init__(self, bins: int, kept: int, merged: int, **kwargs) -> None:
        super().__init__(dtype="float32", **kwargs)
        if kept < 1 or merged < 2 or kept + merged >= bins:
            raise ValueError(
                f"bands is {[kept, merged]}; legal with {bins} bins: at least 1 that is kept and 2 bands, fewer than bins in all."
            )
        # A bin apart at least, so that no band is without one.
        centres = np.maximum(np.geomspace(kept, bins - 1, merged), kept + np.arange(merged))
        self.kept, self.count = kept, kept + merged
        triangles = np.stack([np.interp(np.arange(kept, bins), centres, row) for row in np.eye(merged)])
        # A weight, not a constant, so that a SavedModel has it once and not in every signature.
        self.triangles = self.add_weight(
            "triangles", triangles.shape, initializer=tf.constant_initializer(triangles), trainable=False
        )

    def merge(self, features: tf.Tensor) -> tf.Tensor:
        """Means over the bands: [batch, frames, bins, channels] -> float32 [batch, frames, bands, channels]."""
        weights = self.triangles / tf.reduce_sum(self.triangles, axis=1, keepdims=True)
        low, high = features[:, :, : self.kept], features[:, :, self.kept :]
        return tf.concat([low, tf.einsum("btfc,kf->btkc", high, weights)], axis=2)

    def spread(self, estimates: tf.Tensor) -> tf.Tensor:
        """Every bin between its bands: float32 [batch, frames, bands, filters] -> [batch, frames, bins, filters]."""
        low, high = estimates[:, :, : self.kept], estimates[:, :, self.kept :]
        return tf.concat([low, tf.einsum("btkc,kf->btfc", high, self.triangles)], axis=2)


class BandRecurrence(keras.layers.Layer):
    """What the bands of one frame say of each other: [batch, frames, bands, filters] -> the same shape.

    A bidirectional GRU over the bands, back to `filters`, normalised and added to the input: the intra-chunk RNN of the
    DPCRN (Le et al. 2021, "DPCRN: Dual-path convolution recurrent network for single channel speech enhancement").
    """

    def __init__(self, units: int, **kwargs) -> None:
        super().__init__(**kwargs)
        self.recurrence = BidirectionalGru(units, name="recurrence")
        self.normalisation = FrameNormalisation(name="normalisation")

    def build(self, input_shape) -> None:
        self.back_to_filters = keras.layers.Dense(input_shape[-1], name="back_to_filters")
        super().build(input_shape)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        batch, frames = tf.unstack(tf.shape(inputs)[:2])
        shape = inputs.shape[2:]
        answer = self.back_to_filters(self.recurrence(tf.reshape(inputs, [batch * frames, *shape])))
        return inputs + self.normalisation(tf.reshape(answer, [batch, frames, *shape]))
