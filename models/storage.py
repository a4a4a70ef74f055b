"""Where files lie: on this machine, or in an object store (`s3://bucket/…`, `gs://bucket/…`).

TensorFlow reads `gs://` by itself and `s3://` once tensorflow-io is imported, which happens here and nowhere else, and only
when the first path of a bucket is asked for. Endpoint and credentials come from the environment: S3_ENDPOINT,
S3_VERIFY_SSL, AWS_REGION and what the AWS SDK reads (AWS_ACCESS_KEY_ID, …).

A bucket that does not answer looks to tensorflow-io like one without the file that is asked for. So nothing is taken for
absent by `listed` before the bucket itself has answered.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SCHEMES = ("s3://", "gs://")
_LAST = "saved_model.pb"  # of a model's files: whoever finds it takes the model for complete

Place = str | os.PathLike[str]


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


def listed(place: Place) -> list[str]:
    """Names in a directory, sorted; none where it is not there.

    Raises OSError where that cannot be known: the bucket is missing, does not answer, or does not let us in.
    """
    directory = path(place)
    if not is_remote(place):
        return sorted(os.listdir(directory)) if directory.is_dir() else []
    import tensorflow as tf

    try:
        return sorted(filter(None, (name.rstrip("/") for name in tf.io.gfile.listdir(os.fspath(directory)))))
    except tf.errors.NotFoundError:
        check(place)
        return []
    except tf.errors.OpError as error:
        raise _in_words(place, error) from error


def check(place: Place) -> None:
    """Raises OSError where the bucket of a place is missing, does not answer, or does not let us in."""
    if not is_remote(place):
        return
    import tensorflow as tf

    path(place)
    scheme, _, rest = os.fspath(place).partition("://")
    try:
        tf.io.gfile.stat(f"{scheme}://{rest.partition('/')[0]}/")  # with the slash: without it is no bucket
    except tf.errors.NotFoundError as error:
        raise OSError(f"{os.fspath(place)} cannot be used: there is no such bucket") from error
    except tf.errors.OpError as error:
        raise _in_words(place, error) from error


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
    reason = " ".join(error.message.split()).lstrip(": ") or type(error).__name__
    return OSError(f"{os.fspath(place)} cannot be used: {reason}")


def files(place: Place) -> list[str]:
    """All files below a directory, as paths relative to it: a model's saved_model.pb last, the others sorted."""
    directory = path(place)
    if is_remote(place):
        import tensorflow as tf

        root = os.fspath(directory)
        with told(place):
            found = [
                os.path.relpath(f"{folder.rstrip('/')}/{name}", root)
                for folder, _, names in tf.io.gfile.walk(root)
                for name in filter(None, names)
            ]
    else:
        found = [str(file.relative_to(directory)) for file in directory.rglob("*") if file.is_file()]
    return sorted(found, key=lambda name: (os.path.basename(name) == _LAST, name))


def copy_file(source: Place, target: Place) -> None:
    """Copies a file over another, with the directories that it needs; within a bucket the bytes stay there."""
    given, wanted = path(source), path(target)
    if not is_remote(target):
        wanted.parent.mkdir(parents=True, exist_ok=True)
    if not is_remote(source) and not is_remote(target):
        shutil.copyfile(given, wanted)
        return
    import tensorflow as tf

    with told(target if is_remote(target) else source):
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


@functools.cache
def _register_s3() -> None:
    import tensorflow_io  # noqa: F401

    # tensorflow-io 0.35 to 0.37.1 abort as the process exits, with code 134, once S3 was used (tensorflow/io#2039). So the
    # C library is told to end at once with the exit code that it was given, before it unloads any library.
    libc = ctypes.CDLL(None)
    libc.on_exit(libc._exit, None)
