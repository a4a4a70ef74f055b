"""Client of a model server, TensorFlow Serving's or the embedded one.

from serving.client import Client

with Client("localhost:8500") as client:
    stems = client.separate(waveform, 44100)                # {"vocals": [samples, channels], ...}
    client.separate_file(Path("song.mp3"), Path("out"))      # out/vocals.wav, ...
"""

from __future__ import annotations

import copy
import logging
import math
import time
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import TypeVar

import grpc
import numpy as np
from tensorflow_serving.apis import get_model_metadata_pb2, model_pb2

from serving.client import connection
from serving.client.connection import Pem
from serving.client.separation import DEFAULT_SIGNATURE, Separation
from serving.client.signals import SeparationError, Stems
from serving.wire import tensors

__all__ = ["Client", "SeparationError"]

SERVICE = "/tensorflow.serving.PredictionService"
SPEAKS_AFTER = 5  # failures in a row, about a second: a full queue is no news
BEGINNINGS = 5  # of one signal, when the server replaces the version under it

log = logging.getLogger(__name__)
T = TypeVar("T")


class VersionGone(SeparationError):
    """The server no longer serves the version that a signal was begun with."""


class Client(Separation):
    """One model of one server. Connects with the first request; safe to share between threads.

    A signal is separated by one version from its beginning to its end: the latest when it begins. If the server unloads
    that version before the end, the signal is begun again with the newest, and with `progress` at 0.

    A request that finds no server, a full queue or that loses its connection is sent again, with waits of 0.1 to 2 s in
    between, until `patience_seconds` after its first failure: asking twice does no harm. Any other error is final.

    Args:
      address: "host:port".
      model_name: as the server knows it.
      version: None is the latest.
      timeout_seconds: deadline of a request, each time that it is sent.
      patience_seconds: how long a server may be away; 0 sends nothing twice.
      total_seconds: deadline of a whole `separate`, `separate_file` or `stream_file`; None is without end.
      in_flight: chunks asked for at the same time.
      max_message_bytes: largest request and response; gRPC's own limit is 4 MiB, which a chunk easily exceeds.
      model_rate_hz: the model's sample rate; not needed when the model has the signature `describe`.
      tls, ca, certificate, key, server_name, options: see serving.client.connection.connect.

    Raises (all methods):
      SeparationError: in one sentence, naming the address.
    """

    def __init__(
        self,
        address: str,
        model_name: str = "stemline",
        version: int | None = None,
        timeout_seconds: float = 60.0,
        patience_seconds: float = 60.0,
        total_seconds: float | None = None,
        in_flight: int = 2,
        max_message_bytes: int = 256 * 2**20,
        model_rate_hz: int | None = None,
        tls: bool = False,
        ca: Pem | None = None,
        certificate: Pem | None = None,
        key: Pem | None = None,
        server_name: str | None = None,
        options: Mapping[str, str | int] | None = None,
    ) -> None:
        super().__init__(f"model {model_name!r} at {address}", model_rate_hz, in_flight)
        self._address = address
        self._spec = model_pb2.ModelSpec(name=model_name)
        if version is not None:
            self._spec.version.value = version
        self._follows_latest = version is None
        self._timeout_seconds = timeout_seconds
        self._patience_seconds = patience_seconds
        self._total_seconds = math.inf if total_seconds is None else total_seconds
        self._ends = math.inf  # by time.monotonic
        self._max_message_bytes = max_message_bytes
        self._channel = connection.connect(address, max_message_bytes, tls, ca, certificate, key, server_name, options)
        self._predict = self._channel.unary_unary(f"{SERVICE}/Predict")  # bytes in, bytes out: see serving.wire.tensors
        self._metadata = self._channel.unary_unary(f"{SERVICE}/GetModelMetadata")

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._channel.close()

    @property
    def version(self) -> int | None:
        """The version that this client keeps to; None is the latest with every request."""
        return self._spec.version.value if self._spec.HasField("version") else None

    @cached_property
    def signatures(self) -> Mapping:
        """The model's SignatureDefs by name, from GetModelMetadata."""
        return _signatures(self._model_metadata())

    def pinned(self) -> Client:
        """This client, kept to the version that is the latest now, over the same connection."""
        metadata = self._model_metadata()
        other = copy.copy(self)
        other._spec = model_pb2.ModelSpec(name=self._spec.name, version=metadata.model_spec.version)
        for name in ("facts", "model_rate_hz"):  # may have been asked of another version
            vars(other).pop(name, None)
        vars(other)["signatures"] = _signatures(metadata)
        return other

    def on_one_version(self, work: Callable[[Separation], T]) -> T:
        limited = copy.copy(self)
        limited._ends = time.monotonic() + self._total_seconds
        for beginning in range(1, BEGINNINGS + 1):
            try:
                return work(limited.pinned())
            except VersionGone as gone:
                if not self._follows_latest:
                    raise
                if beginning == BEGINNINGS:
                    raise SeparationError(
                        f"server {self._address} replaced the version of {self._spec.name!r} {BEGINNINGS} times before "
                        f"one signal was separated; let it keep a version for longer, or ask for one with version"
                    ) from gone
                log.warning("%s: beginning again with the newest version", gone)
        raise AssertionError("the last beginning returns or raises")

    def _model_metadata(self) -> get_model_metadata_pb2.GetModelMetadataResponse:
        request = get_model_metadata_pb2.GetModelMetadataRequest(
            model_spec=self._spec, metadata_field=["signature_def"]
        )
        answer = self._call(self._metadata, request.SerializeToString())
        return get_model_metadata_pb2.GetModelMetadataResponse.FromString(answer)

    def run(self, inputs: Mapping[str, np.ndarray], signature_name: str = DEFAULT_SIGNATURE) -> Stems:
        asked = model_pb2.ModelSpec(signature_name=signature_name)
        asked.MergeFrom(self._spec)
        message = tensors.predict_request(asked, inputs)
        if len(message) > self._max_message_bytes:
            raise self._too_large(f"the request has {len(message)} bytes")
        answer = self._call(self._predict, message)
        try:
            outputs, spec = tensors.from_response(answer)
        except ValueError as error:
            raise SeparationError(f"server {self._address} answered with no PredictResponse: {error}") from error
        if self.version is not None and spec.version.value != self.version:
            answered = f"answered with version {spec.version.value}"
            raise SeparationError(f"server {self._address} {answered} when asked for version {self.version}")
        return outputs

    def _call(self, method, message: bytes) -> bytes:
        """The answer's bytes; what passes by itself is waited for, as the class says."""
        failures, gives_up = 0, math.inf
        while True:
            now = time.monotonic()
            if now >= self._ends:
                raise self._out_of_time()
            try:
                return method(message, timeout=min(self._timeout_seconds, self._ends - now))
            except grpc.RpcError as error:
                failures += 1
                gives_up = min(gives_up, time.monotonic() + self._patience_seconds)
                wait_seconds = connection.wait_seconds(failures)
                if not connection.passes(error) or time.monotonic() + wait_seconds > gives_up:
                    raise self._failure(error, failures) from error
                if failures == SPEAKS_AFTER:
                    patience = f"up to {self._patience_seconds:g} s"
                    log.warning("waiting %s for server %s (%s)", patience, self._address, _details(error))
            time.sleep(min(wait_seconds, max(0.0, self._ends - time.monotonic())))

    def _failure(self, error: grpc.RpcError, attempts: int) -> SeparationError:
        code, details = error.code(), _details(error)
        if code is grpc.StatusCode.UNAVAILABLE:
            tries = "1 attempt" if attempts == 1 else f"{attempts} attempts"
            return SeparationError(f"no model server answers at {self._address} after {tries} ({details})")
        if code is grpc.StatusCode.DEADLINE_EXCEEDED and time.monotonic() >= self._ends:
            return self._out_of_time()
        if code is grpc.StatusCode.DEADLINE_EXCEEDED:
            limit = f"within timeout_seconds={self._timeout_seconds:g}"
            return SeparationError(f"server {self._address} did not answer {limit}; allow more, or send shorter chunks")
        if code is grpc.StatusCode.NOT_FOUND:
            version = "" if self.version is None else f" version {self.version}"
            kind = SeparationError if self.version is None else VersionGone
            return kind(f"server {self._address} does not serve {self._spec.name!r}{version} ({details})")
        if code is grpc.StatusCode.RESOURCE_EXHAUSTED and "larger than max" in details:
            return self._too_large(details)
        return SeparationError(f"server {self._address} refused with {code.name}: {details}")

    def _too_large(self, what: str) -> SeparationError:
        limit = f"max_message_bytes={self._max_message_bytes}"
        return SeparationError(f"message to or from {self._address} is over {limit} ({what}); send shorter chunks")

    def _out_of_time(self) -> SeparationError:
        return SeparationError(f"server {self._address} did not finish within total_seconds={self._total_seconds:g}")


def _signatures(metadata: get_model_metadata_pb2.GetModelMetadataResponse) -> dict:
    signatures = get_model_metadata_pb2.SignatureDefMap()
    metadata.metadata["signature_def"].Unpack(signatures)
    return dict(signatures.signature_def)


def _details(error: grpc.RpcError) -> str:
    return " ".join((error.details() or "").split())
