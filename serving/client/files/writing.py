"""Writing stems block by block: under temporary names in their folders, then all of them renamed at once."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import numpy as np
import soundfile

from serving.client.files import tagging
from serving.client.files.encodings import Encoding
from serving.client.signals import Stems

WAV_BYTES = 2**32 - 2**20  # what a WAV file can hold; beyond it, RF64 (EBU Tech 3306), which differs in the header only


class Files:
    """The files of one signal's stems, being written.

    Attributes:
      beyond: stem -> samples outside of [-1, 1] that its encoding does not hold; they are clipped.
      lost: what of the tags could not be kept, and why; known when the files are complete.
    """

    def __init__(self, files: Mapping[str, _File], encoding: Encoding) -> None:
        self._files = files
        self._encoding = encoding
        self.beyond = dict.fromkeys(files, 0)
        self.lost: str | None = None

    def write(self, stems: Stems) -> None:
        """The next block of every stem [samples, channels]."""
        for stem, file in self._files.items():
            if self._encoding.clips:
                self.beyond[stem] += int((np.abs(stems[stem]) > 1).sum())
            file.write(stems[stem])


@contextmanager
def written(
    paths: Mapping[str, Path],
    sample_rate_hz: int,
    channels: int,
    encoding: Encoding = Encoding(),  # noqa: B008
    tags: tagging.Tags = tagging.Tags(),  # noqa: B008
) -> Iterator[Files]:
    """Opens a file for every stem; they appear together, complete, when the block ends without an error, or not at all.

    Raises:
      ValueError: the encoding does not hold such a rate or so many channels.
      OSError: a file cannot be written.
    """
    encoding.check(sample_rate_hz, channels)
    parts = {stem: path.with_name(f".{path.name}.{os.getpid()}.part") for stem, path in paths.items()}
    try:
        with _folders({path.parent for path in paths.values()}), _removed(parts.values()):
            with ExitStack() as stack:
                files = {
                    stem: stack.enter_context(_File(part, sample_rate_hz, channels, encoding))
                    for stem, part in parts.items()
                }
                written = Files(files, encoding)
                yield written
            for part in parts.values():
                written.lost = tagging.finish(part, encoding, tags) or written.lost
            for stem, part in parts.items():
                os.replace(part, paths[stem])
    except (soundfile.LibsndfileError, AssertionError) as error:  # soundfile asserts that all samples were written
        raise OSError(f"cannot write {', '.join(map(str, paths.values()))}: {error or 'disk full?'}") from error


@contextmanager
def _removed(parts: Iterable[Path]) -> Iterator[None]:
    """What is left of them at the end goes."""
    try:
        yield
    finally:
        for part in parts:
            with suppress(OSError):  # a name that is too long was never there
                part.unlink()


def check_folder(folder: Path) -> None:
    """Raises OSError where nothing can be written to a folder that may not be there yet."""
    try:
        there = next(each for each in (folder, *folder.absolute().parents) if each.exists())
        with tempfile.TemporaryFile(dir=there):  # nothing is made here: others may be at work beside
            pass
    except OSError as error:
        raise OSError(f"stems cannot be written to {folder}: {error.strerror}") from error


class _File:
    """One file; a WAV that grows beyond what one can hold becomes RF64."""

    def __init__(self, path: Path, sample_rate_hz: int, channels: int, encoding: Encoding) -> None:
        self._path, self._encoding = path, encoding
        self._shape = sample_rate_hz, channels
        self._left = WAV_BYTES // (4 * channels)
        self._sound = encoding.opened(path, *self._shape)

    def __enter__(self) -> _File:
        return self

    def __exit__(self, *_: object) -> None:
        self._sound.close()

    def write(self, block: np.ndarray) -> None:
        """Samples [samples, channels]."""
        if self._sound.format == "WAV":
            self._left -= len(block)
            if self._left < 0:
                self._widen()
        self._sound.write(self._encoding.samples(block))

    def _widen(self) -> None:
        self._sound.close()
        narrow = self._path.with_name(f"{self._path.name}.wav")
        os.replace(self._path, narrow)
        try:
            self._sound = self._encoding.opened(self._path, *self._shape, container="RF64")
            with narrow.open("rb") as file, soundfile.SoundFile(file) as source:
                for block in source.blocks(2**16, dtype="float32", always_2d=True):
                    self._sound.write(self._encoding.samples(block))
        finally:
            narrow.unlink()


@contextmanager
def _folders(paths: set[Path]) -> Iterator[None]:
    """The folders, made with their parents where they are missing; on failure those made here that are empty go again."""
    made = {folder for path in paths for folder in (path, *path.parents) if not folder.exists()}
    try:
        for path in paths:
            path.mkdir(parents=True, exist_ok=True)
        yield
    except BaseException:
        for folder in sorted(made, key=lambda folder: len(folder.parts), reverse=True):
            with suppress(OSError):  # what is not empty stays
                folder.rmdir()
        raise
