"""A gRPC connection to a model server, plain or with TLS: its options, and which of its failures pass by themselves.

gRPC connects, waits for a connection, notices one that died and keeps deadlines. Whether a request is sent again is decided
here and not by a `retryPolicy` of gRPC's service config (proposal A6; grpcio 1.85), which asks five times at most, has one
deadline for all of them, and knows a status by its code alone: a full queue and a wrong certificate are both UNAVAILABLE.
Nor by `wait_for_ready`, which says DEADLINE_EXCEEDED whatever is wrong, and takes the wait from the time for the answer.
"""

from __future__ import annotations

import math
import random
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import grpc

from serving.client.signals import SeparationError

Pem = Path | bytes  # a file, or what is in it

# Without a scheme gRPC takes what has no port for one that listens on 443.
_HOST_PORT = re.compile(r"(?:\[[^\]\s]+\]|[^\s:/\[\]]+):(\d{1,5})")
_SCHEME = re.compile(r"(?:dns|ipv4|ipv6|unix|unix-abstract|vsock|xds):\S+")

FIRST_WAIT_SECONDS = 0.1
LONGEST_WAIT_SECONDS = 2.0

# How gRPC reports a connection that broke under a request: the server died or drained, or a proxy between let go.
_BROKEN = ("RST_STREAM", "Stream removed", "Socket closed", "Connection reset", "Broken pipe", "GOAWAY")
_BROKEN_CODES = (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN)
# RESOURCE_EXHAUSTED by a gRPC server's limit of requests at a time; else the status is of the request itself.
_TOO_MANY = "Concurrent RPC limit exceeded"
# UNAVAILABLE, and no better the next time: the other side is not who it should be, or does not speak TLS or HTTP/2.
_REFUSED = (
    "CERTIFICATE_VERIFY_FAILED",
    "WRONG_VERSION_NUMBER",
    "Hostname Verification",
    "Peer name",
    "Failed parsing HTTP/2",
)


@dataclass(frozen=True)
class Connection:
    """Which model of a server is asked, how the server is reached, and how long it is waited for.

    Args:
      model_name: as the server knows it.
      version: None is the latest.
      timeout_seconds: deadline of a request, each time that it is sent.
      patience_seconds: how long a server may be away; 0 sends nothing twice.
      total_seconds: deadline of a whole signal or file; None is without end.
      max_message_bytes: largest request and response; gRPC's own limit is 4 MiB, which a chunk easily exceeds.
      tls: encrypt. `ca`, `certificate` and `server_name` imply it.
      ca: PEM of the authorities that may have signed the server's certificate; None is those that gRPC brings.
      certificate, key: PEM of the client's own, for a server that asks for one (mTLS).
      server_name: what the server's certificate says, where that is not the address.
      options: further channel arguments of gRPC, by name.

    Raises:
      SeparationError: a number that is out of its range, which it names.
    """

    model_name: str = "stemline"
    version: int | None = None
    timeout_seconds: float = 60.0
    patience_seconds: float = 60.0
    total_seconds: float | None = None
    max_message_bytes: int = 256 * 2**20
    tls: bool = False
    ca: Pem | None = None
    certificate: Pem | None = None
    key: Pem | None = field(default=None, repr=False)
    server_name: str | None = None
    options: Mapping[str, str | int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        ranges = {
            "version": (self.version, 0, 2**63 - 1),
            "timeout_seconds": (self.timeout_seconds, 1e-3, 1e6),
            "patience_seconds": (self.patience_seconds, 0, math.inf),
            "total_seconds": (self.total_seconds, 1e-3, math.inf),
            "max_message_bytes": (self.max_message_bytes, 1, 2**31 - 1),
        }
        for name, (value, least, most) in ranges.items():
            if value is not None and not least <= value <= most:
                raise SeparationError(f"{name} is {value}; legal is from {least} to {most}")


def connect(address: str, connection: Connection) -> grpc.Channel:
    """A channel; it connects with the first request.

    Raises:
      SeparationError: what is no address or no PEM, or a certificate without its key.
      OSError: a file cannot be read.
    """
    found = _HOST_PORT.fullmatch(address)
    if not ((found and 0 < int(found[1]) < 2**16) or _SCHEME.fullmatch(address)):
        raise SeparationError(f"server is {address!r}; legal is host:port, as localhost:8500")
    if (connection.certificate is None) != (connection.key is None):
        missing = "key" if connection.key is None else "certificate"
        raise SeparationError(f"{missing} is missing; a client's certificate and its key come together")
    request_ms = round(1000 * max(connection.timeout_seconds, 3.0))
    arguments: dict[str, str | int] = {
        "grpc.max_receive_message_length": connection.max_message_bytes,
        "grpc.max_send_message_length": connection.max_message_bytes,
        "grpc.initial_reconnect_backoff_ms": 100,  # a server that restarts is found again within a second
        "grpc.max_reconnect_backoff_ms": 1000,
        "grpc.min_reconnect_backoff_ms": 5000,  # what connecting may take, by a slow link and TLS
        # A connection that died without a word is noticed while there is time to ask again: by TCP_USER_TIMEOUT, which gRPC
        # sets to the second of these (A18). A ping's own answer may be long behind much audio on a slow link. A server with
        # gRPC's limits bears three pings without data between them (A8), and no more fit into a request.
        "grpc.keepalive_time_ms": request_ms // 3,
        "grpc.keepalive_timeout_ms": request_ms // 3,
        "grpc.http2.ping_timeout_ms": request_ms,
        **connection.options,
    }
    if not (connection.tls or connection.ca or connection.certificate or connection.server_name):
        return grpc.insecure_channel(address, list(arguments.items()))
    if connection.server_name:
        arguments["grpc.ssl_target_name_override"] = connection.server_name
    credentials = grpc.ssl_channel_credentials(
        _pem("ca", connection.ca), _pem("key", connection.key), _pem("certificate", connection.certificate)
    )
    return grpc.secure_channel(address, credentials, list(arguments.items()))


def passes(error: grpc.RpcError) -> bool:
    """Whether the same request may succeed a moment later: the server is away, overloaded, or was lost on the way."""
    code, details = error.code(), error.details() or ""
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED:
        return _TOO_MANY in details
    if code is grpc.StatusCode.UNAVAILABLE:
        return not any(words in details for words in _REFUSED)
    if code is grpc.StatusCode.CANCELLED:
        return True  # by the server or a proxy, which let go of it: we cancel nothing
    return code in _BROKEN_CODES and any(words in details for words in _BROKEN)


def connected(channel: grpc.Channel, seconds: float) -> bool:
    """Waits for a connection, which gRPC makes as soon as it can; whether there was one in time."""
    ready = grpc.channel_ready_future(channel)
    try:
        ready.result(max(0.0, seconds))
    except grpc.FutureTimeoutError:
        return False
    finally:
        ready.cancel()  # else it goes on watching
    return True


def wait_seconds(failures: int) -> float:
    """How long to wait after so many failures in a row: 0.1, 0.2, 0.4 ... 2 s, each shortened by up to a half.

    By chance, so that the clients that a server lost together do not come back together.
    """
    longest = min(FIRST_WAIT_SECONDS * 2 ** min(failures - 1, 16), LONGEST_WAIT_SECONDS)
    return longest * random.uniform(0.5, 1.0)


def _pem(name: str, pem: Pem | None) -> bytes | None:
    if pem is None:
        return None
    content = pem if isinstance(pem, bytes) else Path(pem).read_bytes()
    if b"-----BEGIN" not in content:
        where = "the bytes given" if isinstance(pem, bytes) else str(pem)
        raise SeparationError(f"{name} is {where}, which holds no PEM; legal is text with -----BEGIN")
    return content
