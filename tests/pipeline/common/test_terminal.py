"""Whole lines where nobody looks, no colour where none is wanted, and ASCII where there is no more: with real pipes and terminals."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from pipeline.common.terminal import folded

ROOT = Path(__file__).parents[3]
STEMLINE = Path(sys.executable).with_name("stemline")
LOCALE = ("LANG", "LC_ALL", "LC_CTYPE", "PYTHONIOENCODING", "NO_COLOR", "FORCE_COLOR", "COLUMNS")

BAR = """
from pipeline.common.process import quiet
from pipeline.common.progress import separating
from pipeline.common.terminal import plain_streams
plain_streams()
with separating({"Björk – Jóga.flac": 100}) as show:
    show("Björk – Jóga.flac", 0.5)
"""


def environment(**values: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in LOCALE}
    return {**kept, "PYTHONPATH": str(ROOT), "TERM": "xterm", **values}


def on_a_terminal(*command: str | Path, columns: int = 80, **values: str) -> bytes:
    """What the command sends to a terminal of so many columns."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment(**values))
    os.close(theirs)
    seen = b""
    try:
        while some := os.read(ours, 4096):
            seen += some
    except OSError:  # Linux says so at the end of a terminal
        pass
    os.close(ours)
    assert process.wait() == 0, seen
    return seen


def piped(*command: str | Path, **values: str) -> bytes:
    done = subprocess.run(command, capture_output=True, env=environment(**values))
    assert (done.returncode, done.stderr.replace(b"reading what is in runs\n", b"")) == (0, b"")
    return done.stdout


def test_no_line_is_broken_and_nothing_coloured_in_a_pipe() -> None:
    told = piped(STEMLINE, "models", LANG="C.UTF-8", COLUMNS="20").decode()
    assert "\x1b" not in told
    [row] = [line for line in told.splitlines() if line.lstrip().startswith("p_drnn  ") and "GNSDR/" in line]
    assert row.rstrip().endswith("825 clips")
    assert [line for line in told.splitlines() if "Tan & Wang, Interspeech 2018" in line]


def test_a_terminal_is_kept_to_and_coloured_unless_no_color_says_so() -> None:
    told = on_a_terminal(STEMLINE, "models", columns=80, LANG="C.UTF-8", NO_COLOR="1").decode()
    lines = re.sub("\x1b\\[[0-9;]*m", "", told).splitlines()
    table = lines[: next(place for place, line in enumerate(lines) if line.startswith("recipes:"))]
    assert max(map(len, table)) <= 80
    assert not re.search("\x1b\\[[0-9;]*3[0-7]m", told)


@pytest.mark.parametrize("locale", [{"LANG": "C"}, {"LC_ALL": "POSIX", "LANG": "de_DE.UTF-8"}])
def test_a_terminal_without_unicode_gets_ascii(locale: dict[str, str]) -> None:
    assert on_a_terminal(STEMLINE, "models", **locale).isascii()
    assert on_a_terminal(STEMLINE, "gate", "--help", **locale).isascii()
    bar = on_a_terminal(sys.executable, "-c", BAR, **locale)
    assert bar.isascii()
    assert b"separating 1/1 Bjork - Joga.flac" in bar
    assert b"----" in bar


def test_names_keep_their_bytes_in_a_pipe_of_the_c_locale() -> None:
    told = piped(
        sys.executable, "-c", "from pipeline.common.terminal import plain_streams\nplain_streams()\nprint('ö')"
    )
    assert told == "ö\n".encode()


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp437"])
def test_an_encoding_without_a_letter_raises_nothing(encoding: str) -> None:
    told = piped(STEMLINE, "models", PYTHONIOENCODING=encoding).decode(encoding)
    assert "Tan & Wang" in told


def test_text_is_folded_to_its_likeness() -> None:
    assert folded("┏━┓┃│─╸ – − × Jóga … 日") == "+-+||-- - - x Joga ... ?"
    assert folded("\udcff") == "?"
