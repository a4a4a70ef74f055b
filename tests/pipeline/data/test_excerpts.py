"""Excerpts of whole tracks: every sample can begin one, the row is a function of its number, memory is bounded."""

from __future__ import annotations

import dataclasses
import itertools
import resource
import typing
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from models.spec import ModelSpec
from pipeline.config.config import load
from pipeline.config.train import TrainSpec
from pipeline.data import batches, corpus, excerpts, ingest, tfrecords
from pipeline.data.datasets.track import Track
from pipeline.data.excerpts import Copy, Excerpts, Tracks

MODEL = ModelSpec(frame_length=256, hop=128, sample_rate_hz=8000)
TRAIN = TrainSpec(batch=4, segment_frames=20)


def ramp(samples: int, first: int = 0, targets: int = 2) -> np.ndarray:
    """A track whose every sample tells where it lies."""
    return np.repeat(np.arange(first, first + samples, dtype=np.int16), targets).reshape(samples, 1, targets)


def records(tracks: dict[str, np.ndarray], path: Path, segment_samples: int) -> list[str]:
    """One shard of tracks whose stems are both the same, `[samples]` int16."""
    examples = []
    for name, pcm in tracks.items():
        signal = (pcm[:, None] / tfrecords.FULL_SCALE).astype(np.float32)
        stems = {"vocals": signal, "accompaniment": signal}
        track = Track(name=name, split="train", sample_rate_hz=8000, mixture=signal, stems=stems, metadata={})
        examples += tfrecords.encode(track, segment_samples)
    tfrecords.write(examples, str(path))
    return [str(path)]


def test_every_sample_of_a_track_that_an_excerpt_fits_after_begins_one(tmp_path: Path) -> None:
    """Stored in segments of 7: all but the first excerpts of each lie over a border."""
    files = records({"a": np.arange(30, dtype=np.int16)}, tmp_path / "data_tfrecord-0.gz", 7)
    [track] = Tracks(files, MODEL, TRAIN).originals
    np.testing.assert_array_equal(track[:, 0, 0], np.arange(30))
    row = Excerpts([track], 10, seed=0)
    pieces = [row[number][:, 0, 0] for number in range(600)]
    assert all(np.all(np.diff(piece) == 1) for piece in pieces)
    starts = Counter(int(piece[0]) for piece in pieces)
    assert set(starts) == set(range(21))
    assert max(starts.values()) < 60  # of 29 expected, 5.4 of standard deviation


def test_an_epoch_has_as_many_excerpts_of_a_track_as_fit_into_it_and_at_least_one() -> None:
    row = Excerpts([ramp(100), ramp(35, 1000), ramp(4, 2000)], 10, seed=1)
    epochs = [[int(row[number][0, 0, 0]) // 1000 for number in range(14 * e, 14 * e + 14)] for e in range(3)]
    assert [Counter(epoch) for epoch in epochs] == [{0: 10, 1: 3, 2: 1}] * 3
    assert epochs[0] != epochs[1] != epochs[2]
    short = next(row[number] for number in range(14) if row[number][0, 0, 0] == 2000)
    np.testing.assert_array_equal(short[:, 0, 0], [2000, 2001, 2002, 2003, 0, 0, 0, 0, 0, 0])


def test_a_row_is_a_function_of_seed_and_number() -> None:
    tracks = [ramp(500), ramp(300, 1000)]
    first, again, other = (Excerpts(tracks, 20, seed=seed) for seed in (5, 5, 2**32 - 1))
    backwards = [again[number] for number in reversed(range(90))][::-1]
    np.testing.assert_array_equal([first[number] for number in range(90)], backwards)
    assert any(not np.array_equal(first[number], other[number]) for number in range(5))


def test_circular_shift_rolls_only_the_first_target_by_whole_steps() -> None:
    row = Excerpts([ramp(1000)], 400, seed=0, shift_samples=300)
    shifts = set()
    for number in range(40):
        first, second = row[number][:, 0].T.astype(int)
        assert np.all(np.diff(second) == 1)
        [shift] = set((first - second) % 1000)
        shifts.add(int(shift))
    assert shifts == {0, 300, 600, 900}


def test_tracks_that_memory_does_not_hold_lie_on_disk_and_give_the_same_batches(
    small_records, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = dataclasses.replace(TRAIN, augment=("speed", "remix", "gain"))
    in_memory = Tracks(small_records["train"], MODEL, train)
    monkeypatch.setattr(excerpts, "CACHE_BYTES", 0)
    on_disk = Tracks(small_records["train"], MODEL, train)
    assert len(on_disk.all) == 5 * len(on_disk.originals) == 5 * 4
    assert all(isinstance(track.base, np.memmap) or isinstance(track, np.memmap) for track in on_disk.all)
    for ours, theirs in zip(on_disk.all, in_memory.all, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    rows = [batches.training_batches(tracks, train).take(3) for tracks in (in_memory, on_disk)]
    for ours, theirs in zip(*rows, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_what_the_disk_cannot_hold_is_said_in_words(small_records, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(excerpts, "CACHE_BYTES", 0)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))  # EFBIG: Python ignores the signal
    try:
        with pytest.raises(OSError, match=r"cannot hold the tracks to train on .*: set TMPDIR"):
            _ = Tracks(small_records["train"], MODEL, TRAIN).originals
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_batches_begun_later_are_the_same(small_records) -> None:
    """Whatever is on: a batch is a function of the number of its step."""
    on = ("circular_shift", "speed", "remix", "gain", "polarity", "channel_swap", "equaliser", "reverb", "mp3")
    train = dataclasses.replace(TRAIN, augment=on, seed=2**32 - 1)
    tracks = Tracks(small_records["train"], MODEL, train)
    whole = [batch.numpy() for batch in batches.training_batches(tracks, train).take(9)]
    for first in (1, 7):
        later = batches.training_batches(Tracks(small_records["train"], MODEL, train), train, first).take(9 - first)
        np.testing.assert_array_equal(whole[first:], [batch.numpy() for batch in later])
    assert not any(np.array_equal(ours, theirs) for ours, theirs in itertools.combinations(whole, 2))


@pytest.mark.parametrize("stretch", [1.0, 0.5, 9 / 8])
def test_a_copy_in_pieces_is_the_copy_of_the_whole(stretch: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(excerpts, "PIECE", 5000)
    monkeypatch.setattr(excerpts, "CONTEXT", 2000)
    track = tfrecords.quantise(0.5 * np.sin(np.arange(17_000) / 50)[:, None, None])
    copy = Copy(
        (lambda piece: excerpts._at_speed(piece, 1 / stretch)) if stretch != 1 else (lambda piece: piece), stretch
    )
    joined = np.concatenate([piece for pieces in excerpts._copied([track], copy) for piece in pieces])[:, 0, 0]
    assert len(joined) == pytest.approx(17_000 * stretch, abs=3)
    expected = tfrecords.FULL_SCALE * 0.5 * np.sin(np.arange(len(joined)) / stretch / 50)
    inner = slice(int(1000 * stretch), int(16_000 * stretch))  # the ends of the whole ring: they are no period of it
    error = np.sqrt(np.mean(np.square(joined[inner] - expected[inner])))
    assert error < 0.02 * 0.5 * tfrecords.FULL_SCALE


def test_records_without_a_track_are_said_in_words(tmp_path: Path) -> None:
    files = records({}, tmp_path / "data_tfrecord-0.gz", 7)
    with pytest.raises(ValueError, match="the train split holds no track"):
        batches.training_batches(Tracks(files, MODEL, TRAIN), TRAIN)


def test_segments_out_of_order_are_refused(tmp_path: Path) -> None:
    [file] = records({"a": np.arange(30, dtype=np.int16)}, tmp_path / "data_tfrecord-0.gz", 7)
    first, second, *others = map(tf.train.Example.FromString, tf.data.TFRecordDataset(file, "GZIP").as_numpy_iterator())
    tfrecords.write([second, first, *others], file)
    with pytest.raises(ValueError, match="Segment 1 of track 'a' is out of order"):
        _ = Tracks([file], MODEL, TRAIN).originals


def test_a_training_reads_the_same_from_records_of_any_encoding(tmp_path: Path) -> None:
    options = {"tracks": {"train": 1, "dev": 1, "test": 1}, "seconds": 2}
    read = []
    for encoding in typing.get_args(tfrecords.Encoding):
        changes = {"sample_rate_hz": 8000, "segment_seconds": 0.7, "options": options, "encoding": encoding}
        data = dataclasses.replace(load("demo").data, **changes)
        shard = next(shard for shard in ingest.plan(corpus.discover(data)) if shard.split == "train")
        Path(shard.path(str(tmp_path / encoding))).parent.mkdir(parents=True)
        ingest.write_shard(shard, data, str(tmp_path / encoding))
        read.append(Tracks([shard.path(str(tmp_path / encoding))], MODEL, TRAIN).originals[0])
    assert len(read[0]) == 2 * 8000
    np.testing.assert_array_equal(read[1], read[0])
    np.testing.assert_array_equal(read[2], read[0])


def test_a_mono_model_sees_the_mean_of_stereo_stems(tmp_path: Path) -> None:
    options = {"tracks": {"train": 1, "dev": 1, "test": 1}, "seconds": 2}
    data = dataclasses.replace(load("demo").data, sample_rate_hz=8000, channels=2, segment_seconds=1, options=options)
    shard = next(shard for shard in ingest.plan(corpus.discover(data)) if shard.split == "train")
    Path(shard.path(str(tmp_path))).parent.mkdir(parents=True)
    ingest.write_shard(shard, data, str(tmp_path))
    files = [shard.path(str(tmp_path))]
    [track] = tfrecords.read_tracks(files, MODEL.targets)
    [mono] = Tracks(files, MODEL, TRAIN).originals
    [stereo] = Tracks(files, dataclasses.replace(MODEL, channels=2), TRAIN).originals
    for index, target in enumerate(MODEL.targets):
        np.testing.assert_array_equal(stereo[..., index] / tfrecords.FULL_SCALE, track.stems[target])
        mean = track.stems[target].mean(axis=1)
        np.testing.assert_allclose(mono[:, 0, index] / tfrecords.FULL_SCALE, mean, atol=0.51 / tfrecords.FULL_SCALE)
