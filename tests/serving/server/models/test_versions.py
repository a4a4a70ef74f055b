"""Versions on disk against a running server: hot swap, broken and half-copied versions, warm-up, start and stop."""

import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import (
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_log_pb2,
    prediction_service_pb2_grpc,
)

from serving import process
from serving.server.models import versions

MIXTURE = np.ones((1, 4), np.float32)
START, LOADING, AVAILABLE, UNLOADING, END = 10, 20, 30, 40, 50


class Server:
    """What a test asks of a running server."""

    def __init__(self, base_path: Path, address: str, name: str = "stemline") -> None:
        self.base_path = base_path
        self._name = name
        channel = grpc.insecure_channel(address)
        self._prediction = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        self._models = model_service_pb2_grpc.ModelServiceStub(channel)

    def predict(self, signature: str = "", timeout: float = 20) -> tuple[int, float]:
        """(version that answered, gain of the vocals)."""
        request = predict_pb2.PredictRequest()
        request.model_spec.name = self._name
        request.model_spec.signature_name = signature
        request.inputs["mixture"].CopyFrom(tf.make_tensor_proto(MIXTURE))
        response = self._prediction.Predict(request, timeout=timeout)
        return response.model_spec.version.value, response.outputs["vocals"].float_val[0]

    def statuses(self) -> dict[int, get_model_status_pb2.ModelVersionStatus]:
        request = get_model_status_pb2.GetModelStatusRequest()
        request.model_spec.name = self._name
        answer = self._models.GetModelStatus(request, timeout=20).model_version_status
        assert [s.version for s in answer] == sorted((s.version for s in answer), reverse=True)
        return {status.version: status for status in answer}

    def wait_for(self, version: int, state: int) -> get_model_status_pb2.ModelVersionStatus:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            status = self.statuses().get(version)
            if status is not None and status.state == state:
                return status
            time.sleep(0.02)
        raise AssertionError(f"version {version} did not reach {state}: {self.statuses()}")

    def publish(self, model: Path, version: int) -> Path:
        """As the Pusher does: copied to a staging name, then renamed."""
        staging = self.base_path / f".staging-{version}"
        shutil.copytree(model, staging)
        return staging.rename(self.base_path / str(version))


@pytest.fixture(scope="module")
def running(base_path, address) -> Server:
    return Server(base_path, address)


@pytest.fixture
def server(running):
    """The module's server, with only version 1 on disk and in memory before and after each test."""
    yield running
    for entry in running.base_path.iterdir():
        if entry.name not in ("1", "latest"):
            shutil.rmtree(entry.rename(entry.with_name(f".gone-{entry.name}")))
    running.wait_for(1, AVAILABLE)
    deadline = time.monotonic() + 30
    while any(s.state != END for n, s in running.statuses().items() if n != 1) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert running.predict() == (1, 0.25)


def write_warm_up(version_dir: Path, *records: bytes) -> None:
    (version_dir / "assets.extra").mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(version_dir / "assets.extra" / "tf_serving_warmup_requests")) as writer:
        for record in records:
            writer.write(record)


def warm_up_record(alias: str = "mixture") -> bytes:
    log = prediction_log_pb2.PredictionLog()
    log.predict_log.request.model_spec.name = "stemline"
    log.predict_log.request.inputs[alias].CopyFrom(tf.make_tensor_proto(MIXTURE))
    return log.SerializeToString()


def test_a_new_version_takes_over_without_a_gap(server, louder_model):
    answers, failures, stop = [], [], threading.Event()

    def ask():
        while not stop.is_set():
            try:
                answers.append(server.predict())
            except grpc.RpcError as error:
                failures.append(error)

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        server.publish(louder_model, 2)
        server.wait_for(2, AVAILABLE)
        server.wait_for(1, END)
        time.sleep(0.2)
    finally:
        stop.set()
        asking.join()
    assert failures == []
    assert answers[0] == (1, 0.25)
    assert answers[-1] == (2, 0.5)
    assert answers == sorted(answers)  # versions never go backwards
    assert server.statuses()[1].status.error_code == 0


def test_the_old_version_finishes_its_requests_before_it_unloads(server, louder_model):
    slow = []
    asking = threading.Thread(target=lambda: slow.append(server.predict("two_seconds")))
    asking.start()
    time.sleep(0.3)
    server.publish(louder_model, 2)
    server.wait_for(2, AVAILABLE)
    assert server.predict() == (2, 0.5)  # the new one answers while the old one still works
    asking.join()
    assert slow == [(1, 1.0)]
    server.wait_for(1, END)


def test_a_version_that_is_taken_away_gives_way_to_the_one_before(server, louder_model):
    version_2 = server.publish(louder_model, 2)
    server.wait_for(2, AVAILABLE)
    version_2.rename(server.base_path / "gone")
    server.wait_for(1, AVAILABLE)
    server.wait_for(2, END)
    assert server.predict() == (1, 0.25)


def test_a_half_copied_version_waits_and_then_serves(server, louder_model):
    half = server.base_path / "3"
    shutil.copytree(louder_model, half, ignore=shutil.ignore_patterns("saved_model.pb"))
    status = server.wait_for(3, END)
    assert status.status.error_code == grpc.StatusCode.NOT_FOUND.value[0]
    assert status.status.error_message.startswith(
        "Could not find SavedModel .pb or .pbtxt at supplied export directory"
    )
    assert server.predict() == (1, 0.25)
    assert server.statuses()[1].state == AVAILABLE
    shutil.copy(louder_model / "saved_model.pb", half)
    server.wait_for(3, AVAILABLE)
    assert server.predict() == (3, 0.5)


@pytest.mark.parametrize(
    ("version", "damage"), [(41, "garbage graph"), (42, "variables missing"), (43, "variables cut short")]
)
def test_a_broken_version_never_serves(server, louder_model, version, damage, tmp_path):
    broken = tmp_path / "broken"
    shutil.copytree(louder_model, broken)
    data = broken / "variables" / "variables.data-00000-of-00001"
    if damage == "garbage graph":
        (broken / "saved_model.pb").write_bytes(b"no protobuf at all")
    elif damage == "variables missing":
        shutil.rmtree(broken / "variables")
    else:
        data.write_bytes(data.read_bytes()[:-3])
    server.publish(broken, version)
    status = server.wait_for(version, END)
    assert status.status.error_code != 0
    assert status.status.error_message
    assert server.predict() == (1, 0.25)
    assert server.statuses()[1].state == AVAILABLE


@pytest.mark.parametrize(
    ("version", "record", "times", "code", "words"),
    [
        (
            51,
            warm_up_record("x"),
            1,
            3,
            "Signature input alias: mixture(feed name: serving_default_mixture:0) not found",
        ),
        (52, b"no PredictionLog", 1, 3, "Failed to parse warmup record"),
        (53, prediction_log_pb2.PredictionLog(session_run_log={}).SerializeToString(), 1, 12, "session_run_log"),
        (54, prediction_log_pb2.PredictionLog(classify_log={}).SerializeToString(), 1, 12, "classify_log"),
        (55, warm_up_record(), 1001, 3, "Number of warmup records exceeds the maximum (1000)"),
    ],
    ids=["failing", "unparsable", "unsupported", "of no separator", "too many"],
)
def test_a_failing_warm_up_fails_the_load(server, louder_model, tmp_path, version, record, times, code, words):
    cold = tmp_path / "cold"
    shutil.copytree(louder_model, cold)
    write_warm_up(cold, *[record] * times)
    server.publish(cold, version)
    status = server.wait_for(version, END)
    assert status.status.error_code == code
    assert words in status.status.error_message
    assert server.predict() == (1, 0.25)


def test_a_warm_up_that_is_no_tfrecord_fails_the_load(server, louder_model, tmp_path):
    cold = tmp_path / "cold"
    shutil.copytree(louder_model, cold)
    (cold / "assets.extra").mkdir(exist_ok=True)
    (cold / "assets.extra" / "tf_serving_warmup_requests").write_bytes(b"these are no records" * 3)
    server.publish(cold, 6)
    assert "Please verify your warmup data is in TFRecord format" in server.wait_for(6, END).status.error_message


def test_a_good_warm_up_serves(server, louder_model, tmp_path):
    warm = tmp_path / "warm"
    shutil.copytree(louder_model, warm)
    write_warm_up(warm, warm_up_record(), warm_up_record())
    server.publish(warm, 7)
    server.wait_for(7, AVAILABLE)
    assert server.predict() == (7, 0.5)


def slow_to_load(model: Path, directory: Path) -> Path:
    """A copy of the model whose warm-up takes two seconds."""
    shutil.copytree(model, directory)
    log = prediction_log_pb2.PredictionLog()
    log.predict_log.request.model_spec.name, log.predict_log.request.model_spec.signature_name = "x", "two_seconds"
    log.predict_log.request.inputs["mixture"].CopyFrom(tf.make_tensor_proto(MIXTURE))
    write_warm_up(directory, log.SerializeToString())
    return directory


@pytest.mark.slow
def test_warm_up_can_be_switched_off_and_repeated(serve, saved_model, tmp_path):
    broken = tmp_path / "broken" / "1"
    shutil.copytree(saved_model, broken)
    write_warm_up(broken, warm_up_record("x"))
    with serve(f"--model_base_path={broken.parent}", "--enable_model_warmup=false"):
        pass
    started = time.monotonic()
    slow_to_load(saved_model, tmp_path / "slow" / "1")
    with serve(f"--model_base_path={tmp_path / 'slow'}", "--num_request_iterations_for_warmup=2"):
        assert time.monotonic() - started > 4


def test_models_load_beside_each_other(serve, saved_model, louder_model, tmp_path):
    entries = []
    for name in ("stemline", "other"):
        shutil.copytree(saved_model, tmp_path / name / "1")
        entries.append(f'config {{ name: "{name}" base_path: "{tmp_path / name}" model_platform: "tensorflow" }}')
    (tmp_path / "models.config").write_text(f"model_config_list {{ {' '.join(entries)} }}")
    slow = slow_to_load(louder_model, tmp_path / "slow")
    with serve(f"--model_config_file={tmp_path}/models.config") as ports:
        server, other = (Server(tmp_path / name, f"localhost:{ports.grpc}", name) for name in ("stemline", "other"))
        slow.rename(tmp_path / "other" / "2")
        other.wait_for(2, LOADING)
        server.publish(louder_model, 2)
        server.wait_for(2, AVAILABLE)
        assert other.statuses()[2].state == LOADING
        other.wait_for(2, AVAILABLE)


def test_a_load_is_tried_again_and_given_up(serve, saved_model, louder_model, tmp_path):
    shutil.copytree(saved_model, tmp_path / "1")
    broken = tmp_path / "broken"
    shutil.copytree(louder_model, broken)
    (broken / "saved_model.pb").write_bytes(b"no protobuf at all")
    argv = (f"--model_base_path={tmp_path}", "--max_num_load_retries=3", "--load_retry_interval_micros=300000")
    with serve(*argv, "--model_name=stemline") as ports:
        server = Server(tmp_path, f"localhost:{ports.grpc}")
        started = time.monotonic()
        server.publish(broken, 2)
        status = server.wait_for(2, LOADING)
        assert status.status.error_code == 0  # an error is told when it is final
        assert server.wait_for(2, END).status.error_code != 0
        assert time.monotonic() - started > 3 * 0.3
        assert server.predict() == (1, 0.25)
        assert server.statuses()[1].state == AVAILABLE


def test_a_newer_version_does_not_wait_for_a_broken_ones_retries(serve, saved_model, louder_model, tmp_path):
    shutil.copytree(saved_model, tmp_path / "1")
    argv = (f"--model_base_path={tmp_path}", "--max_num_load_retries=5", "--model_name=stemline")
    with serve(*argv) as ports:
        server = Server(tmp_path, f"localhost:{ports.grpc}")
        (tmp_path / "2").mkdir()  # empty: not found, and again in a minute
        server.wait_for(2, LOADING)
        server.publish(louder_model, 3)
        server.wait_for(3, AVAILABLE)
        assert server.wait_for(2, END).status.error_code == grpc.StatusCode.NOT_FOUND.value[0]
        assert server.predict() == (3, 0.5)


def test_a_copy_under_way_is_loaded_as_soon_as_it_is_whole_whatever_the_interval(serve, louder_model, tmp_path):
    argv = (f"--model_base_path={tmp_path}", "--max_num_load_retries=5", "--model_name=stemline")
    copy = threading.Timer(1.0, shutil.copy, (louder_model / "saved_model.pb", tmp_path / "1"))
    shutil.copytree(louder_model, tmp_path / "1", ignore=shutil.ignore_patterns("saved_model.pb"))
    copy.start()
    started = time.monotonic()
    with serve(*argv) as ports:
        assert time.monotonic() - started < 30  # the interval is a minute
        assert Server(tmp_path, f"localhost:{ports.grpc}").predict() == (1, 0.5)


def test_polling_can_be_once(serve, saved_model, louder_model, tmp_path):
    shutil.copytree(saved_model, tmp_path / "1")
    argv = (f"--model_base_path={tmp_path}", "--file_system_poll_wait_seconds=0", "--model_name=stemline")
    with serve(*argv) as ports:
        server = Server(tmp_path, f"localhost:{ports.grpc}")
        server.publish(louder_model, 2)
        time.sleep(0.5)
        assert server.predict() == (1, 0.25)
        assert sorted(server.statuses()) == [1]


def test_a_unix_socket_serves(serve, saved_model, tmp_path):
    shutil.copytree(saved_model, tmp_path / "base" / "1")
    argv = (f"--model_base_path={tmp_path / 'base'}", f"--grpc_socket_path={tmp_path}/s", "--model_name=stemline")
    with serve(*argv):
        assert Server(tmp_path, f"unix:{tmp_path}/s").predict() == (1, 0.25)


@pytest.mark.parametrize("inner", ["", "7", "saved_model.pb/../7"], ids=["nothing", "a version", "by a detour"])
def test_a_base_path_without_versions_is_told_at_every_poll(tmp_path, caplog, inner):
    """PollFileSystemForServable of file_system_storage_path_source.cc at 2.16.1; a version itself is such a path."""
    (tmp_path / "saved_model.pb" / "variables").mkdir(parents=True)
    (tmp_path / "7" / "variables").mkdir(parents=True)
    (tmp_path / "7" / "saved_model.pb").touch()
    base = tmp_path / (inner or "saved_model.pb")
    manager = versions.VersionManager("m", lambda _: pytest.fail("nothing is to be loaded"))
    manager.configure(base)
    for _ in range(3):
        manager.poll()
    assert [record.getMessage() for record in caplog.records] == [
        f"No versions of servable m found under base path {base}. Did you forget to name your leaf directory as a number "
        "(eg. '/1/')?"
    ] * 3
    manager.configure(None)
    manager.poll()
    assert len(caplog.records) == 3


def test_directories_that_are_no_int64_are_no_versions(tmp_path):
    for name in ("3", "-7", "007", ".tmp-2", "latest", "1.5", "9223372036854775808", "1 ", "²"):
        (tmp_path / name).mkdir()
    (tmp_path / "8").write_text("a file")
    assert sorted(versions.on_disk(tmp_path)) == [-7, 3, 7]


# ---- start and stop


@contextmanager
def program(*flags: str) -> Iterator[subprocess.Popen]:
    """A server in a process of its own, which is gone at the end whatever became of the test."""
    command = [sys.executable, "-m", "serving.server", *flags]
    server = subprocess.Popen(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        yield server
    finally:
        server.kill()
        server.wait()


def test_a_port_in_use_is_one_line_and_exit_code_2(base_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        started = time.monotonic()
        with program(f"--port={port}", f"--model_base_path={base_path}") as server:
            out, err = server.communicate(timeout=60)
    assert (server.returncode, out) == (2, "")
    assert err == (
        f"Failed to start server. Error: port {port} cannot be opened: Address already in use; "
        "choose another with --port, or 0 for a free one\n"
    )
    assert time.monotonic() - started < 10  # said before anything is loaded


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--model_base_path=/m", "--no_such_flag=1"], "unknown argument: --no_such_flag=1"),
        (["--model_base_path=relative"], "to have an absolute path or URI; got base_path()=relative"),
        (["--model_base_path=/m", "--port=70000"], "70000' is not legal; legal is a whole number, 0 to 65535"),
        ([], "Both server_options.model_base_path and server_options.model_config_file are empty!"),
    ],
)
def test_a_wrong_flag_is_named_with_exit_code_2(flags, words):
    with program(*flags) as server:
        _, err = server.communicate(timeout=60)
    assert server.returncode == 2
    assert words in err.splitlines()[-1]


def test_a_broken_first_version_is_one_line_and_exit_code_1(tmp_path):
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "saved_model.pb").write_bytes(b"no protobuf at all")
    with pytest.raises(process.ServerError) as caught, process.running(tmp_path):
        pass
    message = str(caught.value)
    assert (
        "ended with exit code 1: Failed to start server. Error: UNKNOWN: 1 servable(s) did not become available"
        in message
    )
    assert "{{{name: stemline version: 1} due to error: " in message
    assert "\n" not in message


def test_it_waits_for_a_first_version_and_sigterm_drains(tmp_path, saved_model):
    """The port opens with the first version; a request under way at SIGTERM is answered; the exit code is 0."""
    base_path = tmp_path / "not" / "there" / "yet"
    with program("--port=0", "--model_name=stemline", f"--model_base_path={base_path}") as server:
        lines: list[str] = []
        reading = threading.Thread(target=lambda: lines.append(server.stdout.readline()))
        reading.start()
        reading.join(6)
        assert lines == []  # nothing to serve, so no port and no word of being ready
        shutil.copytree(saved_model, base_path / "1", ignore=shutil.ignore_patterns("saved_model.pb"))
        time.sleep(1.5)
        assert server.poll() is None  # a copy under way is waited for
        shutil.copy(saved_model / "saved_model.pb", base_path / "1")
        reading.join(120)
        port = re.fullmatch(r"Running gRPC ModelServer at 127\.0\.0\.1:(\d+) \.\.\.\n", lines[0])[1]

        send_secrets(port)
        client, answers = Server(base_path, f"localhost:{port}"), []
        asking = threading.Thread(target=lambda: answers.append(client.predict("two_seconds")))
        asking.start()
        time.sleep(0.7)
        server.send_signal(signal.SIGTERM)
        out, err = server.communicate(timeout=30)
        asking.join()
        assert answers == [(1, 1.0)]
        assert server.returncode == 0
        assert out == ""
        assert "stemline version 1 is available" in err
        assert "SECRET" not in err
        assert "Traceback" not in err


@pytest.mark.slow
def test_sigint_ends_it_too(base_path):
    with program("--port=0", "--model_name=stemline", f"--model_base_path={base_path}") as server:
        assert server.stdout.readline().startswith("Running gRPC ModelServer")
        server.send_signal(signal.SIGINT)
        server.communicate(timeout=30)
        assert server.returncode == 0


def test_sigterm_ends_it_wherever_it_is(tmp_path):
    """A handler that takes the event's lock hangs for ever where it interrupts `Event.wait` while that holds it."""
    code = """
import os, signal
from serving.server import __main__ as server

def start(flags, stopping):
    with stopping._cond:
        os.kill(os.getpid(), signal.SIGTERM)
        for _ in range(1000):
            pass
    assert stopping.wait(30)

server.start = start
raise SystemExit(server.main(["--port=0", "--model_name=m", "--model_base_path=/m"]))
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def send_secrets(port: str) -> None:
    """Requests that fail: no proto, no WAV, no such input; with words in them that are no one's business."""
    request = predict_pb2.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = "stemline", "wav"
    request.inputs["audio"].CopyFrom(tf.make_tensor_proto([b"SECRET"]))
    sent = request.SerializeToString()
    with grpc.insecure_channel(f"localhost:{port}") as channel:
        predict = channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
        for message in (b"SECRET", sent, sent.replace(b"audio", b"OTHER")):
            with pytest.raises(grpc.RpcError) as caught:
                predict(message, timeout=20)
            expected = grpc.StatusCode.INTERNAL if message == b"SECRET" else grpc.StatusCode.INVALID_ARGUMENT
            assert caught.value.code() is expected


def test_importing_serving_changes_nothing_global():
    code = (
        "import os, signal, logging; before = dict(os.environ), signal.getsignal(signal.SIGTERM), logging.root.level;"
        "import serving.server, serving.process;"
        "assert before == (dict(os.environ), signal.getsignal(signal.SIGTERM), logging.root.level);"
        "import sys; assert 'tensorflow' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
