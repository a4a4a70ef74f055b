"""How long a training still takes, by a clock that the test turns, and of a real one."""

from __future__ import annotations

import dataclasses
import itertools
import math
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.common.progress import TrainingProgress
from pipeline.config.train import Recipe, TrainSpec
from pipeline.training.clock import Clock

Told = list[tuple[float, float, float]]  # (fraction, when it was told, seconds left)


def off_by(told: Told, end: float, until: float = 0.0) -> float:
    """The largest error from 5 % on, as a share of the truth; the last `until` seconds do not count."""
    late = [(left, end - when) for fraction, when, left in told if fraction >= 0.05 and end - when > until]
    assert len(late) > 5
    assert not any(math.isnan(left) for left, _ in late)
    return max(abs(left - truth) / truth for left, truth in late)


@settings(deadline=None)
@given(
    steps=st.integers(40, 400), every=st.integers(5, 500), evaluation=st.floats(0.1, 100), thought=st.floats(0.9, 1.1),
    first=st.floats(0, 200), budget=st.booleans(),
    jitter=st.lists(st.floats(0.9, 1.1), min_size=7, max_size=7),
)  # fmt: skip
def test_the_time_left_is_right_after_a_slow_first_step(
    steps: int, every: int, evaluation: float, thought: float, first: float, budget: bool, jitter: list[float]
) -> None:
    """A step takes about a second. With a budget, evaluations are CPU time as steps are, and are no other than these."""
    spec = TrainSpec(steps=steps, evaluate_every_steps=every, cpu_minutes=steps / 60 if budget else None)
    now, told = 1e6, Told()
    clock = Clock(spec, lambda: now)
    clock.begin(0.0, thought * evaluation)
    for step, each in zip(range(1, steps + 1), itertools.cycle(jitter)):
        now += first if step == 1 else each
        if not budget and (step % every == 0 or step == steps):
            with clock.evaluating():
                now += evaluation
        told.append((step / steps, now, clock.left(step / steps, step)))
    assert off_by(told, now) <= 0.3
    assert told[-1][2] == 0


@pytest.mark.slow
@pytest.mark.parametrize("budget", [None, 0.5])
def test_the_time_left_of_a_real_training_is_right(small_records, tmp_path: Path, budget: float | None) -> None:
    """A second before the end nobody looks at it any more."""
    from models.spec import ModelSpec
    from pipeline.training import loop

    model = ModelSpec(sizes={"units": 256}, frame_length=1024, hop=256, sample_rate_hz=8000, standardise=True)
    train = TrainSpec(steps=300, batch=16, segment_frames=40, evaluate_every_steps=60, cpu_minutes=budget)
    seen: list[tuple[float, TrainingProgress]] = []
    recipe = Recipe(
        "small", model=model, train=dataclasses.replace(train, evaluate_every_steps=10**6 if budget else 60)
    )
    files = small_records["train"], small_records["dev"]
    loop.train(recipe, *files, f"{tmp_path}/c", f"{tmp_path}/l", lambda at: seen.append((time.monotonic(), at)))
    assert off_by([(at.fraction, when, at.seconds_left) for when, at in seen], seen[-1][0], until=1.0) <= 0.3
