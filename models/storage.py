"""Where files lie: on this machine, or in an object store (`s3://bucket/…`, `gs://bucket/…`).

TensorFlow reads `gs://` by itself and `s3://` once tensorflow-io is imported, which happens here and nowhere else, and only
when the first path of a bucket is asked for. Endpoint and credentials come from the environment: S3_ENDPOINT,
S3_VERIFY_SSL, AWS_REGION and what the AWS SDK reads (AWS_ACCESS_KEY_ID, …).

Of a bucket that does not answer or lets nobody in, `exists`, `isdir`, `listdir`, `walk` and `stat` of `tf.io.gfile` say that
nothing is there: they send two requests and pass on neither's error (tensorflow-io 0.37.1, `s3_filesystem.cc`, `Stat`). The
listing that lies below them tells what is wrong, and is a third of the requests. So nothing is taken for absent here before
a listing was answered.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import itertools
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

SCHEMES = ("s3://", "gs://")
# How long to wait for S3 where the environment does not say it: by itself the AWS SDK tries for 26 s whether somebody listens
# by now, and tensorflow-io lets it wait five minutes for each connection and answer.
PATIENCE = {
    "AWS_RETRY_MODE": "standard",
    "AWS_MAX_ATTEMPTS": "4",
    "S3_CONNECT_TIMEOUT_MSEC": "5000",
    "S3_REQUEST_TIMEOUT_MSEC": "30000",
}
_PIECE_BYTES = 2**26
_AT_A_TIME = 16  # requests; the AWS SDK holds 25 connections
_SAID = 300  # characters of what a server says
_LAST = "saved_model.pb"  # of a model's files: whoever finds it takes the model for complete

Place = str | os.PathLike[str]
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class State:
    """Of a file: its size in bytes, and when it was changed, in ns (S3 counts seconds). Of a directory neither says much."""

    is_directory: bool
    size: int
    modified_ns: int


def is_remote(place: Place) -> bool:
    """Whether a place is in a bucket."""
    return os.fspath(place).startswith(SCHEMES)


def path(place: Place) -> Any:
    """A pathlib.Path, or of a bucket an `etils.epath.Path`, which has nearly the same methods.

    What a bucket has not: renames that are atomic, directories that are empty, `**` in a pattern.
    """
    if not is_remote(place):
        return Path(place)
    if os.fspath(place).startswith("s3://"):
        _register_s3()
    from etils import epath

    return epath.Path(place)


def absolute(place: str) -> str:
    """The place by its whole name, whatever the working directory; of a bucket, without a slash at its end.

    Raises:
      ValueError: a URL of another kind, or one without a bucket or with a part that leads nowhere.
    """
    if not is_remote(place):
        if re.match(r"\w+://", place):
            raise ValueError(
                f"{place} cannot be used: legal are paths of this machine, s3://BUCKET/… and gs://BUCKET/…"
            )
        return os.path.abspath(place)
    scheme, name = place[: len(SCHEMES[0])], place[len(SCHEMES[0]) :].rstrip("/")
    if not {"", ".", ".."}.isdisjoint(name.split("/")):
        raise ValueError(
            f"{place} is no place in a bucket: legal is {scheme}BUCKET/NAME/…, no part of it empty, . or .."
        )
    return f"{scheme}{name}"


def listed(place: Place) -> list[str]:
    """Names in a directory, sorted; none where it is not there.

    Raises OSError where that cannot be known: the bucket is missing, does not answer, or does not let us in.
    """
    directory = path(place)
    if not is_remote(place):
        return sorted(os.listdir(directory)) if directory.is_dir() else []
    with told(place):
        # TensorFlow wants a slash behind a bucket's name, and leaves one behind the names of directories in gs://.
        names = {name.rstrip("/") for name in _tensorflow().GetChildren(f"{directory}/")} - {""}
    for name in names & {".", ".."}:
        raise OSError(f"{directory} has an object with a part {name!r} in its name, to which no path leads: rename it")
    return sorted(names)


def children(place: Place) -> list[Any]:
    """What is `listed`, as paths."""
    return [path(place) / name for name in listed(place)]


def state(place: Place) -> State:
    """What a place is.

    Raises:
      FileNotFoundError: nothing is there.
      OSError: it cannot be looked at.
    """
    found = path(place)
    if not is_remote(place):
        status = found.stat()
        return State(found.is_dir(), status.st_size, status.st_mtime_ns)
    import tensorflow as tf

    try:
        status = _tensorflow().Stat(
            f"{found}/" if found == found.parent else os.fspath(found)
        )  # a bucket has no parent
    except tf.errors.OpError as error:
        if found in [found.parent, *children(found.parent)]:
            raise _in_words(place, error) from error
        raise FileNotFoundError(f"{found} is not there") from error
    return State(status.is_directory, status.length, status.mtime_nsec)


def read(file: Place, found: State | None = None) -> bytes:
    """The whole of a file. Raises as `pieces` does.

    found: its state, where that is known already.
    """
    return b"".join(pieces(file, found)) if is_remote(file) else path(file).read_bytes()


def pieces(file: Place, found: State | None = None) -> Iterator[bytes]:
    """A file of a bucket, in pieces of up to 64 MB.

    found: its state, where that is known already.

    Raises:
      FileNotFoundError: it is not there.
      OSError: it cannot be read, or changes meanwhile.
    """
    place = path(file)
    import tensorflow as tf

    size = (found or state(file)).size
    count = 0
    try:
        # In as few requests: tf.io.gfile asks for 128 or 512 kB at a time.
        stream = _tensorflow().BufferedInputStream(os.fspath(place), min(size, _PIECE_BYTES)) if size else None
        while stream and (piece := stream.read(min(_PIECE_BYTES, size - count)) if count < size else b""):
            count += len(piece)
            yield piece
    except tf.errors.NotFoundError as error:
        raise FileNotFoundError(f"{place} is not there") from error
    except tf.errors.OpError as error:
        raise _in_words(file, error) from error
    if count != size:
        raise OSError(f"{place} changed while it was read: it had {size} bytes, and now {count}")


def read_part(file: Place, start: int, size: int) -> bytes:
    """As many bytes of a file from `start` on, or those of them that there are. Raises OSError where it cannot be read."""
    place = path(file)
    if not size:
        return b""
    if not is_remote(file):
        with place.open("rb") as opened:
            opened.seek(start)
            return opened.read(size)
    with told(file):
        stream = _tensorflow().BufferedInputStream(os.fspath(place), size)
        stream.seek(start)
        return stream.read(size)


def each(function: Callable[[Any], Answer], places: Sequence[Place]) -> list[Answer]:
    """`function` of every place, in their order; of those in a bucket, several at a time."""
    if not any(map(is_remote, places)):
        return [function(place) for place in places]
    with ThreadPoolExecutor(_AT_A_TIME) as threads:
        return list(threads.map(function, places))


def walk(place: Place) -> Iterator[tuple[Any, State]]:
    """The files below a directory and their states, one level of directories after the other.

    Raises OSError where a directory cannot be listed.
    """
    level = [path(place)]
    while level:
        found = list(itertools.chain.from_iterable(each(children, level)))
        states = dict(zip(found, each(state, found), strict=True))
        level = [path for path, state in states.items() if state.is_directory]
        yield from ((path, state) for path, state in states.items() if not state.is_directory)


@contextlib.contextmanager
def told(place: Place) -> Iterator[None]:
    """What TensorFlow says of a bucket within the block is raised as an OSError that names the place."""
    if not is_remote(place):
        yield
        return
    import tensorflow as tf

    try:
        yield
    except tf.errors.OpError as error:
        raise _in_words(place, error) from error


def _in_words(place: Place, error: Any) -> OSError:
    reason = " ".join(error.message.split()).lstrip(": ")[:_SAID] or type(error).__name__
    endpoint = os.environ.get("S3_ENDPOINT") if os.fspath(place).startswith("s3://") else None
    return OSError(f"{os.fspath(place)} cannot be used{f' at {endpoint}' if endpoint else ''}: {reason}")


def files(place: Place) -> list[str]:
    """All files below a directory, as paths relative to it: a model's saved_model.pb last, the others sorted."""
    directory = path(place)
    below = (file for file, _ in walk(place)) if is_remote(place) else filter(Path.is_file, directory.rglob("*"))
    found = [str(file.relative_to(directory)) for file in below]
    return sorted(found, key=lambda name: (os.path.basename(name) == _LAST, name))


def copy_file(source: Place, target: Place) -> None:
    """Copies a file over another, with the directories that it needs; within a bucket the bytes stay there."""
    given, wanted = path(source), path(target)
    if not is_remote(target):
        wanted.parent.mkdir(parents=True, exist_ok=True)
        if is_remote(source):
            wanted.write_bytes(read(source))  # TensorFlow would send a request for every 128 kB
        else:
            shutil.copyfile(given, wanted)
        return
    import tensorflow as tf

    with told(target):
        if is_remote(source) and not state(source).size:
            wanted.write_bytes(b"")  # which tensorflow-io takes for a directory
            return
        tf.io.gfile.copy(os.fspath(given), os.fspath(wanted), overwrite=True)


def copy(source: Place, target: Place) -> None:
    """Copies the files of a directory, a model's saved_model.pb last. Raises OSError where there is nothing to copy."""
    names = files(source)
    if not names:
        raise FileNotFoundError(f"{os.fspath(source)} holds no files")
    for name in names:
        copy_file(os.path.join(source, name), os.path.join(target, name))


def remove(place: Place) -> None:
    """Removes a directory, a model's saved_model.pb first; nothing where it is not there."""
    if not is_remote(place):
        shutil.rmtree(place, ignore_errors=True)
        return
    with told(place):
        for name in reversed(files(place)):
            path(os.path.join(place, name)).unlink(missing_ok=True)


@contextlib.contextmanager
def local(place: Place) -> Iterator[Path]:
    """The directory itself, or of one in a bucket a copy on this machine for as long as the block lasts."""
    if not is_remote(place):
        yield Path(place)
        return
    with tempfile.TemporaryDirectory(prefix="stemline-") as directory:
        copy(place, directory)
        yield Path(directory)


def _tensorflow() -> Any:
    """What `tf.io.gfile` calls."""
    from tensorflow.python.lib.io import _pywrap_file_io

    return _pywrap_file_io


@functools.cache
def _register_s3() -> None:
    for name, value in PATIENCE.items():
        os.environ.setdefault(name, value)
    import tensorflow_io  # noqa: F401

    # tensorflow-io 0.35 to 0.37.1 abort as the process exits, with code 134, once S3 was used (tensorflow/io#2039). So the
    # C library is told to end at once with the exit code that it was given, before it unloads any library.
    libc = ctypes.CDLL(None)
    libc.on_exit(libc._exit, None)
