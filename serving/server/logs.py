"""What the log shows: lines that nobody can forge, and of one kind no more than a reader needs."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass

from serving.wire.words import printable

AT_ONCE = 20  # records of one place in the code
SECONDS = 30.0  # in which it may have one more


class Lines(logging.Formatter):
    """A record begins at the left margin, what follows its first line does not, and control characters are written out."""

    def format(self, record: logging.LogRecord) -> str:
        return "\n    ".join(map(printable, super().format(record).split("\n")))


@dataclass
class _Place:
    left: float
    at: float  # time.monotonic()
    dropped: int = 0


class Flood(logging.Filter):
    """Lets through, of each place in the code, the first records and then one from time to time, with the number of those
    in between: 10,000 directories that are no models, or requests that all fail, must not fill a disk."""

    def __init__(self) -> None:
        super().__init__()
        self._places: dict[tuple[str, int], _Place] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        now = time.monotonic()
        place = self._places.setdefault((record.pathname, record.lineno), _Place(AT_ONCE, now))
        place.left = min(AT_ONCE, place.left + (now - place.at) / SECONDS)
        place.at = now
        if place.left < 1:
            place.dropped += 1
            return False
        place.left -= 1
        notes = [f"{place.dropped} before it were not shown"] if place.dropped else []
        notes += [f"of its kind one in {SECONDS:g} s is shown from here on"] if place.left < 1 else []
        if notes:
            record.msg, record.args = f"{record.getMessage()} ({', '.join(notes)})", None
        place.dropped = 0
        return True
