"""Primal-dual iteration for sources that sum to a mixture, as a layer (Yuan et al. 2019, "Proximal DRNN").

It solves: minimise sum_j phi_j(x_j) subject to sum_j x_j = m (Eq. 1). Whatever stands for the proximal operator of
the phi_j, a function or a network, is the layer's argument.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import numpy as np
import tensorflow as tf
import tf_keras as keras

# What softplus cannot keep: it underflows to 0 for raw variables below about -100.
SMALLEST = 1e-6


def prox_argument(x: tf.Tensor, dual: tf.Tensor, tau: tf.Tensor) -> tf.Tensor:
    """x_j - tau u, of which the proximal operator is taken. x: [..., targets]; dual: [...]. Returns [..., targets]."""
    return x - tau * tf.expand_dims(dual, -1)


def primal_dual_step(
    x: tf.Tensor, x_half: tf.Tensor, dual: tf.Tensor, mixture: tf.Tensor, rho: tf.Tensor, sigma: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Relaxed update of the sources and of the dual variable that they share (the paper's last equation).

    x_j <- x_j + rho (x_half_j - x_j); u <- u + rho sigma (2 mean(x_half) - mean(x) - m / J), the means over the J
    sources. The last equation prints 1 / N before m; 1 / J is what Eq. 19 derives and what makes the sources sum to m.
    x, x_half: [..., targets]; dual, mixture: [...]. Returns the next x and dual.
    """
    share = mixture / cast(int, x.shape[-1])
    excess = 2 * tf.reduce_mean(x_half, axis=-1) - tf.reduce_mean(x, axis=-1) - share
    return x + rho * (x_half - x), dual + rho * sigma * excess


class ProximalLayer(keras.layers.Layer):
    """One iteration, with rho, tau and sigma positive and learned: (x, dual, mixture) -> (x, dual), float32.

    x: [..., targets]; dual, mixture: [...].
    prox: stands for the proximal operator, [..., targets] -> the same shape; a Keras layer is trained along.
    rho, tau, sigma: where the three start, above 1e-6. For a true proximal operator the iteration converges
    when tau sigma <= 1 and rho < 2.
    """

    def __init__(
        self,
        prox: Callable[[tf.Tensor], tf.Tensor],
        rho: float = 0.5,
        tau: float = 0.5,
        sigma: float = 0.5,
        **kwargs,
    ) -> None:
        # The states pass from layer to layer in float32, whatever precision the proximal operator computes in.
        super().__init__(dtype="float32", **kwargs)
        self.prox = prox
        # One variable, so that its gradient exists where a network has no use for one of the three.
        raw = np.log(np.expm1(np.array([rho, tau, sigma]) - SMALLEST))
        self.raw_steps = self.add_weight("raw_steps", [3], initializer=tf.constant_initializer(raw))

    def call(self, x: tf.Tensor, dual: tf.Tensor, mixture: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        rho, tau, sigma = tf.unstack(positive(self.raw_steps))
        x_half = tf.cast(self.prox(prox_argument(x, dual, tau)), tf.float32)
        return primal_dual_step(x, x_half, dual, mixture, rho, sigma)


def positive(raw: tf.Tensor) -> tf.Tensor:
    """softplus(raw) + 1e-6: above 0 for every finite float32."""
    return tf.math.softplus(raw) + SMALLEST
