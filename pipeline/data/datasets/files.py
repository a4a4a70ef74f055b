"""The files of a corpus, on this machine or in a bucket: how a reader finds them, and how it gets to open them.

A bucket answers in tens of milliseconds, however little it is asked. So it is asked little, and many things at a time.
"""

from __future__ import annotations

import contextlib
import fnmatch
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from models import storage
from pipeline.data.datasets.track import BadTrackError, TrackRef


class ScratchError(OSError):
    """This machine has no place for copies of a track's files; the track is not to blame."""


def is_directory(place: Any) -> bool:
    """Whether a path leads to a directory; of a bucket, whether anything lies below it.

    Raises:
      OSError: a bucket does not say so.
    """
    if not storage.is_remote(place):
        return place.is_dir()
    if storage.children(place):
        return True
    try:
        return storage.state(place).is_directory  # a folder that somebody made in a console, and left empty
    except FileNotFoundError:
        return False


def is_file(place: Any) -> bool:
    """Whether a path that is known to lead somewhere leads to a file. Raises as `is_directory` does."""
    return not is_directory(place) if storage.is_remote(place) else place.is_file()


def matching(directory: Any, pattern: str) -> list[Any]:
    """The paths in a directory whose names match a pattern, sorted; none where it is no directory.

    Raises:
      OSError: a bucket cannot be listed.
    """
    if not storage.is_remote(directory):
        return sorted(directory.glob(pattern))
    return [child for child in storage.children(directory) if fnmatch.fnmatchcase(child.name, pattern)]


@contextlib.contextmanager
def at_hand(ref: TrackRef) -> Iterator[TrackRef]:
    """The track with files that any library can open: of those in a bucket, copies that are gone afterwards.

    What is raised meanwhile about a copy tells of the file in the bucket.

    Raises:
      BadTrackError: a file cannot be read, or what reads it raised ValueError or OSError.
      ScratchError: there is no place for the copies.
    """
    if not any(map(storage.is_remote, ref.files)):
        yield ref
        return
    with _scratch() as scratch:
        try:
            yield ref.at({name: _copy(name, scratch) for name in ref.files})
        except ScratchError:
            raise
        except (ValueError, OSError) as error:
            parent = os.path.dirname(ref.files[0])
            raise BadTrackError(str(error).replace(scratch, parent)) from error


@contextlib.contextmanager
def _scratch() -> Iterator[str]:
    try:
        directory = tempfile.TemporaryDirectory(prefix="stemline-")
    except OSError as error:
        raise _no_place(error) from error
    with directory as name:
        yield name


def _copy(name: str, directory: str) -> str:
    """The file of a bucket under its own name in a directory, with its time of change."""
    found = storage.state(name)
    content = storage.read(name, found)
    copy = Path(directory, os.path.basename(name))
    try:
        copy.write_bytes(content)
        os.utime(copy, ns=(found.modified_ns, found.modified_ns))
    except OSError as error:
        raise _no_place(error) from error
    return str(copy)


def _no_place(error: OSError) -> ScratchError:
    return ScratchError(
        f"the files of a track cannot be copied from its bucket to {tempfile.gettempdir()}: {error.strerror or error}; "
        "TMPDIR chooses another directory"
    )
