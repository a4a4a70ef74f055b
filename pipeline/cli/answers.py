"""How a command answers: the exit codes, the same for all of them, and tables or JSON of one document."""

from __future__ import annotations

import enum


class Exit(enum.IntEnum):
    """Exit codes that scripts can rely on, each with what it says; 1 is an error that nobody expected."""

    DONE = 0, "done"
    UNEXPECTED = 1, "an unexpected error, or a run on a cluster that failed"
    BAD_INPUT = (
        2,
        "bad input or surroundings: the last line on standard error says which",
    )
    REFUSED = 3, "refused by the gate, or a corpus that ingest would refuse"
    FAILED = 4, "files of separate or trainings of a study failed; the others are done"
    INTERRUPTED = 130, "stopped by Ctrl-C"
    TERMINATED = 143, "stopped by SIGTERM"

    words: str

    def __new__(cls, code: int, words: str) -> Exit:
        member = int.__new__(cls, code)
        member._value_ = code
        member.words = words
        return member


EPILOG = "Exit codes: " + "; ".join(f"{code.value} {code.words}" for code in Exit) + "."
