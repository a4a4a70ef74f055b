"""What the four networks of Grais & Plumbley share: segments, convolutions and LSTMs, so that weights can be handed on.

"Combining Fully Convolutional and Recurrent Neural Networks for Single Channel Audio Source Separation". One network
estimates one target; the second target is what that leaves of the mixture. Choices that the paper leaves open are
marked [C].
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf
import tf_keras as keras

from models import masking
from models.layers.network import Network, check_at_least
from models.layers.sequences import fold_channels, join_sequences, slice_sequences, unfold_channels

SEGMENT_FRAMES = 15
FILTERS = (12, 22, 32, 22, 12)
KERNELS = ((15, 39), (9, 19), (5, 5), (9, 19), (15, 39))
UNITS = 2050


class SegmentNetwork(Network):
    """A network that sees `segment_frames` frames at a time and masks with what `estimate` answers, and its remainder.

    Raises ValueError for an illegal size or another number of targets than 2.
    """

    MASKS_SUM_TO_ONE = True

    def __init__(self, name: str, bins: int, channels: int, targets: int, segment_frames: int) -> None:
        check_targets(targets)
        check_at_least(1, segment_frames=segment_frames)
        super().__init__(name, bins, channels, targets)
        self.segment_frames = self.period_frames = segment_frames

    def call(self, features: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"masks": masking.with_remainder(by_segment(self.estimate, features, self.segment_frames))}

    def estimate(self, features: tf.Tensor) -> tf.Tensor:
        """The first target's mask of segments, both float32 [segments, frames, bins] (Eq. 3)."""
        raise NotImplementedError


class Convolutions(keras.layers.Layer):
    """The FCN: magnitudes of the mixture -> of the target, both float32 [segments, frames, bins], >= 0.

    Every layer is a convolution without stride, zeros beyond the edges of the segment, and a ReLU. The text speaks of
    transposed convolutions in the decoder and the table of Conv2D throughout, which we follow [C]; without stride both
    have the same number of weights.
    """

    def __init__(self, filters: Sequence[int], kernels: Sequence[Sequence[int]], output_kernel: Sequence[int]):
        super().__init__(name="fcn", dtype="float32")
        self.hidden = [_convolution(*sizes, f"conv_{i}") for i, sizes in enumerate(zip(filters, kernels, strict=True))]
        self.output_layer = _convolution(1, output_kernel, "output")

    def call(self, segments: tf.Tensor) -> tf.Tensor:
        x = tf.expand_dims(segments, -1)
        for layer in self.hidden:
            x = layer(x)
        return tf.cast(self.output_layer(x)[..., 0], tf.float32)


def convolutions(
    bins: int, segment_frames: int, filters: Sequence[int], kernels: Sequence[Sequence[int]], output_kernel
) -> Convolutions:
    """The FCN of these sizes; output_kernel None is one that covers a segment: (segment_frames, bins).

    Raises ValueError for an illegal size.
    """
    output_kernel = (segment_frames, bins) if output_kernel is None else output_kernel
    if len(filters) != len(kernels) or not filters:
        raise ValueError(f"filters has {len(filters)} sizes and kernels {len(kernels)}; legal: one of each per layer.")
    if any(count < 1 for count in filters):
        raise ValueError(f"filters is {tuple(filters)}; legal: at least 1 in every layer.")
    for kernel in (*kernels, output_kernel):
        if len(kernel) != 2 or min(kernel) < 1:
            raise ValueError(f"a kernel is {tuple(kernel)}; legal: (frames, bins), each at least 1.")
    return Convolutions(filters, kernels, output_kernel)


def blstm(units: int, name: str) -> keras.layers.Layer:
    """Bidirectional LSTM, `units` in each direction: [segments, frames, width] -> [segments, frames, 2 * units].

    Raises ValueError for less than one unit.
    """
    check_at_least(1, units=units)
    return keras.layers.Bidirectional(lstm(units, "lstm"), name=name)


def lstm(units: int, name: str) -> keras.layers.LSTM:
    """LSTM with the activations of the paper: sigmoid of the input and the cell, hard sigmoid of the gates.

    Both lie in 0 .. 1, so that its output is a mask. The cell starts at 0 and gains at most 1 a frame: a mask cannot
    exceed 0.73 in the first frame of a segment, 0.88 in the second, 0.95 in the third.

    The first kernels are Glorot & Bengio's, four times as large [C]: a sigmoid has a quarter of the slope of tanh, for
    which they were derived, and a stack of such cells otherwise begins with a nearly constant mask and stays there.
    """
    return keras.layers.LSTM(
        units,
        activation="sigmoid",
        recurrent_activation="hard_sigmoid",
        return_sequences=True,
        kernel_initializer=_four_times_glorot(),
        recurrent_initializer=_four_times_glorot(),
        name=name,
    )


def by_segment(
    estimate: Callable[[tf.Tensor], tf.Tensor], features: tf.Tensor, segment_frames: int = SEGMENT_FRAMES
) -> tf.Tensor:
    """Estimates of one target, segment by segment and channel by channel.

    The segments do not overlap and the last one is filled with zero frames [C], so that any number of frames will do.
    estimate: [segments, segment_frames, bins] -> the same shape. features: [batch, frames, bins, channels].
    Returns [batch, frames, bins, channels, 1].
    """
    folded = fold_channels(features)
    batch, frames = tf.unstack(tf.shape(folded)[:2])
    estimates = estimate(slice_sequences(folded, segment_frames))
    joined = join_sequences(tf.expand_dims(estimates, -1), frames, batch)
    return unfold_channels(joined, tf.shape(features)[3])


def check_targets(targets: int) -> None:
    """Raises ValueError for a number of targets that these networks cannot have."""
    if targets != 2:
        raise ValueError(f"targets is {targets}; legal: 2, the estimated one and what it leaves of the mixture.")


def _four_times_glorot() -> Any:  # the stubs know initialisers by name alone
    return keras.initializers.VarianceScaling(scale=4**2, mode="fan_avg", distribution="uniform")


def _convolution(filters: int, kernel: Sequence[int], name: str) -> keras.layers.Conv2D:
    return keras.layers.Conv2D(filters, tuple(kernel), padding="same", activation="relu", name=name)
