"""Anybody's separated files beside their references: found, paired by the name of the track, and read.

    DIR/[train|dev|test/]<track>/<stem>.wav    MUSDB18 as folders; what museval, Open-Unmix and Spleeter write
    DIR/<stem>.wav                             a single track
    DIR/[train|test/]<track>.stem.mp4          references only: MUSDB18's native files

Also FLAC, OGG and MP3. A reference may hold `mixture.*` (or `mix.*`); without it the mixture is the sum of its stems.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile

from models.checked import nearest
from pipeline.data.datasets import audio, musdb18
from pipeline.data.datasets.track import ACCOMPANIMENT, BadTrackError, Track, TrackRef, mix

TOLERATED_SECONDS = 0.1
MIXTURE = "mixture"

_VOCALS = "vocals"
_SUFFIXES = frozenset({".wav", ".flac", ".ogg", ".mp3"})
_NATIVE_SUFFIX = ".stem.mp4"
_NATIVE_STEMS = ("vocals", "drums", "bass", "other")
_SPLITS = frozenset({"train", "dev", "valid", "test"})
_ORDER = ("vocals", "drums", "bass", "other", ACCOMPANIMENT)


@dataclass(frozen=True)
class Files:
    """A track that was found, not yet read: its files by stem, or the one native file that holds them all.

    flat: its folder is all that was given. problem: why its files cannot be used, whatever they hold.
    """

    name: str
    where: Path
    stems: Mapping[str, Path] = field(default_factory=dict)
    native: bool = False
    flat: bool = False
    problem: str = ""

    @property
    def names(self) -> list[str]:
        """Its stems without the mixture."""
        return list(_NATIVE_STEMS) if self.native else [name for name in self.stems if name != MIXTURE]


@dataclass(frozen=True)
class Pair:
    """A reference and what is judged by it: method -> the files of its estimates (none when models separate)."""

    references: Files
    estimates: Mapping[str, Files] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.references.name


class Fit(NamedTuple):
    """An estimate that was not of its reference's length: by how many samples it was padded (cut: below 0)."""

    file: str
    samples: int


@dataclass(frozen=True)
class Loaded:
    """A track, the estimates of every method as target -> [samples, channels], and which of them had to be fitted."""

    track: Track
    estimates: Mapping[str, Mapping[str, np.ndarray]]
    fits: tuple[Fit, ...]


class _Format(NamedTuple):
    sample_rate_hz: int
    channels: int
    samples: int


def find(directory: Path, native: bool = False) -> dict[str, Files]:
    """Every track in a directory by its name; `native`: its .stem.mp4 files too.

    Raises:
        ValueError: it is no directory, holds no track, the same track twice, or audio files beside folders of tracks.
    """
    if not directory.is_dir():
        raise ValueError(f"{directory} is not a directory")
    folders = _folders(directory)
    if _audio_files(directory):
        if any(_audio_files(folder) for folder in folders):
            raise ValueError(f"{directory} holds audio files and also folders of tracks; legal: one or the other")
        return {directory.resolve().name: replace(_files(directory), flat=True)}
    splits = [folder for folder in folders if folder.name in _SPLITS and not _audio_files(folder)]
    roots = [directory, *splits]
    found = [_files(folder) for root in roots for folder in _folders(root) if folder not in splits]
    if native:
        native_files = [file for root in roots for file in sorted(root.glob(f"[!.]*{_NATIVE_SUFFIX}"))]
        found += [Files(file.name.removesuffix(_NATIVE_SUFFIX), file, native=True) for file in native_files]
    if not found:
        kinds = "<track>/<stem>.wav" + (f" or <track>{_NATIVE_SUFFIX}" if native else "")
        raise ValueError(f"{directory} holds no track; expected {kinds}, perhaps in train/ and test/")
    return _by_name(found, directory)


def pair(
    references: Mapping[str, Files], estimates: Mapping[str, Mapping[str, Files]]
) -> tuple[list[Pair], dict[str, str]]:
    """References with the estimates of every method, and track -> reason for those that cannot be judged.

    One reference and one estimate belong together, whatever they are called, when one of them is a flat folder.
    """
    estimates = {method: _renamed(references, found) for method, found in estimates.items()}
    bad = {
        name: f"it has {_METHOD_WORDS[method]} but no reference"
        for method, found in estimates.items()
        for name in found
        if name not in references
    }
    pairs = []
    for name, reference in references.items():
        missing = [method for method, found in estimates.items() if name not in found]
        if missing:
            bad[name] = f"it has a reference but no {_METHOD_WORDS[missing[0]]}"
        else:
            pairs.append(Pair(reference, {method: found[name] for method, found in estimates.items()}))
    return pairs, bad


def choose_targets(references: Iterable[Files], estimates: Iterable[Files]) -> tuple[str, ...]:
    """The stems that were separated: every name among the estimates, vocals first.

    Raises:
        ValueError: there is none, no reference has one of them, or `accompaniment` stands beside its own parts.
    """
    names = {name for files in estimates for name in files.names}
    targets = in_order(names)
    legal = sorted({name for files in references for name in available(files)})
    if not targets:
        raise ValueError("the estimates hold no stem: expected files such as vocals.wav")
    for target in targets:
        if target not in legal:
            raise ValueError(
                f"the estimates have {target!r}, which no reference has; choose by --targets ({nearest(target, legal)})"
            )
    check_targets(targets)
    return targets


def in_order(targets: Iterable[str]) -> tuple[str, ...]:
    """Vocals first, then as MUSDB18 names its stems, then by the alphabet."""
    given = set(targets)
    return (*(name for name in _ORDER if name in given), *sorted(given.difference(_ORDER)))


def check_targets(targets: Sequence[str]) -> None:
    """Raises ValueError if a target occurs twice, or stands beside the accompaniment, of which it is a part."""
    if len(set(targets)) != len(targets) or MIXTURE in targets:
        raise ValueError(f"targets are {', '.join(targets)}; legal: names of stems, none twice")
    parts = [target for target in targets if target not in (_VOCALS, ACCOMPANIMENT)]
    if ACCOMPANIMENT in targets and parts:
        raise ValueError(
            f"{ACCOMPANIMENT} holds {', '.join(parts)}, and they cannot be judged in one go: choose by --targets"
        )


def available(references: Files) -> list[str]:
    """The targets that a reference can be the reference of."""
    names = references.names
    parts = [name for name in names if name not in (_VOCALS, ACCOMPANIMENT)]
    return [*names, ACCOMPANIMENT] if parts and ACCOMPANIMENT not in names else names


def check_pair(files: Pair, targets: Sequence[str]) -> None:
    """Finds out from names and headers alone whether a pair can be judged.

    Raises:
        BadTrackError: the reason it cannot, in words that name the file.
    """
    for each in (files.references, *files.estimates.values()):
        if each.problem:
            raise BadTrackError(each.problem)
    if missing := [target for target in targets if target not in available(files.references)]:
        raise BadTrackError(f"its reference has no {missing[0]} (it has {', '.join(sorted(files.references.names))})")
    for method, each in files.estimates.items():
        if missing := [target for target in targets if target not in each.stems]:
            raise BadTrackError(f"its {_METHOD_WORDS[method]} have no {missing[0]} (they have {', '.join(each.names)})")
    if not files.references.native:
        _check_formats({path: _format(path) for path in files.references.stems.values()}, files, targets)


def load(files: Pair, targets: Sequence[str]) -> Loaded:
    """Reads a pair: references summed into `accompaniment` where that is a target, estimates of the mixture's length.

    Raises:
        BadTrackError: see `check_pair`; or a file cannot be read.
    """
    check_pair(files, targets)
    track = _references(files.references, targets)
    formats = {files.references.where: _Format(track.sample_rate_hz, track.mixture.shape[1], len(track.mixture))}
    _check_formats(formats, files, targets)
    estimates, fits = {}, []
    for method, each in files.estimates.items():
        signals = {target: audio.read(each.stems[target])[0] for target in targets}
        lacking = {target: len(track.mixture) - len(signal) for target, signal in signals.items()}
        fits += [Fit(_short(each.stems[target]), samples) for target, samples in lacking.items() if samples]
        estimates[method] = {target: _fitted(signal, len(track.mixture)) for target, signal in signals.items()}
    return Loaded(track, estimates, tuple(fits))


_METHOD_WORDS = {"model": "estimates", "baseline": "baseline estimates"}


def _folders(directory: Path) -> list[Path]:
    return sorted(child for child in directory.iterdir() if child.is_dir() and not child.name.startswith("."))


def _audio_files(directory: Path) -> list[Path]:
    files = (file for file in directory.iterdir() if file.suffix.lower() in _SUFFIXES and file.is_file())
    return sorted(file for file in files if not file.name.startswith("."))


def _files(folder: Path) -> Files:
    stems: dict[str, Path] = {}
    for file in _audio_files(folder):
        name = file.stem.lower()
        name = MIXTURE if name == "mix" else name
        if name in stems:
            return Files(folder.name, folder, problem=f"it has two files for {name}: {stems[name].name}, {file.name}")
        stems[name] = file
    problem = "" if stems else f"its folder holds no audio file ({', '.join(sorted(_SUFFIXES))})"
    return Files(folder.resolve().name, folder, stems, problem=problem)


def _by_name(found: Iterable[Files], directory: Path) -> dict[str, Files]:
    by_name: dict[str, Files] = {}
    for each in found:
        if each.name in by_name:
            raise ValueError(f"track {each.name!r} occurs twice in {directory}")
        by_name[each.name] = each
    return dict(sorted(by_name.items()))


def _renamed(references: Mapping[str, Files], estimates: Mapping[str, Files]) -> dict[str, Files]:
    """The estimates by their references' names."""
    if len(references) == len(estimates) == 1:
        [(name, reference)], [estimate] = references.items(), estimates.values()
        if reference.flat or estimate.flat:
            return {name: estimate}
    return dict(estimates)


def _references(files: Files, targets: Sequence[str]) -> Track:
    if files.native:
        track = musdb18.load(TrackRef(files.name, "test", (str(files.where),)), {})
        sample_rate_hz, mixture, stems = track.sample_rate_hz, track.mixture, dict(track.stems)
    else:
        read = {name: audio.read(path) for name, path in files.stems.items()}
        sample_rate_hz = next(rate for _, rate in read.values())
        stems = {name: signal for name, (signal, _) in read.items()}
        mixture = stems.pop(MIXTURE, None)
    if mixture is None:
        mixture = _sum(stems)
    chosen = {}
    for target in targets:  # a stem, or for the accompaniment all stems but the vocals
        parts = [target] if target in stems else [name for name in stems if name != _VOCALS]
        chosen[target] = mix([stems[name] for name in parts])
    for name, signal in {**chosen, MIXTURE: mixture}.items():
        if not np.isfinite(signal).all():
            raise BadTrackError(f"its reference {name} holds samples that are NaN or infinite")
    return Track(files.name, "test", sample_rate_hz, mixture, chosen)


def _sum(stems: Mapping[str, np.ndarray]) -> np.ndarray:
    parts = [name for name in stems if name not in (_VOCALS, ACCOMPANIMENT)]
    if ACCOMPANIMENT in stems and parts:
        raise BadTrackError(f"its reference has an accompaniment and also {', '.join(parts)}: it needs a mixture.wav")
    return mix(list(stems.values()))


def _format(path: Path) -> _Format:
    """From the header of a file."""
    if path.stat().st_size == 0:
        raise BadTrackError(f"{_short(path)} is empty (0 bytes)")
    try:
        info = soundfile.info(path)
    except soundfile.LibsndfileError as error:
        raise BadTrackError(f"{_short(path)} is no readable audio ({error.error_string.rstrip('.')})") from error
    return _Format(info.samplerate, info.channels, info.frames)


def _check_formats(references: Mapping[Path, _Format], files: Pair, targets: Sequence[str]) -> None:
    """References must agree with each other to the sample, estimates with them but for a little of their length."""
    first, wanted = next(iter(references.items()))
    if not wanted.samples:
        raise BadTrackError(f"{_short(first)} holds 0 samples")
    for path, given in references.items():
        _check_format(path, given, first, wanted, tolerated_samples=0)
    tolerated_samples = round(TOLERATED_SECONDS * wanted.sample_rate_hz)
    for each in files.estimates.values():
        for target in targets:
            _check_format(each.stems[target], _format(each.stems[target]), first, wanted, tolerated_samples)


def _check_format(path: Path, given: _Format, first: Path, wanted: _Format, tolerated_samples: int) -> None:
    against = f"the reference {_short(first)} has"
    if given.sample_rate_hz != wanted.sample_rate_hz:
        raise BadTrackError(f"{_short(path)} has {given.sample_rate_hz} Hz, {against} {wanted.sample_rate_hz} Hz")
    if given.channels != wanted.channels:
        raise BadTrackError(f"{_short(path)} has {given.channels} channel(s), {against} {wanted.channels}")
    if abs(given.samples - wanted.samples) > tolerated_samples:
        raise BadTrackError(
            f"{_short(path)} has {given.samples} samples, {against} {wanted.samples}: "
            f"legal is a difference of {tolerated_samples}"
        )


def _fitted(signal: np.ndarray, samples: int) -> np.ndarray:
    """Zeros behind a signal [samples, channels] that is too short, the end off one that is too long, as museval does."""
    return np.pad(signal[:samples], ((0, max(0, samples - len(signal))), (0, 0)))


def _short(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"
