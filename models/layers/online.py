"""Frame-by-frame form of a network: one definition for whole sequences and for single frames with a carried state."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import cast

import tensorflow as tf
import tf_keras as keras

from models.layers.network import Network


class OnlineNetwork(Network, ABC):
    """Masks of frame t from frame t and a recurrent state, with no look-ahead (Doire 2019: M_t = f(X_t, h_{t-1})).

    A network gives `encode` and `decode`, which see single frames, and `cells`, the recurrent layers between them.
    """

    def __init__(self, name: str, bins: int, channels: int, targets: int, cells: Sequence[keras.layers.Layer]) -> None:
        super().__init__(name, bins, channels, targets)
        self.recurrent = [CellRecurrence(cell, return_sequences=True) for cell in cells]

    @abstractmethod
    def encode(self, frames: tf.Tensor) -> tuple[tf.Tensor, list[tf.Tensor]]:
        """Frames [n, bins, channels] -> what the recurrence sees [n, width], and what `decode` gets besides."""

    @abstractmethod
    def decode(self, states: tf.Tensor, skips: list[tf.Tensor]) -> tf.Tensor:
        """What the recurrence answers [n, units], and the rest of `encode` -> masks float32 [n, bins, channels, targets]."""

    def call(self, features: tf.Tensor) -> dict[str, tf.Tensor]:
        batch, frames = tf.unstack(tf.shape(features)[:2])
        x, skips = self.encode(tf.reshape(features, [batch * frames, *features.shape[2:]]))
        x = tf.reshape(x, [batch, frames, x.shape[-1]])
        for layer in self.recurrent:
            x = layer(x)
        masks = self.decode(tf.reshape(x, [batch * frames, x.shape[-1]]), skips)
        return {"masks": tf.reshape(masks, [batch, frames, *masks.shape[1:]])}

    def initial_state(self, batch: int | tf.Tensor) -> list[tf.Tensor]:
        """State before the first frame: zeros [batch, units] for every state of every recurrent layer, in their order."""
        return [
            tf.zeros([batch, units], cast(str, layer.compute_dtype))
            for layer in self.recurrent
            for units in tf.nest.flatten(layer.cell.state_size)
        ]

    def step(self, features: tf.Tensor, state: Sequence[tf.Tensor]) -> tuple[dict[str, tf.Tensor], list[tf.Tensor]]:
        """One frame: features [batch, bins, channels] and the state before it -> outputs and the state after it.

        The outputs hold `masks` [batch, bins, channels, targets], those that `call` answers for that frame.
        Raises ValueError for a state with another number of tensors than `initial_state` has.
        """
        sizes = [len(tf.nest.flatten(layer.cell.state_size)) for layer in self.recurrent]
        if len(state) != sum(sizes):
            raise ValueError(f"state has {len(state)} tensors; legal: the {sum(sizes)} of initial_state.")
        x, skips = self.encode(features)
        after: list[tf.Tensor] = []
        for layer, size in zip(self.recurrent, sizes, strict=True):
            carried = layer.step(layer.project(x), state[len(after) : len(after) + size])
            x, after = carried[0], after + carried
        return {"masks": self.decode(x, skips)}, after


class CellRecurrence(keras.layers.RNN):
    """keras' LSTMCell, or GRUCell with `reset_after=False`, over [batch, frames, width] -> [batch, frames, units].

    The weights and the equations of the cell. Its product with the input is one over all frames, and only the product with the
    state stays in the loop, which takes half of keras' time. tests/benchmarks measures it.
    """

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        drive = tf.transpose(self.project(inputs), [1, 0, 2])
        frames, batch, _ = tf.unstack(tf.shape(drive))
        drives = tf.TensorArray(drive.dtype, frames, element_shape=drive.shape[1:]).unstack(drive)
        start = [tf.zeros([batch, units], drive.dtype) for units in tf.nest.flatten(self.cell.state_size)]
        outputs = tf.TensorArray(drive.dtype, frames, element_shape=[None, self.cell.units])

        def body(frame, state, outputs):
            state = self.step(drives.read(frame), state)
            return frame + 1, state, outputs.write(frame, state[0])

        _, _, outputs = tf.while_loop(lambda frame, *_: frame < frames, body, (0, start, outputs))
        return tf.transpose(outputs.stack(), [1, 0, 2])

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
