"""How a query lies in a reference, and how sure that is: where, for how long, at which speed and pitch.

From a candidate outwards: speed and offset that fit the landmarks next to it, then those of more and more around it.
Then every landmark of the query speaks: it is met by one of the reference or not. Met is less likely by chance, by how
much the alignments beside this one tell. The stretch with the largest sum of log likelihood ratios is the match, as in
Karlin and Altschul, "Methods for assessing the statistical significance of molecular sequence features", PNAS 87, 1990.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from pipeline.data.landmarks import BANDS_PER_OCTAVE, FRAMES_PER_SECOND, Landmarks
from pipeline.data.leaks.quads import Candidate

LEAST_EVIDENCE, LEAST_SECONDS, LEAST_MET = 50.0, 1.5, 0.3
CLOSE = (
    0.6  # of the landmarks met, a standard error below what is seen: what music of the same style and tempo stays under
)
_SPEEDS = np.linspace(0.94, 1.06, 25)
_FASTEST = 0.07
_FIRST, _GROWTH = 30, 3  # landmarks that the first fit sees, and how many times more each next one does
_LEAST_FIT = 4
_MET_FRAMES = 2
_MET = 0.5  # of a copy's landmarks, at the least
_STEPS = np.array([9, 13, 17, 23, 29, 37, 43, 53, 67, 79, 97, 109])
_BESIDE = np.concatenate([-_STEPS, _STEPS])  # frames to the alignments that tell what chance would meet
_PRIOR = 12  # how many of them the mean over all landmarks counts for
_LEAST_CHANCE = 0.01
_USUAL_CHANCE, _WORTH_A_LOOK = 0.05, 10.0  # without asking the alignments beside, which takes most of the time
_BANDS, _MARGIN, _FAR = 256, 24, 100


@dataclass(frozen=True)
class Match:
    """A stretch of the query that is in the reference.

    start, seconds: of the query. other_start: of the reference. speed: of the query over that of the reference.
    semitones: that the query is higher, in thirds. evidence: nats for it; e^-evidence is the chance of such a stretch
    among landmarks that are met independently of each other. met: the share of its `landmarks` that the reference has, too.
    """

    start: float
    seconds: float
    other_start: float
    speed: float
    semitones: float
    evidence: float
    met: float
    landmarks: int

    @property
    def likely(self) -> bool:
        """Whether the two have more in common than chance: the same recording, or the same notes at the same times."""
        return self.evidence >= LEAST_EVIDENCE and self.seconds >= LEAST_SECONDS and self.met >= LEAST_MET

    @property
    def close(self) -> bool:
        """Whether only the same recording comes that close."""
        return self.met - (self.met * (1 - self.met) / self.landmarks) ** 0.5 >= CLOSE


@dataclass(frozen=True)
class Line:
    """Which frame of the reference a frame of the query is, `origin + speed * (frame - start)`, and how many bands higher."""

    start: float
    origin: float
    speed: float
    shift: int

    def at(self, times: np.ndarray) -> np.ndarray:
        return self.origin + self.speed * (times - self.start)


class Surroundings:
    """How far each place is from the nearest landmark of a reference, where one is near: in 3 frames and a band."""

    def __init__(self, reference: Landmarks) -> None:
        self.end = int(reference.times.max(initial=0))
        self._away = np.full((_BANDS + 2 * _MARGIN, self.end + 1 + 2 * _MARGIN), _FAR, np.int8)
        for frames in (-3, 3, -2, 2, -1, 1, 0):  # the nearest last, which stays
            for bands in (-1, 1, 0):
                self._away[reference.bands + _MARGIN + bands, reference.times + _MARGIN + frames] = -frames

    def away(self, times: np.ndarray, bands: np.ndarray) -> np.ndarray:
        """Frames from places, of one shape, to the landmark that is near; 100 where none is."""
        row = np.clip(bands + _MARGIN, 0, _BANDS + 2 * _MARGIN - 1)
        return self._away[row, np.clip(np.rint(times).astype(np.int64) + _MARGIN, 0, self.end + 2 * _MARGIN)]

    def met(self, times: np.ndarray, bands: np.ndarray) -> np.ndarray:
        return np.abs(self.away(times, bands)) <= _MET_FRAMES


def follow(query: Landmarks, reference: Surroundings, candidate: Candidate) -> Line | None:
    """The line that most landmarks around a candidate lie on; None where too few do, or it is too steep."""
    start, origin = float(candidate.time), float(candidate.time + candidate.offset)
    nearest = np.argsort(np.abs(query.times - candidate.time), kind="stable")
    lines = [Line(start, origin, speed, candidate.shift) for speed in _SPEEDS.tolist()]
    line = _most_met(query, reference, lines, nearest[:_FIRST])
    count = _FIRST
    while count < _GROWTH * len(query):
        some = nearest[:count]
        line = _most_met(query, reference, [line], some)
        away = reference.away(line.at(query.times[some]), query.bands[some] + line.shift)
        close = np.abs(away) < _FAR
        since = query.times[some][close] - start
        if len(since) < _LEAST_FIT or np.ptp(since) == 0:
            return None
        faster, later = np.polyfit(since, away[close], 1).tolist()
        line = replace(line, speed=line.speed + faster, origin=line.origin + later)
        count *= _GROWTH
    return line if abs(line.speed - 1) <= _FASTEST else None


def match(query: Landmarks, reference: Surroundings, line: Line) -> Match | None:
    """The stretch of the query with the most evidence that the line holds there; None where nothing speaks for it."""
    expected, bands = line.at(query.times), query.bands + line.shift
    inside = (expected >= -_MET_FRAMES) & (expected <= reference.end + _MET_FRAMES)
    met = reference.met(expected, bands)
    if not inside.any() or _evidence(met, inside, np.full(len(met), _USUAL_CHANCE))[0] < _WORTH_A_LOOK:
        return None
    beside = reference.met(expected + _BESIDE[:, None], np.broadcast_to(bands, (len(_BESIDE), len(bands))))
    chance = (len(beside) * beside.mean(axis=0) + _PRIOR * beside[:, inside].mean()) / (len(beside) + _PRIOR)
    evidence, first, last = _evidence(met, inside, np.clip(chance, _LEAST_CHANCE, _MET))
    if last - first < _LEAST_FIT:
        return None
    return Match(
        start=float(query.times[first]) / FRAMES_PER_SECOND,
        seconds=float(query.times[last - 1] - query.times[first]) / FRAMES_PER_SECOND,
        other_start=max(float(expected[first]), 0.0) / FRAMES_PER_SECOND,
        speed=line.speed,
        semitones=-12 * line.shift / BANDS_PER_OCTAVE,
        evidence=evidence,
        met=float(met[first:last].mean()),
        landmarks=last - first,
    )


def _evidence(met: np.ndarray, inside: np.ndarray, chance: np.ndarray) -> tuple[float, int, int]:
    """The largest sum of log likelihood ratios over neighbouring landmarks, and the first and past the last of them."""
    ratios = np.where(met, np.log(_MET / chance), np.log((1 - _MET) / (1 - chance)))
    sums = np.append(0.0, np.cumsum(np.where(inside, ratios, 0.0)))
    last = int(np.argmax(sums - np.minimum.accumulate(sums)))
    first = last - int(np.argmin(sums[last::-1]))  # the latest of equal ones: what does not count is no part of it
    return float(sums[last] - sums[first]), first, last


def _most_met(query: Landmarks, reference: Surroundings, lines: list[Line], some: np.ndarray) -> Line:
    """Of the lines, as they are and a band higher or lower, the one with the most landmarks met; the earlier among equals."""
    tried = [replace(line, shift=line.shift + by) for by in (0, -1, 1) for line in lines]
    expected = np.stack([line.at(query.times[some]) for line in tried])
    bands = query.bands[some] + np.array([[line.shift] for line in tried])
    return tried[int(np.argmax(np.count_nonzero(reference.met(expected, bands), axis=1)))]
