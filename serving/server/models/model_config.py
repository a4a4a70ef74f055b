"""Which models the server has: the ModelServerConfig of --model_config_file or of a HandleReloadConfigRequest.

Checks and words as in tensorflow_serving/model_servers/server_core.cc.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tensorflow_serving.config import file_system_storage_path_source_pb2, model_server_config_pb2
from tensorflow_serving.config.model_server_config_pb2 import ModelServerConfig

from models import storage
from serving.server import textproto
from serving.server.models.versions import Policy, latest
from serving.wire.status import Code, StatusError
from serving.wire.words import printable

PLATFORM = "tensorflow"


@dataclass(frozen=True)
class ModelConfig:
    """One model of the list."""

    name: str
    base_path: str
    policy: Policy
    labels: Mapping[str, int]  # to version numbers


def read(path: Path) -> ModelServerConfig:
    """The text proto at `path`.

    Raises:
      ValueError: it cannot be read, or is no ModelServerConfig.
    """
    return textproto.read(path, ModelServerConfig())


def of_one_model(name: str, base_path: str) -> ModelServerConfig:
    """What --model_name and --model_base_path stand for."""
    config = ModelServerConfig()
    config.model_config_list.config.add(name=name, base_path=base_path, model_platform=PLATFORM)
    return config


def models(config: ModelServerConfig, known: Collection[str] = ()) -> dict[str, ModelConfig]:
    """The models of a list by name.

    Args:
      known: names of the models served so far, all of platform "tensorflow".

    Raises:
      StatusError: INVALID_ARGUMENT, a name twice, a relative base path, a platform that is not served, or control
        characters in a name.
    """
    found: dict[str, model_server_config_pb2.ModelConfig] = {}
    for model in config.model_config_list.config:
        if model.name in found:
            raise _invalid(f"Illegal to list model {model.name} multiple times in config list")
        found[model.name] = model
    for model in found.values():
        check_name("model name", model.name)
        check_name("base path", model.base_path)
        for label in model.version_labels:
            check_name("version label", label)
        if not model.base_path.startswith("/") and not storage.is_remote(model.base_path):
            raise _invalid(
                f"Expected model {model.name} to have an absolute path or URI; got base_path()={model.base_path}"
            )
    for model in found.values():
        _check_platform(model, known)
    return {
        name: ModelConfig(name, model.base_path, _policy(model), dict(model.version_labels))
        for name, model in found.items()
    }


def check_places(models: Iterable[ModelConfig], roots: Collection[str]) -> None:
    """StatusError PERMISSION_DENIED for a base path that does not lie in one of `roots`, wherever links and `..` lead."""
    for model in models:
        if not any(_lies_in(os.fspath(model.base_path), root) for root in roots):
            raise StatusError(
                Code.PERMISSION_DENIED,
                f"The base path {model.base_path} of model {model.name} lies in no directory that a reload may name; "
                "legal are those of --stemline_reload_roots, without it those of the models at the start",
            )


def _lies_in(place: str, root: str) -> bool:
    try:
        within, above = (_resolved(each) for each in (place, root))
    except ValueError:
        return False
    return within == above or within.startswith(above.rstrip("/") + "/")


def _resolved(place: str) -> str:
    return storage.absolute(place) if storage.is_remote(place) else os.path.realpath(place)


def check_name(what: str, name: str) -> None:
    """StatusError INVALID_ARGUMENT for a name that would forge a line of a log, or steer who reads it."""
    if not name.isprintable():
        raise _invalid(f'The {what} "{printable(name[:100])}" has control characters; legal is printable text')


def _policy(model: model_server_config_pb2.ModelConfig) -> Policy:
    policy: file_system_storage_path_source_pb2.FileSystemStoragePathSourceConfig.ServableVersionPolicy = (
        model.model_version_policy
    )
    if policy.HasField("all"):
        return set
    if policy.HasField("specific"):
        return set(policy.specific.versions).intersection
    return latest(policy.latest.num_versions)


def _check_platform(model: model_server_config_pb2.ModelConfig, known: Collection[str]) -> None:
    platform = _platform(model)
    if platform == PLATFORM:
        return
    if model.name in known:
        raise _invalid(
            f"Illegal to change a model's platform. For model {model.name} platform was {PLATFORM} "
            f"and new platform requested is {platform}"
        )
    raise _invalid(f"Model {model.name} requests unsupported platform {platform}")


def _platform(model: model_server_config_pb2.ModelConfig) -> str:
    if not model.model_type:
        if not model.model_platform:
            raise _invalid(
                "Illegal setting neither ModelServerConfig::model_type (deprecated) "
                "nor ModelServerConfig::model_platform."
            )
        return model.model_platform
    if model.model_platform:
        raise _invalid(
            "Illegal setting both ModelServerConfig::model_type (deprecated) and ModelServerConfig::model_platform."
        )
    if model.model_type != model_server_config_pb2.TENSORFLOW:
        raise _invalid(f"ModelServerConfig::model_type choice {model.model_type} not supported.")
    return PLATFORM


def _invalid(message: str) -> StatusError:
    return StatusError(Code.INVALID_ARGUMENT, message)
