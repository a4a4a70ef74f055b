"""Where files lie: on this machine, or in an object store (`s3://bucket/…`, `gs://bucket/…`).

TensorFlow reads `gs://` by itself and `s3://` once tensorflow-io is imported, which happens here and nowhere else, and only
when the first path of a bucket is asked for. Endpoint and credentials come from the environment: S3_ENDPOINT,
S3_VERIFY_SSL, AWS_REGION and what the AWS SDK reads (AWS_ACCESS_KEY_ID, …).
"""

from __future__ import annotations

import ctypes
import functools
import os
from pathlib import Path
from typing import Any

SCHEMES = ("s3://", "gs://")


def is_remote(place: str | os.PathLike[str]) -> bool:
    """Whether a place is in a bucket."""
    return os.fspath(place).startswith(SCHEMES)


def path(place: str | os.PathLike[str]) -> Any:
    """A pathlib.Path, or of a bucket an `etils.epath.Path`, which has nearly the same methods.

    What a bucket has not: renames that are atomic, directories that are empty, `**` in a pattern.
    """
    if not is_remote(place):
        return Path(place)
    if os.fspath(place).startswith("s3://"):
        _register_s3()
    from etils import epath

    return epath.Path(place)


@functools.cache
def _register_s3() -> None:
    import tensorflow_io  # noqa: F401

    # tensorflow-io 0.35 to 0.37.1 abort as the process exits, with code 134, once S3 was used (tensorflow/io#2039). So the
    # C library is told to end at once with the exit code that it was given, before it unloads any library.
    libc = ctypes.CDLL(None)
    libc.on_exit(libc._exit, None)
