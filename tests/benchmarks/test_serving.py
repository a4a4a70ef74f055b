"""The embedded server against direct calls of the SavedModel's signature, in one run. Run with `make test-slow`.

A chunk is 10 s of 16 kHz audio through a recurrent network that takes 100 ms or more for it. "Direct" is one chunk after
the other, array to arrays, in the test's own process; client and server share the machine. Direct and served calls
alternate, so that a machine that is busy with other things slows down both.

What batching saves depends on the network: an LSTM of many small steps costs little more for 16 chunks than for one,
the default network is bound by its matrix products already at one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.framework import types_pb2
from tensorflow_serving.apis import model_pb2, predict_pb2

from models import exported as export
from models.separator import Separator
from models.spec import ModelSpec
from serving import process
from serving.wire import tensors

pytestmark = pytest.mark.slow

DEFAULT = ModelSpec()
LSTM = ModelSpec("lstm_online", {"units": 128, "layers": 2}, frame_length=512, hop=128)
CHUNK = (0.1 * np.random.default_rng(0).standard_normal((1, 10 * DEFAULT.sample_rate_hz))).astype(np.float32)
STEM_SAMPLES = 180 * 44100
BATCHING = """
max_batch_size { value: 16 } batch_timeout_micros { value: 50000 } num_batch_threads { value: 1 }
max_enqueued_batches { value: 64 } allowed_batch_sizes: [1, 2, 4, 8, 16]
"""
Call = Callable[[], dict[str, np.ndarray]]


def exported(spec: ModelSpec, base_path: Path) -> Path:
    export.save(Separator(spec), base_path / "1")
    return base_path


@pytest.fixture(scope="module")
def default_model(tmp_path_factory) -> Path:
    return exported(DEFAULT, tmp_path_factory.mktemp("benchmark") / "default")


@pytest.fixture(scope="module")
def lstm_model(tmp_path_factory) -> Path:
    return exported(LSTM, tmp_path_factory.mktemp("benchmark") / "lstm")


@contextmanager
def served(base_path: Path, *flags: str) -> Iterator[grpc.Channel]:
    with process.running(base_path, flags=["--grpc_max_threads=32", *flags]) as address:
        unlimited = [("grpc.max_receive_message_length", -1)]
        with grpc.insecure_channel(address, options=unlimited) as channel:
            yield channel


@pytest.fixture(scope="module")
def plain(default_model) -> Iterator[grpc.Channel]:
    with served(default_model) as channel:
        yield channel


def directly(base_path: Path) -> Call:
    """Separates one chunk without a server."""
    signature = tf.saved_model.load(str(base_path / "1")).signatures["serving_default"]
    return lambda: {name: stem.numpy() for name, stem in signature(mixture=tf.constant(CHUNK)).items()}


def client(channel: grpc.Channel, signature: str = "", **inputs: np.ndarray) -> Call:
    """Asks the server for the same, array to arrays."""
    predict = channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
    spec = model_pb2.ModelSpec(name="stemline", signature_name=signature)
    return lambda: tensors.from_response(predict(tensors.predict_request(spec, inputs), timeout=120))[0]


def seconds(call: Call) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def load(call: Call, clients: int, chunks: int) -> tuple[float, list[float]]:
    """Chunks a second, and each one's latency in seconds, of clients that ask again as soon as they are answered."""
    with ThreadPoolExecutor(clients) as pool:
        started = time.perf_counter()
        latencies = list(pool.map(lambda _: seconds(call), range(chunks)))
        return chunks / (time.perf_counter() - started), latencies


def row(name: str, per_second: float, latencies: Sequence[float]) -> str:
    p50, p95, p99 = 1000 * np.percentile(latencies, [50, 95, 99])
    return f"{name:<32}{per_second:>9.2f}{p50:>9.0f}{p95:>9.0f}{p99:>9.0f}"


def test_one_client_against_direct_calls(default_model, plain):
    direct, ours = directly(default_model), client(plain, mixture=CHUNK)
    for call in (direct, ours):
        call()
    pairs = [(seconds(direct), seconds(ours)) for _ in range(25)]
    direct_seconds, our_seconds = zip(*pairs, strict=True)
    ratio = np.median(direct_seconds) / np.median(our_seconds)
    print(f"\n{'chunks of 10 s':<32}{'1/s':>9}{'p50 ms':>9}{'p95 ms':>9}{'p99 ms':>9}")
    print(row("default network, direct", 1 / np.mean(direct_seconds), direct_seconds))
    print(row("default network, 1 client", 1 / np.mean(our_seconds), our_seconds))
    print(f"1 client: {ratio:.2f} of the direct throughput")
    assert np.median(direct_seconds) >= 0.1
    assert ratio >= 0.9


def test_sixteen_clients_with_batching_against_direct_calls(lstm_model):
    config = lstm_model.parent / "batching.config"
    config.write_text(BATCHING)
    direct = directly(lstm_model)
    with served(lstm_model, "--enable_batching", f"--batching_parameters_file={config}") as channel:
        ours = client(channel, mixture=CHUNK)
        load(ours, 16, 16)
        direct()
        direct_seconds = [seconds(direct) for _ in range(8)]
        per_second, latencies = load(ours, 16, 96)
        direct_seconds += [seconds(direct) for _ in range(8)]
    with served(lstm_model) as channel:
        alone = load(client(channel, mixture=CHUNK), 16, 32)
    direct_per_second = 1 / np.mean(direct_seconds)
    print("\n" + row("LSTM, direct", direct_per_second, direct_seconds))
    print(row("LSTM, 16 clients, no batching", *alone))
    print(row("LSTM, 16 clients, batching", per_second, latencies))
    print(f"16 clients: {per_second / direct_per_second:.2f} times the direct throughput")
    assert per_second >= 2 * direct_per_second


def test_a_tiny_request_costs_milliseconds(default_model, plain):
    describe = tf.saved_model.load(str(default_model / "1")).signatures["describe"]

    def direct() -> dict[str, np.ndarray]:
        return {name: value.numpy() for name, value in describe(query=tf.constant([b""])).items()}

    ours = client(plain, "describe", query=np.array([b""], object))
    pairs = [(seconds(direct), seconds(ours)) for _ in range(300)][20:]
    direct_ms, our_ms = 1000 * np.median(pairs, axis=0)
    print(f"\ntiny request: {our_ms - direct_ms:.2f} ms more than the direct call's {direct_ms:.2f} ms (p50)")
    assert our_ms - direct_ms < 20


def test_three_minutes_of_a_stem_both_ways():
    """CPU time of the tensor codec, against the repeated field of the generated classes."""
    stem = np.random.default_rng(0).standard_normal((1, STEM_SAMPLES)).astype(np.float32)
    spec = model_pb2.ModelSpec(name="stemline")
    response = tensors.predict_response(spec, {"vocals": stem})
    float_val = predict_pb2.PredictResponse.FromString(response).outputs["vocals"]
    request = predict_pb2.PredictRequest.FromString(tensors.predict_request(spec, {"mixture": stem})).inputs["mixture"]

    def naive_encode() -> None:
        proto = predict_pb2.PredictResponse()
        proto.outputs["vocals"].dtype = types_pb2.DT_FLOAT
        proto.outputs["vocals"].float_val.extend(stem.ravel().tolist())
        proto.SerializeToString()

    figures = {
        "encode a response": cpu_ms(lambda: tensors.predict_response(spec, {"vocals": stem})),
        "decode a response": cpu_ms(lambda: tensors.from_response(response)),
        "encode a request": cpu_ms(lambda: tensors.predict_request(spec, {"mixture": stem})),
        "decode a request": cpu_ms(lambda: tensors.from_proto(request)),
        "decode a request of float_val": cpu_ms(lambda: tensors.from_proto(float_val)),
        "naive encoding": cpu_ms(naive_encode, 1),
        "naive decoding": cpu_ms(lambda: np.array(float_val.float_val, np.float32), 1),
    }
    print("\n" + "\n".join(f"{name:<32}{value:>9.1f} ms" for name, value in figures.items()))
    assert figures["encode a response"] <= min(30, figures["naive encoding"] / 5)
    assert figures["decode a response"] <= min(30, figures["naive decoding"] / 5)
    assert figures["encode a request"] <= 30
    assert figures["decode a request"] <= 30


def cpu_ms(work: Callable[[], object], repeats: int = 5) -> float:
    """The least of several measurements."""
    measured = []
    for _ in range(repeats):
        started = time.process_time()
        work()
        measured.append(time.process_time() - started)
    return 1000 * min(measured)
