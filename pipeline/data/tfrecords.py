"""The tf.Example of a segment, both ways: tracks -> Examples -> tensors or whole tracks.

Per segment (non-overlapping, in order, the last one shorter): `track`, `split`, `metadata` (of the track, as JSON)
bytes; `segment`, `segments` (of the track), `sample_rate_hz`, `samples` (per channel), `channels` int64; `mixture` and `stem/<target>` bytes, interleaved
little-endian int16 PCM, the stems float32 or FLAC where `encoding` (bytes) says so; and the float scalars of `pipeline.data.schema.metadata_features`.
"""

from __future__ import annotations

import contextlib
import functools
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import soundfile
import tensorflow as tf

from pipeline.data.datasets.track import Track

Encoding = Literal["int16", "float32", "flac"]
Write = Callable[[tf.train.Example | bytes], None]
FULL_SCALE = 32768.0
FLOOR_DB = -120.0
_CEILING = 32767 / FULL_SCALE
_SILENCE_DB = -60.0
_BLOCK_SECONDS = 0.02


# --- writing ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Whole:
    """What every segment tells of its track.

    samples: per channel. gain: the one factor that keeps mixture and stems of the track under full scale. mixture_power:
    of the mixture as it is stored. clipping_ratio: of the track as it was read, in 0..1.
    """

    name: str
    split: str
    metadata: Mapping[str, str]
    sample_rate_hz: int
    channels: int
    samples: int
    gain: float
    mixture_power: float
    clipping_ratio: float = 0.0


def gain(peak: float) -> float:
    """The factor, at most 1, that keeps signals of this peak under full scale."""
    return min(1.0, _CEILING / peak) if peak > 0 else 1.0


def quantise(signal: np.ndarray) -> np.ndarray:
    """float [-1, 1] -> int16, rounded half to even."""
    scaled = signal * np.float32(FULL_SCALE)
    return np.clip(np.rint(scaled, out=scaled), -32768, 32767, out=scaled).astype("<i2")


def encode(
    track: Track, segment_samples: int, clipping_ratio: float = 0.0, encoding: Encoding = "int16"
) -> Iterator[tf.train.Example]:
    """The segments of a track in memory, at the rate, channels and targets (its stems) to be stored; see `examples`."""
    signals = {"mixture": track.mixture, **track.stems}
    factor = gain(max(float(np.abs(signal).max(initial=0.0)) for signal in signals.values()))
    samples, channels = track.mixture.shape
    about = track.name, track.split, track.metadata, track.sample_rate_hz, channels, samples
    whole = Whole(*about, factor, mixture_power([track.mixture], factor), clipping_ratio)
    starts = range(0, samples, segment_samples)
    parts = ({name: signal[start : start + segment_samples] for name, signal in signals.items()} for start in starts)
    return examples(whole, parts, segment_samples, encoding)


def mixture_power(blocks: Iterable[np.ndarray], factor: float) -> float:
    """The mean square, relative to full scale, of a mixture as it is stored."""
    return residuals(({"mixture": block} for block in blocks), factor)[0]


def residuals(parts: Iterable[Mapping[str, np.ndarray]], factor: float) -> tuple[float, list[float]]:
    """Of mixture and stems as they are stored: the mean square of the mixture, relative to full scale, and of each segment
    what the stems leave of it, in dB over that."""
    energy, count, left = 0, 0, []
    for part in parts:
        pcm = {name: quantise(signal * np.float32(factor)) for name, signal in part.items()}
        mixture = pcm["mixture"].astype(np.float64).ravel()
        energy += int(np.dot(mixture, mixture))  # exact: of up to 2**23 samples
        count += mixture.size
        left.append(_power(_residual(pcm)))
    power = energy / FULL_SCALE**2 / max(1, count)
    return power, [_db(each) - max(_db(power), FLOOR_DB) for each in left]


def _residual(pcm: Mapping[str, np.ndarray]) -> np.ndarray:
    stems = sum(signal.astype(np.float64) for name, signal in pcm.items() if name != "mixture")
    return pcm["mixture"].astype(np.float64) - stems


def examples(
    whole: Whole, parts: Iterable[Mapping[str, np.ndarray]], segment_samples: int, encoding: Encoding = "int16"
) -> Iterator[tf.train.Example]:
    """The segments of a track, in order.

    Args:
      parts: of each segment the mixture and stems by name, float32 [samples, channels].
      segment_samples: samples per channel of every segment but the last.
      encoding: of the stems. The mixture is int16 always: SavedModels read it from Examples with TensorFlow alone.
    """
    common = {
        **({} if encoding == "int16" else {"encoding": encoding}),
        "track": whole.name,
        "split": whole.split,
        "metadata": json.dumps(dict(whole.metadata), sort_keys=True),
        "segments": -(-whole.samples // segment_samples),
        "sample_rate_hz": whole.sample_rate_hz,
        "channels": whole.channels,
        "gain_db": 20 * np.log10(whole.gain),
        "clipping_ratio": whole.clipping_ratio,
    }
    for segment, part in enumerate(parts):
        scaled = {
            name if name == "mixture" else f"stem/{name}": signal * np.float32(whole.gain)
            for name, signal in part.items()
        }
        pcm = {name: quantise(signal) for name, signal in scaled.items()}
        measured = _measured(pcm, whole.sample_rate_hz, whole.mixture_power)
        stored: dict[str, Any] = dict(pcm)
        if encoding == "float32":
            stored = {name: signal.astype("<f4") for name, signal in scaled.items()}
        elif encoding == "flac":
            stored = {name: _as_flac(signal, whole.sample_rate_hz) for name, signal in pcm.items()}
        values = {**common, "segment": segment, **measured, **stored, "mixture": pcm["mixture"]}
        features = {name: _feature(value) for name, value in values.items()}
        yield tf.train.Example(features=tf.train.Features(feature=features))


def _as_flac(pcm: np.ndarray, sample_rate_hz: int) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, pcm, sample_rate_hz, format="FLAC", subtype="PCM_16")
    return buffer.getvalue()


def _measured(part: Mapping[str, np.ndarray], sample_rate_hz: int, mixture_power: float) -> dict[str, Any]:
    """The scalars of one segment of PCM signals; the residual is relative to the power of the whole track's mixture,
    so that a pause, where both are rounding noise, is not an anomaly."""
    mixture = part["mixture"]
    levels: dict[str, Any] = {}
    for name, signal in part.items():
        short = name.removeprefix("stem/")
        levels[f"rms_db/{short}"] = _db(_power(signal))
        levels[f"peak_db/{short}"] = _db((max(int(signal.max()), -int(signal.min())) / FULL_SCALE) ** 2)
    residual = _residual(part)
    residual_db = _db(_power(residual)) - max(_db(mixture_power), FLOOR_DB)
    return {
        "samples": len(mixture),
        "silence_ratio": _silence_ratio(mixture, sample_rate_hz),
        "residual_db": max(residual_db, FLOOR_DB) if residual.any() else FLOOR_DB,
        **levels,
    }


def _power(pcm: np.ndarray) -> float:
    exact = pcm.astype(np.float64).ravel()
    return float(np.dot(exact, exact)) / FULL_SCALE**2 / exact.size


def _db(power: float) -> float:
    return 10 * float(np.log10(max(power, 10 ** (FLOOR_DB / 10))))


def _silence_ratio(pcm: np.ndarray, sample_rate_hz: int) -> float:
    """The share of blocks of 20 ms whose RMS is below -60 dB of full scale."""
    block = max(1, round(_BLOCK_SECONDS * sample_rate_hz))
    starts = np.arange(0, len(pcm), block)
    squares = ((pcm.astype(np.float64) / FULL_SCALE) ** 2).mean(axis=1)
    powers = np.add.reduceat(squares, starts) / np.diff(np.append(starts, len(pcm)))
    return float(np.mean(powers < 10 ** (_SILENCE_DB / 10)))


def _feature(value: Any) -> tf.train.Feature:
    if isinstance(value, np.ndarray):
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value.tobytes()]))
    if isinstance(value, str | bytes):
        return tf.train.Feature(
            bytes_list=tf.train.BytesList(value=[value if isinstance(value, bytes) else value.encode()])
        )
    if isinstance(value, int):
        return tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))
    return tf.train.Feature(float_list=tf.train.FloatList(value=[float(value)]))


@contextlib.contextmanager
def writing(path: str) -> Iterator[Write]:
    """Takes Examples, or their bytes, for a gzip TFRecord file, which appears only when it is complete; same input, same bytes.

    Raises:
      OSError: the file cannot be written, e.g. because the disk is full.
    """
    partial = f"{path}.partial"
    # Stored, not packed: int16 audio shrinks by 8-16 % only, and stored blocks are written 10 and read 4 times as fast.
    options = tf.io.TFRecordOptions(compression_type="GZIP", compression_level=0)
    try:
        with tf.io.TFRecordWriter(partial, options) as writer:
            yield lambda example: writer.write(
                example if isinstance(example, bytes) else example.SerializeToString(deterministic=True)
            )
        tf.io.gfile.rename(partial, path, overwrite=True)
    except BaseException as error:
        if tf.io.gfile.exists(partial):
            tf.io.gfile.remove(partial)
        if isinstance(error, tf.errors.OpError):
            raise OSError(f"Cannot write {path}: {error.message.rsplit('; ', 1)[-1]}") from error
        raise


def write(examples: Iterable[tf.train.Example], path: str) -> None:
    """`writing` all of them. Raises OSError as it does."""
    with writing(path) as put:
        for example in examples:
            put(example)


# --- reading ---------------------------------------------------------------------------------------------------------


def feature_spec(targets: Sequence[str]) -> dict[str, tf.io.FixedLenFeature]:
    """What `tf.io.parse_example` needs for everything that `decode` gives."""
    strings = ["track", "split", "metadata", "mixture", *(f"stem/{target}" for target in targets)]
    integers = ["segment", "segments", "sample_rate_hz", "samples", "channels"]
    spec = {name: tf.io.FixedLenFeature([], tf.string) for name in strings}
    encoding = tf.io.FixedLenFeature([], tf.string, "int16")
    return {**spec, **{name: tf.io.FixedLenFeature([], tf.int64) for name in integers}, "encoding": encoding}


def decode(serialized: tf.Tensor, targets: Sequence[str], dtype: tf.DType = tf.float32) -> dict[str, Any]:
    """One serialized Example -> tensors; runs in a tf.data graph.

    Args:
      serialized: string scalar.
      targets: the stems wanted, a subset of those stored.
      dtype: tf.float32 in [-1, 1), or tf.int16, as stored but for stems in float32, which are rounded.

    Returns:
      `mixture` [samples, channels], `stems` {target: [samples, channels]}, and the scalars `track`, `split`, `metadata` (JSON),
      `segment`, `segments`, `sample_rate_hz`, `samples`, `channels`.
    """
    parsed = tf.io.parse_single_example(serialized, feature_spec(targets))
    encoding, channels = parsed.pop("encoding"), parsed["channels"]
    stems = {target: _stem(parsed.pop(f"stem/{target}"), channels, dtype, encoding) for target in targets}
    return {**parsed, "mixture": _signal(parsed["mixture"], channels, dtype), "stems": stems}


def _stem(stored: tf.Tensor, channels: tf.Tensor, dtype: tf.DType, encoding: tf.Tensor) -> tf.Tensor:
    """A stem of a record whose encoding only the record knows."""

    def of_float() -> tf.Tensor:
        signal = tf.reshape(tf.io.decode_raw(stored, tf.float32, little_endian=True), tf.stack([-1, channels]))
        return signal if dtype != tf.int16 else tf.saturate_cast(tf.round(signal * FULL_SCALE), tf.int16)

    def of_flac() -> tf.Tensor:
        return _scaled(tf.ensure_shape(tf.numpy_function(_from_flac, [stored], tf.int16), [None, None]), dtype)

    others = [(encoding == b"float32", of_float), (encoding == b"flac", of_flac)]
    return tf.case(others, lambda: _signal(stored, channels, dtype), exclusive=True)


def _from_flac(stored: bytes) -> np.ndarray:
    return soundfile.read(io.BytesIO(stored), dtype="int16", always_2d=True)[0]


def _signal(pcm: tf.Tensor, channels: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    return _scaled(tf.reshape(tf.io.decode_raw(pcm, tf.int16, little_endian=True), tf.stack([-1, channels])), dtype)


def _scaled(pcm: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    return pcm if dtype == tf.int16 else tf.cast(pcm, dtype) / FULL_SCALE


def shards(split_directory: str | Path) -> list[str]:
    """The TFRecord files of a `Split-<name>` directory, in the order of their tracks.

    Raises:
      ValueError: there are none.
    """
    files = sorted(tf.io.gfile.glob(f"{split_directory}/*.gz"))
    if not files:
        raise ValueError(f"{split_directory} holds no TFRecords: expected data_tfrecord-*.gz.")
    return files


def read_tracks(source: str | Path | Sequence[str], targets: Sequence[str]) -> Iterator[Track]:
    """Whole tracks, one after the other, from a `Split-<name>` directory or a list of its files.

    Raises:
      ValueError: there are no files, or the segments of a track are not complete and in order.
    """
    files = shards(source) if isinstance(source, (str, Path)) else list(source)
    records = tf.data.TFRecordDataset(files, compression_type="GZIP")
    decoded = records.map(functools.partial(decode, targets=tuple(targets)), num_parallel_calls=1, deterministic=True)
    pending: list[dict[str, Any]] = []
    for segment in cast("Iterator[dict[str, Any]]", decoded.as_numpy_iterator()):
        number = segment["segment"]
        if number != len(pending) or (pending and segment["track"] != pending[0]["track"]):
            raise ValueError(f"Segment {number} of track {_name(segment)!r} is out of order in the TFRecords.")
        pending.append(segment)
        if len(pending) == segment["segments"]:
            yield _join(pending, targets)
            pending = []
    if pending:
        raise ValueError(f"Track {_name(pending[0])!r} breaks off after {len(pending)} of its segments.")


def _join(segments: Sequence[Mapping[str, Any]], targets: Sequence[str]) -> Track:
    first = segments[0]
    return Track(
        name=_name(first),
        split=first["split"].decode(),
        sample_rate_hz=int(first["sample_rate_hz"]),
        mixture=np.concatenate([segment["mixture"] for segment in segments]),
        stems={target: np.concatenate([segment["stems"][target] for segment in segments]) for target in targets},
        metadata=json.loads(first["metadata"]),
    )


def _name(segment: Mapping[str, Any]) -> str:
    return segment["track"].decode()
