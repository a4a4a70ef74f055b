"""Staged joint training: FCN alone, BLSTM alone, then both joined (Grais & Plumbley)."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from models.separator import Separator
from models.spec import ModelSpec
from pipeline.common.progress import TrainingProgress
from pipeline.config.train import Recipe, StageSpec, TrainSpec
from pipeline.training import loop, stages

FCN = {"filters": (4,), "kernels": ((3, 5),), "output_kernel": (3, 5), "segment_frames": 6}
BLSTM = {"units": 8, "segment_frames": 6}
MODEL = ModelSpec(network="fcn_blstm", sizes={**FCN, **BLSTM}, frame_length=256, hop=128, sample_rate_hz=8000)
TRAIN = TrainSpec(
    steps=20,
    batch=2,
    segment_frames=12,
    evaluate_every_steps=4,
    warmup_steps=1,
    checkpoint_minutes=1e-6,
    stages=(
        StageSpec("fcn", "fcn", 0.3, FCN, learning_rate=1e-2),
        StageSpec("blstm", "blstm", 0.3, BLSTM, loss="csdr"),
    ),
)
RECIPE = Recipe("staged", model=MODEL, train=TRAIN)


def run(recipe: Recipe, small_records, directory: Path, report=lambda progress: None) -> loop.Result:
    return loop.train(
        recipe, small_records["train"], small_records["dev"], f"{directory}/checkpoints", f"{directory}/logs", report
    )


class Killed(Exception):
    """Stands for whatever ends a process."""


def test_the_plan_shares_steps_or_minutes_and_gives_each_stage_its_loss_and_rate() -> None:
    planned = stages.plan(RECIPE)
    assert [name for name, _ in planned] == ["fcn", "blstm", "own"]
    assert [each.train.steps for _, each in planned] == [6, 6, 8]
    assert [each.model.network for _, each in planned] == ["fcn", "blstm", "fcn_blstm"]
    assert [each.train.loss for _, each in planned] == ["mse", "csdr", "mse"]
    assert [each.train.learning_rate for _, each in planned] == [1e-2, 1e-3, 1e-3]
    budget = stages.plan(dataclasses.replace(RECIPE, train=dataclasses.replace(TRAIN, cpu_minutes=10)))
    assert [each.train.cpu_minutes for _, each in budget] == pytest.approx([3, 3, 4])


def test_the_joint_network_starts_with_the_fcn_and_the_outer_layers_of_the_blstm() -> None:
    fcn, blstm, joint = (Separator(each.model) for _, each in stages.plan(RECIPE))
    assert stages.hand_over([], fcn) == []
    assert stages.hand_over([fcn], blstm) == []
    assert stages.hand_over([fcn, blstm], joint) == ["fcn", "first", "last"]
    pairs = [
        (joint.network.convolutions, fcn.network.convolutions),
        (joint.network.first, blstm.network.first),
        (joint.network.last, blstm.network.last),
    ]
    for ours, theirs in pairs:
        for mine, yours in zip(ours.get_weights(), theirs.get_weights(), strict=True):
            np.testing.assert_array_equal(mine, yours)


def test_a_stage_of_the_same_network_hands_on_all_of_it_and_the_teacher_stays_with_its_loss() -> None:
    train = dataclasses.replace(
        TRAIN,
        loss="deep_features",
        teacher="unet",
        stages=(StageSpec("first", "fcn_blstm", 0.5, MODEL.sizes, loss="l1"), StageSpec("second", "fcn", 0.2, FCN)),
    )
    planned = stages.plan(dataclasses.replace(RECIPE, train=train))
    assert [each.train.teacher for _, each in planned] == [None, "unet", "unet"]
    twin, ours = Separator(planned[0][1].model), Separator(planned[2][1].model)
    assert stages.hand_over([twin], ours) == ["fcn", "first", "last"]
    for mine, yours in zip(ours.network.get_weights(), twin.network.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, yours)


def test_layers_of_other_sizes_are_refused_in_words() -> None:
    blstm = Separator(dataclasses.replace(MODEL, network="blstm", sizes={**BLSTM, "units": 5}))
    with pytest.raises(
        ValueError, match=r"layer 'first' has weights of the shapes .* sizes of the recipe's own network"
    ):
        stages.hand_over([blstm], Separator(MODEL))


def test_stages_that_share_nothing_with_the_network_are_refused() -> None:
    blstm = Separator(dataclasses.replace(MODEL, network="blstm", sizes=BLSTM))
    other = Separator(dataclasses.replace(MODEL, network="drnn", sizes={"units": 4}))
    assert stages.hand_over([blstm], other) == [], "the second of three stages need not go on with the first"
    with pytest.raises(ValueError, match=r"no stage of train.stages has a layer that network 'drnn' has"):
        stages.hand_over([blstm], other, own=True)


@pytest.mark.slow
def test_a_killed_joint_training_continues_in_its_stage(small_records, tmp_path: Path) -> None:
    def interrupt(progress: TrainingProgress) -> None:
        if (progress.stage, progress.step) == ("blstm", 4):
            raise Killed

    with pytest.raises(Killed):
        run(RECIPE, small_records, tmp_path, interrupt)
    seen: list[tuple[str, int]] = []
    result = run(RECIPE, small_records, tmp_path, lambda progress: seen.append((progress.stage, progress.step)))
    assert seen == [("blstm", step) for step in (4, 5, 6)] + [("own", step) for step in range(1, 9)]
    assert [(stage.name, stage.network, stage.steps) for stage in result.stages] == [
        ("fcn", "fcn", 6),
        ("blstm", "blstm", 6),
        ("own", "fcn_blstm", 8),
    ]
    assert result.cpu_minutes == sum(stage.cpu_minutes for stage in result.stages)
    assert result.separator.spec == MODEL
    for stage in ("fcn", "blstm", "own"):
        assert list((tmp_path / "checkpoints" / stage / "latest").glob("*.index"))
        assert list((tmp_path / "logs" / stage).glob("events*"))
