"""Corpora that can be ingested: one module per layout, found by its name.

A reader module in `layouts` offers `OPTIONS` (its options and their defaults), `discover(path, options) -> list[TrackRef]`,
which opens no audio (a ref says where each signal lies, and `loading.load` reads it), and `recognise(glance) -> str | None`,
which says by what it knows its layout. Where the corpus was published with splits, there is `is_published(name, split) -> bool`;
where its stems are named by instruments, `SOURCES`, those of a target; what is rendered has no `recognise`, but a
`load(ref, options) -> Track` of its own.
Nothing heavy is imported before a reader is asked for, and a reader knows nothing of pipelines: paths and options in,
tracks out.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from types import ModuleType
from typing import Any

from models.checked import nearest

AUTO = "auto"
_GENERAL = "folder"  # whose layout others are cases of
_MANIFEST = "manifest"


def formats() -> list[str]:
    """Names of the formats that can be read, sorted."""
    return sorted(module.name for module in pkgutil.iter_modules([f"{path}/layouts" for path in __path__]))


def reader(format: str) -> ModuleType:
    """The reader module of a format.

    Raises:
      ValueError: the format is unknown; the sentence names the nearest legal one.
    """
    if format not in formats():
        raise ValueError(f"unknown data format {format!r}; {nearest(format, formats())}")
    return importlib.import_module(f"{__name__}.layouts.{format}")


def recognised(path: str) -> dict[str, str]:
    """Formats whose layout a directory has -> by what it is known; few of its names are looked at.

    Raises:
      OSError: it cannot be listed.
    """
    from pipeline.data.datasets.recognition import Glance

    glance = Glance(path)
    readers = {format: reader(format) for format in formats()}
    found = {name: module.recognise(glance) for name, module in readers.items() if hasattr(module, "recognise")}
    special = {name: reason for name, reason in found.items() if reason and name != _GENERAL}
    return special or {name: reason for name, reason in found.items() if reason}


def recognise(path: str) -> tuple[str, str]:
    """The format of a directory, and by what it is known.

    Raises:
      ValueError: it is of no layout that is known, or of several, or a manifest in it is faulty.
      OSError: it cannot be listed.
    """
    from pipeline.data.datasets.recognition import Glance, WrongLayoutError

    found, glance = recognised(path), Glance(path)
    if set(found) <= {_GENERAL} and (manifest := glance.manifest()):
        try:  # it was not recognised: its reader says what is wrong with it
            reader(_MANIFEST).discover(path, reader(_MANIFEST).OPTIONS)
        except WrongLayoutError as error:
            raise WrongLayoutError(f"{error}{f' Without it: --format {_GENERAL}' if found else ''}") from error
        return _MANIFEST, f"{manifest} is there"
    if len(found) == 1:
        return next(iter(found.items()))
    if not found:
        legal = [name for name in formats() if hasattr(reader(name), "recognise")]
        unknown = f"has no layout that is known; --format says which it is: {', '.join(legal)}"
        raise ValueError(f"{path} {glance.what_is_missing() or unknown}")
    listed = "; ".join(f"{name} ({reason})" for name, reason in found.items())
    raise ValueError(f"{path} may be of several layouts, --format says which: {listed}")


def is_published(format: str, name: str, split: str) -> bool:
    """Whether a track is in a split because its corpus was published like that."""
    return format in formats() and bool(getattr(reader(format), "is_published", lambda *_: False)(name, split))


def resolve_options(format: str, options: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """All options of a format: the given ones, then those `defaults` that the format has, then its own.

    Raises:
      ValueError: an option the format does not have, for which the sentence names the nearest legal one, or a value of
        another kind than its default's.
    """
    known = reader(format).OPTIONS
    for name in options:
        if name not in known:
            raise ValueError(f"data format {format} has no option {name!r}; {nearest(name, sorted(known))}")
        if legal := _legal(known[name], options[name]):
            raise ValueError(f"data.options.{name} is {options[name]!r}; legal: {legal}")
    shared = {name: value for name, value in defaults.items() if name in known}
    return {**known, **shared, **options}


def _legal(default: Any, value: Any) -> str:
    """What an option may be that has this default, if `value` is none of that."""
    if isinstance(default, tuple):
        texts = isinstance(value, list | tuple) and all(isinstance(each, str) for each in value)
        return "" if texts else "a list of texts"
    kinds = {str: "text", bool: "true or false"}
    return next(
        (words for kind, words in kinds.items() if isinstance(default, kind) and not isinstance(value, kind)), ""
    )
