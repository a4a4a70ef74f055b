"""Fully convolutional network of Grais & Plumbley ("Combining Fully Convolutional and Recurrent Neural Networks").

Convolutions over frames and bins, from segments of the mixture's magnitudes to those of the first target.
"""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf
import tf_keras as keras

from models import masking
from models.layers import segments

SMALL = {"filters": (6,), "kernels": ((3, 5),), "output_kernel": (3, 5), "segment_frames": 6}
MASKS_SUM_TO_ONE = True
FILTERS_ITS_INPUT = True


def build(
    bins: int,
    channels: int,
    targets: int,
    filters: Sequence[int] = segments.FILTERS,
    kernels: Sequence[Sequence[int]] = segments.KERNELS,
    output_kernel: Sequence[int] | None = None,
    segment_frames: int = segments.SEGMENT_FRAMES,
) -> keras.Model:
    """Builds the network; 529,189 parameters at 1025 bins and the published sizes.

    Its features must be the mixture's magnitudes, up to one level per item. Besides `masks` it answers `magnitudes` for
    the loss (Eq. 2), [batch, frames, bins, channels, 1] in the unit of the features. The mask is the magnitude over the
    mixture's, at most 1 [C]. Channels are separated on their own.

    filters, kernels: number and size (frames, bins) of the filters of each hidden layer. output_kernel: the size in
    the last layer, None for a whole segment (published). segment_frames: what the network sees at a time.
    Raises ValueError for an illegal size or another number of targets than 2.
    """
    segments.check(targets, segment_frames)
    convolutions = segments.convolutions(bins, segment_frames, filters, kernels, output_kernel)
    network = ConvolutionalNetwork(convolutions, segment_frames)
    network(tf.zeros([1, 1, bins, channels]))
    return network


class ConvolutionalNetwork(keras.Model):
    """Magnitudes [batch, frames, bins, channels] -> masks [batch, frames, bins, channels, targets] and magnitudes."""

    def __init__(self, convolutions: segments.Convolutions, segment_frames: int):
        # float32 at the border; the layers follow the global policy, so that bfloat16 stays inside.
        super().__init__(name="fcn", dtype="float32")
        self.convolutions, self.segment_frames = convolutions, segment_frames
        self.period_frames = segment_frames

    def call(self, features: tf.Tensor) -> dict[str, tf.Tensor]:
        magnitudes = segments.by_segment(self.convolutions, features, self.segment_frames)
        mask = masking.alpha_wiener(magnitudes, tf.expand_dims(features, -1), alpha=1.0)
        return {"masks": masking.with_remainder(mask), "magnitudes": magnitudes}
