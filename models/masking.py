"""Masks: pure functions from what a network estimates to what multiplies the mixture's spectrogram."""

from __future__ import annotations

import tensorflow as tf


def joint(estimates: tf.Tensor, epsilon: float = 1e-10) -> tf.Tensor:
    """Joint masking layer: |a_j| / (sum_i |a_i| + epsilon), over the last axis (Huang et al. 2014, Eq. 5).

    estimates: [..., targets], any sign. Returns the same shape in [0, 1], summing to 1 where the estimates are not all 0.
    """
    magnitudes = tf.abs(estimates)
    return magnitudes / (tf.reduce_sum(magnitudes, axis=-1, keepdims=True) + epsilon)


def ratio(magnitudes: tf.Tensor, alpha: float = 1.0) -> tf.Tensor:
    """Generalised Wiener masks: y_j^alpha / sum_i y_i^alpha over the last axis (Mimilakis et al. 2017, section III.ii).

    Every bin is first divided by its largest target, so that the masks depend on no level and sum to 1 everywhere;
    where all magnitudes are 0 the targets share equally.
    magnitudes: [..., targets], >= 0. Returns the same shape in [0, 1].
    """
    largest = tf.stop_gradient(tf.reduce_max(magnitudes, axis=-1, keepdims=True))
    silent = largest <= 0
    relative = tf.where(silent, tf.ones_like(magnitudes), magnitudes / tf.where(silent, tf.ones_like(largest), largest))
    powers = tf.pow(relative, alpha)
    return powers / tf.reduce_sum(powers, axis=-1, keepdims=True)


def alpha_wiener(magnitude: tf.Tensor, mixture: tf.Tensor, alpha: float) -> tf.Tensor:
    """Mask of one target against the mixture: (y / |Y|)^alpha (Mimilakis et al. 2017, Eq. 10), cut at 1.

    magnitude, mixture: same shape, >= 0, in the same unit. Returns that shape in [0, 1], 0 where the mixture is 0.
    """
    share = tf.math.divide_no_nan(magnitude, mixture)
    return tf.pow(tf.clip_by_value(share, 0.0, 1.0), alpha)


def with_remainder(mask: tf.Tensor) -> tf.Tensor:
    """The mask of one target and, as the second target, what it leaves of the mixture: [..., 1] -> [..., 2]."""
    return tf.concat([mask, 1.0 - mask], axis=-1)


def skip_filter(mixture: tf.Tensor, activations: tf.Tensor) -> tf.Tensor:
    """Skip-filtering connection: mixture * |activations| (Mimilakis et al. 2017, Eq. 6); the same shape."""
    return mixture * tf.abs(activations)


def apply(spectrogram: tf.Tensor, masks: tf.Tensor) -> tf.Tensor:
    """Spectrograms of the targets: mask times mixture, with the mixture's phase (Mimilakis et al. 2017, Eq. 9).

    spectrogram: complex64 [...]; masks: float32 [..., targets]. Returns complex64 [..., targets].
    """
    return tf.expand_dims(spectrogram, -1) * tf.cast(masks, spectrogram.dtype)
