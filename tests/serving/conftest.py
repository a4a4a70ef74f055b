"""A SavedModel with the contract's signatures and known answers, and a server process on it."""

import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import psutil
import pytest

from serving import process

if TYPE_CHECKING:
    from serving.server.models.registry import ServerCore

GAIN = 0.25


@pytest.fixture(scope="session")
def saved_model(tmp_path_factory) -> Path:
    """vocals = 0.25 * mixture, accompaniment = 0.75 * mixture; plus signatures that are slow, that fail, that echo."""
    directory = tmp_path_factory.mktemp("saved_model") / "gain"
    _export(directory, GAIN)
    return directory


@pytest.fixture(scope="session")
def louder_model(tmp_path_factory) -> Path:
    """The same with vocals = 0.5 * mixture, to tell a second version from the first."""
    directory = tmp_path_factory.mktemp("saved_model") / "louder"
    _export(directory, 2 * GAIN)
    return directory


@pytest.fixture(scope="session")
def half_plus_two(tmp_path_factory) -> Path:
    """Base path of version 123 of TensorFlow Serving's example, y = x / 2 + 2.

    Names, shapes and values are those of servables/tensorflow/testdata/saved_model_half_plus_two.py at 2.16.1: what
    `serving_default` feeds, x:0, has the static shape [None, 1], and README.md and the tests send it a shape of [3].
    """
    base = tmp_path_factory.mktemp("half_plus_two")
    _export_half_plus(base / "00000123", 2.0)
    return base


@pytest.fixture(scope="session")
def half_plus_three(tmp_path_factory) -> Path:
    """The same with y = x / 2 + 3."""
    base = tmp_path_factory.mktemp("half_plus_three")
    _export_half_plus(base / "00000123", 3.0)
    return base


@dataclass(frozen=True)
class LoggedServer:
    """A server in a process of its own, and the file that has all that it writes."""

    port: int
    rest_port: int | None
    process: psutil.Process
    log: Path

    @property
    def address(self) -> str:
        return f"localhost:{self.port}"

    @property
    def rss_mb(self) -> float:
        return self.process.memory_info().rss / 2**20


@pytest.fixture(scope="session")
def logged_server() -> Callable[..., AbstractContextManager[LoggedServer]]:
    """(log, flags) -> a server that is ready, and has to end with 0."""

    @contextmanager
    def running(log: Path, *flags: str) -> Iterator[LoggedServer]:
        last = r"Exporting HTTP/REST API at:localhost:(\d+)" if "--rest_api_port=" in " ".join(flags) else process.READY
        with log.open("wb") as output:
            child = subprocess.Popen(process.command(*flags), stdout=output, stderr=subprocess.STDOUT)
        try:
            deadline = time.monotonic() + 120
            while not (ready := re.search(last, log.read_text(errors="replace"))):
                assert child.poll() is None, log.read_text(errors="replace")
                assert time.monotonic() < deadline
                time.sleep(0.05)
            ports = process.READY.search(log.read_text(errors="replace"))
            assert ports
            rest_port = int(ready[1]) if last is not process.READY else None
            yield LoggedServer(int(ports[1]), rest_port, psutil.Process(child.pid), log)
        finally:
            assert process.stop(child) == 0

    return running


@pytest.fixture(scope="module")
def base_path(saved_model, tmp_path_factory) -> Path:
    base = tmp_path_factory.mktemp("base") / "stemline"
    shutil.copytree(saved_model, base / "1")
    (base / ".tmp-2").mkdir()
    (base / "latest").mkdir()
    return base


@pytest.fixture(scope="module")
def address(base_path) -> str:
    """One server for the whole module: starting one costs seconds."""
    with process.running(base_path, flags=["--file_system_poll_wait_seconds=0.1"]) as address:
        yield address


@dataclass(frozen=True)
class Ports:
    """Of a running server."""

    grpc: int
    rest: int
    model_service: int


Serve = Callable[..., AbstractContextManager[Ports]]


@pytest.fixture(scope="session")
def serve(serve_in_thread, free_ports) -> Serve:
    """Starts a server on free ports: `with serve("--flag=value") as ports`; raises what it fails to start with."""

    @contextmanager
    def serving(*argv: str) -> Iterator[Ports]:
        ports = Ports(*free_ports(3))
        quick = ["--max_num_load_retries=0", "--file_system_poll_wait_seconds=0.05"]
        own = [argument.format(model_service=ports.model_service) for argument in argv]
        with serve_in_thread([*quick, f"--rest_api_port={ports.rest}", *own], ports.grpc):
            yield ports

    return serving


@pytest.fixture
def channel(address):
    unlimited = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    with grpc.insecure_channel(address, options=unlimited) as channel:
        yield channel


def _export(directory: Path, gain: float) -> None:
    import tensorflow as tf

    module = tf.Module()
    module.gain = tf.Variable(gain)

    def signature(*specs):
        return tf.function(input_signature=specs)

    mixture_spec = tf.TensorSpec([None, None], tf.float32, "mixture")

    def strings(name):
        return tf.TensorSpec([None], tf.string, name)

    def split(mixture):
        return {"vocals": mixture * module.gain, "accompaniment": mixture * (1 - module.gain)}

    @signature(strings("audio"))
    def wav(audio):
        def one(data):
            decoded, rate = tf.audio.decode_wav(data)
            tf.debugging.assert_equal(rate, 16000, "the sample rate is not the model's 16000 Hz")
            return {target: tf.audio.encode_wav(stem, rate) for target, stem in split(decoded).items()}

        return tf.map_fn(one, audio, fn_output_signature=dict.fromkeys(("vocals", "accompaniment"), tf.string))

    @signature(strings("examples"))
    def examples(examples):
        parsed = tf.io.parse_example(examples, {"mixture": tf.io.FixedLenFeature([], tf.string)})
        decoded = tf.map_fn(
            lambda data: tf.cast(tf.io.decode_raw(data, tf.int16), tf.float32) / 32768,
            parsed["mixture"],
            fn_output_signature=tf.RaggedTensorSpec([None], tf.float32),
        )
        return split(decoded.to_tensor())

    @signature(strings("query"))
    def describe(query):
        return {"sample_rate_hz": tf.fill(tf.shape(query), tf.constant(16000, tf.int64))}

    @signature(mixture_spec)
    def slow(mixture):
        counted = tf.while_loop(lambda i: i < 1e9, lambda i: i + 1, [tf.constant(0.0)])[0]
        return {"vocals": mixture + counted}

    @signature(mixture_spec)
    def two_seconds(mixture):
        start = tf.timestamp()
        now = tf.while_loop(lambda now: now - start < 2, lambda now: tf.timestamp() + 0 * now, [start])[0]
        return {"vocals": mixture + 0 * tf.cast(now, tf.float32)}

    @signature(mixture_spec)
    def fails(mixture):
        with tf.control_dependencies([tf.debugging.Assert(tf.size(mixture) < 0, ["x" * 3000])]):
            return {"vocals": tf.identity(mixture)}

    @signature(
        tf.TensorSpec([None], tf.int64, "whole"),
        tf.TensorSpec([None], tf.int32, "small"),
        tf.TensorSpec([None], tf.bool, "flag"),
        strings("text"),
        tf.TensorSpec([None], tf.float64, "double"),
    )
    def echo(whole, small, flag, text, double):
        named = {"whole": whole, "small": small, "flag": flag, "text": text, "double": double}
        return {name: tf.identity(value) for name, value in named.items()}

    names = {"wav": wav, "examples": examples, "describe": describe, "slow": slow, "fails": fails, "echo": echo}
    module.functions = [signature(mixture_spec)(split), two_seconds, *names.values()]
    signatures = {"serving_default": module.functions[0], "two_seconds": two_seconds, **names}
    tf.saved_model.save(module, str(directory), signatures=signatures)


def _export_half_plus(directory: Path, addend: float) -> None:
    import tensorflow as tf
    from tensorflow.compat import v1

    with v1.Session(graph=tf.Graph()) as session:
        serialized = v1.placeholder(tf.string, [None], "tf_example")
        parsed = tf.io.parse_example(serialized, {"x": tf.io.FixedLenFeature([1], tf.float32)})
        x = tf.identity(parsed["x"], "x")
        half = v1.Variable(0.5, name="a", use_resource=False)
        y = tf.add(half * x, v1.Variable(addend, name="b", use_resource=False), name="y")

        def signature(method: str, inputs: Mapping, outputs: Mapping):
            infos = [
                {alias: v1.saved_model.build_tensor_info(one) for alias, one in all_.items()}
                for all_ in (inputs, outputs)
            ]
            return v1.saved_model.build_signature_def(*infos, f"tensorflow/serving/{method}")

        signatures = {
            "serving_default": signature("predict", {"x": x}, {"y": y}),
            "regress_x_to_y": signature("regress", {"inputs": serialized}, {"outputs": y}),
            "classify_x_to_y": signature("classify", {"inputs": serialized}, {"scores": y}),
        }
        session.run(v1.global_variables_initializer())
        builder = v1.saved_model.Builder(str(directory))
        builder.add_meta_graph_and_variables(session, [tf.saved_model.SERVING], signatures)
        builder.save()


@contextmanager
def _services(bases: Mapping[str, Path]) -> Iterator[tuple[str, "ServerCore"]]:
    from tensorflow_serving.config.model_server_config_pb2 import ModelServerConfig

    from serving.server.api.grpc_api import add_prediction_service
    from serving.server.models.registry import Polling, ServerCore
    from serving.server.models.servable import Servable

    config = ModelServerConfig()
    for name, base in bases.items():
        config.model_config_list.config.add(name=name, base_path=str(base), model_platform="tensorflow")
    core = ServerCore(Servable, Polling(file_system_poll_wait_seconds=0.05))
    core.reload(config)
    server = grpc.server(ThreadPoolExecutor(4))
    add_prediction_service(server, core)
    port = server.add_insecure_port("localhost:0")
    server.start()
    yield f"localhost:{port}", core
    server.stop(None).wait()
    core.stop()


@pytest.fixture(scope="session")
def services():
    """(base paths by model name) -> a context with the address of the embedded server's services in this process, and
    their core."""
    return _services
