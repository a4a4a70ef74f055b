"""Calls that nobody finishes, over gRPC: they keep no other out, however many they are."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import grpc
import numpy as np
import pytest
from tensorflow_serving.apis import model_pb2

from serving.wire import tensors
from serving.wire.status import Code

PREDICT = "/tensorflow.serving.PredictionService/Predict"
FLAGS = ["--stemline_max_concurrent_requests=20", "--stemline_max_request_seconds=2", "--grpc_max_threads=2"]
FLAGS += ["--grpc_channel_arguments=grpc.server_handshake_timeout_ms=2000"]


@pytest.fixture(scope="module")
def port(serve, base_path) -> Iterator[int]:
    with serve(f"--model_base_path={base_path}", "--model_name=stemline", *FLAGS) as ports:
        yield ports.grpc


def ask(port: int, signature: str = "") -> np.ndarray:
    spec = model_pb2.ModelSpec(name="stemline", signature_name=signature)
    message = tensors.predict_request(spec, {"mixture": np.ones((1, 2), np.float32)})
    with grpc.insecure_channel(f"localhost:{port}", [("grpc.use_local_subchannel_pool", 1)]) as channel:
        return tensors.from_response(channel.unary_unary(PREDICT)(message, timeout=10))[0]["vocals"]


@contextmanager
def calls_without_a_message(port: int, count: int) -> Iterator[list[grpc.Future]]:
    end = threading.Event()

    def never() -> Iterator[bytes]:
        end.wait()
        yield b""

    with grpc.insecure_channel(f"localhost:{port}") as channel:
        try:
            yield [channel.stream_unary(PREDICT).future(never()) for _ in range(count)]
        finally:
            end.set()


def ended(calls: list[grpc.Future]) -> list[grpc.StatusCode]:
    return [call.code() for call in calls if call.done()]


def wait_until_ended(calls: list[grpc.Future], count: int) -> None:
    deadline = time.monotonic() + 10
    while len(ended(calls)) < count:
        assert time.monotonic() < deadline, ended(calls)
        time.sleep(0.05)


def test_calls_without_a_message_take_no_turn(port):
    """More than threads that answer, less than the limit."""
    with calls_without_a_message(port, 10) as calls:
        time.sleep(0.5)
        started = time.monotonic()
        np.testing.assert_array_equal(ask(port), 0.25)
        assert time.monotonic() - started < 1
        assert ended(calls) == []
        time.sleep(2)
        ask(port)  # who comes now sees that their time is over
        wait_until_ended(calls, 10)
        assert set(ended(calls)) == {Code.CANCELLED}


def test_beyond_the_limit_the_oldest_go(port):
    with calls_without_a_message(port, 60) as calls:
        wait_until_ended(calls, 40)
        for _ in range(5):
            np.testing.assert_array_equal(ask(port), 0.25)
        assert set(ended(calls)) <= {Code.CANCELLED, Code.RESOURCE_EXHAUSTED}
        assert len(ended(calls)) < 60


def test_calls_that_are_answered_stay_and_take_turns(port):
    """Two threads for 20 calls, of which none is given up for another one."""
    answers = []
    asking = [threading.Thread(target=lambda: answers.append(ask(port, "two_seconds"))) for _ in range(4)]
    for thread in asking:
        thread.start()
    time.sleep(0.5)
    with calls_without_a_message(port, 60):
        for thread in asking:
            thread.join()
    assert len(answers) == 4


def test_a_call_that_ends_without_a_message_is_told(port):
    with grpc.insecure_channel(f"localhost:{port}") as channel, pytest.raises(grpc.RpcError) as caught:
        channel.stream_unary(PREDICT)(iter(()), timeout=10)
    assert caught.value.code() is Code.UNIMPLEMENTED


def test_connections_that_never_become_grpc_are_closed(port):
    greetings = [
        b"",
        b"PRI * HTTP",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x16\x03\x01\x02\x00",
        b"GET / HTTP/1.1\r\n",
    ]
    with ExitStack() as held:
        connections = [held.enter_context(socket.create_connection(("localhost", port))) for _ in range(300)]
        for number, connection in enumerate(connections):
            connection.sendall(greetings[number % len(greetings)])
            connection.settimeout(10)
        np.testing.assert_array_equal(ask(port), 0.25)
        for connection in connections:
            try:
                while connection.recv(65536):
                    pass
            except ConnectionError:
                continue


def test_a_packed_message_counts_unpacked(serve, base_path):
    """300 kB that become 300 MB."""
    with serve(f"--model_base_path={base_path}", "--stemline_max_message_bytes=1000000") as ports:
        packed = {"compression": grpc.Compression.Gzip, "timeout": 20}
        with grpc.insecure_channel(f"localhost:{ports.grpc}", [("grpc.max_send_message_length", -1)]) as channel:
            with pytest.raises(grpc.RpcError) as caught:
                channel.unary_unary(PREDICT)(bytes(300_000_000), **packed)
            assert caught.value.code() is Code.RESOURCE_EXHAUSTED
