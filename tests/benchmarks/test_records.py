"""What the stems of seven real songs take in each encoding of TFRecords, against int16: `make test-slow`.

Sizes are of the stems alone: the mixture is int16 in all of them. Writing and reading are CPU time.
"""

from __future__ import annotations

import functools
import io
import itertools
import os
import time
import typing
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import tensorflow as tf

from pipeline.data import tfrecords
from pipeline.data.datasets.track import Track

pytestmark = pytest.mark.slow

SONGS = Path(os.environ.get("STEMLINE_DATASETS", Path(__file__).parents[3] / "shared/datasets")) / "EverythingIsFree"
STEMS = ("vocals", "drums", "other")  # two of the songs have a bass besides
FROM, SECONDS = 60, 30  # of every song


@pytest.fixture(scope="module")
def tracks() -> list[Track]:
    if not SONGS.is_dir():
        pytest.skip(f"{SONGS} is not there")
    return [song(folder) for folder in sorted(SONGS.iterdir()) if folder.is_dir()]


def song(folder: Path) -> Track:
    """Half a minute of a song, from where all play."""
    stems = {}
    for name in STEMS:
        with soundfile.SoundFile(folder / f"{name}.ogg") as file:
            file.seek(FROM * file.samplerate)
            stems[name] = file.read(SECONDS * file.samplerate, "float32", always_2d=True)
            rate_hz = file.samplerate
    return Track(folder.name, "train", rate_hz, np.sum(list(stems.values()), axis=0), stems, {})


def cpu_seconds(work: Callable[[], object], repeats: int = 3) -> float:
    measured = []
    for _ in range(repeats):
        started = time.process_time()
        work()
        measured.append(time.process_time() - started)
    return min(measured)


def test_sizes_and_costs(tracks: list[Track], tmp_path: Path) -> None:
    path = str(tmp_path / "data_tfrecord-0.gz")
    minutes, base = sum(len(track.mixture) / track.sample_rate_hz for track in tracks) / 60, 0
    mixtures = sum(2 * track.mixture.size for track in tracks)

    def write(encoding: tfrecords.Encoding) -> None:
        examples = (tfrecords.encode(track, 10 * track.sample_rate_hz, encoding=encoding) for track in tracks)
        tfrecords.write(itertools.chain.from_iterable(examples), path)

    def read() -> None:
        records = tf.data.TFRecordDataset(path, "GZIP")
        for each in records.map(lambda record: tfrecords.decode(record, STEMS, tf.int16)["stems"]):
            assert each

    for encoding in typing.get_args(tfrecords.Encoding):
        written = cpu_seconds(functools.partial(write, encoding), 1)
        size = Path(path).stat().st_size - mixtures
        base = base or size
        print(
            f"{encoding}: {size / base:.2f} of int16's {base / minutes / 2**20:.1f} MiB a minute; CPU seconds a minute: "
            f"{written / minutes:.2f} to write, {cpu_seconds(read) / minutes:.3f} to read"
        )


def test_flac_by_soundfile_and_by_tensorflow_io(tracks: list[Track]) -> None:
    import tensorflow_io as tfio

    pieces, pcm = [], []
    for track in tracks:
        for stem in track.stems.values():
            buffer = io.BytesIO()
            pcm.append(tfrecords.quantise(stem * np.float32(0.5)))
            soundfile.write(buffer, pcm[-1], track.sample_rate_hz, format="FLAC", subtype="PCM_16")
            pieces.append(tf.constant(buffer.getvalue()))
    by_tfio = tf.function(lambda data: tfio.audio.decode_flac(data, dtype=tf.int16))
    by_soundfile = tf.function(lambda data: tf.numpy_function(tfrecords._from_flac, [data], tf.int16))
    raw = tf.function(lambda data: tf.io.decode_raw(data, tf.int16))
    for piece, signal in zip(pieces, pcm, strict=True):
        np.testing.assert_array_equal(by_tfio(piece), signal)
        np.testing.assert_array_equal(by_soundfile(piece), signal)
    stored = [tf.constant(signal.tobytes()) for signal in pcm]
    plain = cpu_seconds(lambda: [raw(each) for each in stored])
    decoders = (("tensorflow-io", by_tfio), ("soundfile", by_soundfile))
    for name, decode in decoders:
        seconds = cpu_seconds(functools.partial(lambda decode: [decode(each) for each in pieces], decode))
        print(f"FLAC by {name}: {seconds / plain:.1f} x the time of raw PCM")
