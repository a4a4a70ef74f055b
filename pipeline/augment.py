"""Augmentations of training excerpts as tf.data operations: tensors in, tensors out, randomness from an explicit seed.

A segment or excerpt is `[samples, channels, targets]`; a batch has `batch` in front. `seed` is int32 [2].
"""

from __future__ import annotations

import tensorflow as tf


def excerpt(segment: tf.Tensor, samples: int, seed: tf.Tensor) -> tf.Tensor:
    """A random stretch of `samples` out of a segment, or the whole segment padded with silence when it is shorter."""
    length = tf.shape(segment)[0]
    start = tf.random.stateless_uniform([], seed, 0, tf.maximum(length - samples, 0) + 1, tf.int32)
    return pad(segment[start : start + samples], samples)


def pad(piece: tf.Tensor, samples: int) -> tf.Tensor:
    """Silence at the end, up to `samples`."""
    padded = tf.pad(piece, [[0, samples - tf.shape(piece)[0]], [0, 0], [0, 0]])
    return tf.ensure_shape(padded, [samples, *piece.shape[1:]])


def circular_shift(segment: tf.Tensor, step_samples: int, seed: tf.Tensor) -> tf.Tensor:
    """Rolls the first target in time against the others by a random multiple of `step_samples` (Huang et al. 2014, 3.1)."""
    steps = tf.shape(segment)[0] // step_samples + 1
    shift = step_samples * tf.random.stateless_uniform([], seed, 0, steps, tf.int32)
    first = tf.roll(segment[..., :1], shift, axis=0)
    return tf.concat([first, segment[..., 1:]], axis=-1)


def speed(segment: tf.Tensor, factor: float) -> tf.Tensor:
    """Plays a float32 segment `factor` times as fast (pitch moves with it), by resampling in the frequency domain.

    Returns `[round(samples / factor), channels, targets]`.
    """
    length = tf.shape(segment)[0]
    new_length = tf.cast(tf.round(tf.cast(length, tf.float32) / factor), tf.int32)
    spectrum = tf.signal.rfft(tf.transpose(segment, [1, 2, 0]))
    bins, new_bins = length // 2 + 1, new_length // 2 + 1
    kept = spectrum[..., : tf.minimum(bins, new_bins)]
    padded = tf.pad(kept, [[0, 0], [0, 0], [0, new_bins - tf.shape(kept)[-1]]])
    resampled = tf.signal.irfft(padded, [new_length]) * tf.cast(new_length, tf.float32) / tf.cast(length, tf.float32)
    result = tf.transpose(resampled, [2, 0, 1])
    return tf.ensure_shape(result, [None, *segment.shape[1:]])


def remix(batch: tf.Tensor, probability: float, seed: tf.Tensor) -> tf.Tensor:
    """With `probability` per excerpt and target, takes that target from another excerpt of the batch.

    The first target stays where it is, so that every excerpt keeps one of its own stems.
    """
    targets = [batch[..., 0]]
    size = tf.shape(batch)[0]
    for index in range(1, batch.shape[-1]):
        own = seed + 2 * index
        order = tf.argsort(tf.random.stateless_uniform([size], own))
        moved = tf.random.stateless_uniform([size], own + 1) < probability
        targets.append(tf.gather(batch[..., index], tf.where(moved, order, tf.range(size))))
    return tf.stack(targets, axis=-1)


def gain(batch: tf.Tensor, deviation_db: float, seed: tf.Tensor) -> tf.Tensor:
    """Scales every stem of every excerpt by a normally distributed gain in dB."""
    shape = [tf.shape(batch)[0], 1, 1, batch.shape[-1]]
    gains_db = deviation_db * tf.random.stateless_normal(shape, seed)
    return batch * tf.pow(10.0, gains_db / 20.0)


def channel_swap(batch: tf.Tensor, probability: float, seed: tf.Tensor) -> tf.Tensor:
    """Reverses the order of channels of whole excerpts (all stems together) with `probability`."""
    swapped = tf.random.stateless_uniform([tf.shape(batch)[0], 1, 1, 1], seed) < probability
    return tf.where(swapped, tf.reverse(batch, axis=[2]), batch)
