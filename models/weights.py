"""Trained weights back from a SavedModel into a separator that can be called, differentiated and trained on."""

from __future__ import annotations

import os

import tensorflow as tf

from models.separator import Separator
from models.spec import ModelSpec


def restore(directory: str | os.PathLike, spec: ModelSpec, precision: str = "float32") -> Separator:
    """The separator that `exported.save` wrote to `directory`; `spec` is what it was built from.

    precision: in what its network computes from now on.
    Raises ValueError when `directory` holds no exported separator, or one of another spec.
    """
    stored = _stored(os.fspath(directory))
    separator = Separator(spec, precision)
    shapes = [tuple(weight.shape) for weight in separator.weights]
    if [value.shape for value in stored] != shapes:
        raise ValueError(
            f"{os.fspath(directory)} holds {len(stored)} weights of {_count(stored)} values, which are not the "
            f"{len(shapes)} of {_count(separator.get_weights())} that network {spec.network!r} has with this spec."
        )
    separator.set_weights(stored)
    return separator


def _stored(directory: str) -> list:
    """The arrays in the order of `Separator.weights`."""
    try:
        reader = tf.train.load_checkpoint(os.path.join(directory, "variables", "variables"))
    except (tf.errors.OpError, ValueError) as error:
        raise ValueError(
            f"{directory} is no exported separator; legal: a directory with readable variables."
        ) from error
    names = [
        f"separator_weights/{i}/.ATTRIBUTES/VARIABLE_VALUE" for i in range(len(reader.get_variable_to_shape_map()))
    ]
    return [reader.get_tensor(name) for name in names if reader.has_tensor(name)]


def _count(arrays: list) -> int:
    return sum(array.size for array in arrays)
