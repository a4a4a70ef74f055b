"""The training loop on TFRecords of rendered songs."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from models.spec import ModelSpec
from pipeline.common.progress import TrainingProgress
from pipeline.components import trainer
from pipeline.config.augment import AUGMENTATIONS
from pipeline.config.config import load
from pipeline.config.train import Recipe, TrainSpec
from pipeline.data import batches, corpus, ingest, tfrecords
from pipeline.data.excerpts import Tracks
from pipeline.training import loop, optimizers

MODEL = ModelSpec(
    sizes={"units": 16}, frame_length=256, hop=128, sample_rate_hz=8000, standardise=True, input_power=0.5
)
TRAIN = TrainSpec(steps=12, batch=4, segment_frames=20, evaluate_every_steps=4, learning_rate=1e-2, warmup_steps=1)
RECIPE = Recipe("small", model=MODEL, train=TRAIN)


def run(recipe: Recipe, small_records, directory: Path, report=lambda progress: None) -> loop.Result:
    return loop.train(
        recipe,
        small_records["train"],
        small_records["dev"],
        str(directory / "checkpoints"),
        str(directory / "logs"),
        report,
    )


def test_excerpts_of_silence_for_the_most_part_are_refused(small_records, tmp_path: Path) -> None:
    tracks = Tracks(small_records["train"], MODEL, TRAIN)
    most = 2 * max(map(len, tracks.originals)) // MODEL.hop
    with pytest.raises(ValueError, match=rf"segment_frames is {most + 1}, .*: at most {most}, twice the longest track"):
        run(changed(segment_frames=most + 1), small_records, tmp_path)
    batches.check_length(tracks, changed(segment_frames=most).train)


def changed(**values) -> Recipe:
    return dataclasses.replace(RECIPE, train=dataclasses.replace(TRAIN, **values))


def test_the_loss_falls_and_everything_is_reported(small_records, tmp_path: Path) -> None:
    seen: list[TrainingProgress] = []
    result = run(changed(steps=60, loss="csdr", evaluate_every_steps=20), small_records, tmp_path, seen.append)
    assert [progress.step for progress in seen] == list(range(1, 61))
    assert np.mean([progress.loss for progress in seen[-10:]]) < np.mean([progress.loss for progress in seen[:5]]) - 1
    assert math.isnan(seen[0].dev_loss)
    assert math.isfinite(seen[-1].dev_loss)
    assert seen[-1].seconds_left == 0
    assert result.own.steps == 60
    assert result.cpu_minutes > 0
    assert not result.own.stopped_early
    assert float(tf.reduce_min(result.separator.feature_scale)) > 0
    assert float(tf.math.reduce_std(result.separator.feature_mean)) > 0
    assert list((tmp_path / "logs").glob("events*"))


class Killed(Exception):
    """Stands for whatever ends a process."""


def test_an_interrupted_training_ends_with_the_same_weights(small_records, tmp_path: Path) -> None:
    """Bit for bit; the same of a process that is killed, with stages: test_killed.py."""

    def interrupt(progress: TrainingProgress) -> None:
        if progress.step == 7:
            raise Killed

    recipe = changed(checkpoint_minutes=1e-6, ema=0.9, augment=("speed", "remix", "gain", "polarity"))
    whole = run(recipe, small_records, tmp_path / "whole")
    with pytest.raises(Killed):
        run(recipe, small_records, tmp_path, interrupt)
    steps: list[int] = []
    result = run(recipe, small_records, tmp_path, lambda progress: steps.append(progress.step))
    assert steps == list(range(7, 13))  # the checkpoint after step 6 was the last one
    assert (result.own.steps, result.own.dev_loss) == (12, whole.own.dev_loss)
    assert [(step, loss) for step, _, loss in result.own.curve] == [(step, loss) for step, _, loss in whole.own.curve]
    assert result.own.curve[-1][2] == pytest.approx(result.own.dev_loss, rel=1e-4)
    again = run(recipe, small_records, tmp_path, lambda progress: steps.append(progress.step))
    assert steps[-1] == 12
    assert len(steps) == 6
    for other in (whole, again):
        for ours, theirs in zip(result.separator.get_weights(), other.separator.get_weights(), strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_patience_stops_early_and_returns_the_best_weights(small_records, tmp_path: Path) -> None:
    recipe = changed(steps=40, evaluate_every_steps=2, patience=2, learning_rate=0.2)
    dev: dict[int, float] = {}
    result = run(recipe, small_records, tmp_path, lambda progress: dev.__setitem__(progress.step, progress.dev_loss))
    assert result.own.stopped_early
    assert result.own.steps < 40
    best_step = min((loss, step) for step, loss in dev.items() if not math.isnan(loss))[1]
    assert result.own.steps == best_step + 2 * 2


def test_averaged_weights_are_returned_and_differ_from_the_last(small_records, tmp_path: Path) -> None:
    averaged = run(changed(ema=0.9), small_records, tmp_path / "averaged")
    plain = run(changed(ema=None), small_records, tmp_path / "plain")
    pairs = zip(averaged.separator.network.get_weights(), plain.separator.network.get_weights(), strict=True)
    assert any(not np.allclose(ours, theirs) for ours, theirs in pairs)


def test_a_budget_of_cpu_minutes_ends_the_training_whatever_its_steps(small_records, tmp_path: Path) -> None:
    seen: list[TrainingProgress] = []
    recipe = changed(steps=1, cpu_minutes=0.2, evaluate_every_steps=10**6, ema=0.9)
    result = run(recipe, small_records, tmp_path, seen.append)
    assert result.own.steps == len(seen) > 12
    assert 0.2 <= result.cpu_minutes < 0.4
    fractions = [progress.fraction for progress in seen]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1
    assert math.isfinite(result.own.dev_loss)
    assert run(recipe, small_records, tmp_path).own == result.own  # spent: nothing is trained any more


def test_lbfgs_lowers_its_objective_in_every_iteration_and_continues(small_records, tmp_path: Path) -> None:
    options = {"history": 5, "batches": 2}
    recipe = changed(optimizer="lbfgs", optimizer_options=options, loss="mse", steps=8, checkpoint_minutes=1e-6)
    losses: list[float] = []

    def interrupt(progress: TrainingProgress) -> None:
        losses.append(progress.loss)
        if progress.step == 4:
            raise Killed

    with pytest.raises(Killed):
        run(recipe, small_records, tmp_path, interrupt)
    result = run(recipe, small_records, tmp_path, lambda progress: losses.append(progress.loss))
    assert result.own.steps == 8
    assert losses[-1] < 0.9 * losses[0]
    assert all(after <= before * 1.0001 for before, after in itertools.pairwise(losses[4:]))
    assert losses[4] < losses[2]  # the same batches and weights as before


COPIES = ["mp3", "pitch_shift", "speed"]  # of whole tracks; the others work on the excerpts of a batch


@pytest.mark.parametrize("names", [COPIES, [name for name in AUGMENTATIONS if name not in COPIES]])
def test_every_augmentation_trains(small_records, tmp_path: Path, names: Sequence[str]) -> None:
    options = {"circular_shift": {"step_samples": 500}} if "circular_shift" in names else {}
    recipe = changed(steps=2, evaluate_every_steps=2, augment=tuple(names), augment_options=options)
    assert run(recipe, small_records, tmp_path).own.steps == 2


def test_training_batches_are_excerpts_of_the_tracks(small_records) -> None:
    plain = batches.training_batches(Tracks(small_records["train"], MODEL, TRAIN), TRAIN)
    first = next(iter(plain)).numpy()
    assert first.shape == (4, 20 * 128, 1, 2)
    tracks = list(tfrecords.read_tracks(small_records["train"], MODEL.targets))
    for excerpt in first:
        found = [
            track.name
            for track in tracks
            if any(
                np.array_equal(track.stems["vocals"][at : at + 2560], excerpt[..., 0]) for at in starts(track, excerpt)
            )
        ]
        assert len(found) == 1


def starts(track, excerpt: np.ndarray) -> np.ndarray:
    """Where the excerpt's first sample with sound could lie in the track."""
    at = int(np.argmax(excerpt[:, 0, 0] != 0))
    positions = np.flatnonzero(track.stems["vocals"][:, 0] == excerpt[at, 0, 0]) - at
    return positions[positions >= 0]


def test_a_mono_model_sees_the_mean_of_stereo_stems(tmp_path: Path) -> None:
    options = {"tracks": {"train": 1, "dev": 1, "test": 1}, "seconds": 2}
    data = dataclasses.replace(load("demo").data, sample_rate_hz=8000, channels=2, segment_seconds=2, options=options)
    shard = next(shard for shard in ingest.plan(corpus.discover(data)) if shard.split == "dev")
    Path(shard.path(str(tmp_path))).parent.mkdir(parents=True)
    ingest.write_shard(shard, data, str(tmp_path))
    [track] = tfrecords.read_tracks([shard.path(str(tmp_path))], MODEL.targets)
    [batch] = batches.dev_batches([shard.path(str(tmp_path))], MODEL, TRAIN)
    mean = track.stems["vocals"].mean(axis=1)[: batch.shape[1]]
    np.testing.assert_allclose(batch[0, :, 0, 0], mean, atol=1.01 / 32768)


def test_no_records_and_a_diverging_loss_are_said_in_words(small_records, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no TFRecords"):
        run(RECIPE, {"train": [], "dev": []}, tmp_path)
    with pytest.raises(ValueError, match=r"loss became nan at step \d+: lower train.learning_rate \(now 10\.0\)"):
        run(changed(learning_rate=10.0, steps=30, clip_norm=None), small_records, tmp_path)


def test_the_schedule_warms_up_holds_and_anneals_to_one_percent() -> None:
    spec = TrainSpec(steps=1000, warmup_steps=100, constant_fraction=0.4, learning_rate=1.0)
    fraction = tf.Variable(0.0)
    schedule = optimizers.Schedule(spec, fraction)

    def rate(step: int) -> float:
        fraction.assign(step / 1000)
        return float(schedule(tf.constant(step)))

    rates = {step: rate(step) for step in (0, 49, 99, 400, 700, 1000)}
    expected = {0: 0.01, 49: 0.5, 99: 1.0, 400: 1.0, 700: 0.505, 1000: 0.01}
    assert rates == pytest.approx(expected, rel=1e-3)
    constant = optimizers.Schedule(dataclasses.replace(spec, schedule="constant"), fraction)
    assert float(constant(tf.constant(999))) == 1.0


def test_the_fingerprint_follows_recipe_and_bytes_not_places(small_records, tmp_path: Path) -> None:
    config = load("demo")
    moved = []
    for name in small_records["train"]:
        target = tmp_path / "Split-train" / Path(name).name
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(Path(name).read_bytes())
        moved.append(str(target))
    here = trainer.training_key(config, small_records["train"])
    assert trainer.training_key(config, moved) == here
    assert trainer.training_key(load("demo", ["train.seed=1"]), moved) != here
    assert trainer.training_key(load("demo", ["gate.thresholds=[]"]), moved) == here
    Path(moved[0]).write_bytes(b"other")
    assert trainer.training_key(config, moved) != here
