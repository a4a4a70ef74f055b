"""Recurrences of keras' cells, quicker than keras' own, and with a state that can be carried."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
        step_of = lstm_step if isinstance(self.cell, keras.layers.LSTMCell) else gru_step
        drive = tf.transpose(self.project(inputs), [1, 0, 2])
        outputs, after = scan(step_of(tf.cast(self.cell.recurrent_kernel, drive.dtype)), drive, state)
        return tf.transpose(outputs, [1, 0, 2]), after

    def project(self, inputs: tf.Tensor) -> tf.Tensor:
        """What the inputs [..., width] add to the gates: [..., gates * units]."""
        dtype = cast(str, self.compute_dtype)
        inputs, kernel, bias = (tf.cast(each, dtype) for each in (inputs, self.cell.kernel, self.cell.bias))
        return tf.tensordot(inputs, kernel, 1) + bias


class BidirectionalGru(keras.layers.Layer):
    """A GRU in either direction: [sequences, length, width] -> [sequences, length, 2 * units], the forward one first.

    Both are in one loop: it has half as many operations, which are what short or few sequences wait for.
    """

    def __init__(self, units: int, **kwargs) -> None:
        super().__init__(**kwargs)
        self.directions = [gru(units, "forward"), gru(units, "backward")]

    def build(self, input_shape) -> None:
        for direction in self.directions:
            direction.build(input_shape)
        super().build(input_shape)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        forward, backward = (direction.project(inputs) for direction in self.directions)
        drive = tf.transpose(tf.stack([forward, tf.reverse(backward, [1])]), [2, 0, 1, 3])
        kernel = tf.cast(tf.stack([direction.cell.recurrent_kernel for direction in self.directions]), drive.dtype)
        start = tf.stack([state for each in self.directions for state in each.initial_state(tf.shape(inputs)[0])])
        outputs, _ = scan(gru_step(kernel), drive, [start])
        forward, backward = tf.unstack(tf.transpose(outputs, [1, 2, 0, 3]))
        return tf.concat([forward, tf.reverse(backward, [1])], axis=-1)


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


# The states before a frame and what the frame adds to the gates -> the states after it, the first of which is the output.
Step = Callable[[tf.Tensor, Sequence[tf.Tensor]], list[tf.Tensor]]


def scan(step: Step, drive: tf.Tensor, state: Sequence[tf.Tensor]) -> tuple[tf.Tensor, list[tf.Tensor]]:
    """`step` over the first axis of `drive` [frames, ..., gates * units] -> outputs [frames, ..., units], states after."""
    frames = tf.shape(drive)[0]
    drives = tf.TensorArray(drive.dtype, frames, element_shape=drive.shape[1:]).unstack(drive)
    outputs = tf.TensorArray(drive.dtype, frames, element_shape=state[0].shape)

    def body(frame, state, outputs):
        state = step(drives.read(frame), state)
        return frame + 1, state, outputs.write(frame, state[0])

    _, after, outputs = tf.while_loop(lambda frame, *_: frame < frames, body, (0, list(state), outputs))
    return outputs.stack(), after


def lstm_step(kernel: tf.Tensor) -> Step:
    """keras' LSTMCell after its product with the input: drive [..., 4 * units], kernel [units, 4 * units]."""

    def step(drive: tf.Tensor, state: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        hidden, memory = state
        i, f, candidate, o = tf.split(drive + hidden @ kernel, 4, axis=-1)
        memory = tf.sigmoid(f) * memory + tf.sigmoid(i) * tf.tanh(candidate)
        return [tf.sigmoid(o) * tf.tanh(memory), memory]

    return step


def gru_step(kernel: tf.Tensor) -> Step:
    """keras' GRUCell with `reset_after=False`, likewise: drive [..., 3 * units], kernel [..., units, 3 * units]."""
    units = cast(int, kernel.shape[-2])
    widths = [2 * units, units]
    kernel_of_gates, kernel_of_candidate = tf.split(kernel, widths, axis=-1)

    def step(drive: tf.Tensor, state: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        [hidden] = state
        gates, candidate = tf.split(drive, widths, axis=-1)
        update, reset = tf.split(tf.sigmoid(gates + hidden @ kernel_of_gates), 2, axis=-1)
        candidate = tf.tanh(candidate + (reset * hidden) @ kernel_of_candidate)
        return [update * hidden + (1 - update) * candidate]

    return step
