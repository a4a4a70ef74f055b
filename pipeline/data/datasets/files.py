"""The files of a corpus, on this machine or in a bucket: how a reader finds them, and how it gets to open them.

A bucket answers in tens of milliseconds, however little it is asked. So it is asked little, and many things at a time.
"""

from __future__ import annotations

import contextlib
import fnmatch
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from models import storage
from pipeline.data.datasets.track import BadTrackError, TrackRef, printable
from serving.client.decoding.names import audio_named, litter_kind

_YAML = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast, where PyYAML was built with it


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


def litter(root: Any) -> list[str]:
    """The litter below a directory, sorted; of what lies in a directory that is litter itself, its name only."""
    return litter_among((name for name, _, _ in walk(root)), root)


def litter_among(names: Iterable[str], root: Any) -> list[str]:
    """`litter`, of the names that `walk` gives."""
    return sorted({printable(each) for name in names if (each := _litter_in(os.path.relpath(name, root)))})


def content(root: Any) -> Iterator[tuple[str, int, int]]:
    """As `walk`, names relative to the directory, without litter."""
    named = ((os.path.relpath(name, root), size, modified_ns) for name, size, modified_ns in walk(root))
    return (each for each in named if not _litter_in(each[0]))


def _litter_in(name: str) -> str:
    """The part of a path that is litter; empty where none is."""
    parts = name.split("/")
    end = next((end for end, part in enumerate(parts, 1) if litter_kind(part)), 0)
    return "/".join(parts[:end])


def walk(root: Any) -> Iterator[tuple[str, int, int]]:
    """Name, size and time of change (ns) of all files below a directory, through links, but into no directory twice; of a
    file, of those in its directory.

    A link to nothing counts as a file, a directory that may not be read as an empty one.

    Raises:
      OSError: a bucket cannot be listed.
    """
    if storage.is_remote(root):
        yield from ((str(file), state.size, state.modified_ns) for file, state in storage.walk(root))
        return
    root = os.path.dirname(root) if os.path.isfile(root) else root
    seen = {_identity(root)}
    for folder, below, names in os.walk(root, followlinks=True):
        identities = {name: _identity(os.path.join(folder, name)) for name in below}
        below[:] = [name for name, identity in identities.items() if identity not in seen]
        seen |= set(identities.values())
        for name in names:
            file = os.path.join(folder, name)
            try:
                status = os.stat(file)
            except OSError:
                status = os.lstat(file)
            yield file, status.st_size, status.st_mtime_ns


def _identity(directory: Any) -> tuple[int, int]:
    status = os.stat(directory)
    return status.st_dev, status.st_ino


def children(directory: Any) -> list[Any]:
    """The paths in a directory, sorted, without litter; none where it is no directory.

    Raises:
      OSError: it cannot be listed.
    """
    return [child for child in storage.children(directory) if not litter_kind(child.name)]


def matching(directory: Any, pattern: str) -> list[Any]:
    """The `children` of a directory whose names match a pattern, in any case. Raises as that does."""
    return [child for child in children(directory) if fnmatch.fnmatchcase(child.name.lower(), pattern.lower())]


def audio(directory: Any) -> list[Any]:
    """The `children` of a directory that are audio files. Raises as that does."""
    return [child for child in children(directory) if is_audio(child)]


def is_audio(place: Any) -> bool:
    """Whether the name is that of an audio file; a link to nothing may have one, in a bucket a directory, too."""
    return audio_named(place.name) and (storage.is_remote(place) or not _is_directory(place))


def directories(root: Any) -> list[Any]:
    """The directories in a directory, sorted, without litter, and links to nothing, which may have been some.

    Raises:
      OSError: it cannot be listed.
    """
    found = children(root)
    if not storage.is_remote(root):
        return [child for child in found if _is_directory(child) or (not is_audio(child) and is_broken(child))]
    return [child for child, there in zip(found, storage.each(is_directory, found), strict=True) if there]


def refs(make: Callable[[Any, str], TrackRef], places: Mapping[Any, str]) -> list[TrackRef]:
    """`make(place, split)` of every place; what it raises of one is the reason why that track is bad."""

    def one(place: Any) -> TrackRef:
        try:
            return make(place, places[place])
        except (BadTrackError, OSError) as error:
            return TrackRef(place.name, places[place], reason=_words(error, place))

    return storage.each(one, list(places))


def described(file: Any) -> Mapping[str, Any]:
    """What a JSON or YAML file (by its suffix) says.

    Raises:
      BadTrackError: it is not there, not of its kind, or no mapping.
    """
    kind = "YAML" if file.suffix == ".yaml" else "JSON"
    try:
        text = storage.read(file).decode()
        told = yaml.load(text, Loader=_YAML) if kind == "YAML" else json.loads(text)
    except FileNotFoundError as error:
        raise BadTrackError(f"it has no {file.name}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise BadTrackError(f"{file.name} is no {kind} ({str(error).splitlines()[0]})") from error
    if not isinstance(told, dict):
        raise BadTrackError(f"{file.name} is no mapping")
    return told


def by_stem(found: list[Any]) -> dict[str, Any]:
    """Stem name in lower case -> its file.

    Raises:
      BadTrackError: two files are of one stem.
    """
    stems: dict[str, Any] = {}
    for file in found:
        if stems.setdefault(file.stem.lower(), file) is not file:
            raise BadTrackError(f"it has more than one file for {file.stem.lower()}")
    return stems


def _words(error: Exception, place: Any) -> str:
    if is_broken(place):
        return "it is a link to nothing"
    if isinstance(error, OSError) and error.strerror:
        return f"{os.path.basename(error.filename or place.name)} cannot be read ({error.strerror})"
    return str(error)


def is_broken(place: Any) -> bool:
    """Whether it is a link that leads to nothing."""
    return not storage.is_remote(place) and place.is_symlink() and not place.exists()


def _is_directory(place: Any) -> bool:
    """What may not even be looked at is taken for one: listing it says why."""
    try:
        return place.is_dir()
    except OSError:
        return True


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
            yield ref.at({name: _copy(name, directory) for name, directory in _places(ref.files, scratch)})
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


def _places(names: tuple[str, ...], scratch: str) -> Iterator[tuple[str, str]]:
    """A directory for each file: one of its own where another has its name."""
    taken: set[str] = set()
    for index, name in enumerate(names):
        base = os.path.basename(name)
        directory = scratch if base not in taken else os.path.join(scratch, str(index))
        os.makedirs(directory, exist_ok=True)
        taken.add(base)
        yield name, directory


def _copy(name: str, directory: str) -> str:
    """The file of a bucket under its own name in a directory, with its time of change."""
    found = storage.state(name)
    copy = Path(directory, os.path.basename(name))
    with _placing():
        copy.touch()
    with copy.open("wb") as file:
        for piece in storage.pieces(name, found):
            with _placing():
                file.write(piece)
                file.flush()
    with _placing():
        os.utime(copy, ns=(found.modified_ns, found.modified_ns))
    return str(copy)


@contextlib.contextmanager
def _placing() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _no_place(error) from error


def _no_place(error: OSError) -> ScratchError:
    return ScratchError(
        f"the files of a track cannot be copied from its bucket to {tempfile.gettempdir()}: {error.strerror or error}; "
        "TMPDIR chooses another directory"
    )
