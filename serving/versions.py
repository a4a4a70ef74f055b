"""The versions of one model on disk and in memory: polling, loading before unloading, never serving a broken one."""

from __future__ import annotations

import enum
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from serving.status import Code, StatusError

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


T = TypeVar("T", bound=Closable)


@dataclass
class Version(Generic[T]):
    number: int
    state: State = State.START
    error: StatusError | None = None
    servable: T | None = None
    users: int = 0
    fingerprint: tuple = ()  # of the files a failed load saw


def on_disk(base_path: Path) -> dict[int, Path]:
    """Version directories by number; names that are no int64 (`.tmp-2`) are not versions.

    Raises:
      OSError: the base path is not there.
    """
    found = {}
    for entry in sorted(base_path.iterdir()):
        digits = entry.name.removeprefix("-")
        if digits.isascii() and digits.isdigit() and -(2**63) <= int(entry.name) < 2**63 and entry.is_dir():
            found[int(entry.name)] = entry
    return found


class VersionManager(Generic[T]):
    """Keeps the latest version of `base_path` loaded.

    The new version loads before the old one unloads. A version whose load fails ends with its error and the one before
    keeps serving; it is tried again when its files change (TFX's Pusher copies in place, saved_model.pb last).

    Args:
      name: the model's name in requests.
      base_path: holds one directory per version.
      load: makes the servable of a version directory, or raises StatusError.
    """

    def __init__(self, name: str, base_path: Path, load: Callable[[Path], T]) -> None:
        self.name = name
        self._base_path = base_path
        self._load = load
        self._versions: dict[int, Version[T]] = {}
        self._changed = threading.Condition()
        self._stopping = threading.Event()

    # -- requests

    @contextmanager
    def acquire(self, number: int | None = None) -> Iterator[tuple[int, T]]:
        """The latest available version, or `number`, kept loaded as long as the context lasts.

        Raises:
          StatusError: NOT_FOUND, in TensorFlow Serving's words.
        """
        with self._changed:
            version = self._available(number)
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

    def _available(self, number: int | None) -> Version[T] | None:
        numbers = [n for n, version in self._versions.items() if version.state is State.AVAILABLE]
        wanted = max(numbers, default=None) if number is None else number
        return self._versions[wanted] if wanted in numbers else None

    # -- the disk

    def poll(self) -> None:
        """Looks at the disk once and loads and unloads accordingly."""
        try:
            found = on_disk(self._base_path)
        except OSError as error:  # a missing mount is no reason to stop serving
            log.warning("cannot list the versions of model %s in %s: %s", self.name, self._base_path, error)
            return
        latest = max(found, default=None)
        if latest is not None and not self._bring_up(latest, found[latest]):
            return
        for version in self.states():
            if version.number != latest and version.state is State.AVAILABLE:
                self._unload(version)

    def run(self, wait_seconds: float) -> None:
        """Polls until stopped; 0 seconds means once."""
        while not self._stopping.is_set():
            try:
                self.poll()
            except Exception:  # an unforeseen fault in one pass must not end all later ones
                log.exception("polling model %s failed", self.name)
            if wait_seconds == 0:
                return
            self._stopping.wait(wait_seconds)

    def stop(self) -> None:
        """Ends `run` and closes what is loaded; requests still running are cut short."""
        self._stopping.set()
        for version in self.states():
            if version.servable is not None:
                version.servable.close()

    def _bring_up(self, number: int, directory: Path) -> bool:
        """True when the version is available afterwards."""
        with self._changed:
            version = self._versions.setdefault(number, Version(number))
        if version.state is State.AVAILABLE:
            return True
        seen = _fingerprint(directory)
        if version.error is not None and seen == version.fingerprint:
            return False
        version.fingerprint = seen
        return self._load_version(version, directory)

    def _load_version(self, version: Version[T], directory: Path) -> bool:
        self._set(version, State.LOADING)
        try:
            servable = self._load(directory)
        except StatusError as error:
            log.error("model %s version %d failed to load: %s", self.name, version.number, error.message)
            self._set(version, State.END, error=error)
            return False
        except Exception as error:
            log.exception("model %s version %d failed to load", self.name, version.number)
            self._set(version, State.END, error=StatusError(Code.INTERNAL, f"{type(error).__name__}: {error}"))
            return False
        self._set(version, State.AVAILABLE, servable=servable)
        log.info("model %s version %d is available", self.name, version.number)
        return True

    def _unload(self, version: Version[T]) -> None:
        with self._changed:
            version.state = State.UNLOADING
            self._changed.wait_for(lambda: version.users == 0)
            servable, version.servable = version.servable, None
        if servable is not None:
            servable.close()
        self._set(version, State.END)

    def _set(
        self, version: Version[T], state: State, servable: T | None = None, error: StatusError | None = None
    ) -> None:
        with self._changed:
            version.state, version.servable, version.error = state, servable, error
            self._changed.notify_all()


def _fingerprint(directory: Path) -> tuple:
    """Names, sizes and times of a directory's files."""
    files = sorted(path for path in directory.rglob("*") if path.is_file())
    return tuple((str(path.relative_to(directory)), path.stat().st_size, path.stat().st_mtime_ns) for path in files)
