"""Keras separators of singing voice and music: networks found by their module's name, no table to edit."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from types import ModuleType
from typing import TYPE_CHECKING, Any

from models import networks
from models.names import nearest

if TYPE_CHECKING:
    import tf_keras as keras


def names() -> list[str]:
    """Names of the networks, sorted; imports none of them."""
    return sorted(module.name for module in pkgutil.iter_modules(networks.__path__))


def module(name: str) -> ModuleType:
    """The module of a network. Raises ValueError naming the nearest network for an unknown name."""
    if name not in names():
        raise ValueError(f"network is {name!r}; {nearest(name, names())}")
    return importlib.import_module(f"models.networks.{name}")


def build(name: str, bins: int, channels: int, targets: int, **sizes: Any) -> keras.Model:
    """Builds a network: features [batch, frames, bins, channels] -> {"masks": [batch, frames, bins, channels, targets], ...}.

    sizes: keyword arguments of that module's `build`.
    Raises ValueError for an unknown name or size (naming the nearest legal one) or an illegal value.
    """
    build_network = module(name).build
    legal = [
        size for size in inspect.signature(build_network).parameters if size not in ("bins", "channels", "targets")
    ]
    for size in sizes:
        if size not in legal:
            raise ValueError(f"{size!r} is no size of network {name!r}; {nearest(size, legal)}")
    return build_network(bins, channels, targets, **sizes)
