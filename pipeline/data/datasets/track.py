"""What every reader yields, and which of its stems make up which target."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from typing import Literal

import numpy as np

SPLITS = ("train", "dev", "test")
ACCOMPANIMENT = "accompaniment"  # the target that takes every stem which is no target itself
_LONE = re.compile("[\ud800-\udfff]")  # halves of characters, which no text in UTF-8 has


class BadTrackError(ValueError):
    """One track cannot be used; the message is the reason, without the track's name."""


@dataclass(frozen=True)
class Source:
    """Where a signal lies: an audio stream of a file, one channel of it or all of them, and what it is multiplied by."""

    file: str
    stream: int = 0
    channel: int | None = None
    gain: float = 1.0


@dataclass(frozen=True)
class TrackRef:
    """A track that was found, not yet read: its unique name, its split, where its signals lie and what is known about it.

    stems: name -> what is summed to it; a stem of nothing is silent. mixture: what is summed to it; without, it is the
    sum of the stems.
    metadata: groups that the track belongs to, such as {"singer": "Ani"}; scores and gates can be told by them.
    equal_energy: its stems are brought to one energy first, and the mixture is their sum (0 dB).
    lengths: files of other lengths than the others make the track bad ("equal"), are cut to the "shortest", or followed by
      silence up to the "longest".
    reason: why the track cannot be used, if that shows without reading its audio.
    skipped: nothing is wrong with it, it is no part of what was asked for; it does not count as a bad track.
    """

    name: str
    split: str
    stems: Mapping[str, tuple[Source, ...]] = field(default_factory=dict)
    mixture: tuple[Source, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)
    equal_energy: bool = False
    lengths: Literal["equal", "shortest", "longest"] = "equal"
    reason: str = ""
    skipped: bool = False

    @property
    def files(self) -> tuple[str, ...]:
        """Each of its files once."""
        return tuple(dict.fromkeys(source.file for source in (*self.mixture, *sum(self.stems.values(), ()))))

    def at(self, places: Mapping[str, str]) -> TrackRef:
        """The same track, with its files in other places."""

        def moved(sources: tuple[Source, ...]) -> tuple[Source, ...]:
            return tuple(replace(source, file=places[source.file]) for source in sources)

        stems = {name: moved(sources) for name, sources in self.stems.items()}
        return replace(self, stems=stems, mixture=moved(self.mixture))


@dataclass(frozen=True)
class Track:
    """A track in memory: `mixture` and each of `stems` are float32 [samples, channels]; `metadata` as of its ref, and
    what only reading it could tell."""

    name: str
    split: str
    sample_rate_hz: int
    mixture: np.ndarray
    stems: Mapping[str, np.ndarray]
    metadata: Mapping[str, str] = field(default_factory=dict)


def unique(refs: Sequence[TrackRef], where: str) -> list[TrackRef]:
    """The refs sorted by split and name; one whose name or files are no UTF-8 is bad, under a name that can be printed.
    Of several bad ones of one name, or beside a good one, the others are numbered.

    Raises:
      ValueError: two tracks have the same name, so that a split could leak into another.
    """
    named: dict[str, TrackRef] = {}
    for ref in sorted(map(_printable, refs), key=lambda ref: bool(ref.reason)):
        if ref.reason:  # nothing of it can leak
            ref = replace(ref, name=_unused(ref.name, named))
        elif ref.name in named:
            raise ValueError(f"Track {ref.name!r} occurs twice in {where} ({named[ref.name].split} and {ref.split}).")
        named[ref.name] = ref
    return sorted(named.values(), key=lambda ref: (SPLITS.index(ref.split), ref.name))


def _unused(name: str, taken: Container[str]) -> str:
    return next(each for n in itertools.count(1) if (each := f"{name} ({n})" if n > 1 else name) not in taken)


def printable(name: str) -> str:
    """A name of a file system, its bytes that are no UTF-8 as \\xNN; of JSON, halves of characters as \\uNNNN."""
    return _LONE.sub(
        lambda half: f"\\x{ord(half[0]) - 0xDC00:02x}" if "\udc80" <= half[0] <= "\udcff" else ascii(half[0])[1:-1],
        name,
    )


def _printable(ref: TrackRef) -> TrackRef:
    """TFRecords, JSON and Beam take no names with lone surrogates, which is what Python makes of such bytes."""
    for name in (ref.name, *ref.files):
        if (shown := printable(os.path.basename(name))) != os.path.basename(name):
            return TrackRef(printable(ref.name), ref.split, reason=f"the name {shown} is no UTF-8")
    if "/" in ref.name:  # files are named by tracks
        return TrackRef(
            ref.name.replace("/", "\\x2f"), ref.split, reason=ref.reason or f"its name {ref.name!r} has a slash"
        )
    metadata = {printable(key): printable(value) for key, value in ref.metadata.items()}
    return replace(ref, metadata=metadata, reason=printable(ref.reason))


def group(track: Track, targets: Sequence[str]) -> Track:
    """The track with exactly `targets` as its stems. Raises BadTrackError as `grouping` does."""
    parts = grouping(tuple(track.stems), targets)
    return replace(track, stems={name: mix([track.stems[stem] for stem in stems]) for name, stems in parts.items()})


def grouping(stems: Sequence[str], targets: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Target -> the stems that are summed to it: those that are no target become the accompaniment.

    Raises:
      BadTrackError: a target has no stem, or a stem has no target that could take it.
    """
    others = tuple(name for name in stems if name not in targets)
    parts: dict[str, tuple[str, ...]] = {name: (name,) for name in targets if name in stems}
    if others and ACCOMPANIMENT in parts:
        raise BadTrackError(f"it has an accompaniment and also {', '.join(others)}: which of them counts is not clear")
    if others and ACCOMPANIMENT in targets:
        parts[ACCOMPANIMENT] = others
    elif others:
        raise BadTrackError(f"no target takes its {', '.join(others)} (targets: {', '.join(targets)})")
    missing = [name for name in targets if name not in parts]
    if missing:
        raise BadTrackError(f"it has no stem for {', '.join(missing)} (stems: {', '.join(sorted(stems))})")
    return {name: parts[name] for name in targets}


def mix(signals: Sequence[np.ndarray]) -> np.ndarray:
    """The sum of signals of one shape, in their order (which fixes the rounding)."""
    return reduce(np.add, signals)
