"""Which layout a directory has: every reader is asked whether it knows its own, by a glance at a few of its names."""

from __future__ import annotations

import os
from functools import cached_property
from pathlib import PurePosixPath
from typing import Any

from models import storage
from pipeline.data.datasets import files
from serving.client.decoding.names import audio_named, litter_kind

_LOOKED_AT, _ASKED_FOR = 3, 12  # directories, and names that may be some: few enough to ask a bucket for


SOURCE_NAMES = frozenset(
    {"accompaniment", "bass", "choir", "drum", "drums", "effects", "guitar", "instrumental", "instruments", "keys"}
    | {"lead", "music", "noise", "other", "percussion", "piano", "sfx", "singing", "speech", "strings", "synth"}
    | {"vocal", "vocals", "voice"}
)
"""Names of sources, in lower case: a folder of such a name holds a source, not a track."""
MIXTURE_NAMES = frozenset({"mixture", "mix", "input"})
"""Names of files that hold a mixture."""
MANIFESTS = ("manifest.csv", "manifest.jsonl")
"""Names of lists of tracks."""


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
            self._listed[place] = [name for name in found if not litter_kind(name)]
        return self._listed[place]

    def folders(self, place: str = "") -> list[str]:
        """The first directories in a directory that hold something, by their paths."""
        found: list[str] = []
        names = [name for name in self.names(place) if not audio_named(name)]
        for name in names[:_ASKED_FOR]:
            below = f"{place}/{name}" if place else name
            if self.names(below):
                found.append(below)
            if len(found) == _LOOKED_AT:
                break
        return found

    def audio(self, place: str = "") -> list[str]:
        """Names of the audio files in a directory."""
        return list(filter(audio_named, self.names(place)))

    def stems(self, place: str = "") -> set[str]:
        """What the audio files in a directory are named, without suffixes, in lower case."""
        return {PurePosixPath(name).stem.lower() for name in self.audio(place)}

    def manifest(self) -> str | None:
        """The name of a list of tracks, whatever is in it: in the directory, or of the file that it is."""
        if self.is_file:
            return (
                self.root.name
                if self.root.suffix.lower() in {PurePosixPath(name).suffix for name in MANIFESTS}
                else None
            )
        return next((name for name in MANIFESTS if name in self.names()), None)

    def what_is_missing(self) -> str:
        """Why it can be of no layout, in words that follow its path; empty where it might be of one.

        Raises:
          OSError: a bucket cannot be listed.
        """
        if self.is_file:
            return f"is a file, expected a folder or a list of tracks such as {' or '.join(MANIFESTS)}"
        if not self.names():
            return "is not there, or holds nothing" if storage.is_remote(self.root) else self._why_empty()
        if self.stems() & (SOURCE_NAMES | MIXTURE_NAMES):
            return f"looks like one track ({', '.join(self.audio()[:_LOOKED_AT])}); give the folder above it"
        audio = (audio_named(name) for name, _, _ in files.content(self.root))
        return "" if any(audio) else "holds no audio file"

    def _why_empty(self) -> str:
        if files.is_broken(self.root):
            return "is a link to nothing"
        if not self.root.exists():
            return "is not there"
        return "holds nothing" if os.access(self.root, os.R_OK) else "may not be read"

    def read(self, name: str) -> bytes:
        """A file below the directory, or the file that it is."""
        return storage.read(self.root / name if name else self.root)
