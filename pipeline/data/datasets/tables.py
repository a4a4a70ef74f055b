"""Lists of files that say which track and source each one is: rows of CSV or JSON Lines."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Sequence
from typing import Any

from models import storage
from pipeline.data.datasets import files
from pipeline.data.datasets.recognition import Glance, WrongLayoutError

CSV, JSON_LINES = ".csv", ".jsonl"
_DELIMITERS = ",;\t"

Row = dict[str, Any]


class _TwiceError(ValueError):
    """Two columns have the name that it says."""


def header(text: str) -> list[str]:
    """Names of the columns: of CSV, or the keys of the first of JSON Lines."""
    line = next((line for line in text.splitlines() if line.strip()), "")
    if line.lstrip().startswith("{"):
        try:
            return [str(key) for key in json.loads(line)]
        except ValueError:
            return []
    return [name.strip() for name in next(csv.reader([line], delimiter=_delimiter(line)), [])]


def rows(file: Any) -> list[tuple[int, Row | str]]:
    """Number and row of each line: its values by their columns, without those that are empty, or what is wrong with it.

    Raises:
      OSError: the file cannot be read.
      WrongLayoutError: it is no text, no CSV, or has two columns of one name.
    """
    try:
        text = storage.read(file).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise WrongLayoutError(f"{file} is no text in UTF-8.") from error
    try:
        return _json_lines(text) if file.suffix.lower() == JSON_LINES else _csv(text)
    except csv.Error as error:
        raise WrongLayoutError(f"{file} is no CSV ({error}).") from error
    except _TwiceError as error:
        raise WrongLayoutError(f"{file} has the column {error} twice.") from error


def place(file: Any, told: str) -> str:
    """The place that a list names: relative to the list's own directory."""
    if storage.is_remote(told) or os.path.isabs(told):
        return told
    return f"{file.parent}/{told}" if storage.is_remote(file) else os.path.normpath(file.parent / told)


def headed(glance: Glance, names: Sequence[str], wanted: Sequence[str]) -> str | None:
    """Which of the files `names` of a directory, or the file itself, has all of the columns `wanted`."""
    if glance.is_file and files.is_audio(glance.root):
        return None
    found = [""] if glance.is_file else [name for name in names if name in glance.names()]
    for name in found:
        if set(wanted) <= set(header(glance.read(name).decode("utf-8-sig", errors="replace"))):
            return name or glance.root.name
    return None


def lists(root: Any, suffixes: Sequence[str]) -> list[Any]:
    """The file itself, or the files of a directory that have one of the suffixes."""
    if not storage.is_remote(root) and root.is_file():
        return [root]
    return [child for child in files.children(root) if child.suffix.lower() in suffixes]


def _csv(text: str) -> list[tuple[int, Row | str]]:
    reader = csv.DictReader(io.StringIO(text), delimiter=_delimiter(text.partition("\n")[0]), skipinitialspace=True)
    _once([(name.strip(), None) for name in reader.fieldnames or () if name.strip()])
    found: list[tuple[int, Row | str]] = []
    for values in reader:
        named = {str(key).strip(): value.strip() for key, value in values.items() if key and value and value.strip()}
        found.append((reader.line_num, "it has more values than columns" if values.get(None) else named))
    return found


def _json_lines(text: str) -> list[tuple[int, Row | str]]:
    return [(number, _object(line)) for number, line in enumerate(text.splitlines(), 1) if line.strip()]


def _object(line: str) -> Row | str:
    try:
        told = json.loads(line, object_pairs_hook=_once)
    except _TwiceError as error:
        return f"it has {error} twice"
    except (ValueError, RecursionError) as error:
        return f"it is no JSON ({error})"
    return {key: value for key, value in told.items() if value} if isinstance(told, dict) else "it is no mapping"


def _once(pairs: Sequence[tuple[str, Any]]) -> Row:
    """The pairs as a mapping. Raises _TwiceError where one value would hide another."""
    named: Row = {}
    for key, value in pairs:
        if key in named:
            raise _TwiceError(key)
        named[key] = value
    return named


def _delimiter(line: str) -> str:
    return max(_DELIMITERS, key=line.count)
