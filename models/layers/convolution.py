"""What the convolutional networks share: a level of a U-Net, and padding to its stride."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf
import tf_keras as keras

from models.layers.network import check_at_least


class Level(keras.layers.Layer):
    """Convolution, normalisation of every frame on its own, leaky ReLU: [..., bins, channels] -> [..., bins', filters].

    The frame's mean and variance over bins and filters stand for the batch normalisation of Jansson et al. 2017: they
    are the same in training and after it, for a segment and for a whole song, and look at no other frame.
    """

    def __init__(self, convolution: keras.layers.Layer) -> None:
        super().__init__(name=f"{convolution.name}_level")
        self.convolution = convolution
        self.normalisation = FrameNormalisation(name="normalisation")

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        return tf.nn.leaky_relu(self.normalisation(self.convolution(inputs)), 0.2)


class FrameNormalisation(keras.layers.Layer):
    """Zero mean and unit variance over the last two axes, then a gain and an offset per filter; the same shape.

    Keras' LayerNormalization over two axes fails in inference graphs: grappler rewrites it to a oneDNN kernel that
    takes one axis ("scale must be 1D tensor", TensorFlow 2.16).
    """

    def build(self, input_shape) -> None:
        self.gain = self.add_weight("gain", [input_shape[-1]], initializer="ones")
        self.offset = self.add_weight("offset", [input_shape[-1]], initializer="zeros")
        super().build(input_shape)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        # Moments in float32 whatever the policy: bfloat16 has 8 bits for a sum over thousands.
        x = tf.cast(inputs, tf.float32)
        mean, variance = tf.nn.moments(x, axes=[-2, -1], keepdims=True)
        gain, offset = tf.cast(self.gain, tf.float32), tf.cast(self.offset, tf.float32)
        return tf.cast(tf.nn.batch_normalization(x, mean, variance, offset, gain, 1e-3), inputs.dtype)


class CausalConvolution(keras.layers.Layer):
    """Convolution over frames and bins that sees no later frame: the kernel's other frames come before those of the answer.

    [batch, kernel frames - 1 + frames, bins, channels] -> [batch, frames, bins / stride, filters], the stride over bins a
    divisor of their number, which are padded as by "same". Whoever calls it gives the frames before, zeros at the start.
    """

    def __init__(self, filters: int, kernel: tuple[int, int], stride: int, **kwargs) -> None:
        super().__init__(**kwargs)
        padding = max(kernel[1] - stride, 0)
        self.padding = [padding // 2, padding - padding // 2]
        self.convolution = keras.layers.Conv2D(filters, kernel, (1, stride), name="convolution")

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        return self.convolution(tf.pad(inputs, [[0, 0], [0, 0], self.padding, [0, 0]]))


def pad_to_multiple(x: tf.Tensor, axes: Sequence[int], multiple: int) -> tf.Tensor:
    """Zeros at the end of the axes, up to the next multiple of their length; a known length stays known."""

    def padded(axis: int, length: int | None) -> int | None:
        return length if length is None or axis not in axes else -(-length // multiple) * multiple

    lengths = tf.unstack(tf.shape(x))
    paddings = [[0, tf.math.floormod(-n, multiple) if axis in axes else 0] for axis, n in enumerate(lengths)]
    return tf.ensure_shape(tf.pad(x, paddings), [padded(axis, n) for axis, n in enumerate(x.shape.as_list())])


def check_levels(filters: Sequence[int], kernel: int, stride: int) -> None:
    """Raises ValueError for sizes of which no U-Net can be made."""
    if not filters or min(filters) < 1:
        raise ValueError(f"filters is {tuple(filters)}; legal: at least one number, each at least 1.")
    check_at_least(1, kernel=kernel)
    check_at_least(2, stride=stride)
