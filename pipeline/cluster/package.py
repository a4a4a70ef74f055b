"""Compiled pipeline files: what is in them, and whether a configuration can run in them. Imports no TFX."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from pipeline.config import Config, from_json, to_json

CONFIG = "config"  # the one parameter of a compiled graph
# Of the section `cluster`: what is read when a run is submitted or when it runs, and so needs no other compilation.
_READ_LATER = ("workdir", "serving", "pipeline_root", "namespace", "experiment", "service_account", "cron")


def read(path: Path) -> list[dict[str, Any]]:
    """The documents of a pipeline file.

    Raises:
      OSError: it cannot be read.
      ValueError: it is not what `stemline kubeflow compile` writes.
    """
    try:
        documents = list(yaml.safe_load_all(path.read_text()))
        compiled_for(documents)
    except (yaml.YAMLError, KeyError, TypeError, IndexError) as error:
        raise ValueError(f"{path} is not a pipeline that `stemline kubeflow compile` wrote") from error
    return documents


def compiled_for(documents: list[dict[str, Any]]) -> Config:
    """The configuration that a graph was compiled for. Raises ConfigError when a later version of it has other keys."""
    return from_json(documents[0]["root"]["inputDefinitions"]["parameters"][CONFIG]["defaultValue"])


def check(documents: list[dict[str, Any]], config: Config) -> None:
    """Raises ValueError if the run that `config` describes needs another compilation, naming the first key that does."""
    compiled = compiled_for(documents)
    old, new = dict(_fixed(compiled)), dict(_fixed(config))
    for key in sorted(old.keys() | new.keys()):
        if old.get(key) != new.get(key):
            raise ValueError(
                f"this pipeline was compiled for recipe {compiled.name!r} with {key} {old.get(key)!r}: "
                f"{new.get(key)!r} needs a recompile (stemline kubeflow compile)"
            )


def fingerprint(documents: list[dict[str, Any]], config: Config) -> str:
    """Twelve digits that name a compiled graph, its image in it, together with the configuration of a run."""
    text = json.dumps([documents, to_json(config)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def differences(old: Config, new: Config) -> list[str]:
    """`key: old -> new` for every key in which two configurations differ."""
    before, after = dict(_leaves(old)), dict(_leaves(new))
    keys = sorted(before.keys() | after.keys())
    return [f"{key}: {before.get(key)!r} -> {after.get(key)!r}" for key in keys if before.get(key) != after.get(key)]


def _fixed(config: Config) -> Iterator[tuple[str, Any]]:
    """The keys, with their values, that shape the compiled file."""
    yield "name", config.name
    yield "serve.validator", config.serve.validator
    for key, value in vars(config.cluster).items():
        if key not in _READ_LATER:
            yield from _leaves(value, f"cluster.{key}")


def _leaves(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """The values below a dataclass or a mapping, by their keys with dots."""
    if dataclasses.is_dataclass(value):
        value = vars(value)
    if isinstance(value, Mapping):
        for name, item in value.items():
            yield from _leaves(item, f"{key}.{name}" if key else str(name))
    else:
        yield key, value
