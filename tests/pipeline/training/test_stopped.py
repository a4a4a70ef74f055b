"""A training that is stopped by Ctrl-C and SIGTERM, in a step, in an evaluation and before its first step."""

from __future__ import annotations

import functools
import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

SCRIPT = """
import json, os, signal, sys
import numpy as np
from models.spec import ModelSpec
from pipeline.common import stopping
from pipeline.config.train import Recipe, TrainSpec
from pipeline.training import loop

place, files, moment, number = sys.argv[1], json.loads(sys.argv[2]), sys.argv[3], int(sys.argv[4])
recipe = Recipe(
    "small",
    model=ModelSpec(sizes={"units": 16}, frame_length=256, hop=128, sample_rate_hz=8000, standardise=True),
    train=TrainSpec(
        steps=12, batch=4, segment_frames=20, evaluate_every_steps=3, warmup_steps=5, ema=0.9, patience=50,
        augment=("remix", "gain"), optimizer=sys.argv[5],
        optimizer_options={"batches": 2} if sys.argv[5] == "lbfgs" else {},
    ),
)
at, make = ["begin"], loop.batches.dev_batches

def hit(here):
    if moment == here:
        os.kill(os.getpid(), number)

def dev_batches(*given):
    hit(f"{at[0]} evaluation")
    return make(*given)

def report(told):
    print(told.step, told.loss, told.dev_loss, flush=True)
    at[0] = told.step
    hit(str(told.step))

loop.batches.dev_batches = dev_batches
with stopping.heard("stopped"):
    result = loop.train(recipe, files["train"], files["dev"], f"{place}/checkpoints", f"{place}/logs", report)
    np.savez(f"{place}/weights.npz", *result.separator.get_weights())
    print(json.dumps([[step, loss] for step, _, loss in result.own.curve]))
"""


def train(
    place: Path, files: dict[str, list[str]], moment: str = "", number: int = 0, optimizer: str = "adam"
) -> tuple[list[str], str]:
    """What a training process tells, and says on standard error; at a moment it gets a signal."""
    place.mkdir(exist_ok=True)
    command = [sys.executable, "-c", SCRIPT, place, json.dumps(files), moment, str(number), optimizer]
    heard = functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # a shell's background jobs ignore it
    done = subprocess.run(command, capture_output=True, text=True, preexec_fn=heard)
    assert done.returncode == (128 + number if number else 0), done.stderr[-3000:]
    assert "Traceback" not in done.stderr
    return done.stdout.splitlines(), done.stderr


@pytest.mark.slow
def test_a_training_that_is_stopped_ends_with_the_weights_of_one_that_was_not(small_records, tmp_path: Path) -> None:
    """Also where an evaluation was due, which the next process makes up for."""
    whole, _ = train(tmp_path / "whole", small_records)
    place, told = tmp_path / "stopped", list[str]()
    for moment, number, kept in (
        ("begin evaluation", signal.SIGINT, 0),
        ("4", signal.SIGINT, 4),
        ("5 evaluation", signal.SIGTERM, 6),
    ):
        lines, said = train(place, small_records, moment, number)
        told += lines
        notes = [f"  training is kept at step {kept}"] if kept else []
        assert [line for line in said.splitlines() if line.startswith(("  training is", "stopped"))] == [
            *notes,
            "stopped",
        ]
    last, said = train(place, small_records)
    assert "  training goes on after step 6" in said
    assert [line.split()[0] for line in last[:-1]] == [str(step) for step in range(7, 13)]
    # Of step 6 nothing was told: its evaluation was broken off.
    assert [*told, *last] == [line for line in whole if not line.startswith("6 ")]
    with np.load(tmp_path / "whole" / "weights.npz") as ours, np.load(place / "weights.npz") as theirs:
        for name in ours.files:
            np.testing.assert_array_equal(ours[name], theirs[name])


@pytest.mark.slow
def test_lbfgs_goes_on_from_its_last_iterate(small_records, tmp_path: Path) -> None:
    lines, said = train(tmp_path / "stopped", small_records, "5", signal.SIGINT, "lbfgs")
    assert "  training is kept at step 5" in said
    last, _ = train(tmp_path / "stopped", small_records, optimizer="lbfgs")
    losses = [float(line.split()[1]) for line in (*lines, *last[:-1])]
    assert len(losses) == 12
    assert losses == sorted(losses, reverse=True)
