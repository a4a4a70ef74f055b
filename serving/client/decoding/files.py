"""What is wrong with a file, what is a file at all, and a file whose header is told anew."""

from __future__ import annotations

import bisect
import contextlib
import errno
import io
import itertools
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from serving.wire.words import shown

BLOCK_SAMPLES = 2**16
HIGHEST_RATE_HZ = 768_000
MOST_CHANNELS = 64
OF_THE_MACHINE = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOSPC, errno.EDQUOT, errno.EAGAIN)
"""Errors that no file is to blame for."""


class BadFileError(ValueError):
    """A file cannot be decoded; one sentence that begins with its name, without its directory."""


class Problem(Exception):
    """What is wrong with a file, in words that follow its name."""


class Decoding(NamedTuple):
    """An audio stream of a file that is being decoded.

    Attributes:
      samples_told: of each channel, as they follow from the structure of the file; None where only decoding tells.
      blocks: decodes from the beginning, once: float32 [samples, channels] in [-1, 1] (float files as they are), 2**16
        samples or fewer, none of them empty, each in memory of its own; BadFileError where the file cannot be decoded
        to its end.
    """

    sample_rate_hz: int
    channels: int
    samples_told: int | None
    blocks: Callable[[], Iterator[np.ndarray]]


class Part(NamedTuple):
    """A header of ours and the pieces of the file (start, stop) that belong behind it, for libsndfile.

    samples: as they follow from the bytes that are there; None where only libsndfile can count them.
    needed: whether the header of the file itself is known to be wrong.
    """

    header: bytes
    pieces: tuple[tuple[int, int], ...]
    samples: int | None
    needed: bool = False


class Presentation(NamedTuple):
    """Which samples of a track are heard, in ticks of the track's clock: from `start` to `stop`.

    cut: whether an editor ended it there, before the last frame; otherwise `stop` is what the index says of the sound's
    length, which may be wrong by more than a frame. None: to the end.
    """

    start: int
    stop: int | None
    cut: bool
    ticks_hz: int


@contextlib.contextmanager
def named(path: Path) -> Iterator[None]:
    """Puts the name of the file before what is wrong with it; OSError stays what it is where the machine is to blame."""
    try:
        yield
    except Problem as problem:
        raise BadFileError(f"{shown(path.name)} {problem}") from problem.__cause__
    except OSError as error:
        if error.errno in OF_THE_MACHINE:
            raise
        raise BadFileError(f"{shown(path.name)} cannot be read ({error.strerror or error})") from error


def regular(path: Path) -> None:
    """Raises Problem or OSError unless it is a file with something in it that may be read; nothing blocks."""
    try:
        status = path.stat()
    except FileNotFoundError:
        raise Problem("is a link to nothing" if path.is_symlink() else "is not there") from None
    if stat.S_ISDIR(status.st_mode):
        raise Problem("is a directory")
    if not stat.S_ISREG(status.st_mode):
        raise Problem("is no regular file")
    if not status.st_size:
        raise Problem("is empty (0 bytes)")
    path.open("rb").close()


def check_format(rate_hz: int, channels: int) -> None:
    """Raises Problem."""
    if not 1 <= rate_hz <= HIGHEST_RATE_HZ:
        raise Problem(f"has a sample rate of {rate_hz} Hz; legal is 1 to {HIGHEST_RATE_HZ}")
    if not 1 <= channels <= MOST_CHANNELS:
        raise Problem(f"has {channels} channels; legal is 1 to {MOST_CHANNELS}")


def at(file: BinaryIO, position: int, size: int) -> bytes:
    """The bytes there, or those of them that there are; none where no file reaches."""
    if not 0 <= position < 2**48:
        return b""
    file.seek(position)
    return file.read(max(size, 0))


class View(io.RawIOBase):
    """A part of an open file as a file."""

    def __init__(self, file: BinaryIO, part: Part) -> None:
        self._file = file
        self._header = part.header
        self._pieces = part.pieces
        sizes = (stop - start for start, stop in part.pieces)
        *self._begins, self._size = itertools.accumulate(sizes, initial=len(part.header))
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        origin = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        self._position = max(0, origin + offset)
        return self._position

    def readinto(self, buffer) -> int:
        """As many bytes as go into `buffer`, which libsndfile takes for the end of the file if they are fewer."""
        done = 0
        while done < len(buffer) and (data := self._next(len(buffer) - done)):
            buffer[done : done + len(data)] = data
            done += len(data)
            self._position += len(data)
        return done

    def _next(self, size: int) -> bytes:
        """Those at the position, of one piece."""
        position = self._position
        if position < len(self._header):
            return self._header[position : position + size]
        if position >= self._size:
            return b""
        index = bisect.bisect_right(self._begins, position) - 1
        start, stop = self._pieces[index]
        start += position - self._begins[index]
        return at(self._file, start, min(size, stop - start))
