"""Recurrent network of Grais & Plumbley ("Combining Fully Convolutional and Recurrent Neural Networks").

Two bidirectional LSTMs and an LSTM whose output is the mask of the first target, over segments of the mixture.
"""

from __future__ import annotations

from typing import ClassVar

import tensorflow as tf

from models.layers import segments


class RecurrentNetwork(segments.SegmentNetwork):
    """172,339,400 parameters at 1025 bins and the published sizes.

    The first of its `masks` is what the last layer answers (Eq. 3) and the second its remainder. Channels are separated
    on their own.

    units: of a bidirectional LSTM, in each direction. segment_frames: what the network sees at a time.
    """

    SMALL: ClassVar = {"units": 12, "segment_frames": 6}

    def __init__(
        self,
        bins: int,
        channels: int,
        targets: int,
        units: int = segments.UNITS,
        segment_frames: int = segments.SEGMENT_FRAMES,
    ) -> None:
        super().__init__("blstm", bins, channels, targets, segment_frames)
        self.first, self.middle = segments.blstm(units, "first"), segments.blstm(units, "middle")
        self.last = segments.lstm(bins, "last")

    def estimate(self, features: tf.Tensor) -> tf.Tensor:
        return tf.cast(self.last(self.middle(self.first(features))), tf.float32)
