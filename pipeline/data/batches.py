"""TFRecords of segments -> tf.data of training and dev batches `[batch, samples, channels, targets]`, float32."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path

import tensorflow as tf

from models.spec import ModelSpec
from pipeline.config.train import TrainSpec
from pipeline.data import augment, tfrecords

# Decoded segments are kept in memory when their TFRecords are smaller than this; larger sets are read again every epoch.
CACHE_BYTES = 2 * 1024**3
SPEED_FACTORS = (16 / 17, 17 / 16, 8 / 9, 9 / 8)

DEFAULTS = {
    "circular_shift": {"step_samples": 10_000},
    "remix": {"probability": 0.8},
    "gain": {"deviation_db": 1.5},
    "channel_swap": {"probability": 0.5},
    "speed": {"factors": SPEED_FACTORS},
}


def excerpt_samples(model: ModelSpec, train: TrainSpec) -> int:
    """Samples of one training excerpt."""
    return train.segment_frames * model.hop


def training_batches(files: Sequence[str], model: ModelSpec, train: TrainSpec, seed: int) -> tf.data.Dataset:
    """Endless shuffled, augmented batches. `seed` decides everything random; resuming passes another one.

    Tracks are shuffled by file and by segment, excerpts are cut at random, stems are remixed within the batch.
    """
    options = augmentation_options(train)
    segments = _segments(files, model, seed)
    if "speed" in train.augment:
        as_played = segments
        for factor in options["speed"]["factors"]:
            faster = as_played.map(functools.partial(_at_speed, factor=factor), num_parallel_calls=tf.data.AUTOTUNE)
            segments = segments.concatenate(faster)
    if sum(Path(name).stat().st_size for name in files) < CACHE_BYTES:
        segments = segments.cache()
    segments = segments.shuffle(train.shuffle_buffer, seed=seed).repeat()
    seeds = tf.data.Dataset.random(seed=seed).map(lambda value: tf.stack([tf.cast(value % 2**31, tf.int32), seed]))
    samples = excerpt_samples(model, train)
    excerpts = tf.data.Dataset.zip(segments, seeds).map(
        lambda segment, own: _excerpts(segment, samples, train, options, own), num_parallel_calls=tf.data.AUTOTUNE
    )
    batches = excerpts.unbatch().shuffle(train.shuffle_buffer, seed=seed).batch(train.batch, drop_remainder=True)
    return (
        tf.data.Dataset.zip(batches, seeds)
        .map(lambda batch, own: _augmented(batch, train, options, own), num_parallel_calls=tf.data.AUTOTUNE)
        .prefetch(tf.data.AUTOTUNE)
    )


def dev_batches(files: Sequence[str], model: ModelSpec, train: TrainSpec) -> tf.data.Dataset:
    """The first excerpt of every dev segment, in order and as it is."""
    samples = excerpt_samples(model, train)
    firsts = _segments(files, model, seed=None).map(lambda segment: augment.pad(segment[:samples], samples))
    return firsts.batch(train.batch).map(_to_float).prefetch(tf.data.AUTOTUNE)


def augmentation_options(train: TrainSpec) -> dict[str, dict]:
    """Options of every augmentation that is on: the defaults, changed by `train.augment_options`.

    Raises:
      ValueError: options for an augmentation that is off, or an unknown option.
    """
    unused = sorted(set(train.augment_options) - set(train.augment))
    if unused:
        raise ValueError(
            f"train.augment_options names {unused[0]!r}, which is not in train.augment {list(train.augment)}"
        )
    merged = {}
    for name in train.augment:
        given = dict(train.augment_options.get(name, {}))
        unknown = sorted(set(given) - set(DEFAULTS[name]))
        if unknown:
            raise ValueError(
                f"train.augment_options.{name} has no option {unknown[0]!r}: legal are {', '.join(DEFAULTS[name])}"
            )
        merged[name] = {**DEFAULTS[name], **given}
    return merged


def _segments(files: Sequence[str], model: ModelSpec, seed: int | None) -> tf.data.Dataset:
    """Decoded segments, int16 `[samples, channels, targets]`; a mono model sees the mean of the channels."""
    names = tf.data.Dataset.from_tensor_slices(sorted(files))
    if seed is not None:
        names = names.shuffle(len(files), seed=seed)
    records = names.interleave(
        lambda name: tf.data.TFRecordDataset(name, compression_type="GZIP"),
        cycle_length=4,
        num_parallel_calls=tf.data.AUTOTUNE,
        deterministic=True,
    )
    return records.map(lambda record: _stems(record, model), num_parallel_calls=tf.data.AUTOTUNE)


def _stems(record: tf.Tensor, model: ModelSpec) -> tf.Tensor:
    decoded = tfrecords.decode(record, model.targets, tf.int16)["stems"]
    stems = tf.stack([decoded[target] for target in model.targets], axis=-1)
    if model.channels == 1:
        mean = tf.reduce_mean(tf.cast(stems, tf.float32), axis=1, keepdims=True)
        stems = tf.cast(tf.round(mean), tf.int16)
    return tf.ensure_shape(stems, [None, model.channels, len(model.targets)])


def _at_speed(segment: tf.Tensor, factor: float) -> tf.Tensor:
    faster = augment.speed(tf.cast(segment, tf.float32), factor)
    return tf.cast(tf.clip_by_value(tf.round(faster), -32768, 32767), tf.int16)


def _excerpts(segment: tf.Tensor, samples: int, train: TrainSpec, options: dict, seed: tf.Tensor) -> tf.Tensor:
    """As many random excerpts as fit into the segment, at least one."""
    if "circular_shift" in train.augment:
        segment = augment.circular_shift(segment, options["circular_shift"]["step_samples"], seed)
    count = tf.maximum(tf.shape(segment)[0] // samples, 1)
    seeds = tf.stack([tf.fill([count], seed[0]), tf.range(count)], axis=1)
    like = tf.TensorSpec([samples, *segment.shape[1:]], segment.dtype)
    return tf.map_fn(lambda own: augment.excerpt(segment, samples, own), seeds, fn_output_signature=like)


def _augmented(batch: tf.Tensor, train: TrainSpec, options: dict, seed: tf.Tensor) -> tf.Tensor:
    batch = _to_float(batch)
    if "remix" in train.augment:
        batch = augment.remix(batch, options["remix"]["probability"], seed)
    if "gain" in train.augment:
        batch = augment.gain(batch, options["gain"]["deviation_db"], seed + 1)
    if "channel_swap" in train.augment:
        batch = augment.channel_swap(batch, options["channel_swap"]["probability"], seed + 2)
    return batch


def _to_float(batch: tf.Tensor) -> tf.Tensor:
    return tf.cast(batch, tf.float32) / tfrecords.FULL_SCALE
