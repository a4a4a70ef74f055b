"""The REST API on top of the services: paths, methods, bodies and HTTP codes as the real server's.

tensorflow_serving/model_servers/http_rest_api_handler.cc, http_rest_api_util.cc and http_server.cc at 2.16.1;
https://www.tensorflow.org/tfx/serving/api_rest.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import logging
import re
import threading
import time
import zlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

import tensorflow as tf
from aiohttp import web
from google.protobuf import json_format
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_pb2,
    predict_pb2,
)

from serving.server import monitoring
from serving.server.api import json_tensors
from serving.server.api.grpc_api import Core, ModelService, PredictionService, unserved
from serving.server.flags import Flags
from serving.server.limits import LARGEST_MESSAGE
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
_CORS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "POST, GET",
    "Access-Control-Allow-Headers": "Content-Type",
}


@dataclass(frozen=True)
class Answer:
    """HTTP code, body and its type."""

    code: int
    body: bytes
    content_type: str = "application/json"


_ORIGIN = re.compile("https?://")
_NO_GZIP = Answer(
    400, json_tensors.error("the body is not what Content-Encoding says: gzip, whole and nothing after it")
)
_NO_ORIGIN = Answer(400, json_tensors.error("Origin header is missing in CORS preflight"))


class RestApi:
    """The answers, independent of the HTTP server.

    Args:
      timeout_seconds: of a request's run; None for no limit.
      metrics_path: where Prometheus reads; empty for nowhere.
    """

    def __init__(self, core: Core, timeout_seconds: float | None = None, metrics_path: str = "") -> None:
        self._core = core
        self._prediction = PredictionService(core)
        self._models = ModelService(core)
        self._timeout_seconds = timeout_seconds
        self._metrics_path = metrics_path

    def answer(self, http_method: str, path: str, body: bytes, origin: str = "") -> Answer:
        """The answer to one request; never raises.

        Args:
          origin: the header of that name, which a browser sends with the question that comes before its request.
        """
        if self._metrics_path and path == self._metrics_path:
            return Answer(200, monitoring.page().encode(), monitoring.CONTENT_TYPE)
        if not _API.fullmatch(path):
            return Answer(404, b"Not Found", "text/plain")
        if http_method == "OPTIONS":
            return Answer(200, b"") if _ORIGIN.search(origin) else _NO_ORIGIN
        started = time.perf_counter()
        found = {"POST": _POST, "GET": _GET}.get(http_method, _API).fullmatch(path)
        groups = found.groupdict() if found else {}
        code, text = self._outcome(http_method, path, groups, body)
        if groups.get("method"):
            name, method = unquote(groups["name"]), groups["method"].lower()
            monitoring.request(name, method, "REST", code, started)
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
            failure = error
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


class RestServer:
    """Serves a RestApi over HTTP/1.1 from an event loop in a thread of its own; the work is done by a thread pool."""

    def __init__(self, core: Core, flags: Flags, metrics_path: str, drain_seconds: float) -> None:
        milliseconds = flags.rest_api_timeout_in_ms
        self._api = RestApi(core, milliseconds / 1000 if milliseconds > 0 else None, metrics_path)
        self._headers = _CORS if flags.rest_api_enable_cors_support else {}
        self._workers = ThreadPoolExecutor(flags.rest_api_num_threads, "httprestserver")
        self._drain_seconds = drain_seconds
        self._max_bytes = flags.limits.message_bytes or LARGEST_MESSAGE
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="rest", daemon=True)
        self._runner: web.AppRunner | None = None

    def start(self, host: str, port: int) -> None:
        """Opens the port.

        Raises:
          OSError: it cannot be opened.
        """
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._open(host, port), self._loop).result()

    def stop(self) -> None:
        """Takes no more requests, lets those under way finish for `drain_seconds`, and closes."""
        assert self._runner is not None
        asyncio.run_coroutine_threadsafe(self._runner.cleanup(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._workers.shutdown(wait=False)

    async def _open(self, host: str, port: int) -> None:
        app = web.Application(client_max_size=self._max_bytes)
        app.router.add_route("*", "/{path:.*}", self._handle)
        options = {"access_log": None, "auto_decompress": False, "shutdown_timeout": self._drain_seconds}
        self._runner = web.AppRunner(app, **options)
        await self._runner.setup()
        await web.TCPSite(self._runner, host, port).start()

    async def _handle(self, request: web.Request) -> web.Response:
        try:
            body = await request.read()
        except web.HTTPRequestEntityTooLarge:
            answer = _too_large(self._max_bytes)
        else:
            work = (self._answer, request.method, request.rel_url.raw_path, body, request.headers)
            answer = await self._loop.run_in_executor(self._workers, *work)
        return web.Response(
            body=answer.body, status=answer.code, content_type=answer.content_type, headers=self._headers
        )

    def _answer(self, http_method: str, path: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        if "gzip" in headers.get("Content-Encoding", ""):
            unpacked = _unpacked(body, self._max_bytes)
            if isinstance(unpacked, Answer):
                return unpacked
            body = unpacked
        return self._api.answer(http_method, path, body, headers.get("Origin", ""))


def _unpacked(body: bytes, largest: int) -> bytes | Answer:
    """What was packed with gzip, or the answer to a body that is no gzip or unpacks to more than `largest` bytes."""
    reader = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
    try:
        unpacked = reader.decompress(body, largest + 1)
    except zlib.error:
        return _NO_GZIP
    if len(unpacked) > largest:
        return _too_large(largest)
    return unpacked if reader.eof and not reader.unused_data else _NO_GZIP


def _too_large(largest: int) -> Answer:
    return Answer(413, json_tensors.error(f"the request is larger than {largest} bytes"))


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
