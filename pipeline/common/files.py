"""Files that appear complete or not at all."""

from __future__ import annotations

import os
import tempfile
import uuid
from pathlib import Path

from models import storage

_ROOM_BYTES = 2**20  # less than any work leaves


def refuse_unwritable(folder: Path, what: str) -> None:
    """Looks whether a folder, which may not be there yet, can be written; nothing is made: others may be at work beside.

    Raises ValueError where it is, or lies below, a file, and OSError where nothing can be written or the disk is full.
    """
    there = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    if not there.is_dir():
        raise ValueError(f"{what} is {folder}, and {there} is a file: legal is a directory")
    try:
        with tempfile.TemporaryFile(dir=there) as file:
            file.write(bytes(_ROOM_BYTES))
    except OSError as error:
        raise OSError(f"{what} is {folder}, where nothing can be written: {error.strerror}") from error


def refuse_no_file(path: Path, what: str) -> None:
    """Raises ValueError for a directory where a file is to be written, and as `refuse_unwritable` for its folder."""
    if path.is_dir():
        raise ValueError(f"{what} is {path}, a directory; legal is the name of a file")
    if path.is_file() or not path.exists():  # no device, nor a pipe
        refuse_unwritable(path.parent, f"the folder of {what}")


def write_text(path: Path, text: str) -> None:
    """Writes a file, and the directories that it needs; several processes, also of several machines, may write the same.

    path: see `models.storage.path`. Raises OSError where it cannot be written.
    """
    if storage.is_remote(path):  # an object is there when all of it is
        with storage.told(path):
            path.write_text(text)
        return
    if path.exists() and not path.is_file():  # a device or a pipe is no file to put another in the place of
        path.write_text(text, encoding="utf-8")
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = beside(path)
    try:
        partial.write_text(text, encoding="utf-8")
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def beside(path: Path) -> Path:
    """A name that is nobody else's, in the same directory and hidden there, for what becomes `path` once it is complete."""
    return path.with_name(f".{uuid.uuid4().hex}.{path.name[-100:]}")
