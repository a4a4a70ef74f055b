"""Convolutional recurrent network (Tan & Wang 2018, "A convolutional recurrent neural network for real-time speech enhancement").

Strided convolutions over frequency, a recurrence in the bottleneck, and transposed convolutions back with skip
connections: as U-Nets go, but time keeps its resolution and only the recurrence looks far. Offline here, in both
directions; `crn_online` is causal, as the paper's. Our choices, made for a CPU and short trainings:
- a recurrence over the bands of every frame before the one over time (DPCRN, Le et al. 2021);
- high bins merged into bands (GTCRN, Rong et al. 2024), and a first stride of 4: a long window costs little;
- the frame's own normalisation instead of batch normalisation, see models.layers.convolution.Level;
- skips are added instead of concatenated, and the way up looks at single frames: half the time of a step;
- masks that add up to 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import tensorflow as tf
import tf_keras as keras

from models.layers.bands import BandRecurrence, MergedBands
from models.layers.cells import BidirectionalGru
from models.layers.convolution import Level, pad_to_multiple
from models.layers.network import Network, check_at_least


class ConvolutionalRecurrentNetwork(Network):
    """1,030,858 parameters at 1025 bins, 1 channel, 2 targets and these sizes.

    filters, strides: channels of each level on the way down, and what it divides the bands by. kernel: (frames, bands) of
    its convolution; on the way up one frame. width: what the recurrence over time sees of a frame. units: of one of its
    directions. layers: how many. band_units: of one direction of the recurrence over bands, None for no such.
    bands: (bins that are kept, bands that those above are merged into), None for every bin.
    """

    SMALL: ClassVar = {
        "filters": (4, 8),
        "strides": (4, 2),
        "width": 16,
        "units": 12,
        "band_units": 4,
        "bands": (12, 6),
    }
    MASKS_SUM_TO_ONE = True
    NAME = "crn"

    def __init__(
        self,
        bins: int,
        channels: int,
        targets: int,
        filters: Sequence[int] = (24, 32, 48, 64),
        strides: Sequence[int] = (4, 2, 2, 2),
        kernel: Sequence[int] = (3, 5),
        width: int = 256,
        units: int = 192,
        layers: int = 1,
        band_units: int | None = 32,
        bands: Sequence[int] | None = (192, 64),
    ) -> None:
        check_sizes(filters, strides, kernel, bands)
        check_at_least(1, width=width, units=units, layers=layers, band_units=band_units)
        super().__init__(self.NAME, bins, channels, targets)
        # Where there are not more bins than bands, each is one.
        self.bands = MergedBands(bins, *bands, name="bands") if bands and bins > sum(bands) else None
        self.multiple = math.prod(strides)
        count = self.bands.count if self.bands else bins
        self.bottleneck = (-(-count // self.multiple), filters[-1])
        sizes = list(enumerate(zip(filters, strides, strict=True), 1))
        self.down = [Level(self.convolution(n, (kernel[0], kernel[1]), by, f"down_{i}")) for i, (n, by) in sizes]
        self.over_bands = BandRecurrence(band_units, name="over_bands") if band_units else None
        self.reduce = keras.layers.Dense(width, name="reduce")
        self.over_time = [self.recurrence(units, f"over_time_{number}") for number in range(1, layers + 1)]
        self.expand = keras.layers.Dense(math.prod(self.bottleneck), name="expand")

        def transposed(count: int, by: int, name: str) -> keras.layers.Layer:
            return keras.layers.Conv2DTranspose(count, (1, kernel[1]), (1, by), padding="same", name=name)

        outputs = [*zip(filters[:-1], strides[1:], strict=True)]
        self.up = [Level(transposed(n, by, f"up_{i}")) for i, (n, by) in reversed([*enumerate(outputs, 2)])]
        self.estimates = transposed(channels * targets, strides[0], "estimates")

    def convolution(self, filters: int, kernel: tuple[int, int], stride: int, name: str) -> keras.layers.Layer:
        """That of a level on the way down."""
        return keras.layers.Conv2D(filters, kernel, (1, stride), padding="same", name=name)

    def recurrence(self, units: int, name: str) -> keras.layers.Layer:
        """That of `over_time`."""
        return BidirectionalGru(units, name=name)

    def call(self, features: tf.Tensor) -> dict[str, tf.Tensor]:
        x, skips = self.enter(features), []
        for level in self.down:
            x = level(x)
            skips.append(x)
        x = self.narrow(x)
        for layer in self.over_time:
            x = layer(x)
        return {"masks": self.decode(x, skips)}

    def enter(self, features: tf.Tensor) -> tf.Tensor:
        """[batch, frames, bins, channels] -> [batch, frames, bands, channels], padded to the strides."""
        return pad_to_multiple(self.bands.merge(features) if self.bands else features, [2], self.multiple)

    def narrow(self, x: tf.Tensor) -> tf.Tensor:
        """What the last level answers [batch, frames, bands', filters] -> what `over_time` sees [batch, frames, width]."""
        x = self.over_bands(x) if self.over_bands else x
        batch, frames = tf.unstack(tf.shape(x)[:2])
        return self.reduce(tf.reshape(x, [batch, frames, math.prod(self.bottleneck)]))

    def decode(self, states: tf.Tensor, skips: list[tf.Tensor]) -> tf.Tensor:
        """What `over_time` answers and what the levels did -> masks float32 [batch, frames, bins, channels, targets]."""
        batch, frames = tf.unstack(tf.shape(states)[:2])
        x = tf.reshape(self.expand(states), [batch, frames, *self.bottleneck])
        for layer, skip in zip([*self.up, self.estimates], reversed(skips), strict=True):
            x = layer(x + skip)
        x = tf.cast(x, tf.float32)
        x = self.bands.spread(x[:, :, : self.bands.count]) if self.bands else x[:, :, : self.mask_shape[0]]
        return tf.nn.softmax(tf.reshape(x, [batch, frames, *self.mask_shape]))


def check_sizes(
    filters: Sequence[int], strides: Sequence[int], kernel: Sequence[int], bands: Sequence[int] | None
) -> None:
    """Raises ValueError for sizes of which no levels can be made."""
    if len(filters) != len(strides) or not filters or min(*filters, *strides) < 1:
        raise ValueError(
            f"filters is {list(filters)} and strides is {list(strides)}; legal: one of each per level, each at least 1."
        )
    for name, pair, least in (("kernel", kernel, (1, 1)), ("bands", bands, (1, 2))):
        if pair is not None and (len(pair) != 2 or pair[0] < least[0] or pair[1] < least[1]):
            legal = "[frames, bands]" if name == "kernel" else "[kept, merged] or null"
            raise ValueError(f"{name} is {list(pair)}; legal: {legal}, at least {list(least)}.")
