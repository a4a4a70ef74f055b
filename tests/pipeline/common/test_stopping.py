"""Ctrl-C and SIGTERM, sent to processes."""

from __future__ import annotations

import functools
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline.common import stopping

BEGIN = """
import os, signal, sys, time
from pipeline.common import process, stopping
def hit(number=signal.SIGINT): os.kill(os.getpid(), number)
def say(words): print(words, flush=True)
"""


def run(program: str, ignored: bool = False) -> subprocess.CompletedProcess:
    here = functools.partial(signal.signal, signal.SIGINT, signal.SIG_IGN if ignored else signal.SIG_DFL)
    quiet = {
        **os.environ,
        "PYTHONWARNINGS": "ignore",
    }  # as a command has it: multiprocessing tells of what an end leaves
    command = [sys.executable, "-c", BEGIN + program]
    done = subprocess.run(command, capture_output=True, text=True, preexec_fn=here, env=quiet, start_new_session=True)
    assert "Traceback" not in done.stderr
    return done


def told(program: str, ignored: bool = False) -> tuple[int, list[str], str]:
    done = run(program, ignored)
    return done.returncode, done.stdout.splitlines(), done.stderr


@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_a_signal_ends_with_a_sentence_and_nobody_takes_it_for_a_failure(name: str, code: int) -> None:
    program = f"""
with stopping.heard('stopped: a\\nb is kept'):
    with stopping.first(lambda: say('outer')), stopping.first(lambda: 1 / 0), stopping.first(lambda: say('inner')):
        try: hit(signal.{name}); time.sleep(1)
        except BaseException: say('a failure')
        finally: say('gone on')
"""
    assert told(program) == (code, ["inner", "outer"], "stopped: a\\nb is kept\n")


def test_no_temporary_file_and_no_bar_is_left() -> None:
    program = """
import tempfile
os.environ.update(TERM='xterm', FORCE_COLOR='1')
from pipeline.common import progress
process.quiet()
with stopping.heard('stopped'), tempfile.TemporaryDirectory() as scratch:
    say(scratch)
    with progress.counting('a', 'b', 'c') as show: show(1, 2); hit()
"""
    code, [scratch], said = told(program)
    assert code == 130
    assert not Path(scratch).exists()
    assert re.search(r"\x1b\[\?25h.*\x1b\[2K[^\n]*stopped[^\n]*\n$", said, re.DOTALL)  # cursor shown, row cleared


def test_where_a_shell_has_it_ignored_it_is_not_heard() -> None:
    assert told("with stopping.heard('stopped'): hit(); say('gone on')", ignored=True) == (0, ["gone on"], "")


def test_python_unwinds_where_it_may_and_what_fails_meanwhile_is_no_failure() -> None:
    program = """
with stopping.heard('stopped', raising=True):
    try: hit(); time.sleep(1)
    except Exception: say('a failure')
    finally:
        say('undone')
        raise ValueError('of a process that is gone')
"""
    assert told(program) == (130, ["undone"], "stopped\n")


def test_what_is_begun_as_a_whole_comes_to_its_end() -> None:
    program = """
with stopping.heard('stopped'), stopping.says(raising=True):
    with stopping.whole(), stopping.whole():
        hit(); say('one'); say('two')
    say('three')
"""
    assert told(program) == (130, ["one", "two"], "stopped\n")


def test_a_second_one_ends_it_at_once() -> None:
    program = "with stopping.heard('stopped'), stopping.whole(): hit(); hit(); time.sleep(1); say('gone on')"
    assert told(program) == (-signal.SIGINT, [], "")


@pytest.mark.parametrize(
    ("how", "code"), [("os.kill(os.getpid(), signal.SIGTERM)", 143), ("os.killpg(0, signal.SIGINT)", 130)]
)
def test_the_processes_of_ours_end_with_it_and_say_nothing(how: str, code: int) -> None:
    """Whether they were told, too, as by a terminal, or not, as by a scheduler."""
    program = f"""
import threading
threading.Timer(3, lambda: {how}).start()
with stopping.heard('stopped'): process.call(time.sleep, 300)
"""
    began = time.monotonic()
    assert told(program) == (code, [], "stopped\n")
    assert time.monotonic() - began < 60


def test_after_the_block_the_signals_are_what_they_were() -> None:
    before = [signal.getsignal(number) for number in stopping.NUMBERS]
    with stopping.heard("stopped"):
        assert signal.getsignal(signal.SIGTERM) not in before
    assert [signal.getsignal(number) for number in stopping.NUMBERS] == before
