"""Estimates matched with references by what their paths say, in whatever order a system writes track and stem.

1. The file's name holds both: `song_(Vocals)_model.wav`, `1_song_(Vocals).wav`, `song_vocals.wav`, `vocals_song.wav`.
2. Its name is a stem, and a folder above it, the nearest first, is the track: `model/song/vocals.wav`. So too where the
   rest of its name says nothing: `song/mixture_vocals.wav`, `song/anything_(Vocals).wav`.
3. Its name is the track, and a folder above it is a stem: `vocals/song.wav`.
4. Where none of these finds a track, what several tracks have behind their names in common is the name of a model, and
   so is one of Open-Unmix's: `song_umxl/vocals.wav`.
5. A single reference and a single estimate, one of them a flat folder, belong together whatever they are called.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from pipeline.evaluation.separated_files import finding
from pipeline.evaluation.separated_files.finding import Files
from pipeline.evaluation.separated_files.names import (
    MIXTURE,
    MIXTURES,
    OPEN_UNMIX_MODELS,
    STEMS,
    Catalogue,
    Said,
    said,
    stem_word,
)

METHOD_WORDS = {"model": "estimates", "baseline": "baseline estimates"}


@dataclass(frozen=True)
class Matched:
    """Track -> its estimates, and what has no track.

    bad: track, or what seems to be one -> why it cannot be judged. unused: audio files that no rule gives a stem, as
    `song/lead_vocals.wav`.
    """

    files: Mapping[str, Files]
    bad: Mapping[str, str]
    unused: tuple[Path, ...]
    litter: Mapping[str, tuple[Path, ...]]


@dataclass(frozen=True)
class Pair:
    """A reference and what is judged by it: method -> the files of its estimates (none when models separate)."""

    references: Files
    estimates: Mapping[str, Files] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.references.name


class _Place(NamedTuple):
    track: str
    stem: str
    rule: str


def match(references: Mapping[str, Files], directory: Path, without: Path) -> Matched:
    """The audio files below a directory of estimates, but not those in the folder `without`, by the references' tracks.

    Raises:
        ValueError: it is no directory, or holds no audio file.
    """
    listing = finding.listing(directory, without)
    if not listing.audio:
        raise ValueError(f"{directory} holds no track; expected <track>/<stem>.wav or <track>_<stem>.wav")
    catalogue = Catalogue(references)
    stems = STEMS | MIXTURES | {name for each in references.values() for name in each.names}
    places: dict[Path, list[_Place]] = {}
    loose: dict[Path, list[Said]] = {}
    for path in listing.audio:
        readings = list(said(path.stem, stems))
        folders = _folders(path, directory)
        if found := sorted({*_places(path, folders, readings, catalogue, stems)}):
            places[path] = found
        else:
            loose[path] = readings
    taken = {place[:2] for found in places.values() for place in found}
    for path, place in _before_a_model(loose, directory, catalogue):
        if place[:2] not in taken:
            places[path] = [place]
            loose.pop(path)
    if len(references) == 1 and not places:
        [reference] = references.values()
        places = dict(_only_one(loose, reference, directory))
        loose = {path: readings for path, readings in loose.items() if path not in places}
    files, bad = _by_track(places, directory)
    unused = []
    for path, readings in loose.items():
        if readings and not any(map(catalogue.find, _folders(path, directory))):
            bad[_label(path, readings[0], directory)] = "it has estimates but no reference"
        else:
            unused.append(path)
    return Matched(files, bad, tuple(unused), listing.litter)


def pair(references: Mapping[str, Files], estimates: Mapping[str, Matched]) -> tuple[list[Pair], dict[str, str]]:
    """References with the estimates of every method, and track -> reason for those that cannot be judged."""
    bad = {}
    for method, matched in estimates.items():
        bad |= {name: reason.replace("estimates", METHOD_WORDS[method]) for name, reason in matched.bad.items()}
    pairs = []
    for name, reference in references.items():
        missing = [method for method, matched in estimates.items() if name not in matched.files]
        if missing and name not in bad:
            bad[name] = f"it has a reference but no {METHOD_WORDS[missing[0]]}"
        elif not missing:
            pairs.append(Pair(reference, {method: matched.files[name] for method, matched in estimates.items()}))
    return pairs, bad


def _folders(path: Path, directory: Path) -> list[str]:
    """Names of the folders above a file, the nearest first, the directory itself last."""
    return [*reversed(path.relative_to(directory).parts[:-1]), directory.resolve().name]


def _places(
    path: Path, folders: list[str], readings: list[Said], catalogue: Catalogue, stems: frozenset[str]
) -> Iterator[_Place]:
    """All that rules 1 to 3 find; of an unknown stem, a single word in a track's own folder."""
    above = next((found for folder in folders if (found := catalogue.find(folder))), [])
    nothing = True
    for stem, text, marked in readings:
        tracks = catalogue.find(text) if text else above
        if not tracks and (marked or text.casefold() in MIXTURES):
            tracks = above
        for track in tracks:
            nothing = False
            yield _Place(track.name, MIXTURE if stem in MIXTURES else stem, track.rule)
    if nothing:
        stem = next((word for folder in folders if (word := stem_word(folder)) in stems), "")
        for track in catalogue.find(path.stem) if stem else ():
            nothing = False
            yield _Place(track.name, stem, track.rule)
    if nothing and not readings and path.stem.isalpha():
        for track in catalogue.find(folders[0]):
            yield _Place(track.name, stem_word(path.stem), track.rule)


def _before_a_model(
    loose: Mapping[Path, list[Said]], directory: Path, catalogue: Catalogue
) -> Iterator[tuple[Path, _Place]]:
    """Rule 4."""
    found = defaultdict(list)
    for path, readings in loose.items():
        for stem, text, _ in readings:
            begun = (catalogue.begun(each) for each in ([text] if text else _folders(path, directory)))
            name, model = next((each for each in begun if each[0]), ("", ""))
            if name:
                found[model].append((path, _Place(name, stem, f"with {model!r} behind, as of a model")))
    for model, places in found.items():
        if model in OPEN_UNMIX_MODELS or len({place.track for _, place in places}) > 1:
            yield from places


def _only_one(
    loose: Mapping[Path, list[Said]], reference: Files, directory: Path
) -> Iterator[tuple[Path, list[_Place]]]:
    """Rule 5."""
    firsts = {path: readings[0] for path, readings in loose.items() if readings}
    named = {(path.parent, first.text) for path, first in firsts.items()}
    if len(named) == 1:
        [(folder, text)] = named
        if reference.flat or (not text and (folder == directory or folder.name.lower() in MIXTURES)):
            rule = "the only track"
            yield from ((path, [_Place(reference.name, each.stem, rule)]) for path, each in firsts.items())


def _by_track(places: Mapping[Path, list[_Place]], directory: Path) -> tuple[dict[str, Files], dict[str, str]]:
    """Track -> files, and track -> reason of those that a file has one of, but nobody can say which."""
    found: dict[str, dict[str, list[Path]]] = defaultdict(lambda: defaultdict(list))
    rules: dict[str, list[str]] = defaultdict(list)
    bad = {}
    for path, candidates in places.items():
        if len(candidates) > 1:
            told = " or ".join(f"{place.stem} of {place.track!r}" for place in candidates)
            bad |= {place.track: f"{path.relative_to(directory)} may be {told}" for place in candidates}
        else:
            [place] = candidates
            found[place.track][place.stem].append(path)
            rules[place.track].append(place.rule)
    return {name: _files(name, stems, rules[name], directory) for name, stems in found.items() if name not in bad}, bad


def _files(name: str, stems: Mapping[str, list[Path]], rules: Iterable[str], directory: Path) -> Files:
    first = {stem: paths[0] for stem, paths in stems.items()}
    doubles = {
        stem: tuple(str(path.relative_to(directory)) for path in paths)
        for stem, paths in stems.items()
        if len(paths) > 1
    }
    return Files(name, directory, first, doubles=doubles, rule="; ".join(dict.fromkeys(rules)))


def _label(path: Path, first: Said, directory: Path) -> str:
    """What seems to be the track of a file that has none."""
    return first.text or (path.parent.name if path.parent != directory else directory.resolve().name)
