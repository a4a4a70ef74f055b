"""The REST API's door: HTTP/1.1 with limits of time, size and number, so that no client keeps the others out.

A connection whose request has not arrived whole costs a socket and no thread. When there are as many connections as the
limit says, the next one takes the place of the one that has waited longest: for its first request, else for another one.
A request that is being answered is left in peace.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import resource
import threading
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from aiohttp import HttpVersion10, HttpVersion11, StreamReader, hdrs, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.http_parser import RawRequestMessage

from serving.server.api import json_tensors
from serving.server.api.grpc_api import Core
from serving.server.api.rest import CORS, Answer, RestApi
from serving.server.flags import Flags
from serving.server.limits import LARGEST_MESSAGE, Limits
from serving.wire.status import hidden

log = logging.getLogger(__name__)

SERVER = {hdrs.SERVER: "stemline"}  # aiohttp would tell its version and Python's
HEADER_SECONDS = 15.0  # that a new connection has for what comes before the body
IDLE_SECONDS = 60.0  # between an answer and the next request
MOST_CONNECTIONS = 2**20  # where nothing limits them
MESSAGES_HELD = 4  # of the largest size, of all connections together
READ_BYTES = 2**15  # at a time: in asyncio's 256 KiB are 40,000 chunks of a byte, and the others wait for their parsing
LINGER_SECONDS = 2.0  # in which the rest of a refused body is read, so that its sender sees the refusal
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class RestServer:
    """Serves a RestApi from an event loop in a thread of its own; the work is done by a thread pool."""

    def __init__(self, core: Core, flags: Flags, metrics_path: str, drain_seconds: float) -> None:
        milliseconds = flags.rest_api_timeout_in_ms
        self._api = RestApi(core, milliseconds / 1000 if milliseconds > 0 else None, metrics_path, flags.stemline_page)
        self._headers = {**SERVER, **(CORS if flags.rest_api_enable_cors_support else {})}
        self._workers = ThreadPoolExecutor(flags.rest_api_num_threads, "httprestserver")
        self._drain_seconds = drain_seconds
        self._limits = flags.limits
        self._max_bytes = flags.limits.message_bytes or LARGEST_MESSAGE
        self._answering = 0
        self._held = 0  # bytes of bodies, of which connections by the hundred could send as much as one may
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="rest", daemon=True)
        self._door: _Door
        self._runner: web.ServerRunner

    def start(self, host: str, port: int) -> None:
        """Opens the port.

        Raises:
          OSError: it cannot be opened.
        """
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._open(host, port), self._loop).result()

    def stop(self) -> None:
        """Takes no more requests, lets those under way finish for `drain_seconds`, and closes."""
        asyncio.run_coroutine_threadsafe(self._runner.cleanup(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._workers.shutdown(wait=False)

    async def _open(self, host: str, port: int) -> None:
        self._door = _Door(self._handle, self._headers, self._limits)
        self._runner = web.ServerRunner(self._door, shutdown_timeout=self._drain_seconds)
        await self._runner.setup()
        await web.TCPSite(self._runner, host, port).start()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        self._door.headers_are_here(request.protocol)
        body = bytearray()
        try:
            await self._receive(request, body)
            with self._door.in_peace(request.protocol):
                answer = await self._answer(request, bytes(body))
                return await self._send(request, answer)
        except _RefusedError as refused:
            return await self._send(request, refused.answer, close=True)
        finally:
            self._held -= len(body)

    async def _answer(self, request: web.BaseRequest, body: bytes) -> Answer:
        most = self._limits.concurrent_requests
        if most and self._answering >= most:
            return _error(429, f"more than {most} requests at a time (--stemline_max_concurrent_requests)")
        self._answering += 1
        try:
            return await self._loop.run_in_executor(self._workers, self._work, request, body)
        finally:
            self._answering -= 1

    def _work(self, request: web.BaseRequest, body: bytes) -> Answer:
        if "gzip" in request.headers.get(hdrs.CONTENT_ENCODING, ""):  # as evhttp_request.cc of 2.16.1 asks
            try:
                body = _unpacked(body, self._max_bytes)
            except _RefusedError as refused:
                return refused.answer
        values = sum(map(body.count, (b",", b"[", b"{")))  # or fewer; a list is 20 times as large as its text
        most = self._limits.request_values
        if most and values > most:
            words = f"the document has up to {values} values; legal is up to {most} (--stemline_max_request_values)"
            return _error(400, words)
        return self._api.answer(request.method, request.rel_url.raw_path, body, request.headers.get(hdrs.ORIGIN, ""))

    async def _receive(self, request: web.BaseRequest, body: bytearray) -> None:
        """Appends the request's body, in the time and the size that it may have.

        Raises:
          _RefusedError: it is too late, too large, or not what the headers say.
        """
        if (request.content_length or 0) > self._max_bytes:
            raise _too_large(self._max_bytes)
        expected = request.headers.get(hdrs.EXPECT, "").lower()
        if expected == "100-continue":
            await request.writer.write(CONTINUE)
            request.writer.output_size = 0  # the answer has not begun
        elif expected:
            raise _RefusedError(417, "Expect: legal is 100-continue")
        seconds = self._limits.request_seconds
        try:
            async with asyncio.timeout(seconds or None):
                while chunk := await request.content.readany():
                    body += chunk
                    self._held += len(chunk)
                    if len(body) > self._max_bytes:
                        raise _too_large(self._max_bytes)
                    if self._held > MESSAGES_HELD * self._max_bytes:
                        raise _RefusedError(503, "the requests that arrive are more than the server can hold")
        except TimeoutError:
            words = f"the request did not arrive in {seconds} s (--stemline_max_request_seconds)"
            raise _RefusedError(408, words) from None
        except (web.RequestPayloadError, HttpProcessingError):
            raise _RefusedError(400, "the body is not what Transfer-Encoding says") from None

    async def _send(self, request: web.BaseRequest, answer: Answer, close: bool = False) -> web.StreamResponse:
        """In the time that it may take: a client that does not read must not stay for ever."""
        response = _response(answer, self._headers, close)
        try:
            async with asyncio.timeout(self._limits.request_seconds or None):
                await response.prepare(request)
                await response.write_eof()
        except TimeoutError:
            _abort(request.protocol)
        return response


class _RefusedError(Exception):
    """A request that is not even read."""

    def __init__(self, code: int, words: str) -> None:
        super().__init__(words)
        self.answer = _error(code, words)


def _too_large(most: int) -> _RefusedError:
    return _RefusedError(413, f"the request is larger than {most} bytes (--stemline_max_message_bytes)")


def _unpacked(body: bytes, most: int) -> bytes:
    """One member, not several as the format allows: each costs as much as it likes to."""
    unzip = zlib.decompressobj(16 + zlib.MAX_WBITS)
    try:
        unpacked = unzip.decompress(body, most + 1)
    except zlib.error:
        unpacked = b""
    if len(unpacked) > most:
        raise _too_large(most)
    if not unzip.eof or unzip.unused_data:
        raise _RefusedError(400, "the body is not what Content-Encoding says: gzip, whole and nothing after it")
    return unpacked


class _Connection(web.RequestHandler):
    """One that answers in JSON what is no HTTP."""

    __slots__ = ("_headers",)

    def __init__(self, *args: Any, headers: dict[str, str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._headers = headers

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        if isinstance(exc, ConnectionError) or request.writer.output_size > 0:
            raise ConnectionError("nobody is there, or the answer has begun and cannot become another one") from exc
        if status < 500 or not isinstance(exc, Exception):
            answer = _error(status, f"Malformed request: no HTTP/1.1 ({type(exc).__name__})")
        else:
            answer = _error(500, hidden(log, "an HTTP request", exc).message)
        return _response(answer, self._headers, close=True)


class _Door(web.Server):
    """Knows what its connections wait for, and how many they are."""

    def __init__(self, handle: Any, headers: dict[str, str], limits: Limits) -> None:
        times: dict[str, Any] = {"keepalive_timeout": IDLE_SECONDS, "lingering_time": LINGER_SECONDS}
        super().__init__(handle, request_factory=self._request, access_log=None, auto_decompress=False, **times)
        self._headers = headers
        files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        files = (
            MOST_CONNECTIONS if files == resource.RLIM_INFINITY else files // 4
        )  # of the others models and gRPC need some
        self._most = min(limits.connections or files, files)
        self._header_seconds = min(HEADER_SECONDS, limits.request_seconds or HEADER_SECONDS)
        # In the order in which they go when there are too many.
        self._strangers: dict[web.RequestHandler, asyncio.TimerHandle] = {}  # no request of theirs was whole yet
        self._idle: dict[web.RequestHandler, None] = {}
        self._busy: set[web.RequestHandler] = set()

    def __call__(self) -> web.RequestHandler:
        return _Connection(self, loop=self._loop, headers=self._headers, **self._kwargs)

    def _request(
        self,
        message: RawRequestMessage,
        payload: StreamReader,
        protocol: web.RequestHandler,
        writer: AbstractStreamWriter,
        task: asyncio.Task[None],
    ) -> web.BaseRequest:
        """aiohttp would answer HTTP/2.0 and HTTP/0.9, of which its parser knows, under their name."""
        if message.version not in (HttpVersion10, HttpVersion11):
            message = message._replace(version=HttpVersion11)
        return web.BaseRequest(message, payload, protocol, writer, task, self._loop)

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        super().connection_made(handler, transport)
        transport.max_size = READ_BYTES
        if len(self._strangers) + len(self._idle) + len(self._busy) >= self._most:
            oldest = next(itertools.chain(self._strangers, self._idle), handler)
            self._forget(oldest)
            _abort(oldest)
            if oldest is handler:
                return
        self._strangers[handler] = self._loop.call_later(self._header_seconds, _abort, handler)

    def connection_lost(self, handler: web.RequestHandler, exc: BaseException | None = None) -> None:
        super().connection_lost(handler, exc)
        self._forget(handler)

    def headers_are_here(self, handler: web.RequestHandler) -> None:
        """The body has a limit of its own."""
        if handler in self._strangers:
            self._strangers[handler].cancel()

    @contextmanager
    def in_peace(self, handler: web.RequestHandler) -> Iterator[None]:
        """As long as the context lasts nobody takes the connection's place."""
        self._forget(handler)
        self._busy.add(handler)
        try:
            yield
        finally:
            if handler in self._busy:
                self._busy.remove(handler)
                self._idle[handler] = None

    def _forget(self, handler: web.RequestHandler) -> None:
        if timer := self._strangers.pop(handler, None):
            timer.cancel()
        self._idle.pop(handler, None)
        self._busy.discard(handler)


def _abort(handler: web.RequestHandler) -> None:
    """Closes without waiting for a client that may never read."""
    if handler.transport is not None:
        handler.transport.abort()


def _error(code: int, words: str) -> Answer:
    return Answer(code, json_tensors.error(words))


def _response(answer: Answer, headers: dict[str, str], close: bool) -> web.Response:
    headers = {**headers, **answer.headers}
    response = web.Response(body=answer.body, status=answer.code, content_type=answer.content_type, headers=headers)
    if close:
        response.force_close()
    return response
