"""Fully convolutional network of Grais & Plumbley ("Combining Fully Convolutional and Recurrent Neural Networks").

Convolutions over frames and bins, from segments of the mixture's magnitudes to those of the first target.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import tensorflow as tf

from models import masking
from models.layers import segments


class ConvolutionalNetwork(segments.SegmentNetwork):
    """529,189 parameters at 1025 bins and the published sizes.

    Its features must be the mixture's magnitudes, up to one level per item. Besides `masks` it answers `magnitudes` for
    the loss (Eq. 2), [batch, frames, bins, channels, 1] in the unit of the features. The mask is the magnitude over the
    mixture's, at most 1 [C]. Channels are separated on their own.

    filters, kernels: number and size (frames, bins) of the filters of each hidden layer. output_kernel: the size in
    the last layer, None for a whole segment (published). segment_frames: what the network sees at a time.
    """

    SMALL: ClassVar = {"filters": (6,), "kernels": ((3, 5),), "output_kernel": (3, 5), "segment_frames": 6}
    FILTERS_ITS_INPUT = True

    def __init__(
        self,
        bins: int,
        channels: int,
        targets: int,
        filters: Sequence[int] = segments.FILTERS,
        kernels: Sequence[Sequence[int]] = segments.KERNELS,
        output_kernel: Sequence[int] | None = None,
        segment_frames: int = segments.SEGMENT_FRAMES,
    ) -> None:
        super().__init__("fcn", bins, channels, targets, segment_frames)
        self.convolutions = segments.convolutions(bins, segment_frames, filters, kernels, output_kernel)

    def call(self, features: tf.Tensor) -> dict[str, tf.Tensor]:
        magnitudes = segments.by_segment(self.convolutions, features, self.segment_frames)
        mask = masking.alpha_wiener(magnitudes, tf.expand_dims(features, -1), alpha=1.0)
        return {"masks": masking.with_remainder(mask), "magnitudes": magnitudes}
