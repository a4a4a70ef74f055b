"""The files that arguments name: files, folders, globs that no shell expanded, and standard input."""

from __future__ import annotations

import glob
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from serving.client.decoding.names import audio_named, litter_kind
from serving.client.signals import SeparationError
from serving.wire.words import shown

STANDARD = Path("-")  # standard input as an argument


@dataclass(frozen=True)
class Input:
    """A file to separate.

    Attributes:
      track: its name in those of its stems: without its suffix, and with the folders between it and the one that was named.
    """

    path: Path
    track: str

    @property
    def suffix(self) -> str:
        """Without the dot."""
        return self.path.suffix.removeprefix(".")


@dataclass(frozen=True)
class Inputs:
    """The files to separate, in order, and reason -> those of folders that are left alone."""

    files: tuple[Input, ...]
    ignored: Mapping[str, tuple[Path, ...]]


def found(arguments: Sequence[Path], without: Path | None = None) -> Inputs:
    """What the arguments name, each file once, in their order and that of names in folders; a file that is named is tried
    whatever it is called.

    Args:
      without: a folder of results; what lies in it is no input, if it is a folder in one that an argument names.

    Raises:
      SeparationError: an argument names nothing, a pipe, or a folder that holds no audio.
    """
    files: dict[Path, Input] = {}
    ignored: dict[str, list[Path]] = {}
    for argument in arguments:
        for place in _expanded(argument):
            if place != STANDARD and place.is_fifo():
                raise SeparationError(f"{shown(place)} is a pipe; legal is - with the pipe as standard input")
            if not place.is_dir():
                files.setdefault(place, Input(place, "stdin" if place == STANDARD else place.stem))
                continue
            below = list(_below(place, without, ignored))
            if not below:
                raise SeparationError(f"folder {shown(place)} holds no audio file ({counted(ignored)})")
            for path in below:
                files.setdefault(path, Input(path, str(path.relative_to(place).with_suffix(""))))
    return Inputs(tuple(files.values()), {reason: tuple(paths) for reason, paths in ignored.items()})


@contextmanager
def on_disk(path: Path) -> Iterator[Path]:
    """The file itself; standard input as a temporary file, since a file may be read more than once."""
    if path != STANDARD:
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "standard input"  # the name that errors tell
        with copy.open("wb") as file:
            shutil.copyfileobj(sys.stdin.buffer, file)
        yield copy


def _expanded(argument: Path) -> Sequence[Path]:
    if argument == STANDARD or os.path.lexists(argument):
        return [argument]
    names = sorted(glob.glob(str(argument), recursive=True)) if glob.has_magic(str(argument)) else []
    if not names:
        raise SeparationError(f"{shown(argument)} is not there; legal is a file, a folder, a glob that matches, or -")
    return [Path(name) for name in names]


def _below(folder: Path, without: Path | None, ignored: dict[str, list[Path]]) -> Iterator[Path]:
    """Files with the name of audio below a folder; links to folders are followed, circles end."""
    seen = {_identity(folder)}

    def ignore(reason: str, path: Path) -> None:
        ignored.setdefault(reason, []).append(path)

    for here, folders, names in os.walk(
        folder, onerror=lambda error: ignore("cannot be read", Path(error.filename)), followlinks=True
    ):
        kept = []
        for path in (Path(here, name) for name in sorted(folders)):
            reason = _of_no_folder(path, without)
            if reason:
                ignore(reason, path)
            elif (identity := _identity(path)) not in seen:
                seen.add(identity)
                kept.append(path.name)
        folders[:] = kept
        for path in (Path(here, name) for name in sorted(names)):
            reason = _of_no_file(path)
            if reason:
                ignore(reason, path)
            else:
                yield path


def _of_no_folder(path: Path, without: Path | None) -> str:
    if without is not None and path.exists() and without.exists() and path.samefile(without):
        return "folder of results"
    return _litter(path)


def _of_no_file(path: Path) -> str:
    return _litter(path) or ("" if audio_named(path.name) else "no audio by its name")


def _litter(path: Path) -> str:
    kind = litter_kind(path.name)
    return "litter" if kind and kind != "unfinished" else kind


def _identity(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino


def counted(ignored: Mapping[str, Sequence[Path]]) -> str:
    """How many are left alone for which reason."""
    return ", ".join(f"{len(paths)} {reason}" for reason, paths in ignored.items()) or "it is empty"
