"""Recurrences of keras' cells, quicker than keras' own, and with a state that can be carried."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import tensorflow as tf
import tf_keras as keras

from models.layers.online import check_state


class CellRecurrence(keras.layers.RNN):
    """keras' LSTMCell, or GRUCell with `reset_after=False`, over [batch, frames, width] -> [batch, frames, units].

    The weights and the equations of the cell. Its product with the input is one over all frames, and only the product with the
    state stays in the loop, which takes half of keras' time. tests/benchmarks measures it.
    """

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        return self.advance(inputs, self.initial_state(tf.shape(inputs)[0]))[0]

    def initial_state(self, batch: int | tf.Tensor) -> list[tf.Tensor]:
        """Zeros [batch, units] for every state of the cell, in the compute dtype."""
        dtype = cast(str, self.compute_dtype)
        return [tf.zeros([batch, units], dtype) for units in tf.nest.flatten(self.cell.state_size)]

    def advance(self, inputs: tf.Tensor, state: Sequence[tf.Tensor]) -> tuple[tf.Tensor, list[tf.Tensor]]:
        """[batch, frames, width] and the states before them -> [batch, frames, units] and the states after them."""
        if not self.built:
            self.build(inputs.shape)
        drive = tf.transpose(self.project(inputs), [1, 0, 2])
        frames = tf.shape(drive)[0]
        drives = tf.TensorArray(drive.dtype, frames, element_shape=drive.shape[1:]).unstack(drive)
        outputs = tf.TensorArray(drive.dtype, frames, element_shape=[None, self.cell.units])

        def body(frame, state, outputs):
            state = self.step(drives.read(frame), state)
            return frame + 1, state, outputs.write(frame, state[0])

        _, after, outputs = tf.while_loop(lambda frame, *_: frame < frames, body, (0, list(state), outputs))
        return tf.transpose(outputs.stack(), [1, 0, 2]), after

    def project(self, inputs: tf.Tensor) -> tf.Tensor:
        """What the inputs [..., width] add to the gates: [..., gates * units]."""
        dtype = cast(str, self.compute_dtype)
        inputs, kernel, bias = (tf.cast(each, dtype) for each in (inputs, self.cell.kernel, self.cell.bias))
        return tf.tensordot(inputs, kernel, 1) + bias

    def step(self, drive: tf.Tensor, state: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        """The state after a frame, its output first: of `project`'s [batch, gates * units] and the state before."""
        kernel, units = tf.cast(self.cell.recurrent_kernel, drive.dtype), self.cell.units
        if isinstance(self.cell, keras.layers.LSTMCell):
            hidden, memory = state
            i, f, candidate, o = tf.split(drive + hidden @ kernel, 4, axis=-1)
            memory = tf.sigmoid(f) * memory + tf.sigmoid(i) * tf.tanh(candidate)
            return [tf.sigmoid(o) * tf.tanh(memory), memory]
        [hidden] = state
        gates = tf.sigmoid(drive[:, : 2 * units] + hidden @ kernel[:, : 2 * units])
        update, reset = tf.split(gates, 2, axis=-1)
        candidate = tf.tanh(drive[:, 2 * units :] + (reset * hidden) @ kernel[:, 2 * units :])
        return [update * hidden + (1 - update) * candidate]


class BidirectionalGru(keras.layers.Layer):
    """A GRU in either direction: [sequences, length, width] -> [sequences, length, 2 * units], the forward one first."""

    def __init__(self, units: int, **kwargs) -> None:
        super().__init__(**kwargs)
        self.forward, self.backward = gru(units, "forward"), gru(units, "backward")

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        backward = tf.reverse(self.backward(tf.reverse(inputs, [1])), [1])
        return tf.concat([self.forward(inputs), backward], axis=-1)


def gru(units: int, name: str) -> CellRecurrence:
    """A GRU over frames, with the reset gate before the product, as it was published; reset_after is cuDNN's form."""
    return CellRecurrence(keras.layers.GRUCell(units, reset_after=False), return_sequences=True, name=name)


def advance_all(
    layers: Sequence[CellRecurrence], x: tf.Tensor, state: Sequence[tf.Tensor]
) -> tuple[tf.Tensor, list[tf.Tensor]]:
    """[batch, frames, width] through all recurrent layers, from the states of all before -> [batch, frames, units], states after.

    Raises ValueError for another number of states.
    """
    sizes = [len(tf.nest.flatten(layer.cell.state_size)) for layer in layers]
    check_state(state, sum(sizes))
    after: list[tf.Tensor] = []
    for layer, size in zip(layers, sizes, strict=True):
        x, own = layer.advance(x, state[len(after) : len(after) + size])
        after += own
    return x, after
