"""TensorFlow Serving's services over a server core: PredictionService, ModelService and grpc.health.v1.

Of PredictionService, Classify, Regress and MultiInference answer UNIMPLEMENTED: no separator has a signature for them.
"""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable, Collection

import grpc
from google.protobuf.message import DecodeError
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_management_pb2,
    model_pb2,
    predict_pb2,
)

from serving.server import monitoring
from serving.server.models.registry import ServerCore, check_names
from serving.server.models.servable import DEFAULT_SIGNATURE, Servable
from serving.server.models.versions import State, Version
from serving.wire import tensors
from serving.wire.status import Code, StatusError, hidden

log = logging.getLogger(__name__)

PREDICTION_SERVICE = "tensorflow.serving.PredictionService"
MODEL_SERVICE = "tensorflow.serving.ModelService"
UNSERVED = ("Classify", "Regress", "MultiInference")

Core = ServerCore[Servable]


def add_prediction_service(server: grpc.Server, core: Core) -> None:
    """Registers Predict and GetModelMetadata, and what refuses the other methods."""
    service = PredictionService(core)
    methods = {
        "Predict": _counted(core, "Predict", service.predict, predict_pb2.PredictRequest),
        "GetModelMetadata": _counted(
            core, "GetModelMetadata", service.metadata, get_model_metadata_pb2.GetModelMetadataRequest
        ),
    }
    for name in UNSERVED:
        failure = unserved(name)
        methods[name] = grpc.unary_unary_rpc_method_handler(
            lambda _, context, failure=failure: context.abort(failure.code, failure.message)
        )
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(PREDICTION_SERVICE, methods)])


def add_model_service(server: grpc.Server, core: Core, roots: Collection[str]) -> None:
    """Registers GetModelStatus and HandleReloadConfigRequest, which takes base paths in `roots` alone."""
    service = ModelService(core, roots)
    methods = {
        "GetModelStatus": _unary(service.status, get_model_status_pb2.GetModelStatusRequest),
        "HandleReloadConfigRequest": _unary(service.reload, model_management_pb2.ReloadConfigRequest),
    }
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(MODEL_SERVICE, methods)])


def add_health_service(server: grpc.Server) -> None:
    """Registers grpc.health.v1: SERVING for "" and the two names that the real server sets, whatever is loaded."""
    servicer = health.HealthServicer()
    for name in ("", "ModelService", "PredictionService"):
        servicer.set(name, health_pb2.HealthCheckResponse.SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)


class PredictionService:
    """The answers, independent of the transport: every method takes a request and the seconds it may take."""

    def __init__(self, core: Core) -> None:
        self._core = core

    def predict(self, request: predict_pb2.PredictRequest, timeout_seconds: float | None) -> bytes:
        """A serialized PredictResponse: built on the wire, see serving.wire.tensors."""
        require_spec(request)
        with self._core.acquire(request.model_spec) as (number, servable):
            outputs = servable.predict(request, timeout_seconds)
        spec = _spec(request.model_spec.name, number)
        spec.signature_name = request.model_spec.signature_name or DEFAULT_SIGNATURE
        return tensors.predict_response(spec, outputs)

    def metadata(
        self, request: get_model_metadata_pb2.GetModelMetadataRequest, _: float | None = None
    ) -> get_model_metadata_pb2.GetModelMetadataResponse:
        require_spec(request)
        if not request.metadata_field:
            message = "GetModelMetadataRequest must specify at least one metadata_field"
            raise StatusError(Code.INVALID_ARGUMENT, message)
        for field in request.metadata_field:
            if field != "signature_def":
                raise StatusError(Code.INVALID_ARGUMENT, f"Metadata field {field} is not supported")
        response = get_model_metadata_pb2.GetModelMetadataResponse()
        signatures = get_model_metadata_pb2.SignatureDefMap()
        with self._core.acquire(request.model_spec) as (number, servable):
            for name, signature in servable.signatures.items():
                signatures.signature_def[name].CopyFrom(signature)
        response.model_spec.CopyFrom(_spec(request.model_spec.name, number))
        response.metadata["signature_def"].Pack(signatures)
        return response


class ModelService:
    """What is served, and changing it."""

    def __init__(self, core: Core, roots: Collection[str] = ()) -> None:
        self._core = core
        self._roots = roots

    def status(
        self, request: get_model_status_pb2.GetModelStatusRequest, _: grpc.ServicerContext | None = None
    ) -> get_model_status_pb2.GetModelStatusResponse:
        require_spec(request)
        check_names(request.model_spec)
        name, number = request.model_spec.name, request.model_spec.version.value
        versions = self._core.states(name)
        if request.model_spec.HasField("version"):  # a label is not looked at: get_model_status_impl.cc
            versions = [version for version in versions if version.number == number]
            if not versions:
                raise StatusError(Code.NOT_FOUND, f"Could not find version {number} of model {name}")
        if not versions:
            raise StatusError(Code.NOT_FOUND, f"Could not find any versions of model {name}")
        return get_model_status_pb2.GetModelStatusResponse(model_version_status=map(_version_status, versions))

    def reload(
        self, request: model_management_pb2.ReloadConfigRequest, context: grpc.ServicerContext
    ) -> model_management_pb2.ReloadConfigResponse:
        """Waits for the models that are new in the list, as long as the client waits for the answer."""
        if not request.config.HasField("model_config_list"):
            raise StatusError(
                Code.INVALID_ARGUMENT,
                "ServerModelConfig type not supported by HandleReloadConfigRequest. "
                "Only ModelConfigList is currently supported",
            )
        self._core.reload(request.config, context.is_active, self._roots)
        response = model_management_pb2.ReloadConfigResponse()
        response.status.SetInParent()
        return response


def unserved(method: str) -> StatusError:
    """UNIMPLEMENTED, in words that tell which method is served."""
    message = f"{method} is not served: no signature of a separator classifies or regresses examples; legal is Predict"
    return StatusError(Code.UNIMPLEMENTED, message)


def require_spec(request) -> None:
    """StatusError INVALID_ARGUMENT unless the request has a model spec."""
    if not request.HasField("model_spec"):
        raise StatusError(Code.INVALID_ARGUMENT, "Missing ModelSpec")


def _counted(core: Core, api: str, answer: Callable, request_type) -> grpc.RpcMethodHandler:
    """A handler of PredictionService: it has the client's deadline, and is counted under the model's name."""

    @functools.wraps(answer)
    def timed(request, context: grpc.ServicerContext):
        started, code = time.perf_counter(), Code.INTERNAL
        try:
            response = answer(request, context.time_remaining())
            code = Code.OK
            return response
        except StatusError as error:
            code = error.code
            raise
        finally:
            monitoring.request(core.label(request.model_spec.name), api, "GRPC", code, started)

    return _unary(timed, request_type)


def _unary(answer: Callable, request_type) -> grpc.RpcMethodHandler:
    """A gRPC handler that turns StatusError into the call's status and hides the words of unforeseen faults."""

    @functools.wraps(answer)
    def behaviour(message: bytes, context: grpc.ServicerContext):
        try:
            return answer(_parsed(request_type, message), context)
        except StatusError as error:
            failure = error.told
        except Exception as error:
            failure = hidden(log, answer.__name__, error)
        context.abort(failure.code, failure.wire_message)

    return grpc.unary_unary_rpc_method_handler(behaviour, response_serializer=_serialized)


def _parsed(request_type, message: bytes):
    """Not left to gRPC, which would log a traceback for every message that cannot be parsed."""
    try:
        return request_type.FromString(message)
    except DecodeError:
        raise StatusError(Code.INTERNAL, "") from None  # gRPC in C++ has no words for it either


def _serialized(response) -> bytes:
    return response if isinstance(response, bytes) else response.SerializeToString()


def _spec(name: str, number: int) -> model_pb2.ModelSpec:
    spec = model_pb2.ModelSpec(name=name)
    spec.version.value = number
    return spec


def _version_status(version: Version) -> get_model_status_pb2.ModelVersionStatus:
    status = get_model_status_pb2.ModelVersionStatus(version=version.number, state=int(version.state))
    error = version.error if version.state is State.END else None
    status.status.error_code = error.code.value[0] if error is not None else 0
    status.status.error_message = error.wire_message if error is not None else ""
    return status
