"""One file per architecture, with one subclass of models.layers.network.Network: a new network is one new file.

A module knows its paper and models.layers; it is found by its file's name, with no table to edit.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from typing import TYPE_CHECKING, Any

from models.checked import nearest

if TYPE_CHECKING:
    from models.layers.network import Network


def names() -> list[str]:
    """Names of the networks, sorted; imports none of them."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def network_class(name: str) -> type[Network]:
    """The class of a network: the one in the module of that name. Raises ValueError naming the nearest for an unknown name."""
    from models.layers.network import Network

    if name not in names():
        raise ValueError(f"network is {name!r}; {nearest(name, names())}")
    module = importlib.import_module(f"{__name__}.{name}")
    own = [each for each in vars(module).values() if getattr(each, "__module__", "") == module.__name__]
    return next(each for each in own if isinstance(each, type) and issubclass(each, Network))


def build(name: str, bins: int, channels: int, targets: int, **sizes: Any) -> Network:
    """Builds a network and its weights.

    sizes: keyword arguments of that network's class.
    Raises ValueError for an unknown name or size (naming the nearest legal one) or an illegal value.
    """
    import tensorflow as tf

    made_by = network_class(name)
    _self, _bins, _channels, _targets, *legal = inspect.signature(made_by.__init__).parameters
    for size in sizes:
        if size not in legal:
            raise ValueError(f"{size!r} is no size of network {name!r}; {nearest(size, legal)}")
    built = made_by(bins, channels, targets, **sizes)
    built(tf.zeros([1, 1, bins, channels]))  # the first call makes the weights
    return built
