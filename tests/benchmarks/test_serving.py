"""The embedded server and the client against direct calls of the SavedModel's signature, in one run: `make test-slow`.

"Direct" is one chunk after the other, array to arrays, through the signature as TensorFlow loads it. Client and server share
the machine. Direct and other calls alternate, so that a machine that is busy with other things slows down both.

What batching saves depends on the network: an LSTM of many small steps costs little more for 8 chunks than for one, the
default network is bound by its matrix products, of which the recurrent ones alone are faster for several.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import grpc
import numpy as np
import psutil
import pytest
import soundfile
import tensorflow as tf
from tensorflow.core.framework import types_pb2
from tensorflow_serving.apis import model_pb2, predict_pb2

from models import exported as export
from models.separator import Separator
from models.spec import ModelSpec
from serving import process
from serving.client import Client, chunking
from serving.client.signals import fold
from serving.local import local_client
from serving.wire import tensors

pytestmark = pytest.mark.slow

DEFAULT = ModelSpec()
LSTM = ModelSpec("lstm_online", {"units": 128, "layers": 2}, frame_length=512, hop=128)
CHUNK = (0.1 * np.random.default_rng(0).standard_normal((1, 10 * DEFAULT.sample_rate_hz))).astype(np.float32)
STEM_SAMPLES = 180 * 44100
BATCHING = """
max_batch_size { value: 8 } batch_timeout_micros { value: 20000 } num_batch_threads { value: 2 }
max_enqueued_batches { value: 64 }
"""
# As their recipes for 44.1 kHz have them; `drnn` takes the two channels as a batch.
STEREO_HZ = 44100
STEREO = {
    "sample_rate_hz": STEREO_HZ,
    "channels": 2,
    "frame_length": 2048,
    "hop": 512,
    "window": "hann",
    "standardise": True,
}
SPECS = {
    "lstm_online": ModelSpec("lstm_online", {"units": 256, "layers": 3}, **STEREO),
    "unet": ModelSpec("unet", **STEREO),
    "drnn": ModelSpec("drnn", sample_rate_hz=STEREO_HZ),
}
# Of the direct throughput, at 16 clients. The dense layers of the DRNN, 2.9 of its 3.5 GFLOP for a chunk, run at the speed of the
# cores for one chunk as for many: batching saves the rest, half of its CPU time.
LEAST = {"lstm": 2.5, "drnn": 1.8}
Call = Callable[[], dict[str, np.ndarray]]


def exported(spec: ModelSpec, base_path: Path) -> Path:
    export.save(Separator(spec), base_path / "1")
    return base_path


@pytest.fixture(scope="module")
def default_model(tmp_path_factory) -> Path:
    return exported(DEFAULT, tmp_path_factory.mktemp("benchmark") / "default")


@pytest.fixture(scope="module", params=["drnn", "lstm"])
def model(request, tmp_path_factory) -> Path:
    """Base path of a network at 16 kHz: the default one, or an LSTM."""
    spec = DEFAULT if request.param == "drnn" else LSTM
    return exported(spec, tmp_path_factory.mktemp("benchmark") / request.param)


@pytest.fixture(scope="module", params=SPECS)
def stereo_model(request, tmp_path_factory) -> Path:
    """Base path of a network at 44.1 kHz."""
    return exported(SPECS[request.param], tmp_path_factory.mktemp("benchmark") / request.param)


@contextmanager
def served(base_path: Path, *flags: str) -> Iterator[grpc.Channel]:
    with process.running(base_path, flags=["--grpc_max_threads=32", *flags]) as address:
        unlimited = [("grpc.max_receive_message_length", -1)]
        with grpc.insecure_channel(address, options=unlimited) as channel:
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


def cpu_seconds(*processes: psutil.Process) -> float:
    return sum(times.user + times.system for times in (each.cpu_times() for each in processes))


def server() -> psutil.Process:
    [found] = [child for child in psutil.Process().children() if "serving.process" in child.cmdline()]
    return found


def test_one_client_against_direct_calls(model):
    direct = directly(model)
    with served(model) as channel:
        ours = client(channel, mixture=CHUNK)
        for call in (direct, ours):
            call()
        pairs = [(seconds(direct), seconds(ours)) for _ in range(40)]
    direct_seconds, our_seconds = zip(*pairs, strict=True)
    ratio = np.median(direct_seconds) / np.median(our_seconds)
    print(f"\n{'chunks of 10 s':<32}{'1/s':>9}{'p50 ms':>9}{'p95 ms':>9}{'p99 ms':>9}")
    print(row(f"{model.name}, direct", 1 / np.mean(direct_seconds), direct_seconds))
    print(row(f"{model.name}, 1 client", 1 / np.mean(our_seconds), our_seconds))
    print(f"1 client: {ratio:.2f} of the direct throughput")
    assert ratio >= 0.95


def test_sixteen_clients_with_batching_against_direct_calls(model):
    config = model.parent / "batching.config"
    config.write_text(BATCHING)
    direct, me = directly(model), psutil.Process()
    direct_seconds, rates, latencies, direct_cpu, our_cpu = [], [], [], [], []
    with served(model, "--enable_batching", f"--batching_parameters_file={config}") as channel:
        ours, process = client(channel, mixture=CHUNK), server()
        load(ours, 16, 32)
        direct()
        for _ in range(4):
            before = cpu_seconds(me, process)
            direct_seconds += [seconds(direct) for _ in range(10)]
            between = cpu_seconds(me, process)
            rate, these = load(ours, 16, 96)
            rates.append(rate)
            latencies += these
            direct_cpu.append((between - before) / 10)
            our_cpu.append((cpu_seconds(me, process) - between) / 96)
    with served(model) as channel:
        alone = load(client(channel, mixture=CHUNK), 16, 32)
    ratio = np.median(rates) * np.median(direct_seconds)
    cpu = np.median(direct_cpu) / np.median(our_cpu)
    print("\n" + row(f"{model.name}, direct", 1 / np.median(direct_seconds), direct_seconds))
    print(row(f"{model.name}, 16 clients, no batching", *alone))
    print(row(f"{model.name}, 16 clients, batching", float(np.median(rates)), latencies))
    print(f"16 clients: {ratio:.2f} times the direct throughput, a chunk for 1/{cpu:.2f} of the CPU time")
    assert ratio >= LEAST[model.name]


def test_a_minute_of_stereo_costs_what_its_chunks_cost(stereo_model, tmp_path):
    """CPU time of `separate_file`, in process and with a server (client and server together)."""
    song = tmp_path / "song.wav"
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, (60 * STEREO_HZ, 2)).astype(np.float32)
    soundfile.write(song, noise, STEREO_HZ, "PCM_16")
    signature = tf.saved_model.load(str(stereo_model / "1")).signatures["serving_default"]
    with local_client(stereo_model / "1") as local, process.running(stereo_model) as address, Client(address) as remote:
        plan = chunking.plan_seconds(10.0, 1.0, STEREO_HZ, local.period_samples)
        padded = [chunking.pad(chunk, plan.chunk_samples) for chunk, _ in chunking.split([noise], plan)]
        chunks = [tf.constant(fold(chunk, local.mixture_shape)) for chunk in padded]

        def bare() -> None:
            for chunk in chunks:
                {name: stem.numpy() for name, stem in signature(mixture=chunk).items()}

        ways = {
            "bare signature": bare,
            "in process": lambda: local.separate_file(song, tmp_path / "local"),
            "served": lambda: remote.separate_file(song, tmp_path / "served"),
        }
        measured, watched = {name: [] for name in ways}, (psutil.Process(), server())
        for _ in range(5):
            for name, separate in ways.items():
                before = cpu_seconds(*watched)
                separate()
                measured[name].append(cpu_seconds(*watched) - before)
    medians = {name: float(np.median(values[1:])) for name, values in measured.items()}
    ratios = {name: value / medians["bare signature"] for name, value in medians.items()}
    print(f"\n{stereo_model.name}: a minute, {len(chunks)} chunks: " + ", ".join(
        f"{name} {value:.2f} s of CPU ({ratios[name]:.2f})" for name, value in medians.items()))  # fmt: skip
    assert max(ratios.values()) <= 1.1


def figures(directory: str, cores: str) -> None:
    """Prints, as JSON, wall and CPU seconds for 10 s of stereo through the plain signature, and through the client."""
    os.sched_setaffinity(0, range(int(cores)))
    signature = tf.saved_model.load(directory).signatures["serving_default"]
    chunk = np.random.default_rng(0).uniform(-0.5, 0.5, (10 * STEREO_HZ, 2)).astype(np.float32)
    with local_client(Path(directory)) as local:
        folded = tf.constant(fold(chunk, local.mixture_shape))
        ways = {
            "signature": lambda: [stem.numpy() for stem in signature(mixture=folded).values()],
            "client": lambda: local.separate(chunk, STEREO_HZ),
        }
        measured = {name: [] for name in ways}
        for _ in range(8):
            for name, separate in ways.items():
                cpu = time.process_time()
                measured[name].append((seconds(separate), time.process_time() - cpu))
    print(json.dumps({name: np.median(values[2:], axis=0).tolist() for name, values in measured.items()}))


def test_real_time_factors_on_one_core_and_on_two(stereo_model):
    """10 s of 44.1 kHz stereo; a process of its own for each number of cores."""
    print(f"\n{'10 s of stereo':<20}{'cores':>6}{'real-time factor':>18}{'its CPU':>9}{'client':>9}{'its CPU':>9}")
    for cores in range(1, 1 + min(2, len(os.sched_getaffinity(0)))):
        code = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import test_serving as t\n"
        code += f"t.figures({str(stereo_model / '1')!r}, {str(cores)!r})"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        found = json.loads(done.stdout.splitlines()[-1])
        wall, cpu = (np.array(found["signature"]) / 10).tolist()
        client_wall, client_cpu = (np.array(found["client"]) / 10).tolist()
        print(f"{stereo_model.name:<20}{cores:>6}{wall:>18.4f}{cpu:>9.4f}{client_wall:>9.4f}{client_cpu:>9.4f}")
        assert client_wall < 1


def test_a_tiny_request_costs_milliseconds(default_model):
    describe = tf.saved_model.load(str(default_model / "1")).signatures["describe"]

    def direct() -> dict[str, np.ndarray]:
        return {name: value.numpy() for name, value in describe(query=tf.constant([b""])).items()}

    with served(default_model) as channel:
        ours = client(channel, "describe", query=np.array([b""], object))
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
