"""Tracks -> tf.data of training and dev batches `[batch, samples, channels, targets]`, float32."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from models.spec import ModelSpec
from pipeline.config.train import TrainSpec
from pipeline.data import augment, effects, excerpts, tfrecords
from pipeline.data.excerpts import Excerpts, Tracks

# Steps without end: what is beyond overflows the numbers of the excerpts.
STEPS = 2**62
# Of batches that are made ahead: more of them only take memory.
AHEAD = 8


def excerpt_samples(model: ModelSpec, train: TrainSpec) -> int:
    """Samples of one training excerpt."""
    return train.segment_frames * model.hop


def check_length(tracks: Tracks, train: TrainSpec) -> None:
    """Raises ValueError where more than half of every excerpt would be silence after the end of its track."""
    hop = tracks.model.hop
    most = max(2 * max(map(len, tracks.originals), default=0) // hop, 1)
    if tracks.originals and train.segment_frames > most:
        seconds = train.segment_frames * hop / tracks.model.sample_rate_hz
        raise ValueError(
            f"train.segment_frames is {train.segment_frames}, excerpts of {seconds:.1f} s; "
            f"legal: at most {most}, twice the longest track that is trained on"
        )


def training_batches(tracks: Tracks, train: TrainSpec, first_step: int = 0) -> tf.data.Dataset:
    """Endless shuffled, augmented batches, from that of `first_step` (from 0) on.

    The batch of a step is a function of the tracks, `train` and the number of the step: begun later, the row is the same.
    """
    model, on = tracks.model, train.augmentations
    shift = on["circular_shift"].step_samples if "circular_shift" in on else None
    samples = excerpt_samples(model, train)
    row = Excerpts(tracks.all, samples, train.seed, shift)
    shape = [train.batch, samples, model.channels, len(model.targets)]

    def read(numbers: np.ndarray) -> np.ndarray:
        return _equipped(
            [row[number] for number in numbers.tolist()], model.sample_rate_hz, on, [train.seed, numbers[0]]
        )

    def batch_of(numbers: tf.Tensor) -> tf.Tensor:
        # Not stateful, whatever it calls: it answers the same to the same numbers.
        batch = tf.numpy_function(read, [numbers], tf.float32, stateful=False)
        seed = tf.stack([tf.constant(train.seed, tf.int64), numbers[0]])
        return _augmented(tf.ensure_shape(batch, shape), on, seed)

    numbers = tf.data.Dataset.range(first_step * train.batch, STEPS).batch(train.batch, drop_remainder=True)
    return numbers.map(batch_of, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True).prefetch(AHEAD)


def dev_batches(files: Sequence[str], model: ModelSpec, train: TrainSpec) -> tf.data.Dataset:
    """The first excerpt of every dev segment, in order and as it is."""
    samples = excerpt_samples(model, train)
    records = tf.data.TFRecordDataset(tf.constant(sorted(files), tf.string), compression_type="GZIP")
    segments = records.map(lambda record: excerpts.stems(record, model)["stems"], num_parallel_calls=tf.data.AUTOTUNE)
    firsts = segments.map(lambda segment: augment.pad(segment[:samples], samples))
    return firsts.batch(train.batch).map(_to_float).prefetch(tf.data.AUTOTUNE)


def _equipped(batch: Sequence[np.ndarray], rate_hz: int, on: dict[str, Any], seed: Sequence[int]) -> np.ndarray:
    """Excerpts as a float batch, their stems after what is done to each one's sound."""
    stacked = np.stack(batch).astype(np.float32) / np.float32(tfrecords.FULL_SCALE)
    for name, effect in (("equaliser", effects.equalised), ("reverb", effects.reverberated)):
        if name in on:
            rng = np.random.default_rng([*seed, _key(name)])
            targets = 1 if getattr(on[name], "first_only", False) else stacked.shape[-1]
            for each, target in np.argwhere(rng.random([len(batch), targets]) < on[name].probability):
                stacked[each, ..., target] = effect(stacked[each, ..., target], rate_hz, on[name], rng)
    return stacked


def _augmented(batch: tf.Tensor, on: dict[str, Any], seed: tf.Tensor) -> tf.Tensor:
    """Stems between and within the excerpts of a batch, by `seed`, int64 [2]."""
    steps: dict[str, Callable[[tf.Tensor, Any, tf.Tensor], tf.Tensor]] = {
        "remix": lambda batch, options, own: augment.remix(batch, options.probability, own),
        "gain": lambda batch, options, own: augment.gain(batch, options.deviation_db, own, options.balance_db),
        "polarity": lambda batch, options, own: augment.polarity(batch, options.probability, own),
        "channel_swap": lambda batch, options, own: augment.channel_swap(batch, options.probability, own),
    }
    for name, step in steps.items():
        if name in on:
            own = tf.random.experimental.stateless_fold_in(seed, tf.constant(_key(name), tf.int64))
            batch = step(batch, on[name], own)
    return batch


def _key(name: str) -> int:
    """What keeps the random numbers of two augmentations apart."""
    return zlib.crc32(name.encode())


def _to_float(batch: tf.Tensor) -> tf.Tensor:
    return tf.cast(batch, tf.float32) / tfrecords.FULL_SCALE
