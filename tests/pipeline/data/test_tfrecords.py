"""Tracks -> Examples -> tensors and tracks."""

from __future__ import annotations

import typing

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.data import tfrecords
from pipeline.data.datasets.track import Track
from pipeline.data.schema import metadata_features

TARGETS = ("vocals", "accompaniment")
LSB = 1 / 32768


def a_track(samples: int, channels: int = 1, level: float = 0.2, seed: int = 0, rate_hz: int = 16000) -> Track:
    rng = np.random.default_rng(seed)
    stems = {target: rng.uniform(-level, level, (samples, channels)).astype(np.float32) for target in TARGETS}
    return Track("Ünter - song", "dev", rate_hz, sum(stems.values()), stems, {"singer": "Änne"})


def scalars(example: tf.train.Example) -> dict[str, float]:
    feature = example.features.feature
    lists = {n: feature[n].int64_list.value or feature[n].float_list.value for n in metadata_features(TARGETS)}
    return {name: values[0] for name, values in lists.items()}


def write_and_read(tmp_path, *tracks: Track, segment_samples: int = 1000) -> list[Track]:
    path = str(tmp_path / "data_tfrecord-00000-of-00001.gz")
    tfrecords.write((e for track in tracks for e in tfrecords.encode(track, segment_samples)), path)
    return list(tfrecords.read_tracks(tmp_path, TARGETS))


@settings(max_examples=25, deadline=None)
@given(
    samples=st.integers(1, 700),
    channels=st.integers(1, 2),
    segment_samples=st.integers(1, 300),
    level=st.sampled_from([1e-5, 0.2, 0.9, 3.0]),
    seed=st.integers(0, 99),
)
def test_round_trip_is_exact_to_half_a_bit(samples, channels, segment_samples, level, seed):
    track = a_track(samples, channels, level, seed)
    encoded = list(tfrecords.encode(track, segment_samples))
    decoded = [tfrecords.decode(tf.constant(e.SerializeToString()), TARGETS) for e in encoded]
    assert [int(d["segment"]) for d in decoded] == list(range(-(-samples // segment_samples)))
    assert all(int(d["segments"]) == len(decoded) for d in decoded)
    lengths = [int(d["samples"]) for d in decoded]
    assert sum(lengths) == samples
    assert all(length == segment_samples for length in lengths[:-1])
    gain = tfrecords.gain(max(np.abs(signal).max() for signal in (track.mixture, *track.stems.values())))
    for name, original in {"mixture": track.mixture, **track.stems}.items():
        parts = [d["mixture"] if name == "mixture" else d["stems"][name] for d in decoded]
        joined = np.concatenate([part.numpy() for part in parts])
        assert joined.shape == original.shape
        assert np.abs(joined - original * gain).max() <= 0.51 * LSB


@pytest.mark.parametrize("encoding", typing.get_args(tfrecords.Encoding))
@pytest.mark.parametrize(("samples", "channels", "level"), [(700, 2, 0.2), (1, 1, 0.9), (500, 1, 3.0), (600, 2, 1e-6)])
def test_an_encoding_of_stems_keeps_what_it_promises(tmp_path, encoding, samples, channels, level):
    """Half a bit of 16 in the mixture and in stems that are PCM; a stem in float32 is exact but for the gain."""
    track = a_track(samples, channels, level, 1)
    path = str(tmp_path / "data_tfrecord-00000-of-00001.gz")
    tfrecords.write(tfrecords.encode(track, 250, encoding=encoding), path)
    (read,) = tfrecords.read_tracks([path], TARGETS)
    gain = np.float32(tfrecords.gain(max(np.abs(signal).max() for signal in (track.mixture, *track.stems.values()))))
    assert np.abs(read.mixture - track.mixture * gain).max() <= 0.51 * LSB
    records = tf.data.TFRecordDataset(path, "GZIP")
    pcm = [each["stems"] for each in records.map(lambda record: tfrecords.decode(record, TARGETS, tf.int16))]
    for name, original in track.stems.items():
        assert np.abs(read.stems[name] - original * gain).max() <= (0 if encoding == "float32" else 0.51 * LSB)
        joined = np.concatenate([part[name] for part in pcm])
        np.testing.assert_array_equal(joined, tfrecords.quantise(original * gain))


def test_decode_runs_in_a_tf_data_graph_and_gives_int16_too():
    track = a_track(500, 2)
    (example,) = tfrecords.encode(track, 1000)
    data = tf.data.Dataset.from_tensors(example.SerializeToString())
    decoded = next(iter(data.map(lambda s: tfrecords.decode(s, ("vocals",), tf.int16))))
    assert decoded["mixture"].dtype == tf.int16
    assert list(decoded["stems"]) == ["vocals"]
    assert np.array_equal(decoded["mixture"].numpy(), np.rint(track.mixture * 32768))
    assert decoded["track"].numpy().decode() == "Ünter - song"
    assert int(decoded["sample_rate_hz"]) == 16000
    assert int(decoded["channels"]) == 2


def test_every_scalar_is_present_and_no_other():
    (example,) = tfrecords.encode(a_track(500), 1000)
    audio = {"mixture", "track", "split", "metadata", *(f"stem/{target}" for target in TARGETS)}
    assert set(example.features.feature) - audio == set(metadata_features(TARGETS))
    scalars(example)  # each has one value


def test_one_gain_for_the_whole_track_only_when_it_would_clip():
    quiet, loud = a_track(2000, level=0.4), a_track(2000, level=2.0)
    assert {scalars(e)["gain_db"] for e in tfrecords.encode(quiet, 500)} == {0.0}
    gains = {scalars(e)["gain_db"] for e in tfrecords.encode(loud, 500)}
    assert len(gains) == 1
    assert -13 < gains.pop() < -11
    peaks = [scalars(e)["peak_db/mixture"] for e in tfrecords.encode(loud, 500)]
    assert max(peaks) == pytest.approx(0.0, abs=0.001)


def test_scalars_measure_what_is_stored():
    times = np.arange(16000) / 16000
    sine = (0.5 * np.sin(2 * np.pi * 100 * times)).astype(np.float32)[:, None]
    silence = np.zeros_like(sine)
    half = np.concatenate([sine, silence])
    track = Track("a", "train", 16000, half, {"vocals": half, "accompaniment": np.zeros_like(half)})
    (values,) = [scalars(e) for e in tfrecords.encode(track, 100000, clipping_ratio=0.25)]
    assert values["peak_db/vocals"] == pytest.approx(20 * np.log10(0.5), abs=0.01)
    assert values["rms_db/vocals"] == pytest.approx(20 * np.log10(0.5 / 2), abs=0.01)
    assert values["rms_db/accompaniment"] == values["peak_db/accompaniment"] == -120
    assert values["silence_ratio"] == pytest.approx(0.5)
    assert values["clipping_ratio"] == 0.25
    assert values["residual_db"] == -120
    sounding, silent = (scalars(e) for e in tfrecords.encode(track, 16000))
    assert (sounding["silence_ratio"], silent["silence_ratio"]) == (0, 1)
    assert silent["rms_db/mixture"] == silent["residual_db"] == -120


def test_residual_is_relative_to_the_mixture_of_the_track():
    track = a_track(4000)
    missing = Track("a", "train", 16000, track.mixture, {**track.stems, "vocals": track.stems["vocals"] * 0})
    power = [np.mean(x**2) for x in (track.stems["vocals"], track.mixture)]
    (values,) = [scalars(e) for e in tfrecords.encode(missing, 4000)]
    assert values["residual_db"] == pytest.approx(10 * np.log10(power[0] / power[1]), abs=0.01)
    (values,) = [scalars(e) for e in tfrecords.encode(track, 4000)]
    assert values["residual_db"] < -75  # rounding only


def test_tracks_come_back_whole_and_in_order(tmp_path):
    first, second = a_track(2500, 2, seed=1), a_track(999, 2, seed=2)
    read = write_and_read(tmp_path, first, second)
    assert [(track.name, track.split, track.sample_rate_hz) for track in read] == [("Ünter - song", "dev", 16000)] * 2
    for track, original in zip(read, (first, second), strict=True):
        assert track.metadata == original.metadata
        assert np.abs(track.mixture - original.mixture).max() <= 0.51 * LSB
        assert np.abs(track.stems["vocals"] - original.stems["vocals"]).max() <= 0.51 * LSB


def test_missing_segments_are_noticed(tmp_path):
    encoded = list(tfrecords.encode(a_track(3000), 1000))
    path = str(tmp_path / "a.gz")
    for kept, words in ((encoded[:2], "breaks off after 2"), (encoded[1:], "Segment 1 of track .* out of order")):
        tfrecords.write(kept, path)
        with pytest.raises(ValueError, match=words):
            list(tfrecords.read_tracks([path], TARGETS))
    with pytest.raises(ValueError, match="holds no TFRecords"):
        tfrecords.shards(tmp_path / "nowhere")


def test_files_are_gzip_the_same_every_time_and_whole_or_absent(tmp_path):
    track = a_track(3000)
    paths = [tmp_path / "a.gz", tmp_path / "b.gz"]
    for path in paths:
        tfrecords.write(tfrecords.encode(track, 1000), str(path))
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert paths[0].read_bytes()[:2] == b"\x1f\x8b"

    def broken():
        yield from tfrecords.encode(track, 1000)
        raise ValueError("the reader broke")

    with pytest.raises(ValueError, match="the reader broke"):
        tfrecords.write(broken(), str(tmp_path / "c.gz"))
    with pytest.raises(OSError, match="Cannot write"):
        tfrecords.write(tfrecords.encode(track, 1000), str(tmp_path / "no" / "such" / "folder.gz"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.gz", "b.gz"]


def test_inputs_are_not_changed():
    track = a_track(1000, level=2.0)
    before = track.mixture.copy()
    list(tfrecords.encode(track, 300))
    assert np.array_equal(track.mixture, before)
