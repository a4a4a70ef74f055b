"""Causal convolutional recurrent network (Tan & Wang 2018): `crn` without a look ahead, frame by frame.

The convolutions see a frame and the one before it, as in the paper, and GRUs over time go forward only. What is carried
from frame to frame is the last input of every convolution and the state of every GRU. The recurrence over bands is of
single frames, and runs in both directions here too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, cast

import tensorflow as tf
import tf_keras as keras

from models.layers.cells import advance_all, gru
from models.layers.convolution import CausalConvolution
from models.layers.network import check_at_least
from models.layers.online import OnlineNetwork, check_state
from models.networks.crn import ConvolutionalRecurrentNetwork


class OnlineConvolutionalRecurrentNetwork(OnlineNetwork, ConvolutionalRecurrentNetwork):
    """1,315,842 parameters at 385 bins, 1 channel, 2 targets and these sizes, which are those of `crn` otherwise.

    kernel: at least 2 frames. units: width of a GRU over time. layers: how many.
    """

    SMALL: ClassVar = {**ConvolutionalRecurrentNetwork.SMALL, "kernel": (2, 5)}
    NAME = "crn_online"

    def __init__(
        self,
        bins: int,
        channels: int,
        targets: int,
        filters: Sequence[int] = (16, 32, 48, 64),
        strides: Sequence[int] = (4, 2, 2, 2),
        kernel: Sequence[int] = (2, 5),
        width: int = 256,
        units: int = 256,
        layers: int = 2,
        band_units: int | None = 32,
        bands: Sequence[int] | None = None,
    ) -> None:
        super().__init__(bins, channels, targets, filters, strides, kernel, width, units, layers, band_units, bands)
        check_at_least(2, **{"frames of kernel": kernel[0]})
        count = self.bands.count if self.bands else bins
        bands_of_level = -(-count // self.multiple) * self.multiple
        self.past: list[tuple[int, int, int]] = []  # what every level has to remember: frames, bands, channels
        for by, seen in zip(strides, (channels, *filters), strict=False):
            self.past.append((kernel[0] - 1, bands_of_level, seen))
            bands_of_level //= by

    def convolution(self, filters: int, kernel: tuple[int, int], stride: int, name: str) -> keras.layers.Layer:
        return CausalConvolution(filters, kernel, stride, name=name)

    def recurrence(self, units: int, name: str) -> keras.layers.Layer:
        return gru(units, name)

    def initial_state(self, batch: int | tf.Tensor) -> list[tf.Tensor]:
        """Zeros: the past inputs of every level [batch, frames, bands, channels], then the states [batch, units]."""
        dtype = cast(str, self.reduce.compute_dtype)
        past = [tf.zeros([batch, *shape], dtype) for shape in self.past]
        return [*past, *(state for layer in self.over_time for state in layer.initial_state(batch))]

    def advance(self, features: tf.Tensor, state: Sequence[tf.Tensor]) -> tuple[tf.Tensor, list[tf.Tensor]]:
        levels = len(self.down)
        check_state(state, levels + len(self.over_time))
        x, skips, after = self.enter(features), [], []
        for level, past, (frames, _, _) in zip(self.down, state[:levels], self.past, strict=True):
            x = tf.concat([past, tf.cast(x, past.dtype)], axis=1)
            after.append(x[:, -frames:])
            x = level(x)
            skips.append(x)
        x, states = advance_all(self.over_time, self.narrow(x), state[levels:])
        return self.decode(x, skips), after + states
