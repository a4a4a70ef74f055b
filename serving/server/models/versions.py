"""The versions of one model on disk and in memory: polling, loading before unloading, never serving a broken one.

As TensorFlow Serving's FileSystemStoragePathSource, AspiredVersionsManager and AvailabilityPreservingPolicy do it.
"""

from __future__ import annotations

import enum
import gc
import logging
import os
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from models import storage
from serving.wire.status import Code, StatusError

log = logging.getLogger(__name__)


class State(enum.IntEnum):
    """tensorflow.serving.ModelVersionStatus.State."""

    START = 10
    LOADING = 20
    AVAILABLE = 30
    UNLOADING = 40
    END = 50


class Closable(Protocol):
    def close(self) -> None: ...


GRAPHS = {"saved_model.pb", "saved_model.pbtxt"}  # of a version one, which is written last
T = TypeVar("T", bound=Closable)
Policy = Callable[[Collection[int]], set[int]]  # which of the versions on disk to serve


def latest(count: int = 1) -> Policy:
    """The `count` highest versions; 0 counts as 1, as in the real server."""
    return lambda found: set(sorted(found)[-max(1, count) :])


@dataclass(frozen=True)
class Retries:
    """After a load that failed: how many more attempts, and how long between them.

    A change of the version's files starts anew at once: a copy under way is loaded as soon as it is whole.
    """

    count: int = 0
    wait_seconds: float = 0.0


@dataclass
class Version(Generic[T]):
    number: int
    state: State = State.START
    error: StatusError | None = None  # of the last attempt to load it
    servable: T | None = None
    users: int = 0
    files: tuple = ()  # names, sizes and times of those that a failed load saw
    attempts: int = 0  # that failed
    retry_at: float = 0.0  # time.monotonic()


def on_disk(base_path: Path, before: Collection[Path] = ()) -> dict[int, Path]:
    """Version directories by number; names that are no int64 (`.tmp-2`) are not versions.

    base_path: see `models.storage.path`. In a bucket a directory without a graph is none either: nobody renames there, so
    it is one that somebody writes, or wrote until he died. before: those of an earlier look, which are not asked again.

    Raises:
      OSError: the base path is not there, or the bucket does not answer.
    """
    remote = storage.is_remote(base_path)
    names = storage.listed(base_path) if remote else sorted(os.listdir(base_path))
    if remote and not names:
        raise FileNotFoundError(f"{base_path} holds nothing")
    found = {}
    for name in names:
        digits, entry = name.removeprefix("-"), base_path / name
        numbered = digits.isascii() and digits.isdigit() and -(2**63) <= int(name) < 2**63
        if numbered and (entry in before or _has_graph(entry) if remote else entry.is_dir()):
            found[int(name)] = entry
    return found


def _has_graph(directory: Path) -> bool:
    return not GRAPHS.isdisjoint(storage.listed(directory))


class VersionManager(Generic[T]):
    """Keeps the versions that a policy chooses loaded.

    A new version loads before an old one unloads. A version whose load fails ends with its error and the one before
    keeps serving; it is tried again when its files change (TFX's Pusher copies in place, saved_model.pb last).

    Args:
      name: the model's name in requests.
      load: makes the servable of a version directory, or raises StatusError.
      retries: of loads that failed.
    """

    def __init__(self, name: str, load: Callable[[Path], T], retries: Retries = Retries()) -> None:
        self.name = name
        self._load = load
        self._retries = retries
        self._target: tuple[Path | None, Policy] = (None, latest())
        self._polled_target: tuple | None = None
        self._versions: dict[int, Version[T]] = {}
        self._found: dict[int, Path] = {}
        self._changed = threading.Condition()
        self._stopping = threading.Event()
        self._awake = threading.Event()

    def configure(self, base_path: Path | None, policy: Policy = latest()) -> None:  # noqa: B008
        """From the next poll on, which comes at once: serve the versions in `base_path` (None: none) that are chosen."""
        self._target = (base_path, policy)
        self._awake.set()

    @property
    def polled(self) -> bool:
        """Whether the disk was looked at since the last `configure`."""
        return self._polled_target is self._target

    # -- requests

    @contextmanager
    def acquire(self, number: int | None = None) -> Iterator[tuple[int, T]]:
        """The latest available version, or `number`, kept loaded as long as the context lasts.

        Raises:
          StatusError: NOT_FOUND, in TensorFlow Serving's words.
        """
        with self._changed:
            available = {n: version for n, version in self._versions.items() if version.state is State.AVAILABLE}
            version = available.get(max(available, default=0) if number is None else number)
            if version is None or version.servable is None:
                which = f"Latest({self.name})" if number is None else f"Specific({self.name}, {number})"
                raise StatusError(Code.NOT_FOUND, f"Servable not found for request: {which}")
            version.users += 1
        try:
            yield version.number, version.servable
        finally:
            with self._changed:
                version.users -= 1
                self._changed.notify_all()

    def states(self) -> list[Version[T]]:
        """Every version ever seen, newest first."""
        with self._changed:
            return [self._versions[number] for number in sorted(self._versions, reverse=True)]

    # -- the disk

    def poll(self) -> None:
        """Looks at the disk once and loads and unloads accordingly."""
        base_path, policy = self._target
        try:
            found = self._found = on_disk(base_path, self._found.values()) if base_path is not None else {}
        except OSError as error:  # a missing mount is no reason to stop serving
            log.warning("cannot list the versions of model %s: %s", self.name, error)
            return
        aspired = {number: found[number] for number in policy(found)}
        if base_path is not None and not aspired:
            log.warning(
                "No versions of servable %s found under base path %s. Did you forget to name your leaf directory as a "
                "number (eg. '/1/')?",
                self.name,
                base_path,
            )
        with self._changed:
            self._versions = {**{number: Version(number) for number in aspired}, **self._versions}
        if not aspired:
            self._retire(aspired)
        for number in sorted(aspired, reverse=True):
            if self._stopping.is_set():
                return
            if self._bring_up(number, aspired[number]):
                self._retire(aspired)

    def run(self, wait_seconds: float) -> None:
        """Polls until stopped; with 0 seconds once for each configuration and each attempt to load."""
        while not self._stopping.is_set():
            self._awake.clear()
            target = self._target
            try:
                self.poll()
            except Exception:  # an unforeseen fault in one pass must not end all later ones
                log.exception("polling model %s failed", self.name)
            self._polled_target = target
            self._awake.wait(wait_seconds or self._next_retry_seconds())

    def stop(self) -> None:
        """Ends `run` and closes what is loaded; requests still running are cut short."""
        self._stopping.set()
        self._awake.set()
        for version in self.states():
            if version.servable is not None:
                version.servable.close()

    def _retire(self, aspired: Collection[int]) -> None:
        """Unloads the versions that are no longer wanted, and gives up loading them."""
        for version in self.states():
            if version.number in aspired:
                continue
            version.attempts, version.files = 0, ()
            if version.state is State.AVAILABLE:
                self._unload(version)
            elif version.state is not State.END:
                self._set(version, State.END, error=version.error)

    def _bring_up(self, number: int, directory: Path) -> bool:
        """True when the version is available afterwards."""
        version = self._versions[number]
        if version.state is State.AVAILABLE:
            return True
        seen = _files(directory)
        if seen != version.files:
            version.attempts, version.files = 0, seen
        elif version.attempts > self._retries.count or time.monotonic() < version.retry_at:
            return False
        return self._load_version(version, directory)

    def _load_version(self, version: Version[T], directory: Path) -> bool:
        self._set(version, State.LOADING, error=version.error)
        try:
            servable = self._load(directory)
        except StatusError as error:
            log.error("model %s version %d failed to load: %s", self.name, version.number, error.message)
            failure = StatusError(error.code, error.message)  # without the traceback, which holds what was loaded
        except Exception as error:
            log.exception("model %s version %d failed to load", self.name, version.number)
            failure = StatusError(Code.INTERNAL, f"{type(error).__name__}: {error}")
        else:
            version.attempts = 0
            self._set(version, State.AVAILABLE, servable=servable)
            log.info("model %s version %d is available", self.name, version.number)
            return True
        self._failed(version, failure)
        return False

    def _failed(self, version: Version[T], error: StatusError) -> None:
        version.attempts += 1
        version.retry_at = time.monotonic() + self._retries.wait_seconds
        given_up = version.attempts > self._retries.count
        self._set(version, State.END if given_up else State.LOADING, error=error)
        gc.collect()

    def _next_retry_seconds(self) -> float | None:
        """Until the next attempt is due; None when no version waits for one."""
        due = [version.retry_at for version in self.states() if version.state is State.LOADING]
        return max(0.0, min(due) - time.monotonic()) if due else None

    def _unload(self, version: Version[T]) -> None:
        with self._changed:
            version.state = State.UNLOADING
            self._changed.wait_for(lambda: version.users == 0)
            servable, version.servable = version.servable, None
        if servable is not None:
            servable.close()
            del servable
            gc.collect()  # a graph is full of cycles, and Python seldom looks for them by itself
        self._set(version, State.END)
        log.info("model %s version %d is unloaded", self.name, version.number)

    def _set(
        self, version: Version[T], state: State, servable: T | None = None, error: StatusError | None = None
    ) -> None:
        with self._changed:
            version.state, version.servable, version.error = state, servable, error
            self._changed.notify_all()


def _files(directory: Path) -> tuple:
    """Names, sizes and times of a directory's files; of one in a bucket, which does not change, the names."""
    if storage.is_remote(directory):
        return tuple(storage.files(directory))
    files = sorted(path for path in directory.rglob("*") if path.is_file())
    return tuple((str(path.relative_to(directory)), path.stat().st_size, path.stat().st_mtime_ns) for path in files)
