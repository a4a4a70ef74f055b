"""The REST API on top of the services: paths, methods, bodies and HTTP codes as the real server's.

tensorflow_serving/model_servers/http_rest_api_handler.cc, http_rest_api_util.cc and http_server.cc at 2.16.1;
https://www.tensorflow.org/tfx/serving/api_rest.
"""

from __future__ import annotations

import inspect
import json
import logging
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from google.protobuf import json_format
from tensorflow.python.framework import dtypes as tf
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_pb2,
    predict_pb2,
)

from serving.server import monitoring
from serving.server.api import json_tensors, page
from serving.server.api.grpc_api import Core, ModelService, PredictionService, unserved
from serving.server.models.servable import DEFAULT_SIGNATURE
from serving.wire import tensors
from serving.wire.status import Code, StatusError, hidden

log = logging.getLogger(__name__)

_API = re.compile(r"/v1/.*", re.IGNORECASE | re.DOTALL)
_VERSION = r"(?:/versions/(?P<version>[0-9]+)|/labels/(?P<label>[^/:]+))?"
_POST = re.compile(rf"/v1/models/(?P<name>[^/:]+){_VERSION}:(?P<method>classify|regress|predict)", re.IGNORECASE)
_GET = re.compile(rf"/v1/models(?:/(?P<name>[^/:]+))?{_VERSION}(?:/(?P<resource>metadata))?", re.IGNORECASE)

_LONGEST_VERSION = len(str(2**63))

_HTTP_CODES = {
    Code.OK: 200,
    Code.CANCELLED: 499,
    Code.INVALID_ARGUMENT: 400,
    Code.FAILED_PRECONDITION: 400,
    Code.OUT_OF_RANGE: 400,
    Code.UNAUTHENTICATED: 401,
    Code.PERMISSION_DENIED: 403,
    Code.NOT_FOUND: 404,
    Code.ALREADY_EXISTS: 409,
    Code.ABORTED: 409,
    Code.RESOURCE_EXHAUSTED: 429,
    Code.UNIMPLEMENTED: 501,
    Code.UNAVAILABLE: 503,
    Code.DEADLINE_EXCEEDED: 504,
}  # every other one is 500
# protobuf 5 renamed it
_DEFAULTS = {"including_default_value_fields", "always_print_fields_with_no_presence"}
_FORMAT: dict[str, Any] = {
    "preserving_proto_field_name": True,
    **dict.fromkeys(_DEFAULTS & inspect.signature(json_format.MessageToDict).parameters.keys(), True),
}
CORS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "POST, GET",
    "Access-Control-Allow-Headers": "Content-Type",
}


@dataclass(frozen=True)
class Answer:
    """HTTP code, body and its type, and headers of its own."""

    code: int
    body: bytes
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)


_ORIGIN = re.compile("https?://")
_NO_ORIGIN = Answer(400, json_tensors.error("Origin header is missing in CORS preflight"))


class RestApi:
    """The answers, independent of the HTTP server.

    Args:
      timeout_seconds: of a request's run; None for no limit.
      metrics_path: where Prometheus reads; empty for nowhere.
      with_page: a browser gets the page to try a model.
    """

    def __init__(
        self, core: Core, timeout_seconds: float | None = None, metrics_path: str = "", with_page: bool = False
    ) -> None:
        self._core = core
        self._prediction = PredictionService(core)
        self._models = ModelService(core)
        self._timeout_seconds = timeout_seconds
        self._metrics_path = metrics_path
        self._with_page = with_page

    def answer(self, http_method: str, path: str, body: bytes, origin: str = "") -> Answer:
        """The answer to one request; never raises.

        Args:
          origin: the header of that name, which a browser sends with the question that comes before its request.
        """
        if self._metrics_path and path == self._metrics_path:
            return Answer(200, monitoring.page().encode(), monitoring.CONTENT_TYPE)
        if self._with_page and path == page.PATH and http_method in ("GET", "HEAD"):
            return Answer(200, page.page(self._core.names), page.CONTENT_TYPE, page.HEADERS)
        if not _API.fullmatch(path):
            return Answer(404, json_tensors.error("Not Found"))
        if http_method == "OPTIONS":
            return Answer(200, b"") if _ORIGIN.search(origin) else _NO_ORIGIN
        started = time.perf_counter()
        found = {"POST": _POST, "GET": _GET}.get(http_method, _API).fullmatch(path)
        groups = found.groupdict() if found else {}
        code, text = self._outcome(http_method, path, groups, body)
        if groups.get("method"):
            name, method = unquote(groups["name"]), groups["method"].lower()
            monitoring.request(self._core.label(name), method, "REST", code, started)
        return Answer(_HTTP_CODES.get(code, 500), text)

    def _outcome(self, http_method: str, path: str, groups: dict, body: bytes) -> tuple[Code, bytes]:
        try:
            if http_method == "POST" and groups:
                if groups["method"].lower() != "predict":
                    raise unserved(groups["method"].capitalize())
                return Code.OK, self._predict(_spec(groups), body)
            if http_method == "GET" and groups:
                return Code.OK, self._describe(groups)
            failure = StatusError(Code.INVALID_ARGUMENT, f"Malformed request: {http_method} {path}")
        except StatusError as error:
            failure = error.told
        except Exception as error:
            failure = hidden(log, "a REST request", error)
        return failure.code, json_tensors.error(failure.wire_message)

    def _describe(self, groups: dict) -> bytes:
        if not groups["name"]:
            raise StatusError(Code.INVALID_ARGUMENT, "Missing model name in request.")
        spec = _spec(groups)
        if groups["resource"]:
            return self._metadata(spec)
        status = self._models.status(get_model_status_pb2.GetModelStatusRequest(model_spec=spec))
        return _json(_message(status))

    def _metadata(self, spec: model_pb2.ModelSpec) -> bytes:
        request = get_model_metadata_pb2.GetModelMetadataRequest(model_spec=spec, metadata_field=["signature_def"])
        response = self._prediction.metadata(request)
        signatures = get_model_metadata_pb2.SignatureDefMap()
        response.metadata["signature_def"].Unpack(signatures)
        metadata = {"signature_def": _message(signatures)}
        return _json({"model_spec": _message(response.model_spec), "metadata": metadata})

    def _predict(self, spec: model_pb2.ModelSpec, body: bytes) -> bytes:
        document = json_tensors.parse(body)
        spec.signature_name = json_tensors.signature_name(document)
        name = spec.signature_name or DEFAULT_SIGNATURE
        with self._core.acquire(spec) as (_, servable):
            if name not in servable.signatures:
                message = f'Serving signature name: "{name}" not found in signature def'
                raise StatusError(Code.INVALID_ARGUMENT, message)
            wanted = servable.signatures[name].inputs
            dtypes = {alias: tf.as_dtype(info.dtype) for alias, info in wanted.items()}
            arrays, rows = json_tensors.inputs(document, dtypes)
            request = predict_pb2.PredictRequest.FromString(tensors.predict_request(spec, arrays))
            outputs = servable.predict(request, self._timeout_seconds)
        return json_tensors.outputs(outputs, rows)


def _spec(groups: dict) -> model_pb2.ModelSpec:
    spec = model_pb2.ModelSpec(name=unquote(groups["name"]))
    if groups["version"]:
        digits = groups["version"].lstrip("0")
        if len(digits) > _LONGEST_VERSION or int(digits or "0") >= 2**63:
            message = f"Failed to convert version: {groups['version']} to numeric."
            raise StatusError(Code.INVALID_ARGUMENT, message)
        spec.version.value = int(digits or "0")
    if groups["label"]:
        spec.version_label = unquote(groups["label"])
    return spec


def _message(message: Any) -> dict:
    return json_format.MessageToDict(message, **_FORMAT)


def _json(document: dict) -> bytes:
    return json.dumps(document, indent=1).encode() + b"\n"
