"""What every process of stemline needs: quiet libraries, errors as sentences, and calls in a process of their own."""

from __future__ import annotations

import concurrent.futures
import contextlib
import ctypes
import logging
import multiprocessing
import os
import signal
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from pipeline.common import stopping
from serving.wire.words import shown as shown

Answer = TypeVar("Answer")
_SAID = 4000  # characters of one sentence


# Of glibc's malloc.h: parameters of mallopt, and what they are without it.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4
_TRIM_BYTES, _MMAPS = 128 * 1024, 65536
_KEPT_BYTES, _STEP_BYTES = 2**31 - 1, 2**28


class ProcessError(ValueError):
    """What a call in another process came to when it did not answer; the message is one sentence."""


def quiet() -> None:
    """Of the libraries below only errors are shown: their warnings speak to their developers."""
    warnings.simplefilter("ignore")
    logging.getLogger().setLevel(logging.ERROR)


def sentence(error: BaseException) -> str:
    """One line, whatever raised it."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {shown(str(error.filename))}" if error.filename else error.strerror
    return shown(" ".join(str(error).split()))


def shortened(words: str) -> str:
    """The words, of thousands the first and the last ones: what was typed may be a megabyte."""
    return words if len(words) <= _SAID else f"{words[: _SAID // 2]} … {words[-_SAID // 2 :]}"


@contextlib.contextmanager
def sigterm_exits() -> Iterator[None]:
    """Within the block SIGTERM ends this process as `sys.exit` does, so that what it has begun can be undone."""

    def stop(number: int, _: object) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def keeping_freed_memory() -> Iterator[None]:
    """Within the block memory that is freed stays with the process, for what repeats the same large allocations.

    glibc maps a tensor of a megabyte anew each time, and the kernel clears every page of it. Does nothing with another C library.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        yield
        return
    for parameter, value in ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, _KEPT_BYTES), (_M_TOP_PAD, _STEP_BYTES)):
        mallopt(parameter, value)
    try:
        yield
    finally:
        for parameter, value in ((_M_MMAP_MAX, _MMAPS), (_M_TRIM_THRESHOLD, _TRIM_BYTES), (_M_TOP_PAD, 0)):
            mallopt(parameter, value)
        ctypes.CDLL(None).malloc_trim(0)


@contextlib.contextmanager
def deaf() -> Iterator[None]:
    """Processes that are begun within the block hear no Ctrl-C: a terminal sends it to all, and this one tells them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def call(function: Callable[..., Answer], *args: Any) -> Answer:
    """`function(*args)` in a new Python process, which ends with this one, even when this one is killed.

    The memory of the call is given back, its settings of TensorFlow stay its own, and its end is not ours.

    Raises:
      ProcessError: the call raised, or its process was killed.
    """
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, context, initializer=begin) as processes:
        try:
            with deaf():
                answered = processes.submit(_answer, function, args)
            answer = answered.result()
        except concurrent.futures.process.BrokenProcessPool as error:
            raise ProcessError("the process was killed before it was done: is there too little memory?") from error
    if isinstance(answer, ProcessError):
        raise answer
    return answer


def _answer(function: Callable[..., Answer], args: tuple) -> Answer | ProcessError:
    """The answer, or what went wrong as an error that any process can read."""
    try:
        return function(*args)
    except (ValueError, OSError) as error:
        return ProcessError(sentence(error))
    except Exception as error:
        return ProcessError(f"{type(error).__name__}: {sentence(error)}")


def begin() -> None:
    """What a process of ours does first."""
    quiet()
    stopping.hear()
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
