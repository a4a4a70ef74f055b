"""Cutting spectrograms into the short sequences that some networks see, and putting their answers together again."""

from __future__ import annotations

import tensorflow as tf


def fold_channels(features: tf.Tensor) -> tf.Tensor:
    """Channels into the batch: [batch, frames, bins, channels] -> [batch * channels, frames, bins]."""
    batch, frames, _, channels = tf.unstack(tf.shape(features))
    return tf.reshape(tf.transpose(features, [0, 3, 1, 2]), [batch * channels, frames, features.shape[2]])


def unfold_channels(estimates: tf.Tensor, channels: int | tf.Tensor) -> tf.Tensor:
    """Reverses `fold_channels`: [batch * channels, frames, bins, targets] -> [batch, frames, bins, channels, targets]."""
    folded, frames = tf.unstack(tf.shape(estimates)[:2])
    shape = [folded // channels, channels, frames, *estimates.shape[2:]]
    return tf.transpose(tf.reshape(estimates, shape), [0, 2, 3, 1, 4])


def slice_sequences(
    frames: tf.Tensor, sequence_frames: int, context_frames: int = 0, repeat_last: bool = False
) -> tf.Tensor:
    """Sequences of T frames that overlap by 2 L, with L zero frames before the first so that all frames are kept.

    The last one is filled with zero frames (Mimilakis et al. 2017, Eq. 1-2), or with the last frame (`repeat_last`).
    frames: [batch, frames, bins]. Returns [batch * sequences, T, bins].
    """
    step = sequence_frames - 2 * context_frames
    count = tf.shape(frames)[1]
    right = -(-count // step) * step - count + context_frames
    if repeat_last:
        frames, right = tf.gather(frames, tf.minimum(tf.range(count + right), count - 1), axis=1), 0
    padded = tf.pad(frames, tf.stack([[0, 0], [context_frames, right], [0, 0]]))
    return tf.reshape(tf.signal.frame(padded, sequence_frames, step, axis=1), [-1, sequence_frames, frames.shape[2]])


def join_sequences(sequences: tf.Tensor, frames: tf.Tensor, batch: tf.Tensor) -> tf.Tensor:
    """Reverses `slice_sequences` after the context frames are dropped.

    sequences: [batch * sequences, T - 2 L, bins, targets]. Returns [batch, frames, bins, targets].
    """
    total, step, bins, targets = tf.unstack(tf.shape(sequences))
    count = total // tf.maximum(batch, 1) * step
    joined = tf.reshape(sequences, [batch, count, bins, targets])[:, :frames]
    return tf.ensure_shape(joined, [None, None, *sequences.shape[2:]])
