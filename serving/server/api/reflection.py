"""grpc.reflection, by which a tool as grpcurl finds the services: the real server is linked with it and has no flag for it.

The modules of tensorflow-serving-api that describe the services cannot be imported (their generator was too old for
today's protobuf), so the two are described here as apis/prediction_service.proto and model_service.proto do at 2.16.1.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import grpc
from google.protobuf import descriptor_pb2
from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_reflection.v1alpha import reflection, reflection_pb2
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_management_pb2,
    predict_pb2,
    regression_pb2,
)

PACKAGE = "tensorflow.serving"
_SERVICES = {  # file, service -> method -> request and response
    ("prediction_service", "PredictionService"): {
        "Classify": (classification_pb2.ClassificationRequest, classification_pb2.ClassificationResponse),
        "Regress": (regression_pb2.RegressionRequest, regression_pb2.RegressionResponse),
        "Predict": (predict_pb2.PredictRequest, predict_pb2.PredictResponse),
        "MultiInference": (inference_pb2.MultiInferenceRequest, inference_pb2.MultiInferenceResponse),
        "GetModelMetadata": (
            get_model_metadata_pb2.GetModelMetadataRequest,
            get_model_metadata_pb2.GetModelMetadataResponse,
        ),
    },
    ("model_service", "ModelService"): {
        "GetModelStatus": (get_model_status_pb2.GetModelStatusRequest, get_model_status_pb2.GetModelStatusResponse),
        "HandleReloadConfigRequest": (
            model_management_pb2.ReloadConfigRequest,
            model_management_pb2.ReloadConfigResponse,
        ),
    },
}


STREAMS = 2  # at a time; a tool has one, for as long as it asks
STREAM_SECONDS = 10.0


def add_reflection(server: grpc.Server, services: Sequence[str]) -> None:
    """Registers grpc.reflection, which lists the services and describes their messages.

    A stream holds a thread until its client ends it. So they have threads of their own, and are few and short: what
    comes beyond that is RESOURCE_EXHAUSTED, what lasts longer CANCELLED, and no request waits for either.
    """
    servicer = reflection.ReflectionServicer((*services, reflection.SERVICE_NAME), _pool())
    free = threading.BoundedSemaphore(STREAMS)

    def answers(requests: Iterator, context: grpc.ServicerContext) -> Iterator:
        if not free.acquire(blocking=False):
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, f"more than {STREAMS} reflection streams at a time")
        end = threading.Timer(STREAM_SECONDS, context.cancel)
        end.start()
        try:
            yield from servicer.ServerReflectionInfo(requests, context)
        finally:
            end.cancel()
            free.release()

    # where grpc looks for the threads that run a method
    answers.experimental_thread_pool = ThreadPoolExecutor(STREAMS + 1, "reflection")  # one refuses
    handler = grpc.stream_stream_rpc_method_handler(
        answers,
        reflection_pb2.ServerReflectionRequest.FromString,
        reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    methods = {"ServerReflectionInfo": handler}
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(reflection.SERVICE_NAME, methods)])


def _pool() -> DescriptorPool:
    """The files of both services and of everything that these name."""
    pool, added = DescriptorPool(), set()
    for (file_name, service_name), methods in _SERVICES.items():
        file = descriptor_pb2.FileDescriptorProto(
            name=f"tensorflow_serving/apis/{file_name}.proto", package=PACKAGE, syntax="proto3"
        )
        service = file.service.add(name=service_name)
        for method, messages in methods.items():
            request, response = (message.DESCRIPTOR for message in messages)
            service.method.add(name=method, input_type=f".{request.full_name}", output_type=f".{response.full_name}")
            _add(pool, request.file, added)
            _add(pool, response.file, added)
        files = {message.DESCRIPTOR.file.name for messages in methods.values() for message in messages}
        file.dependency.extend(sorted(files))
        pool.Add(file)
    return pool


def _add(pool: DescriptorPool, file: FileDescriptor, added: set[str]) -> None:
    """The file, after those that it imports."""
    if file.name in added:
        return
    added.add(file.name)
    for dependency in file.dependencies:
        _add(pool, dependency, added)
    pool.AddSerializedFile(file.serialized_pb)
