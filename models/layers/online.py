"""OnlineNetwork: what a network is that separates while the music plays."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import tensorflow as tf

from models.layers.network import Network


class OnlineNetwork(Network, ABC):
    """Masks of frame t from the frames up to it, with no look-ahead (Doire 2019: M_t = f(X_t, h_{t-1}))."""

    @abstractmethod
    def initial_state(self, batch: int | tf.Tensor) -> list[tf.Tensor]:
        """State before the first frame: zeros, the batch first."""

    @abstractmethod
    def advance(self, features: tf.Tensor, state: Sequence[tf.Tensor]) -> tuple[tf.Tensor, list[tf.Tensor]]:
        """The next frames [batch, frames, bins, channels] and the state before them -> their masks float32
        [batch, frames, bins, channels, targets], those that `call` answers, and the state after them.

        Raises ValueError for a state with another number of tensors than `initial_state` has.
        """

    def call(self, features: tf.Tensor) -> dict[str, tf.Tensor]:
        masks, _ = self.advance(features, self.initial_state(tf.shape(features)[0]))
        return {"masks": masks}


def check_state(state: Sequence[tf.Tensor], count: int) -> None:
    """Raises ValueError for a state that is not of `count` tensors."""
    if len(state) != count:
        raise ValueError(f"state has {len(state)} tensors; legal: the {count} of initial_state.")
