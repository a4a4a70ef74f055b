"""One run at a time: of a working directory, or of a recipe where a server takes the metadata of many."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from datetime import datetime
from functools import partial
from pathlib import Path

import filelock

from pipeline.common import stopping
from pipeline.config.config import Config
from pipeline.runs.workdir import Workdir


@contextlib.contextmanager
def held(workdir: Workdir, config: Config, beforehand: bool = False) -> Iterator[None]:
    """A second run that wants the lock is refused at once: sqlite takes one writer, and a recipe's checkpoints do.

    The process that holds it may take it again. beforehand: nothing is made where no run has been yet.

    Raises BlockingIOError where another process is at work.
    """
    path = workdir.lock_of(config.name) if config.metadata.backend == "mysql" else workdir.lock
    lock, holder = filelock.FileLock(path, is_singleton=True), path.with_name(f"{path.name}.holder")
    if lock.is_locked or (beforehand and not path.exists()):
        yield
        return
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout as error:
        raise BlockingIOError(
            f"another stemline run{_told(holder)} is at work in {path.parent}; wait for it or choose another --workdir"
        ) from error
    try:
        since = datetime.now().astimezone().isoformat(" ", "seconds")
        holder.write_text(json.dumps({"pid": os.getpid(), "recipe": config.name, "since": since}) + "\n")
        with stopping.first(partial(holder.unlink, missing_ok=True)):
            yield
    finally:
        holder.unlink(missing_ok=True)
        lock.release()


def _told(holder: Path) -> str:
    """Who holds the lock, in brackets; empty in the moment before the holder has said so."""
    try:
        told = json.loads(holder.read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return ""
    return f" (process {told['pid']}, recipe {told['recipe']}, since {told['since']})"
