"""What every reader yields, and the steps from a corpus' own layout to the rate, channels and targets asked for."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from typing import Literal

import numpy as np

from pipeline.data.datasets import audio

SPLITS = ("train", "dev", "test")
ACCOMPANIMENT = "accompaniment"  # the target that takes every stem which is no target itself
MINIMUM_SECONDS = 0.1
_CLIPPING_FLOOR = 10 ** (-40 / 20)  # below it, the ceiling of a signal is its noise, not a limiter's


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

    Raises:
      ValueError: two tracks have the same name, so that a split could leak into another.
    """
    refs = [_printable(ref) for ref in refs]
    seen: dict[str, TrackRef] = {}
    for ref in refs:
        if ref.name in seen:
            raise ValueError(f"Track {ref.name!r} occurs twice in {where} ({seen[ref.name].split} and {ref.split}).")
        seen[ref.name] = ref
    return sorted(refs, key=lambda ref: (SPLITS.index(ref.split), ref.name))


def printable(name: str) -> str:
    """A name of a file system, its bytes that are no UTF-8 as \\xNN."""
    return os.fsencode(name).decode(errors="backslashreplace")


def _printable(ref: TrackRef) -> TrackRef:
    """TFRecords, JSON and Beam take no names with lone surrogates, which is what Python makes of such bytes."""
    for what, name in (("", ref.name), *(("its file ", os.path.basename(file)) for file in ref.files)):
        if (shown := printable(name)) != name:
            return TrackRef(printable(ref.name), ref.split, reason=f"the name of {what or 'it, '}{shown} is no UTF-8")
    metadata = {printable(key): printable(value) for key, value in ref.metadata.items()}
    return replace(ref, metadata=metadata, reason=printable(ref.reason))


def check_track(track: Track) -> None:
    """Raises BadTrackError with the reason if the track is empty, too short, uneven, not finite or of no legal rate."""
    if track.sample_rate_hz <= 0:
        raise BadTrackError(f"its sample rate is {track.sample_rate_hz} Hz")
    samples = len(track.mixture)
    if samples == 0:
        raise BadTrackError("it has 0 samples")
    for name, stem in track.stems.items():
        if stem.shape != track.mixture.shape:
            raise BadTrackError(f"{name} is {_shape(stem)} but the mixture is {_shape(track.mixture)}")
    if samples < MINIMUM_SECONDS * track.sample_rate_hz:
        raise BadTrackError(f"it has {samples} samples, less than the {MINIMUM_SECONDS:g} s a track must last")
    for name, signal in {"mixture": track.mixture, **track.stems}.items():
        if not np.isfinite(signal).all():
            bad = int(np.size(signal) - np.isfinite(signal).sum())
            raise BadTrackError(f"{name} has {bad} values that are NaN or infinite")


def convert(track: Track, sample_rate_hz: int, channels: int) -> Track:
    """The track at another rate (soxr HQ) and number of channels (mono = mean, stereo of mono = twice the same)."""

    def one(signal: np.ndarray) -> np.ndarray:
        return audio.resample(audio.to_channels(signal, channels), track.sample_rate_hz, sample_rate_hz)

    stems = {name: one(stem) for name, stem in track.stems.items()}
    return replace(track, sample_rate_hz=sample_rate_hz, mixture=one(track.mixture), stems=stems)


def group(track: Track, targets: Sequence[str]) -> Track:
    """The track with exactly `targets` as its stems: stems that are no target are summed into the accompaniment.

    Raises:
      BadTrackError: a target has no stem, or a stem has no target that could take it.
    """
    others = [name for name in track.stems if name not in targets]
    stems = {name: track.stems[name] for name in targets if name in track.stems}
    if others and ACCOMPANIMENT in stems:
        raise BadTrackError(f"it has an accompaniment and also {', '.join(others)}: which of them counts is not clear")
    if others and ACCOMPANIMENT in targets:
        stems[ACCOMPANIMENT] = mix([track.stems[name] for name in others])
    elif others:
        raise BadTrackError(f"no target takes its {', '.join(others)} (targets: {', '.join(targets)})")
    missing = [name for name in targets if name not in stems]
    if missing:
        raise BadTrackError(f"it has no stem for {', '.join(missing)} (stems: {', '.join(sorted(track.stems))})")
    return replace(track, stems={name: stems[name] for name in targets})


def mix(signals: Sequence[np.ndarray]) -> np.ndarray:
    """The sum of signals of one shape, in their order (which fixes the rounding)."""
    return reduce(np.add, signals)


def clipping_ratio(track: Track) -> float:
    """The largest share of samples, over mixture and stems, that lie at that signal's own ceiling (within 1e-4 of it).

    A signal cut off by a converter or limiter has many of them, even if it was attenuated afterwards; any other has
    one or two. Measure it before resampling, which rings around the flat tops.
    """
    return max(_share_at_ceiling(signal) for signal in (track.mixture, *track.stems.values()))


def _share_at_ceiling(signal: np.ndarray) -> float:
    magnitude = np.abs(signal)
    ceiling = magnitude.max(initial=0.0)
    if ceiling < _CLIPPING_FLOOR:
        return 0.0
    return float(np.mean(magnitude >= ceiling * (1 - 1e-4)))


def _shape(signal: np.ndarray) -> str:
    samples, channels = signal.shape
    return f"{samples} samples of {channels} channel{'s' if channels > 1 else ''}"
