"""The gRPC server's door: calls that nobody finishes keep no other out.

gRPC for Python waits for a call's message on one of the threads that answer, for ever: a handful of calls without a message
would be the end of all answers. Here a call waits on a thread that does nothing else, and when there are as many calls as the
limit says, the next one takes the place of the one that has waited longest, once that had the time to send its message. What
has arrived takes turns to be answered.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import grpc

from serving.server.limits import Limits

MOST_THREADS = 1024  # where the flag lifts the limit
SPARE_THREADS = 64  # for calls that come while those whose place they take go
TURN_SECONDS = 1.0
SENDING_SECONDS = 1.0  # that a call has for its message before the next one may take its place


class Door(grpc.ServerInterceptor):
    """Lets in as many calls of one message as the limits say, of which `threads` are answered at a time."""

    def __init__(self, limits: Limits, threads: int) -> None:
        self._most = limits.concurrent_requests
        self._seconds = limits.request_seconds or float("inf")
        self._turns = threading.Semaphore(threads)
        self._changed = threading.Condition()
        self._inside = 0
        self._waiting: dict[grpc.ServicerContext, float] = {}  # for a message, and since when; who came first is first

    def intercept_service(
        self, continuation: Callable[[Any], grpc.RpcMethodHandler | None], handler_call_details: Any
    ) -> grpc.RpcMethodHandler | None:
        handler: Any = continuation(handler_call_details)
        if handler is None or handler.request_streaming or handler.response_streaming:
            return handler

        def answer(messages: Iterator[Any], context: grpc.ServicerContext) -> Any:
            with self._place(context):
                message = self._first(messages, context)
                with self._turn(context):
                    return handler.unary_unary(message, context)

        return grpc.stream_unary_rpc_method_handler(answer, handler.request_deserializer, handler.response_serializer)

    @property
    def threads(self) -> int:
        """That a server has to have."""
        return (self._most or MOST_THREADS) + SPARE_THREADS

    @contextmanager
    def _place(self, context: grpc.ServicerContext) -> Iterator[None]:
        with self._changed:
            leaving = self._overdue(self._seconds)
            while self._most and self._inside >= self._most and not leaving and self._waiting:
                first = next(iter(self._waiting.values()))  # a message that is on its way arrives meanwhile
                self._changed.wait(max(0.0, first + SENDING_SECONDS - time.monotonic()))
                leaving = self._overdue(SENDING_SECONDS)[:1]
            refused = self._most and self._inside >= self._most and not leaving
            for waiting in leaving:
                del self._waiting[waiting]
            self._inside += not refused
        for waiting in leaving:
            waiting.cancel()
        if refused:
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "Concurrent RPC limit exceeded!")  # gRPC's own words
        try:
            yield
        finally:
            with self._changed:
                self._inside -= 1
                self._changed.notify_all()

    def _overdue(self, seconds: float) -> list[grpc.ServicerContext]:
        now = time.monotonic()
        return [waiting for waiting, since in self._waiting.items() if since + seconds <= now]

    def _first(self, messages: Iterator[Any], context: grpc.ServicerContext) -> Any:
        """The call's message; who waits for it may lose the place."""
        with self._changed:
            self._waiting[context] = time.monotonic()
        try:
            for message in messages:
                return message
        finally:
            with self._changed:
                self._waiting.pop(context, None)
                self._changed.notify_all()
        return context.abort(grpc.StatusCode.UNIMPLEMENTED, "the call came without a message")

    @contextmanager
    def _turn(self, context: grpc.ServicerContext) -> Iterator[None]:
        while not self._turns.acquire(timeout=TURN_SECONDS):
            if not context.is_active():
                context.abort(grpc.StatusCode.CANCELLED, "nobody waits for the answer")
        try:
            yield
        finally:
            self._turns.release()
