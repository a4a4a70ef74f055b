"""Which layout a directory has: every reader is asked whether it knows its own, by a glance at a few of its names."""

from __future__ import annotations

from functools import cached_property
from pathlib import PurePosixPath
from typing import Any

from models import storage
from pipeline.data.datasets import files

_LOOKED_AT, _ASKED_FOR = 3, 12  # directories, and names that may be some: few enough to ask a bucket for


SOURCE_NAMES = frozenset(
    {"accompaniment", "bass", "choir", "drum", "drums", "effects", "guitar", "instrumental", "instruments", "keys"}
    | {"lead", "music", "noise", "other", "percussion", "piano", "sfx", "singing", "speech", "strings", "synth"}
    | {"vocal", "vocals", "voice"}
)
"""Names of sources, in lower case: a folder of such a name holds a source, not a track."""
MIXTURE_NAMES = frozenset({"mixture", "mix", "input"})
"""Names of files that hold a mixture."""


class WrongLayoutError(ValueError):
    """A directory is not of the layout that it was read as; one sentence, which says what was expected."""


class Glance:
    """What lies where below a directory; each directory is listed once, and never all of them."""

    def __init__(self, path: str) -> None:
        self.root: Any = storage.path(path)
        self._listed: dict[str, list[str]] = {}

    @cached_property
    def is_file(self) -> bool:
        """Whether it is a file, such as a manifest."""
        return not storage.is_remote(self.root) and self.root.is_file()

    def names(self, place: str = "") -> list[str]:
        """What a directory holds, without litter; nothing where it is none or may not be read."""
        if place not in self._listed:
            try:
                found = [] if self.is_file else storage.listed(self.root / place if place else self.root)
            except PermissionError:
                found = []
            self._listed[place] = [name for name in found if not files.is_litter(name)]
        return self._listed[place]

    def folders(self, place: str = "") -> list[str]:
        """The first directories in a directory that hold something, by their paths."""
        found: list[str] = []
        names = [name for name in self.names(place) if PurePosixPath(name).suffix.lower() not in files.AUDIO]
        for name in names[:_ASKED_FOR]:
            below = f"{place}/{name}" if place else name
            if self.names(below):
                found.append(below)
            if len(found) == _LOOKED_AT:
                break
        return found

    def audio(self, place: str = "") -> list[str]:
        """Names of the audio files in a directory."""
        return [name for name in self.names(place) if PurePosixPath(name).suffix.lower() in files.AUDIO]

    def stems(self, place: str = "") -> set[str]:
        """What the audio files in a directory are named, without suffixes, in lower case."""
        return {PurePosixPath(name).stem.lower() for name in self.audio(place)}

    def read(self, name: str) -> bytes:
        """A file below the directory, or the file that it is."""
        return storage.read(self.root / name if name else self.root)
