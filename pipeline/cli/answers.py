"""How a command answers: the exit codes, the same for all of them, and tables or JSON of one document."""

from __future__ import annotations

import enum
import json
import math
import shlex
import sys
from collections.abc import Callable, Mapping
from typing import Annotated, Any

import typer


class Exit(enum.IntEnum):
    """Exit codes that scripts can rely on, each with what it says; 1 is an error that nobody expected."""

    DONE = 0, "done"
    UNEXPECTED = 1, "an unexpected error, a run on a cluster that failed, or nobody reads what is written"
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

AsJson = Annotated[bool, typer.Option("--json", help="One JSON document to standard output, and nothing else.")]


def answer(document: Mapping[str, Any], as_json: bool, show: Callable[[Mapping[str, Any]], None]) -> None:
    """Prints a document as JSON, in which what is not finite is null, or has it shown as tables."""
    if as_json:
        typer.echo(json.dumps(_finite(document), indent=1, allow_nan=False))
    else:
        show(document)


def typed(*more: str) -> str:
    """The command as it was typed, for who wants to go on with it; `more` stands behind its name, and for what it contradicts."""
    contradicted = ("--overwrite", *more) if more else ()
    return shlex.join(["stemline", *sys.argv[1:2], *more, *(each for each in sys.argv[2:] if each not in contradicted)])


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
