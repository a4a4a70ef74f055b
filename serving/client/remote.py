"""The way to a model on a server, TensorFlow Serving's or the embedded one: one channel, retries, one version a signal."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, TypeVar

import grpc
import numpy as np
from google.protobuf.message import DecodeError

from serving.client.connection import LONGEST_WAIT_SECONDS, Connection, connect, connected, passes, wait_seconds
from serving.client.signals import SeparationError, Stems
from serving.wire import messages, tensors

SERVICE = "/tensorflow.serving.PredictionService"
SPEAKS_AFTER = 5  # failures in a row of a server that is there, about a second: a full queue is no news
BEGINNINGS = 5  # of one signal, when the server replaces the version under it

log = logging.getLogger(__name__)
T = TypeVar("T")


class VersionGone(SeparationError):
    """The server no longer serves the version that a signal was begun with."""


class NoServerError(SeparationError):
    """Nobody answers at the address: no other request will be answered either."""


class Remote:
    """One model of one server, a `serving.client.separation.Transport`. Safe to share between threads.

    A request that finds no server, a full queue or that loses its connection is sent again, as soon as there is a connection
    and after waits of 0.1 to 2 s, until `patience_seconds` after its first failure: asking twice does no harm. Any other
    error is final.

    Args:
      address: "host:port".
      channel: an open one to share; None opens one, which connects with the first request.
      signatures: those of the version that `connection` names, where they are known.
      ends: when to give up, by time.monotonic.

    Raises (all methods):
      SeparationError: in one sentence, naming the address.
    """

    def __init__(
        self,
        address: str,
        connection: Connection = Connection(),  # noqa: B008
        channel: grpc.Channel | None = None,
        signatures: Mapping | None = None,
        ends: float = math.inf,
    ) -> None:
        self.label = f"model {connection.model_name!r} at {address}"
        self._address = address
        self._connection = connection
        self._channel = channel or connect(address, connection)
        self._signatures = signatures
        self._ends = ends

    def close(self) -> None:
        self._channel.close()

    @property
    def version(self) -> int | None:
        """The version that is asked; None is the latest with every request."""
        return self._connection.version

    @property
    def signatures(self) -> Mapping:
        """The model's SignatureDefs by name, from GetModelMetadata."""
        if self._signatures is None:
            self._signatures = self._metadata()[0]
        return self._signatures

    def pinned(self) -> Remote:
        """The same, kept to the version that is the latest now, over the same channel."""
        signatures, version = self._metadata()
        connection = replace(self._connection, version=version)
        return type(self)(self._address, connection, self._channel, signatures, self._ends)

    def on_one_version(self, work: Callable[[Remote], T]) -> T:
        """What `work` makes with one version within `total_seconds`, begun again when the latest was replaced under it."""
        total = self._connection.total_seconds
        ends = self._ends if total is None else time.monotonic() + total
        limited = type(self)(self._address, self._connection, self._channel, ends=ends)
        last: VersionGone | None = None
        for _ in range(BEGINNINGS):
            try:
                return work(limited.pinned())
            except VersionGone as gone:
                if self.version is not None:
                    raise
                last = gone
                log.warning("%s: beginning again with the newest version", gone)
        raise SeparationError(
            f"server {self._address} replaced the version of {self._connection.model_name!r} {BEGINNINGS} times before "
            f"one signal was separated; let it keep a version for longer, or ask for one with version"
        ) from last

    def run(self, inputs: Mapping[str, np.ndarray], signature_name: str) -> Stems:
        """One request: arrays by input alias -> arrays by output alias."""
        limit = self._connection.max_message_bytes
        try:
            message = tensors.predict_request(self._spec(signature_name), inputs)
        except ValueError as error:
            raise SeparationError(f"{self.label} cannot be asked: {error}") from error
        if len(message) > limit:
            raise self._too_large(f"the request has {len(message)} bytes")
        answer = self._call("Predict", message)
        try:
            outputs, spec = tensors.from_response(answer)
        except ValueError as error:
            raise self._unreadable(error) from error
        if self.version is not None and spec.version.value != self.version:
            answered = f"answered with version {spec.version.value}"
            raise SeparationError(f"server {self._address} {answered} when asked for version {self.version}")
        return outputs

    def _metadata(self) -> tuple[dict[str, Any], int]:
        """The signatures, and whose they are."""
        request = messages.GetModelMetadataRequest(model_spec=self._spec(), metadata_field=["signature_def"])
        answer = self._call("GetModelMetadata", request.SerializeToString())
        found = messages.SignatureDefMap()
        try:
            response = messages.GetModelMetadataResponse.FromString(answer)
            response.metadata["signature_def"].Unpack(found)
        except DecodeError as error:
            raise self._unreadable(error) from error
        return dict(found.signature_def), response.model_spec.version.value

    def _spec(self, signature_name: str = "") -> Any:
        spec = messages.ModelSpec(name=self._connection.model_name, signature_name=signature_name)
        if self.version is not None:
            spec.version.value = self.version
        return spec

    def _call(self, name: str, message: bytes) -> bytes:
        """The answer's bytes; what passes by itself is waited for, as the class says."""
        method = self._channel.unary_unary(f"{SERVICE}/{name}")  # bytes in, bytes out: see serving.wire.tensors
        failures, gives_up, began = 0, math.inf, time.monotonic()
        while True:
            now = time.monotonic()
            if now >= self._ends:
                raise self._out_of_time()
            try:
                return method(message, timeout=min(self._connection.timeout_seconds, self._ends - now))
            except grpc.RpcError as error:
                failures += 1
                gives_up = min(gives_up, time.monotonic() + self._connection.patience_seconds)
                wait = wait_seconds(failures)
                if not passes(error) or time.monotonic() + wait > gives_up:
                    raise self._failure(error, time.monotonic() - began) from error
                until = min(gives_up, self._ends)
                time.sleep(max(0.0, min(wait, until - time.monotonic())))
                # No longer at a time: the server that comes may be another one, and only a request is told so.
                absent = not connected(self._channel, min(LONGEST_WAIT_SECONDS, until - time.monotonic()))
                if failures == (1 if absent else SPEAKS_AFTER):
                    patience = f"up to {self._connection.patience_seconds:g} s"
                    log.warning("waiting %s for server %s (%s)", patience, self._address, _details(error))

    def _failure(self, error: grpc.RpcError, seconds: float) -> SeparationError:
        code, details = error.code(), _details(error)
        if code is grpc.StatusCode.UNAVAILABLE:
            return NoServerError(f"no model server answers at {self._address} after {seconds:.1f} s ({details})")
        if code is grpc.StatusCode.DEADLINE_EXCEEDED and time.monotonic() >= self._ends:
            return self._out_of_time()
        if code is grpc.StatusCode.DEADLINE_EXCEEDED:
            limit = f"within timeout_seconds={self._connection.timeout_seconds:g}"
            return SeparationError(f"server {self._address} did not answer {limit}; allow more, or send shorter chunks")
        if code is grpc.StatusCode.NOT_FOUND:
            version = "" if self.version is None else f" version {self.version}"
            kind = SeparationError if self.version is None else VersionGone
            return kind(f"server {self._address} does not serve {self._connection.model_name!r}{version} ({details})")
        if code is grpc.StatusCode.RESOURCE_EXHAUSTED and "larger than max" in details:
            return self._too_large(details)
        return SeparationError(f"server {self._address} refused with {code.name}: {details}")

    def _too_large(self, what: str) -> SeparationError:
        limit = f"max_message_bytes={self._connection.max_message_bytes}"
        return SeparationError(f"message to or from {self._address} is over {limit} ({what}); send shorter chunks")

    def _unreadable(self, error: Exception) -> SeparationError:
        return SeparationError(f"server {self._address} answered with what cannot be read: {error}")

    def _out_of_time(self) -> SeparationError:
        total = self._connection.total_seconds
        return SeparationError(f"server {self._address} did not finish within total_seconds={total:g}")


def _details(error: grpc.RpcError) -> str:
    return " ".join((error.details() or "").split())
