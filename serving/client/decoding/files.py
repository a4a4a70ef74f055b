"""What is wrong with a file, and what is a file at all."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path


class BadFileError(ValueError):
    """A file cannot be decoded; one sentence that begins with its name, without its directory."""


class Problem(Exception):
    """What is wrong with a file, in words that follow its name."""


@contextlib.contextmanager
def named(path: Path) -> Iterator[None]:
    """Puts the name of the file before what is wrong with it."""
    try:
        yield
    except Problem as problem:
        raise BadFileError(f"{name(path)} {problem}") from problem.__cause__


def name(path: Path) -> str:
    """The file's name as it can be printed: bytes that are no UTF-8 as \\xNN."""
    return os.fsencode(path.name).decode(errors="backslashreplace")


def regular(path: Path) -> None:
    """Raises BadFileError unless it is a file with something in it that may be read; opens nothing that could block."""
    with named(path):
        try:
            status = path.stat()
            if stat.S_ISDIR(status.st_mode):
                raise Problem("is a directory")
            if not stat.S_ISREG(status.st_mode):
                raise Problem("is no regular file")
            if not status.st_size:
                raise Problem("is empty (0 bytes)")
            path.open("rb").close()
        except FileNotFoundError as error:
            raise Problem("is a link to nothing" if path.is_symlink() else "is not there") from error
        except OSError as error:
            raise Problem(f"cannot be read ({error.strerror})") from error
