"""FCN and BLSTM combined (Grais & Plumbley, "Combining Fully Convolutional and Recurrent Neural Networks").

The FCN's first estimate of the target's magnitudes goes into the first and the last layer of the BLSTM, whose answer is
the mask of the first target. The layers are those of `fcn` and `blstm`, under the same names (`convolutions`, `first`,
`last`), so that the weights trained there can be handed on.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import tensorflow as tf

from models.layers import segments
from models.networks.blstm import RecurrentNetwork
from models.networks.fcn import ConvolutionalNetwork


class CombinedNetwork(segments.SegmentNetwork):
    """71,992,189 parameters at 1025 bins and the published sizes.

    The first of its `masks` is what the last layer answers (Eq. 3) and the second its remainder. Channels are separated
    on their own.

    filters, kernels, output_kernel: of the FCN, see `fcn`. units: of the bidirectional LSTM, in each direction.
    segment_frames: what the network sees at a time.
    """

    SMALL: ClassVar = {**ConvolutionalNetwork.SMALL, **RecurrentNetwork.SMALL}

    def __init__(
        self,
        bins: int,
        channels: int,
        targets: int,
        filters: Sequence[int] = segments.FILTERS,
        kernels: Sequence[Sequence[int]] = segments.KERNELS,
        output_kernel: Sequence[int] | None = None,
        units: int = segments.UNITS,
        segment_frames: int = segments.SEGMENT_FRAMES,
    ) -> None:
        super().__init__("fcn_blstm", bins, channels, targets, segment_frames)
        self.convolutions = segments.convolutions(bins, segment_frames, filters, kernels, output_kernel)
        self.first, self.last = segments.blstm(units, "first"), segments.lstm(bins, "last")

    def estimate(self, features: tf.Tensor) -> tf.Tensor:
        return tf.cast(self.last(self.first(self.convolutions(features))), tf.float32)
