"""Which tracks may share a recording, and where: quadruples of landmarks that several tracks have.

A landmark and three of the eight that follow it, by their distances in time and in octaves: a quad is the same wherever
it begins, at any pitch, and its cells are wide enough for some percent of speed. After Sonnleitner and Widmer, "Robust
quad-based audio fingerprinting", IEEE/ACM TASLP 24(3), 2016, whose quads are drawn otherwise. A pair of tracks that has
several quads at one distance in time and pitch is a candidate, which `alignment` looks at closely.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.data.landmarks import Landmarks

MOST_QUADS = 8_000_000  # that are kept of all tracks; beyond it all of them keep the same share: 64 MB
_FOLLOWING, _LOOKED_AT = 8, 24  # a quad takes three of the next eight that are in reach, among the next 24
_NEAREST, _FARTHEST, _WIDEST = 4, 125, 40  # in reach: 0.06 to 2 s later, up to an octave and a ninth higher or lower
_CELL_BANDS, _CELL_FRAMES = 3, 6
_OFFSET_FRAMES, _SHIFT_BANDS = 32, 4  # one distance: half a second, a ninth of an octave
_HIGHEST = 9  # bands that a copy may be higher or lower: three semitones
_CROWD = 64  # a quad that more than this many places have says little: the drums of a loop
_VOTES = 3
_CANDIDATES = 12  # of a track, those with the most votes
_BATCH = 2_000_000
_THREES = np.array(list(itertools.combinations(range(_FOLLOWING), 3)))


@dataclass(frozen=True)
class Candidate:
    """`votes` quads that a query has in common with a reference (both by number).

    time: of the query, in frames, in the middle of them. offset: frames from there to the reference's time. shift: bands
    that the reference is higher.
    """

    query: int
    reference: int
    votes: int
    time: int
    offset: int
    shift: int


def quads(landmarks: Landmarks, every: int) -> tuple[np.ndarray, np.ndarray]:
    """Each quad once: what it is, uint32, and the number of the landmark that it begins with.

    every: which quads are taken; what they are says it, one in so many, so that two tracks have the same of them.
    """
    ahead = np.arange(len(landmarks))[:, None] + np.arange(1, _LOOKED_AT + 1)
    present = ahead < len(landmarks)
    ahead = np.minimum(ahead, max(len(landmarks) - 1, 0))
    later = landmarks.times[ahead] - landmarks.times[:, None]
    higher = landmarks.bands[ahead] - landmarks.bands[:, None]
    in_reach = present & (later >= _NEAREST) & (later <= _FARTHEST) & (np.abs(higher) <= _WIDEST)
    first = np.argsort(~in_reach, axis=1, kind="stable")[:, :_FOLLOWING]
    cells = later // _CELL_FRAMES * 100 + (higher + _WIDEST) // _CELL_BANDS
    cells = np.take_along_axis(np.where(in_reach, cells, -1), first, axis=1).astype(np.int64)
    threes = cells[:, _THREES]
    low, high = threes.min(axis=2), threes.max(axis=2)
    whole = low >= 0
    packed = ((low << 24) | ((threes.sum(axis=2) - low - high) << 12) | high)[whole].astype(np.uint64)
    # Fibonacci hashing (Knuth, TAOCP 3, 6.4): the upper half of the product with 2^64 over the golden ratio.
    keys = (packed * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(32)
    begins = np.nonzero(whole)[0].astype(np.uint64)
    kept = keys % np.uint64(every) == 0
    unique = np.unique((keys[kept] << np.uint64(32)) | begins[kept])
    return (unique >> np.uint64(32)).astype(np.uint32), unique.astype(np.uint32)


def candidates(queries: Sequence[Landmarks], references: Sequence[Landmarks]) -> Iterator[Candidate]:
    """For each query in turn the alignments with references that most of its quads speak for, best first."""
    every = 1
    share = sum(map(len, references)) * len(_THREES) // MOST_QUADS
    while every <= share:
        every *= 2
    index = _Index(references, every)
    for number, query in enumerate(queries):
        yield from index.find(number, query)


class _Index:
    """The quads of all references, sorted, of which one in `every` is kept."""

    def __init__(self, references: Sequence[Landmarks], every: int) -> None:
        self._every = every
        found = [quads(reference, every) for reference in references]
        keys = np.concatenate([np.zeros(0, np.uint32), *(keys for keys, _ in found)])
        starts = np.cumsum([0, *map(len, references)])
        places = [begins + start for (_, begins), start in zip(found, starts, strict=False)]
        order = np.argsort(keys, kind="stable")
        self._keys = keys[order]
        self._places = np.concatenate([np.zeros(0, np.int64), *places])[order].astype(np.uint32)
        self._times = np.concatenate([np.zeros(0, np.int32), *(reference.times for reference in references)])
        self._bands = np.concatenate([np.zeros(0, np.int32), *(reference.bands for reference in references)])
        self._tracks = np.repeat(np.arange(len(references)), [len(reference) for reference in references])

    def find(self, number: int, query: Landmarks) -> list[Candidate]:
        """The candidates of the query of this number."""
        pairs = [np.zeros((2, 0), np.int64), *self._pairs(query)]
        mine, theirs = np.concatenate(pairs, axis=1)
        offsets = self._times[theirs] - query.times[mine]
        shifts = self._bands[theirs] - query.bands[mine]
        cells = np.stack([self._tracks[theirs], offsets // _OFFSET_FRAMES, shifts // _SHIFT_BANDS])
        order = np.lexsort(cells)
        new = np.ones(len(order), bool)
        new[1:] = (cells[:, order][:, 1:] != cells[:, order][:, :-1]).any(axis=0)
        starts = np.flatnonzero(new)
        votes = np.diff(np.append(starts, len(order)))
        best = [each for each in np.argsort(-votes, kind="stable")[:_CANDIDATES] if votes[each] >= _VOTES]
        found = []
        for each in best:
            members = order[starts[each] : starts[each] + votes[each]]
            middle = members[np.argsort(query.times[mine[members]], kind="stable")[len(members) // 2]]
            time, offset = int(query.times[mine[middle]]), int(offsets[middle])
            shift = round(float(np.median(shifts[members])))
            found.append(Candidate(number, int(self._tracks[theirs[middle]]), int(votes[each]), time, offset, shift))
        return found

    def _pairs(self, query: Landmarks) -> Iterator[np.ndarray]:
        """Landmarks of the query and of references that the same quad begins with, [2, some]."""
        keys, begins = quads(query, self._every)
        low, high = (np.searchsorted(self._keys, keys, side) for side in ("left", "right"))
        counts = np.where(high - low <= _CROWD, high - low, 0)
        for start in range(0, len(keys), _BATCH // _CROWD):
            batch = slice(start, start + _BATCH // _CROWD)
            here = counts[batch]
            within = np.arange(here.sum()) - np.repeat(np.cumsum(here) - here, here)
            theirs = self._places[np.repeat(low[batch], here) + within].astype(np.int64)
            mine = np.repeat(begins[batch], here).astype(np.int64)
            near = np.abs(self._bands[theirs] - query.bands[mine]) <= _HIGHEST
            yield np.stack([mine[near], theirs[near]])
