"""Publishing a model as the next version below a base path, from which others read meanwhile.

On a file system one at a time has the lock, copies beside the versions and renames. A bucket has neither locks nor renames,
but what is written there is seen at once by all (S3 since 2020, GCS, MinIO). So there a publisher

1. writes a claim into `.push/` and goes on only if no other is there; else it takes its own away and tries again. Of two
   that wrote theirs at the same time each sees the other, so at most one goes on;
2. copies all files into `.push/`, which no model server looks into;
3. takes a number in the same way, by a mark in the directory of that number, in which nothing else may be;
4. copies there all but saved_model.pb, looks whether its claim still stands, and copies saved_model.pb.

What holds: a complete version is of one publisher, whatever dies or stands still whenever. Two publish at once only if one of
them stands still for `DEAD_SECONDS - LIMIT_SECONDS` between its last look and its last copy: claims of the dead are removed
once they are `DEAD_SECONDS` old by the bucket's clock, and who has taken `LIMIT_SECONDS` gives up. What a dead publisher has
left of a version is no version yet, and the next one that publishes removes it.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import time
import uuid
from collections.abc import Iterator
from typing import Protocol

import filelock

from models import storage
from models.directory import ModelDirectory, numbered
from pipeline.common import progress

# None is an int64, so no model server looks into them.
STAGING = ".staging"
LOCK = ".push.lock"
CLAIMS = ".push"
LIMIT_SECONDS, DEAD_SECONDS = 300, 600
_WAIT_SECONDS = 1.0, 3.0
# The mark is the first of the names in a version, and so the last that is removed.
_MODEL, _CLAIM, _MARK = "model", "claim", ".being_pushed_by."


class Publisher(Protocol):
    """Who may publish now."""

    def publish(self, source: str, at_least: int = 1, origin: str = "", inside: str = "") -> ModelDirectory:
        """Copies the SavedModel in the directory `source`; a server sees all of it or none.

        at_least: the number of the new version, unless one is taken that is as high. origin: see
        `ModelDirectory.write_origin`; empty writes none. inside: where in the version's directory the SavedModel goes.

        Raises OSError where that cannot be done; then nothing is published.
        """
        ...


@contextlib.contextmanager
def turn(base: str | os.PathLike[str]) -> Iterator[Publisher]:
    """Waits until nobody else publishes in `base`, and keeps others waiting as long as the block lasts.

    Raises OSError where `base` cannot be written.
    """
    place = os.fspath(storage.path(base))
    if storage.is_remote(place):
        bucket = _Bucket(place)
        try:
            bucket.claim()
            yield bucket
        finally:
            with contextlib.suppress(OSError):  # a claim that stays is that of a dead publisher
                bucket.withdraw()
        return
    os.makedirs(place, exist_ok=True)
    lock = filelock.FileLock(os.path.join(place, LOCK))
    try:
        own = lock.acquire(timeout=0)
    except filelock.Timeout:
        _tell_waiting(place)
        own = lock.acquire()
    with own:
        yield _Disk(place)


def _tell_waiting(base: str) -> None:
    progress.console.print(f"  waiting: another model is being pushed to {base}", markup=False)


class _Disk:
    def __init__(self, base: str) -> None:
        self.base, self.staging = base, os.path.join(base, STAGING)

    def publish(self, source: str, at_least: int = 1, origin: str = "", inside: str = "") -> ModelDirectory:
        shutil.rmtree(self.staging, ignore_errors=True)
        try:
            _copy(source, os.path.join(self.staging, inside), origin)
            final = os.path.join(self.base, str(_next(self.base, at_least)))
            os.rename(self.staging, final)
        except OSError as error:
            raise OSError(f"{self.base} cannot be written: {error}") from error
        finally:
            shutil.rmtree(self.staging, ignore_errors=True)
        return ModelDirectory(final)


class _Bucket:
    def __init__(self, base: str) -> None:
        self.base, self.name = base, uuid.uuid4().hex
        self.claims = f"{base}/{CLAIMS}"
        self.own = f"{self.claims}/{self.name}"
        self.began = 0.0

    def claim(self) -> None:
        """Returns when this is the only claim."""
        waiting = False
        while True:
            self.began = _now()
            self._write(f"{self.own}/{_CLAIM}")
            others = [name for name in storage.listed(self.claims) if name != self.name]
            if not [name for name in others if not self._buried(name)]:
                return
            self.withdraw()
            if not waiting:
                _tell_waiting(self.base)
            waiting = True
            time.sleep(random.uniform(*_WAIT_SECONDS))

    def withdraw(self) -> None:
        """The claim goes last: until then nobody else begins."""
        storage.remove(f"{self.own}/{_MODEL}")
        storage.remove(self.own)

    def publish(self, source: str, at_least: int = 1, origin: str = "", inside: str = "") -> ModelDirectory:
        staged = f"{self.own}/{_MODEL}"
        _copy(source, staged, origin)
        number = _next(self.base, at_least)
        while not self._takes(number):
            number += 1
        final = f"{self.base}/{number}"
        try:
            names = storage.files(staged)
            self._look()  # so all were there
            *others, last = names
            for name in others:
                storage.copy_file(f"{staged}/{name}", os.path.join(final, inside, name))
            self._look()
            storage.copy_file(f"{staged}/{last}", os.path.join(final, inside, last))
            if {*names} - {*storage.files(os.path.join(final, inside))}:
                raise OSError(f"{final}: nothing is pushed, for another has cleared away what it took for a dead one's")
        except BaseException:
            with contextlib.suppress(OSError):  # what stays is no version
                storage.remove(final)
            raise
        with contextlib.suppress(OSError), storage.told(final):  # a mark that stays beside saved_model.pb says nothing
            storage.path(f"{final}/{_MARK}{self.name}").unlink(missing_ok=True)
            self._clear(number)
        return ModelDirectory(final)

    def _buried(self, name: str) -> bool:
        """Whether another's claim stands no more, if need be because it is so old that its publisher must be dead."""
        claim = f"{self.claims}/{name}/{_CLAIM}"
        with storage.told(self.base):
            if _CLAIM in storage.listed(f"{self.claims}/{name}"):
                with contextlib.suppress(FileNotFoundError):  # it has gone meanwhile, and the next look says so
                    age = storage.path(f"{self.own}/{_CLAIM}").stat().mtime - storage.path(claim).stat().mtime
                    if age >= DEAD_SECONDS:
                        storage.path(claim).unlink(missing_ok=True)
                return False
            storage.remove(f"{self.claims}/{name}")
            return True

    def _takes(self, number: int) -> bool:
        """Whether nobody but this publisher writes to the directory of the number."""
        mark = f"{_MARK}{self.name}"
        self._write(f"{self.base}/{number}/{mark}")
        if storage.listed(f"{self.base}/{number}") == [mark]:
            return True
        storage.path(f"{self.base}/{number}/{mark}").unlink(missing_ok=True)
        return False

    def _clear(self, number: int) -> None:
        """Removes what the dead have left of versions before this one: now nobody takes their numbers again."""
        for name in (name for other, name in numbered(storage.listed(self.base)).items() if other < number):
            marks = [mark for mark in storage.listed(f"{self.base}/{name}") if mark.startswith(_MARK)]
            if marks and not any(file.endswith("saved_model.pb") for file in storage.files(f"{self.base}/{name}")):
                storage.remove(f"{self.base}/{name}")

    def _look(self) -> None:
        """Raises OSError if this publisher may have been taken for dead."""
        seconds = _now() - self.began
        if seconds > LIMIT_SECONDS or _CLAIM not in storage.listed(self.own):
            raise OSError(
                f"{self.base}: nothing is pushed, for that took {seconds:.0f} s, in which another may have begun; "
                f"legal are {LIMIT_SECONDS} s"
            )

    def _write(self, file: str) -> None:
        with storage.told(self.base):
            storage.path(file).write_text(self.name + "\n")


def _copy(source: str, staged: str, origin: str) -> None:
    storage.copy(source, staged)
    if origin:
        with storage.told(staged):
            ModelDirectory(staged).write_origin(origin)


def _next(base: str, at_least: int) -> int:
    """A number above all that are taken, by whatever."""
    return max([at_least, *(taken + 1 for taken in numbered(storage.listed(base)))])


def _now() -> float:
    """Seconds that go on while the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
