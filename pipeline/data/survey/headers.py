"""The headers of a corpus' files, many at a time; of files in a bucket only their beginning and end are read."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from models import storage
from serving.client.decoding import BadFileError
from serving.client.decoding.facts import Facts, facts

AT_A_TIME = 16  # most of them wait: for a disk, a bucket, or ffprobe
HEAD_BYTES, TAIL_BYTES = 2**18, 2**18
SAMPLE_BYTES = 2**14


@dataclass(frozen=True)
class Header:
    """What is known of a file without decoding it.

    streams: of its audio streams; empty where there is a `reason` why it cannot be used. digest: the same for the same files:
    of its size and of samples of its bytes; empty where these are all equal, as in digital silence.
    """

    streams: tuple[Facts, ...] = ()
    reason: str = ""
    size_bytes: int = 0
    digest: str = ""


def read(files: Sequence[str], progress: Callable[[int], None] = lambda done: None) -> dict[str, Header]:
    """File -> its header. progress: takes how many are done.

    Raises:
      OSError: the bucket does not answer.
    """
    found: dict[str, Header] = {}
    with ThreadPoolExecutor(AT_A_TIME) as threads:
        for name, header in zip(files, threads.map(_header, files), strict=True):
            found[name] = header
            progress(len(found))
    return found


def _header(name: str) -> Header:
    if not storage.is_remote(name):
        return _of_file(Path(name))
    with tempfile.TemporaryDirectory(prefix="stemline-") as scratch:
        try:
            return _of_file(_ends(name, Path(scratch)), whole=False)
        except FileNotFoundError as error:
            return Header(reason=str(error))


def _of_file(path: Path, whole: bool = True) -> Header:
    try:
        return Header(facts(path, whole), "", path.stat().st_size, _digest(path))
    except (BadFileError, OSError) as error:
        return Header(reason=str(error), size_bytes=_size(path))


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _digest(path: Path) -> str:
    """SHA-256 of the size, and of bytes at the beginning, in the middle and at the end."""
    size = path.stat().st_size
    with path.open("rb") as file:
        samples = [_at(file, start) for start in (0, size // 2, max(0, size - SAMPLE_BYTES))]
    if all(len(set(sample)) < 2 for sample in samples[1:]):
        return ""
    return hashlib.sha256(b"".join([str(size).encode(), *samples])).hexdigest()


def _at(file, start: int) -> bytes:
    file.seek(start)
    return file.read(SAMPLE_BYTES)


def _ends(name: str, scratch: Path) -> Path:
    """A file as large as that of the bucket with its beginning and end, and a hole in between.

    Raises FileNotFoundError where it is not there, OSError where the bucket does not say.
    """
    size = storage.state(name).size
    copy = scratch / os.path.basename(name)
    with copy.open("wb") as file:
        for start, stop in _pieces(size):
            file.seek(start)
            file.write(storage.read_part(name, start, stop - start))
        file.truncate(size)
    return copy


def _pieces(size: int) -> Iterator[tuple[int, int]]:
    head = min(size, HEAD_BYTES)
    yield 0, head
    tail = max(head, size - TAIL_BYTES)
    if tail < size:
        yield tail, size
