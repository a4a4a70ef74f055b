"""Online recurrent U-Net (Doire 2019, "Online singing voice separation using a recurrent one-dimensional U-Net").

Convolutions along frequency only, strided on the way down and with skip connections on the way up; GRU layers in the
bottleneck alone know the past. The paper prints no sizes: those here are our choice.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import tensorflow as tf
import tf_keras as keras

from models.layers.convolution import Level, check_levels, pad_to_multiple
from models.layers.frames import FrameNetwork
from models.layers.network import check_at_least


class OnlineRecurrentUNet(FrameNetwork):
    """7,938,354 parameters at 513 bins, 1 channel, 2 targets and these sizes.

    filters: channels of each level on the way down. kernel, stride: of every convolution, in bins.
    units: width of a GRU layer. layers: how many.
    """

    SMALL: ClassVar = {"filters": (4, 8, 8), "units": 16, "layers": 1}
    MASKS_SUM_TO_ONE = False

    def __init__(
        self,
        bins: int,
        channels: int,
        targets: int,
        filters: Sequence[int] = (16, 32, 64, 128, 256, 512),
        kernel: int = 5,
        stride: int = 2,
        units: int = 256,
        layers: int = 2,
    ) -> None:
        check_levels(filters, kernel, stride)
        check_at_least(1, units=units, layers=layers)
        # The reset gate before the product, as the GRU was published; reset_after is cuDNN's form.
        cells = [keras.layers.GRUCell(units, reset_after=False) for _ in range(layers)]
        super().__init__("or_unet", bins, channels, targets, cells)
        self.multiple = stride ** len(filters)
        self.bottleneck = (-(-bins // self.multiple), filters[-1])

        def options(name: str) -> dict:
            return {"kernel_size": kernel, "strides": stride, "padding": "same", "name": name}

        down, up = keras.layers.Conv1D, keras.layers.Conv1DTranspose
        self.down = [Level(down(count, **options(f"down_{i}"))) for i, count in enumerate(filters, 1)]
        self.expand = keras.layers.Dense(self.bottleneck[0] * self.bottleneck[1], name="expand")
        self.up = [Level(up(count, **options(f"up_{i}"))) for i, count in reversed([*enumerate(filters[:-1], 2)])]
        self.estimates = up(channels * targets, **options("estimates"))

    def encode(self, frames: tf.Tensor) -> tuple[tf.Tensor, list[tf.Tensor]]:
        x, skips = pad_to_multiple(frames, [1], self.multiple), []
        for level in self.down:
            x = level(x)
            skips.append(x)
        return tf.reshape(x, [-1, self.bottleneck[0] * self.bottleneck[1]]), skips

    def decode(self, states: tf.Tensor, skips: list[tf.Tensor]) -> tf.Tensor:
        bins, *_ = self.mask_shape
        x = tf.reshape(self.expand(states), [-1, *self.bottleneck])
        for layer, skip in zip([*self.up, self.estimates], reversed(skips), strict=True):
            x = layer(tf.concat([x, skip], axis=-1))
        return tf.reshape(tf.sigmoid(tf.cast(x[:, :bins], tf.float32)), [-1, *self.mask_shape])
