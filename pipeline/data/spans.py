"""Spans: directories of data that arrive one after the other, found by a pattern such as `stems/week-{SPAN}/v{VERSION}`.

The placeholders are TFX's: {SPAN}, or {YYYY}, {MM} and {DD} (then the span is counted in days since 1970-01-01), and
{VERSION} for a span that was delivered again; `{SPAN:3}` takes three digits only. TFX itself finds one span for an
ExampleGen and leaves several to a Resolver, which open-source Kubeflow does not have.
"""

from __future__ import annotations

import datetime
import functools
import glob
import itertools
import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from models import storage
from pipeline.data.datasets import files

if TYPE_CHECKING:
    from pipeline.config.config import DataConfig


KEY = "span"  # of a track's metadata: the number of the span that it is from
SUCCESS_MARKER = "success_marker"  # an option of every format: the file that a span holds when it is complete

_PLACEHOLDER = re.compile(r"\{(SPAN|VERSION|YYYY|MM|DD)(?::(\d+))?\}")
_DIGITS = {"YYYY": "4", "MM": "2", "DD": "2"}
_NUMBERED, _DATED = ["SPAN"], ["DD", "MM", "YYYY"]
_EPOCH = datetime.date(1970, 1, 1)


@dataclass(frozen=True)
class Span:
    """A directory to ingest; without a number it is the whole corpus, without a path the corpus has no files."""

    path: str | None
    number: int | None = None
    version: int | None = None


def is_pattern(path: str | None) -> bool:
    return bool(path) and _PLACEHOLDER.search(str(path)) is not None


def of(data: DataConfig, last: int | None = None) -> list[Span]:
    """The spans that the data section of a configuration asks for, oldest first: the newest `spans`, or fewer at first.

    last: the newest one to take, by its number; None for the newest there is.

    Raises:
      ValueError: the pattern is none, matches no directory, or leads to a span without its success marker.
      OSError: a bucket cannot be listed.
    """
    if data.path is None or not is_pattern(data.path):
        return [Span(storage.absolute(data.path) if data.path else None)]
    found = find(storage.absolute(data.path), data.spans, last)
    marker = data.options.get(SUCCESS_MARKER)
    for span in found:
        if marker and not _holds(str(span.path), marker):
            raise ValueError(
                f"Span {span.number} in {span.path} has no file {marker} (data.options.{SUCCESS_MARKER}): it is not "
                "complete yet, and nothing is trained without it."
            )
    return found


def find(pattern: str, count: int, last: int | None = None) -> list[Span]:
    """The newest `count` spans that a pattern leads to, oldest first, and of each its newest version."""
    expression = _expression(pattern)
    newest: dict[int, Span] = {}
    for path in _directories(pattern):
        span = _read(expression.fullmatch(path), path)
        if span is None or span.number is None or (last is not None and span.number > last):
            continue
        newest[span.number] = max(newest.get(span.number, span), span, key=lambda each: each.version or 0)
    if not newest:
        raise ValueError(f"data.path {pattern} leads to no directory{'' if last is None else f' up to span {last}'}.")
    return [newest[number] for number in sorted(newest)[-count:]]


def at(pattern: str, path: str) -> Span:
    """The span that a pattern leads to at this path."""
    return _read(_expression(pattern).fullmatch(path), path) or Span(path)


def _holds(directory: str, name: str) -> bool:
    file = storage.path(directory) / name
    if storage.is_remote(file):
        return file in storage.children(file.parent)
    return os.path.isfile(file)


def _directories(pattern: str) -> list[str]:
    """Those that a pattern leads to when its placeholders are anything."""
    if not storage.is_remote(pattern):
        return [path for path in glob.glob(_wild(pattern)) if os.path.isdir(path)]
    scheme, _, bucket, *parts = pattern.split("/")
    if _PLACEHOLDER.search(bucket):
        raise ValueError(
            f"data.path {pattern} has a placeholder in the name of its bucket: legal are names below that."
        )
    found = [storage.path(f"{scheme}//{bucket}")]
    for part in parts:
        if _PLACEHOLDER.search(part):
            matching = functools.partial(files.matching, pattern=_wild(part))
            found = list(itertools.chain.from_iterable(storage.each(matching, found)))
        else:
            found = [path / part for path in found]
    return [str(path) for path, there in zip(found, storage.each(files.is_directory, found), strict=True) if there]


def _wild(pattern: str) -> str:
    """For glob: what stands between the placeholders is meant as it is written."""
    return _PLACEHOLDER.sub("*", re.sub(r"[*?]|\[", lambda wildcard: f"[{wildcard[0]}]", pattern))


def _expression(pattern: str) -> re.Pattern[str]:
    """Raises ValueError unless the pattern has one {SPAN}, or one date, and at most one {VERSION}."""
    names = sorted(found[1] for found in _PLACEHOLDER.finditer(pattern))
    if [name for name in names if name != "VERSION"] not in (_NUMBERED, _DATED) or names.count("VERSION") > 1:
        raise ValueError(
            f"data.path {pattern} has the placeholders {', '.join(names)}: legal are one SPAN, or one each of YYYY, MM and "
            "DD, and beside them one VERSION."
        )
    parts, end = [], 0
    for found in _PLACEHOLDER.finditer(pattern):
        digits = found[2] or _DIGITS.get(found[1])
        parts += [re.escape(pattern[end : found.start()]), rf"(?P<{found[1]}>\d{f'{{{digits}}}' if digits else '+'})"]
        end = found.end()
    return re.compile("".join(parts) + re.escape(pattern[end:]))


def _read(match: re.Match[str] | None, path: str) -> Span | None:
    if match is None:
        return None
    told = {name: int(digits) for name, digits in match.groupdict().items()}
    version = told.get("VERSION")
    if "SPAN" in told:
        return Span(path, told["SPAN"], version)
    try:
        date = datetime.date(told["YYYY"], told["MM"], told["DD"])
    except ValueError as error:
        raise ValueError(f"data.path leads to {path}, which is no date: {error}.") from error
    return Span(path, (date - _EPOCH).days, version)
