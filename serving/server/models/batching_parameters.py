"""TensorFlow Serving's parameters of batching, read from their text proto."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from serving.server import textproto


@dataclass(frozen=True)
class BatchingParameters:
    """session_bundle_config.proto; the defaults are the real server's for a field that is not set.

    Raises:
      ValueError: values with which the real server does not start.
    """

    max_batch_size: int = 1000
    batch_timeout_micros: int = 0
    max_enqueued_batches: int = 10
    num_batch_threads: int = field(default_factory=lambda: os.cpu_count() or 1)
    allowed_batch_sizes: tuple[int, ...] = ()
    pad_variable_length_inputs: bool = False
    enable_large_batch_splitting: bool = False
    max_execution_batch_size: int | None = None

    def __post_init__(self) -> None:
        for name in ("max_batch_size", "num_batch_threads", "max_enqueued_batches"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be positive; was {getattr(self, name)}")
        if self.batch_timeout_micros < 0:
            raise ValueError(f"batch_timeout_micros must be non-negative; was {self.batch_timeout_micros}")
        size, sizes = self.max_execution_batch_size, self.allowed_batch_sizes
        if size is not None and not 1 <= size <= self.max_batch_size:
            raise ValueError(
                f"max_execution_batch_size must be from 1 to max_batch_size={self.max_batch_size}; was {size}"
            )
        if list(sizes) != sorted(set(sizes)) or min(sizes, default=1) < 1:
            raise ValueError(f"allowed_batch_sizes must be positive and in increasing order; was {list(sizes)}")
        if sizes and sizes[-1] != self.max_batch_size:
            raise ValueError(
                "Last entry in allowed_batch_sizes must match max_batch_size; "
                f"last entry was {sizes[-1]}; expected {self.max_batch_size}"
            )

    def padded_size(self, size: int) -> int:
        """The next allowed size."""
        return next((allowed for allowed in self.allowed_batch_sizes if allowed >= size), size)


def read_parameters(path: Path) -> BatchingParameters:
    """The parameters in a text proto (`--batching_parameters_file`).

    Raises:
      ValueError: it cannot be read or parsed, or holds values that are not legal; one sentence that names the file.
    """
    message = textproto.read(path, textproto.message("BatchingParameters"))
    values = {}
    for descriptor, value in message.ListFields():
        if descriptor.name == "allowed_batch_sizes":
            values[descriptor.name] = tuple(value)
        elif descriptor.name != "thread_pool_name":  # a name in the real server's traces
            values[descriptor.name] = value if isinstance(value, bool) else value.value
    try:
        return BatchingParameters(**values)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
