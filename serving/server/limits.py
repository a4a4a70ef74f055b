"""What a request may cost: limits of the embedded server's own, each a `--stemline_...` flag.

TensorFlow Serving has none of them (an edge proxy caps size and rate there), so the defaults are wide: no chunk of a
well-behaved client comes near one. 0 lifts a limit.

| flag | what is over it is answered |
|---|---|
| `--stemline_max_message_bytes` | RESOURCE_EXHAUSTED (413 over REST, unpacked), before the message is read |
| `--stemline_max_concurrent_requests` | RESOURCE_EXHAUSTED (429 over REST), at once, of each API by itself |
| `--stemline_max_connections` | REST: the connection that has waited longest for a request is closed for the new one |
| `--stemline_max_request_seconds` | REST: 408; a connection that does not even send its headers is closed after 15 s |
| `--stemline_max_batch_size` | INVALID_ARGUMENT, before anything runs |
| `--stemline_max_request_values` | INVALID_ARGUMENT, before anything runs |
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields

from serving.wire.status import Code, StatusError

PREFIX = "stemline_max_"
LARGEST_MESSAGE = 2**31 - 1  # what the real server sets, and gRPC's own bound

_HELP = {
    "message_bytes": "largest request in bytes",
    "concurrent_requests": "requests under way or waiting for a thread",
    "connections": "open connections of the REST API",
    "request_seconds": "that a request may take to arrive, and over REST its answer to be taken",
    "batch_size": "largest first dimension of an input",
    "request_values": "numbers, or strings, in all inputs of a request: for audio its duration",
}


@dataclass(frozen=True)
class Limits:
    """0 lifts a limit; the defaults are those of the flags."""

    message_bytes: int = 256 * 2**20
    concurrent_requests: int = 256
    connections: int = 1000
    request_seconds: int = 60
    batch_size: int = 1024
    request_values: int = 2**26  # 25 minutes of one 44.1 kHz channel, 256 MiB of float32

    def check(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        """Refuses a request by the shapes of its inputs.

        Raises:
          StatusError: INVALID_ARGUMENT that names the input, its size and the limit's flag.
        """
        for alias, shape in sorted(shapes.items()):
            if self.batch_size and shape and shape[0] > self.batch_size:
                raise _refused(f"input {alias} has batch size {shape[0]}", "batch_size", self.batch_size)
        values = sum(math.prod(shape) for shape in shapes.values())
        if self.request_values and values > self.request_values:
            raise _refused(f"the inputs have {values} values", "request_values", self.request_values)

    def __str__(self) -> str:
        """As flags."""
        return " ".join(f"--{PREFIX}{field.name}={getattr(self, field.name)}" for field in fields(self))

    @property
    def channel_options(self) -> list[tuple[str, int]]:
        """For `grpc.server(options=...)`."""
        return [("grpc.max_receive_message_length", self.message_bytes or LARGEST_MESSAGE)]


NO_LIMITS = Limits(**dict.fromkeys((field.name for field in fields(Limits)), 0))


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Adds one flag per limit."""
    for field in fields(Limits):
        words = f"{_HELP[field.name]}; 0: no limit (default: {field.default})"
        parser.add_argument(f"--{PREFIX}{field.name}", type=_natural, default=field.default, metavar="N", help=words)


def from_flags(flags: argparse.Namespace) -> Limits:
    """The limits that flags added by `add_flags` were set to."""
    return Limits(**{field.name: getattr(flags, PREFIX + field.name) for field in fields(Limits)})


def _refused(what: str, limit: str, legal: int) -> StatusError:
    return StatusError(Code.INVALID_ARGUMENT, f"{what}; legal is up to {legal} (--{PREFIX}{limit})")


def _natural(text: str) -> int:
    value = int(text)
    if not 0 <= value <= LARGEST_MESSAGE:
        raise argparse.ArgumentTypeError(f"{text} is no limit; legal is 1 to {LARGEST_MESSAGE}, or 0 for none")
    return value
