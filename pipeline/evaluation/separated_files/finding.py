"""Which files there are: references by their tracks, everything else that lies in a folder, and the litter in it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from pipeline.data.datasets.track import printable
from pipeline.evaluation.separated_files.names import MIXTURE, MIXTURES
from serving.client.decoding.names import audio_named, litter_kind

_NATIVE_SUFFIX = ".stem.mp4"
_NATIVE_STEMS = ("vocals", "drums", "bass", "other")
_SPLITS = frozenset({"train", "dev", "valid", "test"})


@dataclass(frozen=True)
class Files:
    """A track that was found, not yet read: its files by stem, or the one native file that holds them all.

    flat: its folder is all that was given. problem: why its files cannot be used, whatever they hold. doubles: stem ->
    the files that all may be it. rule: how an estimate's name was read to be the track's.
    """

    name: str
    where: Path
    stems: Mapping[str, Path] = field(default_factory=dict)
    native: bool = False
    flat: bool = False
    problem: str = ""
    doubles: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    rule: str = ""

    @property
    def names(self) -> list[str]:
        """Its stems without the mixture."""
        return list(_NATIVE_STEMS) if self.native else [name for name in self.stems if name != MIXTURE]


@dataclass(frozen=True)
class Listing:
    """All audio files below a folder, and kind -> files that are none or that nobody meant."""

    audio: tuple[Path, ...]
    litter: Mapping[str, tuple[Path, ...]]


def references(directory: Path) -> dict[str, Files]:
    """Every track of a directory of references by its name.

    Raises:
        ValueError: it is no directory, holds no track, the same track twice, or audio files beside folders of tracks.
    """
    check_directory(directory)
    folders = _folders(directory)
    if _audio_files(directory):
        if any(_audio_files(folder) for folder in folders):
            raise ValueError(f"{directory} holds audio files and also folders of tracks; legal: one or the other")
        return _by_name([replace(_files(directory), flat=True)], directory)
    splits = [folder for folder in folders if folder.name in _SPLITS and not _audio_files(folder)]
    roots = [directory, *splits]
    found = [_files(folder) for root in roots for folder in _folders(root) if folder not in splits]
    native = [file for root in roots for file in sorted(root.glob(f"[!.]*{_NATIVE_SUFFIX}"))]
    found += [Files(printable(file.name.removesuffix(_NATIVE_SUFFIX)), file, native=True) for file in native]
    if not found:
        raise ValueError(
            f"{directory} holds no track; expected <track>/<stem>.wav or <track>{_NATIVE_SUFFIX}, "
            "perhaps in train/ and test/"
        )
    return _by_name(found, directory)


def listing(directory: Path, without: Path) -> Listing:
    """Everything below a directory of estimates; not what lies in `without`, if that is a folder in it.

    Raises:
        ValueError: it is no directory.
    """
    check_directory(directory)
    audio, litter, seen = [], {}, set()
    for root, folders, files in os.walk(directory, followlinks=True):
        here = Path(root)
        real = here.resolve()
        if real in seen or (here != directory and real == without.resolve()):
            folders.clear()
            continue
        seen.add(real)
        folders.sort()
        for file in sorted(files):
            kind = _kind(here.relative_to(directory) / file) if (here / file).is_file() else "broken link"
            if kind:
                litter.setdefault(kind, []).append(here / file)
            else:
                audio.append(here / file)
    return Listing(tuple(audio), {kind: tuple(found) for kind, found in litter.items()})


def check_directory(directory: Path) -> None:
    if not directory.is_dir():
        raise ValueError(f"{directory} is not a directory")


def short(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"


def _kind(path: Path) -> str:
    """What a file is that is no separated audio; empty for one that may be."""
    kinds = filter(None, map(litter_kind, path.parts))
    return next(kinds, "" if _is_audio(path) else "no audio")


def _is_audio(path: Path) -> bool:
    return audio_named(path.name) and not path.name.lower().endswith(_NATIVE_SUFFIX)


def _folders(directory: Path) -> list[Path]:
    return sorted(child for child in directory.iterdir() if not litter_kind(child.name) and child.is_dir())


def _audio_files(directory: Path) -> list[Path]:
    files = (child for child in directory.iterdir() if not litter_kind(child.name) and child.is_file())
    return sorted(filter(_is_audio, files))


def _files(folder: Path) -> Files:
    track, stems = printable(folder.resolve().name), dict[str, Path]()
    for file in _audio_files(folder):
        name = file.stem.lower()
        name = MIXTURE if name in MIXTURES else name
        if name in stems:
            return Files(track, folder, problem=f"it has two files for {name}: {stems[name].name}, {file.name}")
        stems[name] = file
    problem = "" if stems else "its folder holds no audio file"
    return Files(track, folder, stems, problem=problem)


def _by_name(found: Iterable[Files], directory: Path) -> dict[str, Files]:
    by_name: dict[str, Files] = {}
    for each in found:
        if each.name in by_name:
            raise ValueError(f"track {each.name!r} occurs twice in {directory}")
        by_name[each.name] = each
    return dict(sorted(by_name.items()))
