"""TensorFlow Serving's gRPC services over version managers: Predict, GetModelMetadata, GetModelStatus, health.

Methods that are not here answer UNIMPLEMENTED, as gRPC does for a method no one registered.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_pb2,
    predict_pb2,
)

from serving import tensors
from serving.servable import DEFAULT_SIGNATURE, Servable
from serving.status import Code, StatusError
from serving.versions import Version, VersionManager

log = logging.getLogger(__name__)

PREDICTION_SERVICE = "tensorflow.serving.PredictionService"
MODEL_SERVICE = "tensorflow.serving.ModelService"

Models = Mapping[str, VersionManager[Servable]]


def add_services(server: grpc.Server, models: Models) -> None:
    """Registers PredictionService, ModelService and grpc.health.v1 (SERVING for "", and both) on `server`."""
    service = Service(models)
    prediction = {
        "Predict": _unary(service.predict, predict_pb2.PredictRequest, bytes),
        "GetModelMetadata": _unary(service.metadata, get_model_metadata_pb2.GetModelMetadataRequest),
    }
    model = {"GetModelStatus": _unary(service.status, get_model_status_pb2.GetModelStatusRequest)}
    handlers = [
        grpc.method_handlers_generic_handler(PREDICTION_SERVICE, prediction),
        grpc.method_handlers_generic_handler(MODEL_SERVICE, model),
    ]
    server.add_generic_rpc_handlers(handlers)
    servicer = health.HealthServicer()
    for name in ("", PREDICTION_SERVICE, MODEL_SERVICE):
        servicer.set(name, health_pb2.HealthCheckResponse.SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)


class Service:
    """The answers, independent of the transport but for the deadline they read from the gRPC context."""

    def __init__(self, models: Models) -> None:
        self._models = models

    def predict(self, request: predict_pb2.PredictRequest, context: grpc.ServicerContext) -> bytes:
        """A serialized PredictResponse: built on the wire, see serving.tensors."""
        _require_spec(request)
        with self._acquire(request.model_spec) as (number, servable):
            outputs = servable.predict(request, context.time_remaining())
        spec = _spec(request.model_spec.name, number)
        spec.signature_name = request.model_spec.signature_name or DEFAULT_SIGNATURE
        return tensors.predict_response(spec, outputs)

    def metadata(self, request, _: grpc.ServicerContext) -> get_model_metadata_pb2.GetModelMetadataResponse:
        _require_spec(request)
        if not request.metadata_field:
            message = "GetModelMetadataRequest must specify at least one metadata_field"
            raise StatusError(Code.INVALID_ARGUMENT, message)
        for field in request.metadata_field:
            if field != "signature_def":
                raise StatusError(Code.INVALID_ARGUMENT, f"Metadata field {field} is not supported")
        response = get_model_metadata_pb2.GetModelMetadataResponse()
        signatures = get_model_metadata_pb2.SignatureDefMap()
        with self._acquire(request.model_spec) as (number, servable):
            for name, signature in servable.signatures.items():
                signatures.signature_def[name].CopyFrom(signature)
        response.model_spec.CopyFrom(_spec(request.model_spec.name, number))
        response.metadata["signature_def"].Pack(signatures)
        return response

    def status(self, request, _: grpc.ServicerContext) -> get_model_status_pb2.GetModelStatusResponse:
        _require_spec(request)
        spec = request.model_spec
        model = self._models.get(spec.name)
        versions = model.states() if model is not None else []
        if spec.HasField("version"):
            versions = [version for version in versions if version.number == spec.version.value]
            if not versions:
                message = f"Could not find version {spec.version.value} of model {spec.name}"
                raise StatusError(Code.NOT_FOUND, message)
        if not versions:
            raise StatusError(Code.NOT_FOUND, f"Could not find any versions of model {spec.name}")
        return get_model_status_pb2.GetModelStatusResponse(model_version_status=map(_version_status, versions))

    @contextmanager
    def _acquire(self, spec: model_pb2.ModelSpec) -> Iterator[tuple[int, Servable]]:
        if not spec.name:
            raise StatusError(Code.INVALID_ARGUMENT, "ModelSpec has no name specified.")
        if spec.HasField("version_label"):
            raise StatusError(Code.INVALID_ARGUMENT, f"Unrecognized servable version label: {spec.version_label}")
        number = spec.version.value if spec.HasField("version") else None
        if spec.name not in self._models:
            which = f"Latest({spec.name})" if number is None else f"Specific({spec.name}, {number})"
            raise StatusError(Code.NOT_FOUND, f"Servable not found for request: {which}")
        with self._models[spec.name].acquire(number) as acquired:
            yield acquired


def _unary(answer: Callable, request_type, serializer: Callable = lambda response: response.SerializeToString()):
    """A gRPC handler that turns StatusError into the call's status and hides the words of unforeseen faults."""

    @functools.wraps(answer)
    def behaviour(request, context: grpc.ServicerContext):
        try:
            return answer(request, context)
        except StatusError as error:
            failure = error
        except Exception as error:
            log.exception("%s failed", answer.__name__)
            failure = StatusError(Code.INTERNAL, f"the server failed with {type(error).__name__}")
        context.abort(failure.code, failure.wire_message)

    return grpc.unary_unary_rpc_method_handler(behaviour, request_type.FromString, serializer)


def _require_spec(request) -> None:
    if not request.HasField("model_spec"):
        raise StatusError(Code.INVALID_ARGUMENT, "Missing ModelSpec")


def _spec(name: str, number: int) -> model_pb2.ModelSpec:
    spec = model_pb2.ModelSpec(name=name)
    spec.version.value = number
    return spec


def _version_status(version: Version) -> get_model_status_pb2.ModelVersionStatus:
    status = get_model_status_pb2.ModelVersionStatus(version=version.number, state=int(version.state))
    error = version.error
    status.status.error_code = error.code.value[0] if error is not None else 0
    status.status.error_message = error.wire_message if error is not None else ""
    return status
