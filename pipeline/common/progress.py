"""What long work says while it runs: one rich console on standard error for the whole pipeline, and one estimate of the time left."""

from __future__ import annotations

import contextlib
import itertools
import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from rich.cells import cell_len
from rich.progress import Progress, ProgressColumn, Task
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from models import storage
from pipeline.common import stopping
from pipeline.common.process import shown
from pipeline.common.terminal import Terminal

console = Terminal(stderr=True, highlight=False)

# Without a terminal, a line this often instead of a moving bar.
LINE_SECONDS = 15
_WATCH_SECONDS = 1.0
BAR_COLUMNS = 6, 40  # a bar that has fewer is left out


def line(words: str, style: str | None = None) -> None:
    """One line of a step on the console, however long, with nothing read into it."""
    console.print(f"  {shown(words)}", style=style, markup=False, soft_wrap=True)


class Pace:
    """How long work still takes, by its pace since its first part was done.

    The first part is no measure: in it graphs are traced, models loaded, files found for the first time.

    done: the fraction that is done when it begins. beside: how many parts are worked on at a time, so that as many come at once.
    """

    def __init__(self, done: float = 0.0, beside: int = 1, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._done, self._beside = clock, done, beside
        self._parts = 0
        self._began, self._before = 0.0, done
        self._end = math.nan

    def at(self, fraction: float) -> float:
        """As `left`, after so much of the work is done; less than before where it has begun anew."""
        now = self._clock()
        if fraction < self._done:
            self.__init__(fraction, self._beside, self._clock)
        elif fraction > self._done:
            self._done, self._parts = fraction, self._parts + 1
            if self._parts == self._beside:
                self._began, self._before = now, fraction
            elif self._parts % self._beside == 0:
                self._end = now + (now - self._began) / (fraction - self._before) * (1 - fraction)
        return self.left

    @property
    def left(self) -> float:
        """Seconds; NaN until there is a pace."""
        return max(self._end - self._clock(), 0.0) if math.isfinite(self._end) else math.nan


@dataclass(frozen=True)
class TrainingProgress:
    """What a training says after every step; `dev_loss` is the last one measured, NaN before the first.

    `fraction` is the part of the stage's steps, or of its CPU minutes, that is done; `seconds_left` those of the stage, NaN
    until they can be told.
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
    with _bars() as bars:
        task = bars.add_task(f"training {name}", total=1.0)
        yield lambda at: bars.update(task, completed=at.fraction, words=_words(at), left=at.seconds_left)


@contextlib.contextmanager
def separating(sizes: Mapping[str, int]) -> Iterator[Callable[[str, float], None]]:
    """Shows how far a list of files is, name -> bytes: a bar on a terminal, a line now and then elsewhere.

    Yields what takes a name and the fraction of it that is done; the files before it are. A file that takes no time has no bytes.
    """
    before = dict(zip(sizes, itertools.accumulate(sizes.values(), initial=0), strict=False))
    number = {name: place for place, name in enumerate(sizes, 1)}
    total, pace, told = max(sum(sizes.values()), 1), Pace(), time.monotonic()
    with _bars() as bars:
        task = bars.add_task("separating", total=1.0, pace=pace)

        def show(name: str, fraction: float) -> None:
            nonlocal told
            done = (before[name] + fraction * sizes[name]) / total
            words, left = f"separating {number[name]}/{len(sizes)} {name}", pace.at(done)
            bars.update(task, description=words, completed=done)
            if not console.is_terminal and time.monotonic() - told >= LINE_SECONDS:
                told = time.monotonic()
                line(f"{words}: {done:.0%}{time_left(left)}")

        yield show


@contextlib.contextmanager
def counting(
    doing: str, done_is: str, what: str, before: float = 0.0, beside: int = 1
) -> Iterator[Callable[[int, int], None]]:
    """Shows how many things are done: a bar on a terminal, elsewhere a line now and then.

    Yields what takes how many are done, and of how many.
    doing, done_is: as in "judging" and "judged". before, beside: see `Pace`.
    """
    pace, told, when = Pace(before, beside), 0, time.monotonic()
    with _bars() as bars:
        task = bars.add_task(f"{doing} {what}", total=1.0, pace=pace)

        def show(done: int, total: int) -> None:
            nonlocal told, when
            left = pace.at(done / max(total, 1))
            bars.update(task, completed=done / max(total, 1), words=f"{done}/{total}")
            ended = told > 0 and done == total
            if not console.is_terminal and done > told and (ended or time.monotonic() - when >= LINE_SECONDS):
                told, when = done, time.monotonic()
                line(f"{done_is} {done} of {total} {what}{time_left(left)}")

        yield show


@contextlib.contextmanager
def watching(doing: str, done_is: str, directory: str | Path, parts: Mapping[str, int]) -> Iterator[None]:
    """Shows how many tracks are done by the files that appear in a directory or bucket, wherever their workers run.

    doing, done_is: see `counting`. parts: name of a file -> how many tracks it tells of; those that are there are done.
    """
    done, total = threading.Event(), sum(parts.values())

    def count() -> int:
        return sum(parts.get(name, 0) for name in storage.listed(directory))

    def watch(show: Callable[[int, int], None]) -> None:
        while not done.wait(_WATCH_SECONDS):
            with contextlib.suppress(OSError):  # who writes there says what is wrong
                show(count(), total)

    with counting(doing, done_is, "tracks", count() / max(total, 1)) as show:
        watcher = threading.Thread(target=watch, args=(show,))
        watcher.start()
        try:
            yield
        finally:
            done.set()
            watcher.join()


@contextlib.contextmanager
def _bars() -> Iterator[Progress]:
    bars = Progress(_Row(), console=console, transient=True, disable=not console.is_terminal)
    with bars, stopping.first(bars.stop):
        yield bars


class _Row(ProgressColumn):
    """One line, as wide as the terminal at most: what does not fit is left out, the words first, then the bar."""

    def render(self, task: Task) -> Table:
        pace = task.fields.get("pace")
        seconds = pace.left if pace else task.fields.get("left", math.nan)
        percent, left = f"{task.percentage:3.0f}%", time_left(seconds, "")
        told, words, name = [percent, left], str(task.fields.get("words", "")), f"  {shown(task.description)}"
        width = console.width - sum(cell_len(each) + 1 for each in told) - cell_len(name) - 1
        if words and cell_len(words) + 1 <= width:
            told.insert(1, words)
            width -= cell_len(words) + 1
        row = Table.grid(padding=(0, 1, 0, 0))
        row.add_column(no_wrap=True, overflow="ellipsis", max_width=cell_len(name) + min(width, 0))
        cells: list[Text | ProgressBar] = [Text(name)]
        least, most = BAR_COLUMNS
        if width > least:
            cells.append(ProgressBar(total=1.0, completed=task.completed, width=min(width - 1, most)))
        cells += [Text(each) for each in told if each]
        for _ in cells[1:]:
            row.add_column(no_wrap=True)
        row.add_row(*cells)
        return row


def _line_printer(name: str) -> Callable[[TrainingProgress], None]:
    last = -math.inf

    def show(at: TrainingProgress) -> None:
        nonlocal last
        if time.monotonic() - last >= LINE_SECONDS or at.fraction >= 1:
            last = time.monotonic()
            line(f"training {name}: {at.fraction:4.0%}, {_words(at)}{time_left(at.seconds_left)}")

    return show


def _words(at: TrainingProgress) -> str:
    dev = "" if math.isnan(at.dev_loss) else f", dev {at.dev_loss:.4g}"
    stage = "" if at.stage == "own" else f"stage {at.stage}, "
    return f"{stage}step {at.step}, loss {at.loss:.4g}{dev}"


def time_left(seconds: float, before: str = ", ") -> str:
    """`, 0:12:30 left`, and nothing of NaN."""
    return "" if math.isnan(seconds) else f"{before}{timedelta(seconds=round(seconds))} left"
