"""What a training has cost so far, and how long it still takes."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from pipeline.common.progress import Pace
from pipeline.config.train import TrainSpec

if TYPE_CHECKING:
    import tensorflow as tf


class Clock:
    """CPU seconds since the last look, and an estimate of the time left from what this process did.

    Steps have a pace, beside which the evaluations that are still to come count. A budget of CPU time is spent by both.
    """

    def __init__(self, spec: TrainSpec, now: Callable[[], float] = time.monotonic) -> None:
        self.spec, self.now, self.cpu = spec, now, time.process_time()
        self.apart = self.evaluation = 0.0  # seconds of all evaluations, and of one

    def begin(self, fraction: float, evaluation: float) -> None:
        """Before the first step. evaluation: the seconds that one is thought to take (see `rehearsed`)."""
        self.evaluation, self.pace = evaluation, Pace(fraction, clock=lambda: self.now() - self.apart)

    def cpu_seconds(self) -> float:
        now = time.process_time()
        spent, self.cpu = now - self.cpu, now
        return spent

    @contextlib.contextmanager
    def evaluating(self) -> Iterator[None]:
        began = self.now()
        yield
        if self.spec.cpu_minutes is None:
            self.evaluation = self.now() - began
            self.apart += self.evaluation

    def left(self, fraction: float, step: int) -> float:
        """Seconds after a step; NaN until there is a pace."""
        seconds = self.pace.at(fraction)
        if self.spec.cpu_minutes is not None:
            return seconds
        every, last = self.spec.evaluate_every_steps, step >= self.spec.steps
        return seconds + (0 if last else math.ceil(self.spec.steps / every) - step // every) * self.evaluation


def rehearsed(evaluate: Callable[[tf.Tensor], tf.Tensor], batches: Iterable[tf.Tensor]) -> float:
    """The seconds that an evaluation is going to take: its graphs are traced, one batch is timed, and the others are read."""
    began, count, sizes = time.monotonic(), 0, {}
    for batch in batches:
        count, sizes = count + 1, {len(batch): batch, **sizes}
    read, seconds = time.monotonic() - began, 0.0
    for batch in sizes.values():
        evaluate(batch)
        began = time.monotonic()
        float(evaluate(batch))
        seconds = max(seconds, time.monotonic() - began)
    return read + count * seconds
