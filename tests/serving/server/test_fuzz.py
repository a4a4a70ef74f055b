"""Requests that no client would send: the server answers each with a proper status, lives, and stays as small as it was.

Nothing of what was sent shows up in its log.
"""

from __future__ import annotations

import io
import os
import random
import re
import socket
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import grpc
import numpy as np
import pytest
import soundfile
from tensorflow.core.framework import types_pb2
from tensorflow_serving.apis import get_model_metadata_pb2, get_model_status_pb2, model_pb2, predict_pb2

from serving.wire import tensors

PREDICTION, MODEL = "/tensorflow.serving.PredictionService/", "/tensorflow.serving.ModelService/"
PREDICT = PREDICTION + "Predict"
METHODS = [PREDICT, PREDICTION + "GetModelMetadata", PREDICTION + "Classify", PREDICTION + "Regress"]
METHODS += [PREDICTION + "MultiInference", MODEL + "GetModelStatus", MODEL + "None", "/x/y"]
MARKER = "PAYLOAD-4f1c"
MESSAGE_BYTES = 2**20
PROPER = {"OK", "INVALID_ARGUMENT", "NOT_FOUND", "FAILED_PRECONDITION", "OUT_OF_RANGE", "RESOURCE_EXHAUSTED"}
PROPER |= {"UNIMPLEMENTED", "INTERNAL"}
HANG_SECONDS = 60
TENSOR_FIELDS = ("float_val", "double_val", "int_val", "int64_val", "bool_val", "uint32_val", "uint64_val", "half_val")


@pytest.fixture(scope="module")
def serving(base_path, logged_server):
    """A server with batching and a message limit, by the file for its output."""
    flags = ["--port=0", "--model_name=stemline", f"--model_base_path={base_path}", "--enable_batching"]
    flags += [f"--stemline_max_message_bytes={MESSAGE_BYTES}", "--file_system_poll_wait_seconds=60"]
    return lambda log: logged_server(log, *flags)


@pytest.fixture(scope="module")
def server(serving, tmp_path_factory):
    with serving(tmp_path_factory.mktemp("log") / "server.log") as running:
        yield running


# ---- what is sent


def wav(samples: int, rate_hz: int = 16000) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, np.zeros(samples), rate_hz, format="WAV", subtype="PCM_16")
    return buffer.getvalue()


def predict(signature: str, **inputs: np.ndarray) -> bytes:
    return tensors.predict_request(model_pb2.ModelSpec(name="stemline", signature_name=signature), inputs)


def valid_requests() -> list[tuple[str, bytes]]:
    """One of every kind, to be mutated."""
    spec = model_pb2.ModelSpec(name="stemline")
    typed = predict_pb2.PredictRequest(model_spec=spec, output_filter=["vocals"])
    typed.inputs["mixture"].dtype = types_pb2.DT_FLOAT
    typed.inputs["mixture"].float_val.extend([0.5] * 6)
    for size in (2, 3):
        typed.inputs["mixture"].tensor_shape.dim.add(size=size)
    echo = {"whole": np.arange(2), "small": np.arange(2, dtype=np.int32), "flag": np.array([True, False])}
    echo |= {"text": np.array([b"a", b"bc"], object), "double": np.ones(2)}
    metadata = get_model_metadata_pb2.GetModelMetadataRequest(model_spec=spec, metadata_field=["signature_def"])
    status = get_model_status_pb2.GetModelStatusRequest(model_spec=spec)
    return [
        (PREDICT, predict("serving_default", mixture=np.ones((2, 8), np.float32))),
        (PREDICT, typed.SerializeToString()),
        (PREDICT, predict("echo", **echo)),
        (PREDICT, predict("wav", audio=np.array([wav(50), wav(20)], object))),
        (PREDICT, predict("describe", query=np.array([b"", b"x"], object))),
        (PREDICTION + "GetModelMetadata", metadata.SerializeToString()),
        (MODEL + "GetModelStatus", status.SerializeToString()),
    ]


VALID = valid_requests()


def flipped(rng: random.Random) -> tuple[str, bytes]:
    method, message = rng.choice(VALID)
    changed = bytearray(message)
    for _ in range(rng.randint(1, 8)):
        changed[rng.randrange(len(changed))] = rng.randrange(256)
    return method, bytes(changed)


def cut_or_grown(rng: random.Random) -> tuple[str, bytes]:
    method, message = rng.choice(VALID)
    start, stop = sorted(rng.choices(range(len(message) + 1), k=2))
    piece = rng.choice([b"", message[start:stop] * 2, rng.randbytes(rng.randint(1, 40))])
    return method, message[:start] + piece + message[stop:]


def random_bytes(rng: random.Random) -> tuple[str, bytes]:
    return rng.choice(METHODS), rng.randbytes(rng.choice([0, 1, 10, 1000, 100_000]))


def to_another_method(rng: random.Random) -> tuple[str, bytes]:
    return rng.choice(METHODS), rng.choice(VALID)[1]


def oversized(rng: random.Random) -> tuple[str, bytes]:
    samples = rng.choice([MESSAGE_BYTES // 4, MESSAGE_BYTES // 2])
    return PREDICT, predict("serving_default", mixture=np.zeros((1, samples), np.float32))


def broken_wav(rng: random.Random) -> tuple[str, bytes]:
    data = bytearray(wav(rng.choice([0, 1, 50]), rng.choice([16000, 44100, 1])))
    for _ in range(rng.randint(0, 6)):
        data[rng.randrange(min(60, len(data)))] = rng.randrange(256)
    return PREDICT, predict("wav", audio=np.array([bytes(data[: rng.choice([20, 44, 60, None])])], object))


def strange_tensors(rng: random.Random) -> tuple[str, bytes]:
    """A request that parses, with dtypes, shapes, values and names of all kinds."""
    request = predict_pb2.PredictRequest()
    request.model_spec.name = rng.choice(["stemline"] * 5 + ["", "x", "stem\0line", "m" * 3000])
    request.model_spec.signature_name = rng.choice(
        ["serving_default", "", "echo", "wav", "describe", "fails", "ü", "x" * 3000]
    )
    if rng.random() < 0.1:
        request.model_spec.version.value = rng.choice([0, 1, -1, 2**63 - 1])
    names = ["mixture", "audio", "query", "whole", "small", "flag", "text", "double", "", "\0", "n" * 2000]
    for name in rng.choices(names, k=rng.choice([0, 1, 1, 1, 1, 2, 5])):
        fill_strangely(request.inputs[name], rng)
    request.output_filter.extend(
        rng.choices(["vocals", "accompaniment", "", "x" * 2000], k=rng.choice([0, 0, 0, 1, 2]))
    )
    return PREDICT, request.SerializeToString()


def fill_strangely(tensor, rng: random.Random) -> None:
    tensor.dtype = rng.choice([1, 1, 1, 7, 7, 9, 3, 10, *range(32), 101, 107, 1000])
    sizes = [0, 1, 1, 2, 2, 3, 100, -1, -(2**63), 2**20, 2**27, 2**31, 2**62, 2**63 - 1]
    for _ in range(rng.choice([0, 1, 1, 2, 2, 2, 3, 33, 260])):
        tensor.tensor_shape.dim.add(size=rng.choice(sizes))
    tensor.tensor_shape.unknown_rank = rng.random() < 0.05
    kind = rng.random()
    if kind < 0.3:
        tensor.tensor_content = rng.randbytes(rng.choice([0, 1, 4, 8, 24, 400]))
    elif kind < 0.5:
        tensor.string_val.extend(rng.randbytes(rng.choice([0, 1, 50])) for _ in range(rng.randint(0, 4)))
    elif kind < 0.9:
        name = rng.choice(TENSOR_FIELDS)
        getattr(tensor, name).extend(rng.choice([0, 1]) for _ in range(rng.choice([0, 1, 2, 6])))
    else:
        tensor.float_val.extend(rng.choices([np.nan, np.inf, -np.inf, 3e38, 1e-45, -0.0], k=6))


MUTATORS: list[Callable[[random.Random], tuple[str, bytes]]] = [flipped] * 4 + [strange_tensors] * 4
MUTATORS += [cut_or_grown, cut_or_grown, broken_wav, broken_wav, random_bytes, to_another_method]


# ---- what comes back


def fuzz(server, count: int, seed: int) -> Counter:
    """Statuses by name of `count` requests from 8 clients; each is checked."""
    with grpc.insecure_channel(server.address) as channel, ThreadPoolExecutor(8) as pool:

        def one(index: int) -> str:
            rng = random.Random(f"{seed} {index}")
            mutate = oversized if index % 500 == 7 else rng.choice(MUTATORS)
            method, message = mutate(rng)
            code, words = send(channel, method, message)
            clean = "Traceback" not in words and "the server failed" not in words and len(words.encode()) < 1100
            what = mutate.__name__, index, code, words, method, message[:300]
            assert code in PROPER, what
            assert clean, what
            assert code != "INTERNAL" or not words, what  # no words: a message that is no proto
            return code

        statuses = Counter(pool.map(one, range(count)))
        assert_well(channel)
    return statuses


def send(channel: grpc.Channel, method: str, message: bytes) -> tuple[str, str]:
    try:
        channel.unary_unary(method)(message, timeout=HANG_SECONDS)
    except grpc.RpcError as error:
        return error.code().name, error.details() or ""
    return "OK", ""


def assert_well(channel: grpc.Channel) -> None:
    """Valid requests are still answered, and right."""
    assert [send(channel, method, message) for method, message in VALID] == [("OK", "")] * len(VALID)
    mixture = np.array([[0.25, -1.0, 4.0]], np.float32)
    answer = channel.unary_unary(PREDICT)(predict("serving_default", mixture=mixture), timeout=HANG_SECONDS)
    np.testing.assert_array_equal(tensors.from_response(answer)[0]["vocals"], 0.25 * mixture)


def test_500_requests(server, record_property):
    before = server.rss_mb
    statuses = fuzz(server, 500, seed=1)
    record_property("statuses", dict(statuses))
    assert {"OK", "INVALID_ARGUMENT", "NOT_FOUND", "FAILED_PRECONDITION", "INTERNAL", "UNIMPLEMENTED"} <= set(statuses)
    assert server.rss_mb < before + 500


@pytest.mark.slow
def test_10_000_requests_leave_the_server_as_it_was(serving, tmp_path):
    with serving(tmp_path / "server.log") as server:
        statuses = fuzz(server, 1000, seed=2)
        warm = server.rss_mb
        statuses += fuzz(server, 9000, seed=3)
        after = server.rss_mb
        print(f"\n10,000 requests: {dict(statuses)}; {warm:.0f} MB after 1,000 of them, {after:.0f} MB after all")
    assert after < warm + 100


def test_the_log_has_nothing_of_what_was_sent(server):
    marker = MARKER.encode()
    spec = model_pb2.ModelSpec(name="stemline")
    sent = [
        predict("wav", audio=np.array([marker], object)),
        predict("describe", query=np.array([marker], object)),
        predict("fails", mixture=np.frombuffer(marker, np.float32)[np.newaxis]),
        predict("serving_default", mixture=np.array([marker], object)),
        predict(MARKER, mixture=np.ones((1, 2), np.float32)),
        predict("serving_default", **{MARKER: np.ones((1, 2), np.float32)}),
        predict("serving_default", mixture=np.frombuffer(marker, np.float32)),
        spec.SerializeToString() + marker,
        b"\x0a\xff" + marker,
        marker * 100_000,
    ]
    strange = predict_pb2.PredictRequest(model_spec=spec)
    for alias, dtype in {"mixture": types_pb2.DT_FLOAT, MARKER: types_pb2.DT_STRING}.items():
        strange.inputs[alias].dtype = dtype
        strange.inputs[alias].tensor_content = marker
        sent.append(strange.SerializeToString())
    with grpc.insecure_channel(server.address) as channel:
        codes = Counter(send(channel, method, message)[0] for message in sent for method in METHODS)
    assert set(codes) <= PROPER
    log = server.log.read_text(errors="replace")
    assert MARKER not in log
    assert "Traceback" not in log
    assert re.search("[0-9a-f]{32}", log) is None


@pytest.mark.parametrize(
    "greeting", [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\x16\x03\x01\x02\x00" + os.urandom(200), b""]
)
def test_what_is_no_grpc_at_all_is_hung_up_on(server, greeting):
    host, port = server.address.split(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall(greeting + os.urandom(5000))
        with suppress(ConnectionError):
            while connection.recv(4096):
                pass
    with grpc.insecure_channel(server.address) as channel:
        assert_well(channel)
