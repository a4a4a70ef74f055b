"""The plain recurrence of a DRNN, with the parallel work of its gradient taken out of the loop over time."""

from __future__ import annotations

from typing import cast

import tensorflow as tf
import tf_keras as keras


class ReluRecurrence(keras.layers.Layer):
    """h_t = ReLU(W x_t + b + U h_{t-1}), h_0 = 0 (Huang et al. 2014, Eq. 1): [batch, frames, width] -> [batch, frames, units].

    The weights of keras' SimpleRNN. W x + b is one product over all frames, and so is the gradient of U: only the
    product with the previous state stays in the loop. tests/benchmarks measures what that saves.
    """

    def __init__(self, units: int, **kwargs) -> None:
        super().__init__(**kwargs)
        self.units = units
        self.projection = keras.layers.Dense(units, name="projection")

    def build(self, input_shape) -> None:
        # An orthogonal matrix keeps the state's norm and the ReLU halves its power: the recurrence decays at the start.
        self.recurrent_kernel = self.add_weight("recurrent_kernel", [self.units, self.units], initializer="orthogonal")
        super().build(input_shape)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        drive = tf.transpose(self.projection(inputs), [1, 0, 2])
        states = _states(drive, tf.cast(self.recurrent_kernel, drive.dtype))
        return tf.transpose(cast(tf.Tensor, states), [1, 0, 2])  # the decorator hands out the states alone


@tf.custom_gradient
def _states(drive: tf.Tensor, kernel: tf.Tensor):
    """All states, time first: [frames, batch, units]."""
    states = _scan(lambda state, frame: tf.nn.relu(drive[frame] + state @ kernel), drive, reverse=False)

    def gradient(upstream: tf.Tensor):
        active = tf.cast(states > 0, drive.dtype)
        back = tf.transpose(kernel)
        deltas = _scan(lambda delta, frame: active[frame] * (upstream[frame] + delta @ back), drive, reverse=True)
        previous = tf.concat([tf.zeros_like(states[:1]), states[:-1]], axis=0)
        units = kernel.shape[0]
        flat = tf.reshape(previous, [-1, units]), tf.reshape(deltas, [-1, units])
        return deltas, tf.matmul(*flat, transpose_a=True)

    return states, gradient


def _scan(step, like: tf.Tensor, reverse: bool) -> tf.Tensor:
    """`step(carry, frame)` over all frames in either direction; the carries in the order of the frames."""
    frames = tf.shape(like)[0]
    carries = tf.TensorArray(like.dtype, size=frames, element_shape=like.shape[1:])

    def body(count, carry, carries):
        frame = frames - 1 - count if reverse else count
        carry = step(carry, frame)
        return count + 1, carry, carries.write(frame, carry)

    start = tf.zeros_like(like[0])
    _, _, carries = tf.while_loop(lambda count, *_: count < frames, body, (0, start, carries))
    return tf.ensure_shape(carries.stack(), like.shape)
