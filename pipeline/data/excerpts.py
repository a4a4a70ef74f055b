"""Excerpts of whole tracks by number: which track, and where in it, is a function of the seed, and no state is kept.

So a training that was killed goes on at the excerpt that was next, whatever had been read ahead.
"""

from __future__ import annotations

import functools
import io
import itertools
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import IO, Any, cast

import numpy as np
import tensorflow as tf

from models.spec import ModelSpec
from pipeline.config.train import TrainSpec
from pipeline.data import augment, effects, tfrecords

# Tracks and their copies are held in memory when they are smaller than this, else in a file that has no name.
CACHE_BYTES = 2 * 1024**3
# A copy of a track is made of pieces of so many samples, each with some of its neighbours so that they fit together.
PIECE, CONTEXT = 2**20, 2**14


@dataclass(frozen=True)
class Copy:
    """An augmentation that is made once for a whole track: float32 `[samples, channels, targets]` in and out.

    stretch: how many times as long the result is.
    """

    make: Callable[[np.ndarray], np.ndarray]
    stretch: float = 1.0


class Tracks:
    """The tracks of TFRecords, int16 `[samples, channels, targets]`, read when they are first asked for.

    A mono model sees the mean of the channels.

    Raises, when they are asked for:
      ValueError: the segments of a track are not in order.
      OSError: they are too large for memory and for the file system of TMPDIR.
    """

    def __init__(self, files: Sequence[str], model: ModelSpec, train: TrainSpec) -> None:
        self.files, self.model = sorted(files), model
        self.makers = _copies(model, train)
        self.room = CACHE_BYTES // (1 + len(self.makers))

    @cached_property
    def originals(self) -> list[np.ndarray]:
        """Every track as it was stored."""
        tracks = itertools.chain.from_iterable(_tracks(file, self.model) for file in self.files)
        return _kept(tracks, self._frame, self.room)

    @cached_property
    def all(self) -> list[np.ndarray]:
        """The originals, and all of them once more for every copy that the augmentations ask for."""
        made = itertools.chain.from_iterable(_copied(self.originals, each) for each in self.makers)
        return self.originals + _kept(made, self._frame, self.room * len(self.makers))

    @property
    def _frame(self) -> tuple[int, int]:
        return self.model.channels, len(self.model.targets)


class Excerpts:
    """An endless shuffled row of excerpts: in every epoch as many of each track as fit into it, at least one.

    Where they begin is drawn anew for each, evenly over the track. Raises ValueError where there is no track.
    """

    def __init__(self, tracks: Sequence[np.ndarray], samples: int, seed: int, shift_samples: int | None = None) -> None:
        if not tracks:
            raise ValueError("the train split holds no track: nothing to learn from")
        self.tracks, self.samples, self.seed, self.shift_samples = list(tracks), samples, seed, shift_samples
        self.owner = np.repeat(np.arange(len(tracks)), [max(1, len(track) // samples) for track in tracks])
        self._order = functools.lru_cache(maxsize=2)(self._permutation)

    def __getitem__(self, number: int) -> np.ndarray:
        """Excerpt `number`, int16 `[samples, channels, targets]`; a track that is too short ends in silence.

        With `shift_samples`, the first target begins a random multiple of it later, in a track whose end meets its start.
        """
        epoch, place = divmod(number, len(self.owner))
        track = self.tracks[int(self.owner[self._order(epoch)[place]])]
        rng = np.random.default_rng([self.seed, number])
        start = int(rng.integers(max(len(track) - self.samples, 0) + 1))
        excerpt = np.zeros([self.samples, *track.shape[1:]], np.int16)
        length = min(self.samples, len(track))
        excerpt[:length] = track[start : start + length]
        if self.shift_samples:
            later = start + self.shift_samples * int(rng.integers(len(track) // self.shift_samples + 1))
            _copy_around(track[..., 0], later % len(track), excerpt[:length, :, 0])
        return excerpt

    def _permutation(self, epoch: int) -> np.ndarray:
        return np.random.default_rng([self.seed, epoch, 1]).permutation(len(self.owner))


def _kept(tracks: Iterable[Iterable[np.ndarray]], frame: tuple[int, int], room: int) -> list[np.ndarray]:
    """Tracks that come in pieces, each as one array: in memory, or on disk when they need more than `room` bytes."""
    file: Any = io.BytesIO()
    ends = [0]
    try:
        for pieces in tracks:
            for piece in pieces:
                if isinstance(file, io.BytesIO) and file.tell() + piece.nbytes > room:
                    file = _moved_to_disk(file)
                file.write(piece.tobytes())
            ends.append(file.tell())
        file.flush()
    except OSError as error:
        raise OSError(f"{tempfile.gettempdir()} cannot hold the tracks to train on ({error}): set TMPDIR") from error
    if not ends[-1]:
        return []
    stored = (
        np.frombuffer(file.getbuffer(), np.int16) if isinstance(file, io.BytesIO) else np.memmap(file, np.int16, "r")
    )
    frames = stored.reshape([-1, *frame])
    bounds = [end // frames[0].nbytes for end in ends]
    return [frames[start:end] for start, end in itertools.pairwise(bounds)]


def _moved_to_disk(buffer: io.BytesIO) -> IO[bytes]:
    """A file that has no name: it goes with the last array on it, or with the process."""
    file = tempfile.TemporaryFile()  # noqa: SIM115  # it is not closed here
    file.write(buffer.getbuffer())
    return file


def _copy_around(signal: np.ndarray, start: int, to: np.ndarray) -> None:
    """Copies what begins at `start` of a signal whose end meets its start, as much of it as there is room for."""
    before_end = min(len(signal) - start, len(to))
    to[:before_end] = signal[start : start + before_end]
    to[before_end:] = signal[: len(to) - before_end]


def stems(record: tf.Tensor, model: ModelSpec) -> dict[str, tf.Tensor]:
    """A serialized Example -> what `tfrecords.decode` gives, with the stems as int16 `[samples, channels, targets]`."""
    decoded = tfrecords.decode(record, model.targets, tf.int16)
    stacked = tf.stack([decoded["stems"][target] for target in model.targets], axis=-1)
    if model.channels == 1:
        mean = tf.reduce_mean(tf.cast(stacked, tf.float32), axis=1, keepdims=True)
        stacked = tf.cast(tf.round(mean), tf.int16)
    return {**decoded, "stems": tf.ensure_shape(stacked, [None, model.channels, len(model.targets)])}


def _tracks(file: str, model: ModelSpec) -> Iterator[Iterator[np.ndarray]]:
    """The tracks of a file, each as its segments."""
    records = tf.data.TFRecordDataset(file, compression_type="GZIP")
    wanted = ("track", "segment", "stems")
    decoded = records.map(lambda record: {name: stems(record, model)[name] for name in wanted}, tf.data.AUTOTUNE)
    segments = cast("Iterator[dict[str, Any]]", decoded.prefetch(tf.data.AUTOTUNE).as_numpy_iterator())
    for name, of_track in itertools.groupby(segments, key=lambda segment: segment["track"]):
        yield _in_order(name.decode(), of_track)


def _in_order(track: str, segments: Iterable[dict[str, Any]]) -> Iterator[np.ndarray]:
    for expected, segment in enumerate(segments):
        if segment["segment"] != expected:
            raise ValueError(f"Segment {segment['segment']} of track {track!r} is out of order in the TFRecords.")
        yield segment["stems"]


def _copies(model: ModelSpec, train: TrainSpec) -> list[Copy]:
    """What a training wants made of every track."""
    on, rate_hz = train.augmentations, model.sample_rate_hz
    factors = on["speed"].factors if "speed" in on else ()
    semitones = on["pitch_shift"].semitones if "pitch_shift" in on else ()
    qualities = on["mp3"].qualities if "mp3" in on else ()

    def of_each(effect: Callable[[np.ndarray], np.ndarray]) -> Copy:
        return Copy(lambda piece: np.stack([effect(piece[..., i]) for i in range(piece.shape[-1])], axis=-1))

    return [
        *(Copy(functools.partial(_at_speed, factor=each), 1 / each) for each in factors),
        *(of_each(functools.partial(effects.pitch_shifted, rate_hz=rate_hz, semitones=each)) for each in semitones),
        *(of_each(functools.partial(effects.as_mp3, rate_hz=rate_hz, quality=each)) for each in qualities),
    ]


def _at_speed(piece: np.ndarray, factor: float) -> np.ndarray:
    return augment.speed(tf.constant(piece), factor).numpy()


def _copied(tracks: Sequence[np.ndarray], copy: Copy) -> Iterator[Iterator[np.ndarray]]:
    """A copy of every track, in pieces; several are made at a time, and no more than that are in memory."""
    places = [(number, start) for number, track in enumerate(tracks) for start in range(0, len(track), PIECE)]

    def made(place: np.ndarray) -> np.ndarray:
        return _piece(tracks[place[0]], int(place[1]), copy)

    pieces = tf.data.Dataset.from_tensor_slices(np.array(places, np.int64).reshape(-1, 2)).map(
        lambda place: tf.numpy_function(made, [place], tf.int16, stateful=False),
        num_parallel_calls=tf.data.AUTOTUNE,
        deterministic=True,
    )
    finished = zip(places, pieces.as_numpy_iterator(), strict=True)
    for _, of_track in itertools.groupby(finished, key=lambda each: each[0][0]):
        yield (piece for _, piece in of_track)


def _piece(track: np.ndarray, start: int, copy: Copy) -> np.ndarray:
    before, end = min(start, CONTEXT), min(start + PIECE, len(track))
    made = copy.make(track[start - before : end + CONTEXT].astype(np.float32) / tfrecords.FULL_SCALE)
    wanted = made[round(before * copy.stretch) : round((before + end - start) * copy.stretch)]
    return tfrecords.quantise(wanted)
