"""A training that is killed with SIGKILL, twice, ends as one that nobody touched."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

SCRIPT = """
import json, sys
import numpy as np
from models.spec import ModelSpec
from pipeline.config.train import Recipe, StageSpec, TrainSpec
from pipeline.training import loop

place, files = sys.argv[1], json.loads(sys.argv[2])
on = ("circular_shift", "equaliser", "speed", "remix", "gain", "polarity", "channel_swap", "reverb")
recipe = Recipe(
    "small",
    model=ModelSpec(sizes={"units": 16}, frame_length=256, hop=128, sample_rate_hz=8000, standardise=True),
    train=TrainSpec(
        steps=40, batch=4, segment_frames=20, evaluate_every_steps=3, warmup_steps=5, ema=0.9, patience=50,
        loss="csdr", augment=on, augment_options={"circular_shift": {"step_samples": 500}}, checkpoint_minutes=0.002,
        stages=(StageSpec("first", "drnn", 0.5, sizes={"units": 16}),),
    ),
)

def report(at):
    print(at.stage, at.step, at.loss, at.dev_loss, flush=True)

result = loop.train(recipe, files["train"], files["dev"], f"{place}/checkpoints", f"{place}/logs", report)
np.savez(f"{place}/weights.npz", *result.separator.get_weights())
"""


def train(place: Path, files: dict[str, list[str]], kill_after: str | None = None) -> list[str]:
    """The lines of a training process, which is killed after one that begins with `kill_after`."""
    place.mkdir(exist_ok=True)
    lines = []
    with subprocess.Popen(
        [sys.executable, "-c", SCRIPT, place, json.dumps(files)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout
        assert process.stderr
        for line in process.stdout:
            lines.append(line.strip())
            if kill_after and line.startswith(f"{kill_after} "):
                process.kill()
        said = process.stderr.read()
    assert process.returncode == (-9 if kill_after else 0), said[-3000:]
    return lines


@pytest.mark.slow
def test_a_training_killed_twice_ends_with_the_weights_of_one_that_was_not(small_records, tmp_path: Path) -> None:
    """180 excerpts make an epoch of 45 batches: killed within the first epoch of either stage."""
    whole = train(tmp_path / "whole", small_records)
    killed = [train(tmp_path / "killed", small_records, at) for at in ("first 9", "own 11")]
    last = train(tmp_path / "killed", small_records)
    assert all(part[0] != whole[0] for part in (killed[1], last))  # they went on, and did not begin anew
    assert {line for part in (*killed, last) for line in part} == set(whole)
    with np.load(tmp_path / "whole" / "weights.npz") as ours, np.load(tmp_path / "killed" / "weights.npz") as theirs:
        assert ours.files == theirs.files
        for name in ours.files:
            np.testing.assert_array_equal(ours[name], theirs[name])
