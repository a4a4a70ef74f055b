"""Client of a model server, TensorFlow Serving's or the embedded one.

from serving.client import Client

with Client("localhost:8500") as client:
    stems = client.separate(waveform, 44100)                # {"vocals": [samples, channels], ...}
    client.separate_file(Path("song.mp3"), Path("out"))      # out/vocals.wav, ...
"""

from __future__ import annotations

import copy
import time
from collections.abc import Mapping
from functools import cached_property

import grpc
import numpy as np
from tensorflow_serving.apis import get_model_metadata_pb2, model_pb2, predict_pb2

from serving import tensors
from serving.separation import DEFAULT_SIGNATURE, Separation
from serving.signals import SeparationError, Stems

__all__ = ["Client", "SeparationError"]

SERVICE = "/tensorflow.serving.PredictionService"
FIRST_WAIT_SECONDS = 0.1
LONGEST_WAIT_SECONDS = 2.0


class Client(Separation):
    """One model of one server. Connects with the first request; safe to share between threads.

    Args:
      address: "host:port".
      model_name: as the server knows it.
      version: None asks for the latest one with every request.
      timeout_seconds: deadline of a request.
      in_flight: chunks asked for at the same time.
      retries: how often a request that found the server UNAVAILABLE is sent again, after 0.1, 0.2, 0.4 ... s.
      max_message_bytes: largest request and response; gRPC's own limit is 4 MiB, which a chunk easily exceeds.
      model_rate_hz: the model's sample rate; not needed when the model has the signature `describe`.

    Raises (all methods):
      SeparationError: in one sentence, naming the address.
    """

    def __init__(
        self,
        address: str,
        model_name: str = "stemline",
        version: int | None = None,
        timeout_seconds: float = 60.0,
        in_flight: int = 2,
        retries: int = 5,
        max_message_bytes: int = 256 * 2**20,
        model_rate_hz: int | None = None,
    ) -> None:
        super().__init__(f"model {model_name!r} at {address}", model_rate_hz, in_flight)
        self._address = address
        self._spec = model_pb2.ModelSpec(name=model_name)
        if version is not None:
            self._spec.version.value = version
        self._timeout_seconds = timeout_seconds
        self._retries = retries
        self._max_message_bytes = max_message_bytes
        self._channel = grpc.insecure_channel(address, options=_options(max_message_bytes))
        self._predict = self._channel.unary_unary(f"{SERVICE}/Predict")  # bytes in, bytes out: see serving.tensors
        self._metadata = self._channel.unary_unary(f"{SERVICE}/GetModelMetadata")

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._channel.close()

    @cached_property
    def signatures(self) -> Mapping:
        """The model's SignatureDefs by name, from GetModelMetadata."""
        signatures = get_model_metadata_pb2.SignatureDefMap()
        self._model_metadata().metadata["signature_def"].Unpack(signatures)
        return dict(signatures.signature_def)

    def pinned(self) -> Client:
        """This client, kept to the version that is the latest now, over the same connection."""
        other = copy.copy(self)
        other._spec = model_pb2.ModelSpec()
        other._spec.CopyFrom(self._spec)
        other._spec.version.CopyFrom(self._model_metadata().model_spec.version)
        for name in ("signatures", "facts", "model_rate_hz"):  # may have been asked of another version
            other.__dict__.pop(name, None)
        return other

    def _model_metadata(self) -> get_model_metadata_pb2.GetModelMetadataResponse:
        request = get_model_metadata_pb2.GetModelMetadataRequest(
            model_spec=self._spec, metadata_field=["signature_def"]
        )
        answer = self._call(self._metadata, request.SerializeToString())
        return get_model_metadata_pb2.GetModelMetadataResponse.FromString(answer)

    def run(self, inputs: Mapping[str, np.ndarray], signature_name: str = DEFAULT_SIGNATURE) -> Stems:
        request = predict_pb2.PredictRequest(model_spec=self._spec)
        request.model_spec.signature_name = signature_name
        for alias, array in inputs.items():
            request.inputs[alias].CopyFrom(tensors.to_proto(array))
        message = request.SerializeToString()
        if len(message) > self._max_message_bytes:
            raise self._too_large(f"the request has {len(message)} bytes")
        answer = self._call(self._predict, message)
        try:
            return tensors.from_response(answer)[0]
        except ValueError as error:
            raise SeparationError(f"server {self._address} answered with no PredictResponse: {error}") from error

    def _call(self, method, message: bytes) -> bytes:
        wait_seconds = FIRST_WAIT_SECONDS
        for retry in range(self._retries + 1):
            try:
                return method(message, timeout=self._timeout_seconds)
            except grpc.RpcError as error:
                if error.code() is not grpc.StatusCode.UNAVAILABLE or retry == self._retries:
                    raise self._failure(error) from error
            time.sleep(wait_seconds)
            wait_seconds = min(2 * wait_seconds, LONGEST_WAIT_SECONDS)
        raise AssertionError("the last attempt returns or raises")

    def _failure(self, error: grpc.RpcError) -> SeparationError:
        code, details = error.code(), " ".join((error.details() or "").split())
        if code is grpc.StatusCode.UNAVAILABLE:
            tries = self._retries + 1
            return SeparationError(f"no model server answers at {self._address} after {tries} attempts ({details})")
        if code is grpc.StatusCode.DEADLINE_EXCEEDED:
            limit = f"within timeout_seconds={self._timeout_seconds:g}"
            return SeparationError(f"server {self._address} did not answer {limit}; allow more, or send shorter chunks")
        if code is grpc.StatusCode.NOT_FOUND:
            version = f" version {self._spec.version.value}" if self._spec.HasField("version") else ""
            return SeparationError(f"server {self._address} does not serve {self._spec.name!r}{version} ({details})")
        if code is grpc.StatusCode.RESOURCE_EXHAUSTED and "larger than max" in details:
            return self._too_large(details)
        return SeparationError(f"server {self._address} refused with {code.name}: {details}")

    def _too_large(self, what: str) -> SeparationError:
        limit = f"max_message_bytes={self._max_message_bytes}"
        return SeparationError(f"message to or from {self._address} is over {limit} ({what}); send shorter chunks")


def _options(max_message_bytes: int) -> list[tuple[str, int]]:
    return [
        ("grpc.max_receive_message_length", max_message_bytes),
        ("grpc.max_send_message_length", max_message_bytes),
        ("grpc.initial_reconnect_backoff_ms", 100),  # a server that restarts is found again within a retry
        ("grpc.min_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 1000),
    ]
