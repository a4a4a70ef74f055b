"""Convolutional U-Net over time and frequency (Jansson et al. 2017, as adapted by Doire 2019 for two masks).

Offline: a mask looks at frames before and after its own. The loss network of the OR-U-Net, and a system of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import tensorflow as tf
import tf_keras as keras

from models.layers.convolution import Level, check_levels, pad_to_multiple
from models.layers.network import Network


class UNet(Network):
    """9,824,114 parameters at 513 bins, 1 channel, 2 targets and the published sizes.

    filters: channels of each level on the way down. kernel, stride: of every convolution, in frames and in bins.
    """

    SMALL: ClassVar = {"filters": (4, 8, 8, 8)}
    MASKS_SUM_TO_ONE = False
    FEATURE_MAPS = 4  # N, the deep features that the loss of Doire 2019 compares

    def __init__(
        self,
        bins: int,
        channels: int,
        targets: int,
        filters: Sequence[int] = (16, 32, 64, 128, 256, 512),
        kernel: int = 5,
        stride: int = 2,
    ) -> None:
        check_levels(filters, kernel, stride)
        super().__init__("unet", bins, channels, targets)
        self.multiple = self.period_frames = stride ** len(filters)

        def options(name: str) -> dict:
            return {"kernel_size": kernel, "strides": stride, "padding": "same", "name": name}

        down, up = keras.layers.Conv2D, keras.layers.Conv2DTranspose
        self.down = [Level(down(count, **options(f"down_{i}"))) for i, count in enumerate(filters, 1)]
        self.up = [Level(up(count, **options(f"up_{i}"))) for i, count in reversed([*enumerate(filters[:-1], 2)])]
        self.estimates = up(channels * targets, **options("estimates"))

    def call(self, features: tf.Tensor) -> dict[str, tf.Tensor]:
        batch, frames = tf.unstack(tf.shape(features)[:2])
        x, *skips = reversed(self.encode(features))
        for layer, skip in zip(self.up, skips, strict=True):
            x = tf.concat([layer(x), skip], axis=-1)
        estimates = tf.cast(self.estimates(x)[:, :frames, : self.mask_shape[0]], tf.float32)
        return {"masks": tf.reshape(tf.sigmoid(estimates), [batch, frames, *self.mask_shape])}

    def encode(self, features: tf.Tensor) -> list[tf.Tensor]:
        """Feature maps of every level on the way down: [batch, frames', bins', filters], padded to the stride."""
        x, maps = pad_to_multiple(features, [1, 2], self.multiple), []
        for level in self.down:
            x = level(x)
            maps.append(x)
        return maps

    def feature_maps(self, features: tf.Tensor) -> list[tf.Tensor]:
        """phi_1 .. phi_4 of Doire 2019, Eq. 4: the outputs of the first four levels, in float32."""
        return [tf.cast(level, tf.float32) for level in self.encode(features)[: self.FEATURE_MAPS]]
