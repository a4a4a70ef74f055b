"""What long work says while it runs: one rich console on standard error for the whole pipeline."""

from __future__ import annotations

import contextlib
import itertools
import math
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from pipeline.common.process import shown
from pipeline.common.terminal import Terminal

console = Terminal(stderr=True, highlight=False)

# Without a terminal, a line this often instead of a moving bar.
LINE_SECONDS = 15
LOOKING_SECONDS = 5


def line(words: str, style: str | None = None) -> None:
    """One line of a step on the console, however long, with nothing read into it."""
    console.print(f"  {shown(words)}", style=style, markup=False, soft_wrap=True)


@contextlib.contextmanager
def sigint_ends(words: str) -> Iterator[None]:
    """Within the block Ctrl-C ends this process at once, after one line, as a kill does, but with exit code 130.

    Beam would take an exception for a failure of the step at work, and show it as one.
    """

    def stop(number: int, _: object) -> None:
        console.print(shown(words), style="yellow", markup=False, soft_wrap=True)
        console.show_cursor()  # a bar has hidden it
        os._exit(128 + number)

    before = signal.getsignal(signal.SIGINT)
    if before is not signal.SIG_IGN:  # of a shell's background jobs
        signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@dataclass(frozen=True)
class TrainingProgress:
    """What a training says after every step; `dev_loss` is the last one measured, NaN before the first.

    `fraction` is the part of the stage's steps, or of its CPU minutes, that is done.
    """

    stage: str
    step: int
    fraction: float
    loss: float
    dev_loss: float
    seconds_left: float


@contextlib.contextmanager
def training(name: str) -> Iterator[Callable[[TrainingProgress], None]]:
    """Shows step, losses and the time left; a bar on a terminal, a line now and then elsewhere."""
    if not console.is_terminal:
        yield _line_printer(name)
        return
    columns = (
        TextColumn("  training {task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[words]}"),
    )
    with Progress(*columns, console=console, transient=True) as bars:
        task = bars.add_task(name, total=1.0, words="")
        yield lambda at: bars.update(task, completed=at.fraction, words=_words(at))


@contextlib.contextmanager
def separating(sizes: Mapping[str, int]) -> Iterator[Callable[[str, float], None]]:
    """Shows how far a list of files is, name -> bytes: a bar on a terminal, a line now and then elsewhere.

    Yields what takes a name and the fraction of it that is done; the files before it are.
    """
    before = dict(zip(sizes, itertools.accumulate(sizes.values(), initial=0), strict=False))
    number = {name: place for place, name in enumerate(sizes, 1)}
    columns = (
        TextColumn("  separating {task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bars:
        task, told = bars.add_task("", total=max(sum(sizes.values()), 1)), time.monotonic()

        def show(name: str, fraction: float) -> None:
            nonlocal told
            bars.update(
                task, description=f"{number[name]}/{len(sizes)} {name}", completed=before[name] + fraction * sizes[name]
            )
            if not console.is_terminal and time.monotonic() - told >= LINE_SECONDS:
                told, at = time.monotonic(), bars.tasks[0]
                left = "" if at.time_remaining is None else f", {timedelta(seconds=round(at.time_remaining))} left"
                console.print(f"  separating {at.description}: {at.percentage:.0f} %{left}", markup=False)

        yield show


@contextlib.contextmanager
def judging(total: int) -> Iterator[Callable[[int], None]]:
    """Shows how many tracks are judged: a bar on a terminal, elsewhere a line whenever another tenth is."""
    columns = (TextColumn("  judging tracks"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bars:
        task, told = bars.add_task("", total=total), 0

        def show(done: int) -> None:
            nonlocal told
            bars.update(task, completed=done)
            if not console.is_terminal and (done >= told + max(1, total // 10) or told < done == total):
                told = done
                console.print(f"  judged {done} of {total} tracks")

        yield show


@contextlib.contextmanager
def looking() -> Iterator[Callable[[int, int], None]]:
    """Shows of how many files the headers were read: a bar on a terminal, elsewhere a line every few seconds."""
    columns = (TextColumn("  reading headers"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bars:
        task, last = bars.add_task("", total=None), time.monotonic()

        def show(done: int, total: int) -> None:
            nonlocal last
            bars.update(task, completed=done, total=total)
            if not console.is_terminal and time.monotonic() - last >= LOOKING_SECONDS:
                last = time.monotonic()
                console.print(f"  read the headers of {done} of {total} files")

        yield show


def _line_printer(name: str) -> Callable[[TrainingProgress], None]:
    last = -math.inf

    def show(at: TrainingProgress) -> None:
        nonlocal last
        if time.monotonic() - last >= LINE_SECONDS or at.fraction >= 1:
            last = time.monotonic()
            console.print(f"  training {name}: {at.fraction:4.0%}, {_words(at)}")

    return show


def _words(at: TrainingProgress) -> str:
    dev = "" if math.isnan(at.dev_loss) else f", dev {at.dev_loss:.4g}"
    stage = "" if at.stage == "own" else f"stage {at.stage}, "
    return f"{stage}step {at.step}, loss {at.loss:.4g}{dev}, {timedelta(seconds=round(at.seconds_left))} left"
