"""How long a training waits for its data, and what data costs against a step of the fastest recipe: `make test-slow`."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from pipeline.config.augment import AUGMENTATIONS, BY_PEDALBOARD
from pipeline.config.config import load
from pipeline.config.train import Recipe
from pipeline.data import batches, corpus, ingest, tfrecords
from pipeline.data.excerpts import Tracks
from pipeline.training import loop

pytestmark = pytest.mark.slow

FASTEST = "ffn_mir1k"  # of the recipes that train in minutes: a step takes a third of the next one's, dnn_mir1k
WARM, STEPS = 20, 80
BY_TENSORFLOW = tuple(name for name in AUGMENTATIONS if name not in BY_PEDALBOARD)
SETTINGS = {
    "nothing on": (),
    "everything of TensorFlow and NumPy on": BY_TENSORFLOW,
    "everything on, pedalboard's too": tuple(AUGMENTATIONS),
}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """Eight minutes of songs at 16 kHz."""
    root = str(tmp_path_factory.mktemp("records"))
    options = {"tracks": {"train": 24, "dev": 1, "test": 1}, "seconds": 20}
    data = dataclasses.replace(load("demo").data, sample_rate_hz=16000, options=options)
    for shard in ingest.plan(corpus.discover(data)):
        Path(shard.path(root)).parent.mkdir(exist_ok=True)
        ingest.write_shard(shard, data, root)
    return {split: tfrecords.shards(f"{root}/Split-{split}") for split in ("train", "dev")}


def recipe(augment: tuple[str, ...]) -> Recipe:
    of = load(FASTEST).recipe
    changes = {"steps": WARM + STEPS, "cpu_minutes": None, "evaluate_every_steps": 10**6, "augment": augment}
    return dataclasses.replace(of, train=dataclasses.replace(of.train, **changes))


def events(directory: Path) -> Iterator[tuple[int, float, float]]:
    """Step, when it ended, and the share of it that was waited for data, of a training's TensorBoard file."""
    [file] = directory.glob("events*")
    for record in tf.data.TFRecordDataset(str(file)).as_numpy_iterator():
        event = tf.compat.v1.Event.FromString(record)
        for value in event.summary.value:
            if value.tag == "data/share_of_step_waited":
                yield event.step, event.wall_time, float(tf.make_ndarray(value.tensor))


def test_the_trainer_hardly_waits_for_data(files: dict[str, list[str]], tmp_path: Path) -> None:
    waited, seconds = {}, {}
    for name, augment in SETTINGS.items():
        place = tmp_path / name[:4] / str(len(augment))
        loop.train(recipe(augment), files["train"], files["dev"], f"{place}/checkpoints", f"{place}/logs")
        steps = [event for event in events(place / "logs") if event[0] > WARM]
        waited[name] = float(np.mean([share for _, _, share in steps]))
        seconds[name] = float(np.median(np.diff([ended for _, ended, _ in steps])))
        print(
            f"{FASTEST}, {name}: {waited[name]:.1%} of a step is waiting, {seconds[name] / seconds['nothing on']:.2f} x"
        )
    # A busy machine keeps also those waiting that have their batch: what counts is what augmentations add.
    assert waited["everything of TensorFlow and NumPy on"] - waited["nothing on"] < 0.03


def cpu_seconds_of_a_batch(files: list[str], augment: tuple[str, ...]) -> tuple[float, float]:
    """CPU time until the first batch, and of every further one."""
    of = recipe(augment)
    started = time.process_time()
    row = iter(batches.training_batches(Tracks(files, of.model, of.train), of.train))
    next(row)
    until_first = time.process_time() - started
    for _ in range(batches.AHEAD + 4):
        next(row)
    started = time.process_time()
    for _ in range(60):
        next(row)
    return until_first, (time.process_time() - started) / 60


def test_what_each_augmentation_takes(files: dict[str, list[str]]) -> None:
    """CPU time, which a busy machine does not change: of the copies once, of the others in every batch."""
    plain = cpu_seconds_of_a_batch(files["train"], ())
    minutes = (
        sum(len(track) for track in Tracks(files["train"], recipe(()).model, recipe(()).train).originals) / 16000 / 60
    )
    for name in (*AUGMENTATIONS, "all"):
        first, each = cpu_seconds_of_a_batch(files["train"], tuple(AUGMENTATIONS) if name == "all" else (name,))
        print(
            f"{name}: {1000 * (each - plain[1]):.1f} ms a batch beside {1000 * plain[1]:.1f} ms of reading, "
            f"{(first - plain[0]) / minutes:.1f} s a minute of tracks before the first"
        )
