"""Recurrent network of Grais & Plumbley ("Combining Fully Convolutional and Recurrent Neural Networks").

Two bidirectional LSTMs and an LSTM whose output is the mask of the first target, over segments of the mixture.
"""

from __future__ import annotations

import tensorflow as tf
import tf_keras as keras

from models import masking
from models.layers import segments as grais

SMALL = {"units": 12, "segment_frames": 6}
MASKS_SUM_TO_ONE = True
FILTERS_ITS_INPUT = False


def build(
    bins: int, channels: int, targets: int, units: int = grais.UNITS, segment_frames: int = grais.SEGMENT_FRAMES
) -> keras.Model:
    """Builds the network; 172,339,400 parameters at 1025 bins and the published sizes.

    The first of its `masks` is what the last layer answers (Eq. 3) and the second its remainder. Channels are separated
    on their own.

    units: of a bidirectional LSTM, in each direction. segment_frames: what the network sees at a time.
    Raises ValueError for an illegal size or another number of targets than 2.
    """
    grais.check(targets, segment_frames)
    network = RecurrentNetwork(bins, units, segment_frames)
    network(tf.zeros([1, 1, bins, channels]))
    return network


class RecurrentNetwork(keras.Model):
    """Features [batch, frames, bins, channels] -> masks [batch, frames, bins, channels, targets]."""

    def __init__(self, bins: int, units: int, segment_frames: int):
        # float32 at the border; the layers follow the global policy, so that bfloat16 stays inside.
        super().__init__(name="blstm", dtype="float32")
        self.segment_frames = self.period_frames = segment_frames
        self.first, self.middle = grais.blstm(units, "first"), grais.blstm(units, "middle")
        self.last = grais.lstm(bins, "last")

    def call(self, features: tf.Tensor) -> dict[str, tf.Tensor]:
        mask = grais.by_segment(self.estimate, features, self.segment_frames)
        return {"masks": masking.with_remainder(mask)}

    def estimate(self, segments: tf.Tensor) -> tf.Tensor:
        """The first target's mask of segments, both float32 [segments, frames, bins]."""
        return tf.cast(self.last(self.middle(self.first(segments))), tf.float32)
