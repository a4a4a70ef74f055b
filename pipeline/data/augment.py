"""Augmentations of training excerpts as tf.data operations: tensors in, tensors out, randomness from an explicit seed.

A piece of a track is `[samples, channels, targets]`; a batch has `batch` in front. `seed` is int32 or int64 [2].
"""

from __future__ import annotations

import math

import tensorflow as tf

# Pieces are padded to a multiple of this before they are resampled: a length whose prime factors are small, and that
# stays whole times 17/16 or 9/8, makes the Fourier transforms an order of magnitude faster.
SMOOTH = 16 * 17 * 9 * 8
# What is nearly silent in an excerpt stays so.
MOST_BALANCE_DB = 20.0


def pad(piece: tf.Tensor, samples: int | tf.Tensor) -> tf.Tensor:
    """Silence at the end, up to `samples`."""
    padded = tf.pad(piece, tf.stack([[0, samples - tf.shape(piece)[0]], [0, 0], [0, 0]]))
    return tf.ensure_shape(padded, [samples if isinstance(samples, int) else None, *piece.shape[1:]])


def speed(piece: tf.Tensor, factor: float) -> tf.Tensor:
    """Plays a float32 piece `factor` times as fast (pitch moves with it), by resampling in the frequency domain.

    Returns `[round(samples / factor), channels, targets]`.
    """
    length = tf.shape(piece)[0]
    padded_length = (length + SMOOTH - 1) // SMOOTH * SMOOTH
    resampled_length, new_length = _scaled(padded_length, factor), _scaled(length, factor)
    spectrum = tf.signal.rfft(tf.transpose(pad(piece, padded_length), [1, 2, 0]))
    bins = tf.minimum(padded_length, resampled_length) // 2 + 1
    missing = resampled_length // 2 + 1 - bins
    spectrum = tf.pad(spectrum[..., :bins], tf.stack([[0, 0], [0, 0], [0, missing]]))
    resampled = tf.signal.irfft(spectrum, [resampled_length])[..., :new_length]
    scale = tf.cast(resampled_length, tf.float32) / tf.cast(padded_length, tf.float32)
    result = tf.transpose(resampled * scale, [2, 0, 1])
    return tf.ensure_shape(result, [None, *piece.shape[1:]])


def _scaled(length: tf.Tensor, factor: float) -> tf.Tensor:
    return tf.cast(tf.round(tf.cast(length, tf.float64) / factor), tf.int32)


def remix(batch: tf.Tensor, probability: float, seed: tf.Tensor) -> tf.Tensor:
    """With `probability` per excerpt and target, takes that target from another excerpt of the batch.

    The first target stays where it is, so that every excerpt keeps one of its own stems.
    """
    first, *others = tf.unstack(batch, axis=-1)
    size = tf.shape(batch)[:1]
    targets = [first]
    for index, target in enumerate(others, 1):
        own = seed + 2 * index
        order = tf.argsort(tf.random.stateless_uniform(size, own))
        moved = tf.random.stateless_uniform(size, own + 1) < probability
        targets.append(tf.gather(target, tf.where(moved, order, tf.range(size[0]))))
    return tf.stack(targets, axis=-1)


def gain(batch: tf.Tensor, deviation_db: float, seed: tf.Tensor, balance_db: float | None = None) -> tf.Tensor:
    """Scales every stem of every excerpt by a normally distributed gain in dB.

    With `balance_db`, the first target is brought to so many dB over the sum of the others before, by at most MOST_BALANCE_DB.
    """
    shape = [tf.shape(batch)[0], 1, 1, batch.shape[-1]]
    gains_db = deviation_db * tf.random.stateless_normal(shape, seed)
    if balance_db is not None:
        first, *others = tf.unstack(batch, axis=-1)
        of_first = tf.reduce_sum(first**2, [1, 2])
        of_others = tf.reduce_sum(tf.add_n(others) ** 2, [1, 2])
        both = tf.minimum(of_first, of_others) > 0  # a ratio to silence is no balance
        over_others = tf.where(both, of_first, 1.0) / tf.where(both, of_others, 1.0)
        missing_db = tf.where(both, balance_db - 10 * tf.math.log(over_others) / math.log(10), 0.0)
        missing_db = tf.clip_by_value(missing_db, -MOST_BALANCE_DB, MOST_BALANCE_DB)
        gains_db += missing_db[:, None, None, None] * tf.one_hot(0, batch.shape[-1])
    return batch * tf.pow(10.0, gains_db / 20.0)


def polarity(batch: tf.Tensor, probability: float, seed: tf.Tensor) -> tf.Tensor:
    """Turns single stems of excerpts upside down with `probability`."""
    shape = tf.shape(batch) * [1, 0, 0, 1] + [0, 1, 1, 0]
    turned = tf.random.stateless_uniform(shape, seed) < probability
    return batch * tf.where(turned, -1.0, 1.0)


def channel_swap(batch: tf.Tensor, probability: float, seed: tf.Tensor) -> tf.Tensor:
    """Reverses the order of channels of whole excerpts (all stems together) with `probability`."""
    if batch.shape[2] == 1:
        return batch
    swapped = tf.random.stateless_uniform(tf.stack([tf.shape(batch)[0], 1, 1, 1]), seed) < probability
    return tf.where(swapped, tf.reverse(batch, axis=[2]), batch)
