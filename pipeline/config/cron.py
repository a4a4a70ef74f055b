"""Schedules as Kubeflow reads them: six fields of robfig/cron, seconds first (or `@weekly`, `@every 12h`)."""

from __future__ import annotations

import re

_MONTHS = ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"]
_DAYS = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"]
_FIELDS: tuple[tuple[str, int, int, list[str]], ...] = (
    ("second", 0, 59, []),
    ("minute", 0, 59, []),
    ("hour", 0, 23, []),
    ("day of the month", 1, 31, []),
    ("month", 1, 12, _MONTHS),
    ("day of the week", 0, 6, _DAYS),
)
_DESCRIPTOR = re.compile(r"@(yearly|annually|monthly|weekly|daily|midnight|hourly|every (\d+(\.\d+)?(h|m|s))+)")
_RANGE = re.compile(r"(?P<first>\*|\?|\w+)(-(?P<last>\w+))?(/(?P<step>[1-9]\d*))?")


def check_schedule(expression: str) -> None:
    """Raises ValueError, in one sentence, for what Kubeflow would refuse, or accept and read as something else."""
    if _DESCRIPTOR.fullmatch(expression):
        return
    fields = expression.split()
    if len(fields) != len(_FIELDS):
        hint = f"; with seconds in front it would be '0 {expression}'" if len(fields) == 5 else ""
        names = ", ".join(name for name, *_ in _FIELDS)
        raise ValueError(f"cron {expression!r} has {len(fields)} fields: 6 are needed ({names}){hint}")
    for text, (name, least, most, words) in zip(fields, _FIELDS, strict=True):
        for part in text.split(","):
            if not _legal(part, least, most, words):
                legal = f"{least} to {most}" + (f" or {words[0]} to {words[-1]}" if words else "")
                raise ValueError(
                    f"cron {expression!r}: the {name} is {text!r}; legal are *, {legal}, a-b, */n and lists with commas"
                )


def _legal(part: str, least: int, most: int, words: list[str]) -> bool:
    found = _RANGE.fullmatch(part)
    if not found:
        return False
    if found["first"] in ("*", "?"):
        return found["last"] is None
    first, last = (_number(end, least, words) for end in (found["first"], found["last"] or found["first"]))
    return first is not None and last is not None and least <= first <= last <= most


def _number(text: str, least: int, words: list[str]) -> int | None:
    if text.upper() in words:
        return words.index(text.upper()) + least
    return int(text) if text.isdecimal() else None
