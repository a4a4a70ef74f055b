"""Compiled pipeline files: what is in them, and whether a configuration can run in them. Imports no TFX."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from pipeline.config.cluster import TRAINER, ClusterConfig
from pipeline.config.config import Config, from_json, to_json
from pipeline.config.login import Login

CONFIG = "config"  # the one parameter of a compiled graph
NODE = "node"  # beside it, the parameter of every task
# Of the section `cluster`: what is read when a run is submitted or when it runs, and so needs no other compilation.
_READ_LATER = (
    *(
        "workdir",
        "serving",
        "pipeline_root",
        "namespace",
        "experiment",
        "service_account",
        "cron",
        "workers",
        "wait_hours",
    ),
)
# And what is read where the command runs: no run knows of it, and two who schedule the same may differ in it.
_READ_HERE = ("host", *(field.name for field in dataclasses.fields(Login)))


def read(path: Path) -> list[dict[str, Any]]:
    """The documents of a pipeline file.

    Raises:
      OSError: it cannot be read.
      ValueError: it is not what `stemline kubeflow compile` writes.
    """
    try:
        documents = list(yaml.safe_load_all(path.read_text()))
        compiled_for(documents)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, KeyError, TypeError, IndexError) as error:
        raise ValueError(f"{path} is not a pipeline that `stemline kubeflow compile` wrote") from error
    return documents


def compiled_for(documents: list[dict[str, Any]]) -> Config:
    """The configuration that a graph was compiled for. Raises ConfigError when a later version of it has other keys."""
    return from_json(documents[0]["root"]["inputDefinitions"]["parameters"][CONFIG]["defaultValue"])


def tasks(documents: list[dict[str, Any]]) -> list[str]:
    """Names of the tasks of a graph."""
    return list(documents[0]["root"]["dag"]["tasks"])


def check_compiled(documents: list[dict[str, Any]], config: Config) -> None:
    """Raises ValueError if the run that `config` describes needs another compilation, naming the first key that does."""
    compiled = compiled_for(documents)
    old, new = dict(_fixed(compiled)), dict(_fixed(config))
    for key in sorted(old.keys() | new.keys()):
        if old.get(key) != new.get(key):
            raise ValueError(
                f"this pipeline was compiled for recipe {compiled.name!r} with {key} {old.get(key)!r}: "
                f"{new.get(key)!r} needs a recompile (stemline kubeflow compile)"
            )


def sent(config: Config) -> Config:
    """What of a configuration a cluster is told: all but how the command gets there, which stands at its defaults."""
    defaults = ClusterConfig()
    here = {name: getattr(defaults, name) for name in _READ_HERE}
    return dataclasses.replace(config, cluster=dataclasses.replace(config.cluster, **here))


def parameters(config: Config) -> dict[str, str]:
    """Of a run with this configuration; see `as_parameter`."""
    return {CONFIG: as_parameter(sent(config))}


def as_parameter(config: Config) -> str:
    """A configuration as JSON that reaches a task as it is: on the way Kubernetes makes `$` of `$$` and looks up `$(NAME)` in
    commands, and Argo and Kubeflow's launcher look up what stands in `{{ }}`."""
    return to_json(config).replace("$", r"\u0024").replace("{{", r"{\u007b")


def fingerprint(documents: list[dict[str, Any]], config: Config) -> str:
    """Twelve digits that name a compiled graph, its image in it, together with the configuration of a run."""
    text = json.dumps([documents, to_json(sent(config))], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def differences(old: Config, new: Config) -> list[str]:
    """`key: old -> new` for every key in which two configurations differ for a cluster."""
    before, after = dict(_leaves(sent(old))), dict(_leaves(sent(new)))
    keys = sorted(before.keys() | after.keys())
    return [f"{key}: {before.get(key)!r} -> {after.get(key)!r}" for key in keys if before.get(key) != after.get(key)]


def _fixed(config: Config) -> Iterator[tuple[str, Any]]:
    """The keys, with their values, that shape the compiled file."""
    yield "name", config.name
    yield "serve.validator", config.serve.validator
    cluster = config.cluster
    for key, value in vars(cluster).items():
        if key not in (*_READ_LATER, *_READ_HERE, "tasks"):
            yield from _leaves(value, f"cluster.{key}")
    for name in {*cluster.tasks, TRAINER}:
        for key, value in vars(cluster.pod(name)).items():
            if value != getattr(cluster.every, key):
                yield from _leaves(value, f"cluster.tasks.{name}.{key}")


def _leaves(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """The values below a dataclass or a mapping, by their keys with dots."""
    if dataclasses.is_dataclass(value):
        value = vars(value)
    if isinstance(value, Mapping):
        for name, item in value.items():
            yield from _leaves(item, f"{key}.{name}" if key else str(name))
    else:
        yield key, value
