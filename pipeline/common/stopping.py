"""What Ctrl-C and SIGTERM do: the first ends a process after what can be saved is saved, with one sentence; a second one at once.

Where Python can unwind, the first raises `Stopped` in the main thread. Where a library would take an exception for a failure, as Beam
does, the process ends from where it is: `first` says what has to be done before, and `whole` what has to come to its end.
"""

from __future__ import annotations

import atexit
import contextlib
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NoReturn

from pipeline.common.terminal import Terminal

NUMBERS = signal.SIGINT, signal.SIGTERM
CHILDREN_SECONDS = 20.0  # that the processes of `pipeline.common.process` have to save what they can


class Stopped(BaseException):
    """Ctrl-C or SIGTERM: no exception, so that nobody takes it for a failure."""


@dataclass
class _State:
    words: str = ""
    raising: bool = False
    number: int | None = None  # of the signal that was heard
    whole: int = 0
    first: list[Callable[[], None]] = field(default_factory=list)


_state = _State()


@contextlib.contextmanager
def heard(words: str = "", raising: bool = False) -> Iterator[None]:
    """Within the block the first SIGINT or SIGTERM ends this process with exit code 130 or 143, after one line of `words`.

    What a shell has ignored, as SIGINT of its background jobs, stays so.
    """
    before = {number: signal.getsignal(number) for number in NUMBERS}
    hear()
    try:
        with says(words, raising):
            yield
    finally:
        if _state.number is not None:
            leave()
        for number, handler in before.items():
            signal.signal(number, handler)


def hear() -> None:
    """From now on, and to the end of the process, as in a block of `heard` that says nothing."""
    for number in NUMBERS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _hear)


@contextlib.contextmanager
def says(words: str | None = None, raising: bool = False) -> Iterator[None]:
    """Within the block that is said instead, or the same, and `Stopped` is raised or not."""
    before = _state.words, _state.raising
    _state.words, _state.raising = _state.words if words is None else words, raising
    try:
        yield
    finally:
        if _state.number is None:  # else what was to be said when it came is still to be said
            _state.words = before[0]
        _state.raising = before[1]


@contextlib.contextmanager
def first(action: Callable[[], None]) -> Iterator[None]:
    """Within the block the process does not end without that; a later one goes before."""
    _state.first.append(action)
    try:
        yield
    finally:
        _state.first.remove(action)


@contextlib.contextmanager
def whole() -> Iterator[None]:
    """A signal that comes within the block is heard at its end."""
    _state.whole += 1
    try:
        yield
    finally:
        _state.whole -= 1
    _obey()


def leave() -> NoReturn:
    """Ends the process for the signal that was heard."""
    for action in reversed(_state.first):
        with contextlib.suppress(Exception):
            action()
    for child in (children := multiprocessing.active_children()):
        child.join(CHILDREN_SECONDS)
    for child in children:
        child.kill()
    if _state.words:
        Terminal(stderr=True, highlight=False).say(_state.words, "yellow")
    sys.unraisablehook = lambda _: None
    atexit._run_exitfuncs()  # temporary directories, and files that TensorFlow traces functions from
    os._exit(128 + (_state.number or signal.SIGTERM))


def _hear(number: int, _: object) -> None:
    for each in NUMBERS:  # a second one ends the process at once
        if signal.getsignal(each) is _hear:
            signal.signal(each, signal.SIG_DFL)
    _state.number = number
    for child in multiprocessing.active_children():
        child.terminate()
    _obey()


def _obey() -> None:
    if _state.number is None or _state.whole:
        return
    if _state.raising:
        raise Stopped
    leave()
