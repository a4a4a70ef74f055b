"""Recordings that lie in two splits: the same song, excerpt, voice or backing, whatever was done to it in between.

`search` finds them among the landmarks of an ingest (`pipeline.data.landmarks`), and `leaks.json` in the root of an
Examples artifact keeps them. What they come to is for `gate.leaks` to say: see `pipeline.data.leaks.ruling`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from models import storage
from pipeline.common import files
from pipeline.data.catalogue import IngestedTrack
from pipeline.data.datasets.track import SPLITS
from pipeline.data.landmarks import MIXTURE, NONE, Landmarks, Prints
from pipeline.data.leaks import alignment, quads
from pipeline.data.leaks.alignment import Line, Match, Surroundings

FILE = "leaks.json"
PAIRS = (
    ("test", "train"),
    ("test", "dev"),
    ("dev", "train"),
)  # of which a track of the first is looked for in the second
_ALONG_EVIDENCE = 10.0  # that a signal follows the line of another one
_SOUNDING = 10  # landmarks in a stretch, below which a signal is as good as silent there


@dataclass(frozen=True)
class Leak:
    """A track of one split of which a track of another one has a stretch, or all.

    signals: what they share there. match: where; None where they are the same samples and have too few landmarks to say
    more. share: of the shorter track.
    """

    track: str
    split: str
    other: str
    other_split: str
    signals: tuple[str, ...]
    match: Match | None
    share: float

    @property
    def seconds(self) -> float:
        return self.match.seconds if self.match else 0.0


def search(entries: Sequence[IngestedTrack], prints: Mapping[str, Prints]) -> list[Leak]:
    """All leaks between splits, in the order of `PAIRS` and names.

    entries: of the catalogue. prints: the landmarks of each of their names.

    Raises:
      ValueError: a track without landmarks, as those of earlier versions of Stemline.
    """
    if missing := [entry.name for entry in entries if entry.name not in prints]:
        raise ValueError(f"track {missing[0]!r} has no landmarks: ingest the data again with this version")
    ordered = sorted(entries, key=lambda entry: entry.name)
    of_split = {split: [entry for entry in ordered if entry.split == split] for split in SPLITS}
    return [leak for asked, known in PAIRS for leak in _between(of_split[asked], of_split[known], prints)]


def _between(
    queries: Sequence[IngestedTrack], references: Sequence[IngestedTrack], prints: Mapping[str, Prints]
) -> list[Leak]:
    matches = _matches(queries, references, prints)
    digests = [reference.fingerprint["digest"] for reference in references]
    for number, query in enumerate(queries):
        for other in (index for index, digest in enumerate(digests) if digest == query.fingerprint["digest"]):
            matches.setdefault((number, other), {})
    pairs = sorted(matches.items())
    leaks = (_leak(queries[number], references[other], found, prints) for (number, other), found in pairs)
    return [leak for leak in leaks if leak]


def _matches(
    queries: Sequence[IngestedTrack], references: Sequence[IngestedTrack], prints: Mapping[str, Prints]
) -> dict[tuple[int, int], dict[str, tuple[Match, Line]]]:
    """Numbers of a query and a reference -> each signal that they are likely to share, and where."""
    best: dict[tuple[int, int], dict[str, tuple[Match, Line]]] = {}
    signals = dict.fromkeys(signal for entry in (*queries, *references) for signal in prints[entry.name])
    for signal in signals:
        asked, known = ([_landmarks(prints, entry, signal) for entry in entries] for entries in (queries, references))
        for candidate in quads.candidates(asked, known):
            pair = candidate.query, candidate.reference
            kept = best.get(pair, {}).get(signal)
            if kept and kept[0].close:
                continue  # the candidates with the most votes come first
            query, reference = asked[candidate.query], Surroundings(known[candidate.reference])
            line = alignment.follow(query, reference, candidate)
            match = alignment.match(query, reference, line) if line else None
            if line and match and match.likely and (not kept or match.close or match.seconds > kept[0].seconds):
                best.setdefault(pair, {})[signal] = match, line
    return best


def _leak(
    query: IngestedTrack,
    reference: IngestedTrack,
    matches: Mapping[str, tuple[Match, Line]],
    prints: Mapping[str, Prints],
) -> Leak | None:
    """What two tracks share: the signals that found each other, and whatever else lies on the line of the surest.

    Nothing for certain where only one of several signals does, and that not closely: songs of one style and tempo come to it.
    """
    names = (query.name, query.split, reference.name, reference.split)
    if not matches:
        return Leak(*names, (MIXTURE,), None, 1.0)
    best, line = max(matches.values(), key=lambda each: (each[0].close, each[0].seconds, each[0].evidence))
    shared, apart = [], []
    here = best.start, best.start + best.seconds
    there = best.other_start, best.other_start + best.seconds * best.speed
    for signal, mine in prints[query.name].items():
        other = _landmarks(prints, reference, signal)
        along = alignment.match(mine, Surroundings(other), line)
        if signal in matches or (along and along.evidence >= _ALONG_EVIDENCE and along.met >= alignment.LEAST_MET):
            shared.append(signal)
        elif max(mine.between(*here), other.between(*there)) >= _SOUNDING:
            apart.append(signal)
    if not best.close and (apart or len(shared) == 1):
        return None
    if apart and len(shared) > 1 and MIXTURE in shared:
        shared.remove(MIXTURE)  # a loud backing carries the mixture along, but another voice makes it another recording
    share = best.seconds / max(best.seconds, min(query.seconds, reference.seconds / best.speed))
    return Leak(*names, tuple(shared), best, share)


def _landmarks(prints: Mapping[str, Prints], entry: IngestedTrack, signal: str) -> Landmarks:
    return prints[entry.name].get(signal, NONE)


# --- files -----------------------------------------------------------------------------------------------------------


def write(found: Sequence[Leak], artifact_uri: str) -> None:
    """Raises OSError if the file cannot be written."""
    lines = ",\n".join(json.dumps(asdict(leak), sort_keys=True) for leak in found)
    files.write_text(storage.path(f"{artifact_uri}/{FILE}"), f"[\n{lines}\n]\n")


def read(artifact_uri: str) -> list[Leak]:
    """The leaks between the splits of an Examples artifact.

    Raises:
      ValueError: nobody has searched for them, as in those of earlier versions of Stemline.
    """
    if FILE not in storage.listed(artifact_uri):
        raise ValueError(f"the examples in {artifact_uri} have no {FILE}: ingest the data again with this version")
    kept = json.loads(storage.read(f"{artifact_uri}/{FILE}"))
    return [
        Leak(**{**each, "signals": tuple(each["signals"]), "match": each["match"] and Match(**each["match"])})
        for each in kept
    ]
