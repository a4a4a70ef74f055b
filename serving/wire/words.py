"""Text that may hold anything, on one line that does nothing to a terminal. Imports no library: command lines begin with it."""

from __future__ import annotations

import os
from pathlib import Path


def printable(text: str) -> str:
    """The text with what is no printable character (a line's end, an escape sequence) written out, as `\\x1b`."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def shown(path: Path | str) -> str:
    """A path, or words that hold one: bytes that are no UTF-8 as \\xNN, what is not printable escaped."""
    return printable(os.fsencode(path).decode(errors="backslashreplace"))
