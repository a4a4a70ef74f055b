"""Corpora that can be ingested: one module per layout, found by its name.

A reader module in `layouts` offers `OPTIONS` (its options and their defaults) and `discover(path, options) -> list[TrackRef]`,
which opens no audio: a ref says where each signal lies, and `loading.load` reads it. Where the corpus was published with
splits, there is `is_published(name, split) -> bool`, and what is rendered has a `load(ref, options) -> Track` of its own.
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


def is_published(format: str, name: str, split: str) -> bool:
    """Whether a track is in a split because its corpus was published like that."""
    return format in formats() and bool(getattr(reader(format), "is_published", lambda *_: False)(name, split))


def resolve_options(format: str, options: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """All options of a format: the given ones, then those `defaults` that the format has, then its own.

    Raises:
      ValueError: an option the format does not have; the sentence names the nearest legal one.
    """
    known = reader(format).OPTIONS
    for name in options:
        if name not in known:
            raise ValueError(f"data format {format} has no option {name!r}; {nearest(name, sorted(known))}")
    shared = {name: value for name, value in defaults.items() if name in known}
    return {**known, **shared, **options}
