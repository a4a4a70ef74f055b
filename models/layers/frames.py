"""Frame-by-frame networks: single frames in and out, and only the recurrent layers between know the past."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import tensorflow as tf
import tf_keras as keras

from models.layers.cells import CellRecurrence, advance_all
from models.layers.online import OnlineNetwork


class FrameNetwork(OnlineNetwork):
    """Masks of frame t from frame t and a recurrent state.

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

    def initial_state(self, batch: int | tf.Tensor) -> list[tf.Tensor]:
        """Zeros [batch, units] for every state of every recurrent layer, in their order."""
        return [state for layer in self.recurrent for state in layer.initial_state(batch)]

    def advance(self, features: tf.Tensor, state: Sequence[tf.Tensor]) -> tuple[tf.Tensor, list[tf.Tensor]]:
        batch, frames = tf.unstack(tf.shape(features)[:2])
        x, skips = self.encode(tf.reshape(features, [batch * frames, *features.shape[2:]]))
        x, after = advance_all(self.recurrent, tf.reshape(x, [batch, frames, x.shape[-1]]), state)
        masks = self.decode(tf.reshape(x, [batch * frames, x.shape[-1]]), skips)
        return tf.reshape(masks, [batch, frames, *masks.shape[1:]]), after
