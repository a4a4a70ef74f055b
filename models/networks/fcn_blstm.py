"""FCN and BLSTM combined (Grais & Plumbley, "Combining Fully Convolutional and Recurrent Neural Networks").

The FCN's first estimate of the target's magnitudes goes into the first and the last layer of the BLSTM, whose answer is
the mask of the first target. The layers are those of `fcn` and `blstm`, under the same names (`convolutions`, `first`,
`last`), so that the weights trained there can be handed on.
"""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf
import tf_keras as keras

from models import masking
from models.layers import segments as grais
from models.networks import blstm, fcn

SMALL = {**fcn.SMALL, **blstm.SMALL}
MASKS_SUM_TO_ONE = True
FILTERS_ITS_INPUT = False


def build(
    bins: int,
    channels: int,
    targets: int,
    filters: Sequence[int] = grais.FILTERS,
    kernels: Sequence[Sequence[int]] = grais.KERNELS,
    output_kernel: Sequence[int] | None = None,
    units: int = grais.UNITS,
    segment_frames: int = grais.SEGMENT_FRAMES,
) -> keras.Model:
    """Builds the network; 71,992,189 parameters at 1025 bins and the published sizes.

    The first of its `masks` is what the last layer answers (Eq. 3) and the second its remainder. Channels are separated
    on their own.

    filters, kernels, output_kernel: of the FCN, see `fcn.build`. units: of the bidirectional LSTM, in each direction.
    segment_frames: what the network sees at a time.
    Raises ValueError for an illegal size or another number of targets than 2.
    """
    grais.check(targets, segment_frames)
    convolutions = grais.convolutions(bins, segment_frames, filters, kernels, output_kernel)
    network = CombinedNetwork(convolutions, bins, units, segment_frames)
    network(tf.zeros([1, 1, bins, channels]))
    return network


class CombinedNetwork(keras.Model):
    """Features [batch, frames, bins, channels] -> masks [batch, frames, bins, channels, targets]."""

    def __init__(self, convolutions: grais.Convolutions, bins: int, units: int, segment_frames: int):
        # float32 at the border; the layers follow the global policy, so that bfloat16 stays inside.
        super().__init__(name="fcn_blstm", dtype="float32")
        self.convolutions, self.segment_frames = convolutions, segment_frames
        self.period_frames = segment_frames
        self.first, self.last = grais.blstm(units, "first"), grais.lstm(bins, "last")

    def call(self, features: tf.Tensor) -> dict[str, tf.Tensor]:
        mask = grais.by_segment(self.estimate, features, self.segment_frames)
        return {"masks": masking.with_remainder(mask)}

    def estimate(self, segments: tf.Tensor) -> tf.Tensor:
        """The first target's mask of segments, both float32 [segments, frames, bins]."""
        return tf.cast(self.last(self.first(self.convolutions(segments))), tf.float32)
