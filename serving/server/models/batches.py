"""Requests one below the other in one batch, and their rows of its outputs. Pure functions on arrays.

As MergeInputTensors and SplitOutputTensors of TensorFlow Serving's batching_session.cc do it, with its messages.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from serving.wire.status import Code, StatusError

Arrays = Mapping[str, np.ndarray]


def batch_size(feeds: Arrays) -> int:
    """The inputs' common first dimension; StatusError INVALID_ARGUMENT when there is none."""
    if not feeds:
        raise StatusError(Code.INVALID_ARGUMENT, "Batching Run() must have at least one input tensor")
    if any(array.ndim == 0 for array in feeds.values()):
        raise StatusError(Code.INVALID_ARGUMENT, "Batching Run() input tensors must have at least one dimension")
    sizes = {len(array) for array in feeds.values()}
    if len(sizes) > 1:
        raise StatusError(Code.INVALID_ARGUMENT, "Batching Run() input tensors must have equal 0th-dimension size")
    return sizes.pop()


def merge(members: Sequence[Arrays], padded_size: int) -> dict[str, np.ndarray]:
    """The members' inputs one below the other, filled up to `padded_size` rows with the last member's first row.

    A member that is shorter than another in a further dimension is filled up there with its first value.

    Raises:
      StatusError: INVALID_ARGUMENT, an input without values would have to be filled up.
    """
    merged = {}
    for name in members[0]:
        arrays = [member[name] for member in members]
        dims = tuple(map(max, *(array.shape[1:] for array in arrays))) if len(arrays) > 1 else arrays[0].shape[1:]
        arrays = [_lengthened(array, dims) for array in arrays]
        missing = padded_size - sum(map(len, arrays))
        arrays += [np.broadcast_to(arrays[-1][:1], (missing, *dims))] if missing else []
        merged[name] = arrays[0] if len(arrays) == 1 else np.concatenate(arrays)
    return merged


def split(outputs: Arrays, sizes: Sequence[int], padded_size: int) -> list[dict[str, np.ndarray]]:
    """Each member's rows of the outputs, without the rows of the padding.

    Raises:
      StatusError: FAILED_PRECONDITION, an output is not batch-major.
    """
    for array in outputs.values():
        if np.ndim(array) == 0:
            raise StatusError(Code.FAILED_PRECONDITION, "Batched output tensor has 0 dimensions")
        if len(array) != padded_size:
            message = (
                "Batched output tensor's 0th dimension does not equal the sum of the 0th dimension sizes of the input "
                "tensors"
            )
            raise StatusError(Code.FAILED_PRECONDITION, message)
    stops = np.cumsum(sizes).tolist()
    return [rows(outputs, stop - size, stop) for size, stop in zip(sizes, stops, strict=True)]


def rows(arrays: Arrays, start: int, stop: int) -> dict[str, np.ndarray]:
    return {name: array[start:stop] for name, array in arrays.items()}


def _lengthened(array: np.ndarray, dims: tuple[int, ...]) -> np.ndarray:
    if array.shape[1:] == dims:
        return array
    if array.size == 0:
        raise StatusError(Code.INVALID_ARGUMENT, "Got empty tensor in batch of non-empty tensors.")
    longer = np.full((len(array), *dims), array.flat[0], array.dtype)
    longer[tuple(slice(size) for size in array.shape)] = array
    return longer
