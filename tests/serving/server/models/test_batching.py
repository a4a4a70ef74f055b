"""Requests share runs by TensorFlow Serving's parameters, and no one gets another's rows."""

from __future__ import annotations

import gc
import os
import shutil
import threading
import time
import weakref
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path

import grpc
import numpy as np
import pytest
from tensorflow_serving.apis import model_pb2

import serving
from serving import process
from serving.server.models import batching
from serving.server.models.batching import Scheduler
from serving.server.models.batching_parameters import BatchingParameters, read_parameters
from serving.wire import tensors
from serving.wire.status import Code, StatusError

FETCHES = {"y": "y:0"}
FOREVER_MICROS = 60_000_000


def rows(*values: float, samples: int = 3) -> dict[str, np.ndarray]:
    """A request of one row per value."""
    return {"x:0": np.repeat(np.array(values, np.float32)[:, np.newaxis], samples, axis=1)}


class Model:
    """y = x + 1; keeps what each run was fed, and waits at the gate."""

    def __init__(self, answer: Callable[[np.ndarray], np.ndarray] = lambda x: x + 1) -> None:
        self.runs: list[np.ndarray] = []
        self.timeouts: list[float | None] = []
        self.gate = threading.Event()
        self.gate.set()
        self.started = threading.Semaphore(0)
        self._answer = answer

    def __call__(self, feeds, fetches, timeout_seconds):
        assert set(fetches.values()) == {"y:0"}
        self.runs.append(feeds["x:0"])
        self.timeouts.append(timeout_seconds)
        self.started.release()
        assert self.gate.wait(30)
        return dict.fromkeys(fetches, self._answer(feeds["x:0"]))


@contextmanager
def scheduled(model: Model, **parameters):
    """`ask(values...)` sends a request from a thread of its own."""
    scheduler = Scheduler(model, BatchingParameters(**{"num_batch_threads": 1, **parameters}))
    with ThreadPoolExecutor(64) as pool:

        def ask(*values: float, samples: int = 3, timeout: float | None = None) -> Future:
            future = pool.submit(scheduler.predict, rows(*values, samples=samples), FETCHES, timeout)
            time.sleep(0.05)  # the order of the queue is that of the calls
            return future

        try:
            yield ask, scheduler
        finally:
            model.gate.set()
            scheduler.close()


@contextmanager
def busy(model: Model, ask):
    """The only batch thread is kept busy with a run of its own, so that what is asked meanwhile queues up."""
    model.gate.clear()
    first = ask(-1.0, samples=1)
    assert model.started.acquire(timeout=5)
    yield
    model.gate.set()
    first.result(5)


def failure(future: Future) -> StatusError:
    error = future.exception(10)
    assert isinstance(error, StatusError), error
    return error


def test_everyone_gets_their_own_rows_whatever_the_sizes_and_arrivals():
    model = Model()
    parameters = {"max_batch_size": 8, "batch_timeout_micros": 500, "allowed_batch_sizes": (2, 4, 8)}
    rng = np.random.default_rng(0)
    requests = [rng.standard_normal(rng.integers(1, 9)).astype(np.float32) for _ in range(300)]
    samples = rng.integers(1, 4, len(requests)).tolist()
    scheduler = Scheduler(model, BatchingParameters(num_batch_threads=3, max_enqueued_batches=1000, **parameters))
    with ThreadPoolExecutor(32) as pool:
        feeds = [rows(*values, samples=count) for values, count in zip(requests, samples, strict=True)]
        answers = list(pool.map(lambda each: scheduler.predict(each, FETCHES)["y"], feeds))
    scheduler.close()
    for each, answer in zip(feeds, answers, strict=True):
        np.testing.assert_array_equal(answer, each["x:0"] + 1)
    assert {len(run) for run in model.runs} <= {2, 4, 8}
    assert len(model.runs) < len(requests)


def test_a_full_batch_runs_at_once_and_a_part_full_one_when_its_time_is_up():
    model = Model()
    with scheduled(model, max_batch_size=4, batch_timeout_micros=FOREVER_MICROS) as (ask, _):
        done = [ask(value) for value in range(4)]
        assert not wait(done, 5).not_done
    assert [len(run) for run in model.runs] == [4]
    with scheduled(model, max_batch_size=4, batch_timeout_micros=200_000) as (ask, _):
        started = time.monotonic()
        ask(0.0).result(5)
        assert 0.2 <= time.monotonic() - started < 5


def test_a_batch_is_filled_up_with_the_last_members_first_row_and_outputs_are_trimmed():
    model = Model()
    with scheduled(model, max_batch_size=8, batch_timeout_micros=100_000, allowed_batch_sizes=(4, 8)) as (ask, _):
        with busy(model, ask):
            one, three = ask(1.0), ask(2.0, 3.0)
        assert one.result(5)["y"][:, 0].tolist() == [2]
        assert three.result(5)["y"][:, 0].tolist() == [3, 4]
    assert model.runs[1][:, 0].tolist() == [1, 2, 3, 2]


def test_other_shapes_dtypes_inputs_and_outputs_do_not_share_a_run():
    seen = []

    def run(feeds, fetches, _):
        seen.append((set(fetches.values()), [len(array) for array in feeds.values()]))
        return dict.fromkeys(fetches, next(iter(feeds.values())))

    scheduler = Scheduler(run, BatchingParameters(max_batch_size=16, batch_timeout_micros=1_500_000))
    requests = [
        (rows(1.0), {"y": "y:0"}),
        (rows(1.0, samples=4), {"y": "y:0"}),
        ({"x:0": np.ones((1, 3), np.float64)}, {"y": "y:0"}),
        ({"z:0": np.ones((1, 3), np.float32)}, {"y": "y:0"}),
        (rows(1.0), {"y": "y:0", "w": "w:0"}),
        (rows(1.0), {"y": "another:0"}),
        (rows(2.0), {"y": "y:0"}),
    ]
    with ThreadPoolExecutor(len(requests)) as pool:
        answers = list(pool.map(lambda request: scheduler.predict(*request), requests))
    scheduler.close()
    assert [(set(answer), answer["y"].shape) for answer in answers] == [
        (set(fetches), next(iter(feeds.values())).shape) for feeds, fetches in requests
    ]
    assert sorted(size for _, sizes in seen for size in sizes) == [1, 1, 1, 1, 1, 2]
    assert sum(fetches == {"another:0"} for fetches, _ in seen) == 1


def test_one_length_fails_and_the_other_in_its_batch_does_not():
    def answer(x: np.ndarray) -> np.ndarray:
        if x.shape[1] == 4:
            raise StatusError(Code.OUT_OF_RANGE, "no four")
        return x + 1

    model = Model(answer)
    with scheduled(model, max_batch_size=4) as (ask, _):
        with busy(model, ask):
            good, bad = ask(1.0), ask(2.0, samples=4)
        assert good.result(5)["y"].tolist() == [[2, 2, 2]]
        assert failure(bad).message == "no four"


def test_a_full_queue_is_unavailable_in_the_real_servers_words():
    model = Model()
    parameters = {"max_batch_size": 2, "max_enqueued_batches": 2, "batch_timeout_micros": 0}
    with scheduled(model, **parameters) as (ask, _):
        with busy(model, ask):
            queued = [ask(1.0, 2.0), ask(3.0)]
            error = failure(ask(4.0, 5.0))
            assert error.code is Code.UNAVAILABLE
            assert error.message == (
                "The batch scheduling queue to which this task was submitted is full; "
                "currently 2 batches enqueued and max_enqueued_batches is 2"
            )
            queued.append(ask(6.0))  # still fits the open batch
        for future in queued:
            future.result(5)
        ask(7.0).result(5)


def test_a_batch_whose_requests_all_expired_in_the_queue_is_not_run():
    """ProcessBatch of TensorFlow Serving 2.16.1's batching_session.cc: they are told when their turn comes."""
    model = Model()
    with scheduled(model, max_batch_size=4) as (ask, _):
        with busy(model, ask):
            hasty = [ask(value, timeout=0.1) for value in (1.0, 2.0)]
            time.sleep(0.2)
        errors = [failure(each) for each in hasty]
        ask(3.0).result(5)
    expected = (Code.RESOURCE_EXHAUSTED, "Run() timeout exceeded while waiting in batching queue")
    assert [(error.code, error.message) for error in errors] == [expected] * 2
    assert [run[0, 0] for run in model.runs] == [-1, 3]


def test_one_that_expired_runs_along_with_one_that_did_not():
    model = Model()
    with scheduled(model, max_batch_size=4) as (ask, _):
        with busy(model, ask):
            hasty, patient = ask(1.0, timeout=0.1), ask(2.0, timeout=20)
            time.sleep(0.2)
        assert [hasty.result(5)["y"][0, 0], patient.result(5)["y"][0, 0]] == [2, 3]
    assert model.runs[1][:, 0].tolist() == [1, 2]


@pytest.mark.parametrize(("timeouts", "expected"), [((None, 20.0), None), ((10.0, 20.0), 20.0), ((None, None), None)])
def test_a_run_may_take_as_long_as_its_most_patient_member(timeouts, expected):
    model = Model()
    with scheduled(model, max_batch_size=4) as (ask, _):
        with busy(model, ask):
            asked = [ask(1.0, timeout=timeout) for timeout in timeouts]
        wait(asked, 5)
    assert model.timeouts[1] == (expected if expected is None else pytest.approx(expected, abs=2))


def test_what_the_model_fails_with_is_every_members_answer_and_the_next_batch_is_well():
    def answer(x: np.ndarray) -> np.ndarray:
        if 13 in x:
            raise StatusError(Code.OUT_OF_RANGE, "no thirteen")
        return x + 1

    model = Model(answer)
    with scheduled(model, max_batch_size=2) as (ask, _):
        with busy(model, ask):
            bad = [ask(13.0), ask(1.0)]
        assert [(failure(each).code, failure(each).message) for each in bad] == [(Code.OUT_OF_RANGE, "no thirteen")] * 2
        assert ask(2.0).result(5)["y"][:, 0].tolist() == [3]


def test_a_request_larger_than_a_batch_is_refused():
    with scheduled(Model(), max_batch_size=2) as (ask, _):
        error = failure(ask(1.0, 2.0, 3.0))
    assert (error.code, error.message) == (
        Code.INVALID_ARGUMENT,
        "Task size 3 is larger than maximum input batch size 2",
    )


def test_large_requests_are_split_when_that_is_asked_for():
    model = Model()
    parameters = {"max_batch_size": 6, "max_execution_batch_size": 2, "max_enqueued_batches": 3}
    with scheduled(model, enable_large_batch_splitting=True, **parameters) as (ask, _):
        with busy(model, ask):
            first, large = ask(0.0), ask(1.0, 2.0, 3.0, 4.0)  # one row fills the open batch, then a batch, then one row
            error = failure(ask(5.0, 6.0))
        assert first.result(5)["y"][:, 0].tolist() == [1]
        assert large.result(5)["y"][:, 0].tolist() == [2, 3, 4, 5]
    assert [run[:, 0].tolist() for run in model.runs[1:]] == [[0, 1], [2, 3], [4]]
    assert error.code is Code.UNAVAILABLE
    assert error.message.endswith(
        "full; task size is 2 but scheduling capacity is only 1 (num_enqueued_batches=3, max_enqueued_batches=3, "
        "open_batch_size=1, max_execution_batch_size=2)"
    )


def test_lengths_are_filled_up_with_the_first_value_when_that_is_asked_for():
    model = Model()
    with scheduled(model, max_batch_size=4, pad_variable_length_inputs=True) as (ask, _):
        with busy(model, ask):
            short, long = ask(1.0, samples=1), ask(2.0, samples=3)
        assert short.result(5)["y"].tolist() == [[2, 2, 2]]
        assert long.result(5)["y"].tolist() == [[3, 3, 3]]
    assert model.runs[1].tolist() == [[1, 1, 1], [2, 2, 2]]


def test_what_waits_when_it_closes_is_unavailable_and_so_is_what_comes_later():
    with scheduled(Model(), max_batch_size=4, batch_timeout_micros=500_000) as (ask, scheduler):
        waiting = ask(1.0)
        scheduler.close()
        assert [failure(each).code for each in (waiting, ask(2.0))] == [Code.UNAVAILABLE] * 2


def test_closing_gives_the_threads_back():
    def threads() -> int:
        return len(os.listdir("/proc/self/task"))

    with scheduled(Model(), max_batch_size=4) as (ask, _):
        ask(1.0).result(5)  # what is made once stays
    gc.collect()
    before = threads()
    with scheduled(Model(), max_batch_size=4, num_batch_threads=8) as (ask, scheduler):
        ask(1.0).result(5)
        assert threads() >= before + 8
    del ask, scheduler
    gc.collect()
    assert threads() <= before


def test_an_empty_request_is_run_alone():
    model = Model()
    with scheduled(model, max_batch_size=4, allowed_batch_sizes=(4,)) as (ask, _):
        assert ask().result(5)["y"].shape == (0, 3)
    assert [run.shape for run in model.runs] == [(0, 3)]


@pytest.mark.parametrize(
    ("feeds", "message"),
    [
        ({}, "Batching Run() must have at least one input tensor"),
        ({"x": np.float32(1)}, "Batching Run() input tensors must have at least one dimension"),
        ({"x": np.ones(2), "z": np.ones(3)}, "Batching Run() input tensors must have equal 0th-dimension size"),
    ],
)
def test_inputs_without_a_common_batch_axis_are_refused(feeds, message):
    with pytest.raises(StatusError, match=message.replace("(", r"\(").replace(")", r"\)")) as caught:
        batching.batch_size({name: np.asarray(array) for name, array in feeds.items()})
    assert caught.value.code is Code.INVALID_ARGUMENT


@pytest.mark.parametrize(
    ("output", "words"), [(np.float32(1), "has 0 dimensions"), (np.ones(3), "does not equal the sum")]
)
def test_outputs_that_are_not_batch_major_fail_the_batch(output, words):
    with scheduled(Model(lambda x: output), max_batch_size=4) as (ask, _):
        error = failure(ask(1.0, 2.0))
    assert error.code is Code.FAILED_PRECONDITION
    assert words in error.message


def test_strings_are_batched_too():
    feeds = [{"x": np.array([b"a", b"\x00"], object)}, {"x": np.array([b"long"], object)}]
    merged = batching.merge(feeds, 4)["x"]
    assert merged.tolist() == [b"a", b"\x00", b"long", b"long"]
    assert [part["x"].tolist() for part in batching.split({"x": merged}, [2, 1], 4)] == [[b"a", b"\x00"], [b"long"]]


def test_a_batch_that_has_been_answered_is_not_kept():
    model = Model()
    with scheduled(model, max_batch_size=4) as (ask, _):
        kept = weakref.ref(ask(1.0).result(5)["y"])
        model.runs.clear()
        deadline = time.monotonic() + 5
        while kept() is not None and time.monotonic() < deadline:
            time.sleep(0.01)
    assert kept() is None


# -- the parameters file


def test_the_example_config_is_read_whole():
    parameters = read_parameters(Path(serving.__file__).parent / "config" / "batching.config")
    expected = {"max_batch_size": 16, "batch_timeout_micros": 5000, "max_enqueued_batches": 64, "num_batch_threads": 2}
    assert parameters == BatchingParameters(**expected, allowed_batch_sizes=(1, 2, 4, 8, 16))
    assert [parameters.padded_size(size) for size in (1, 3, 8, 9, 16)] == [1, 4, 8, 16, 16]


def test_fields_that_are_not_set_have_the_real_servers_defaults(tmp_path):
    (tmp_path / "empty").write_text('thread_pool_name { value: "batch" }')
    parameters = read_parameters(tmp_path / "empty")
    assert (parameters.max_batch_size, parameters.batch_timeout_micros, parameters.max_enqueued_batches) == (
        1000,
        0,
        10,
    )
    assert not parameters.allowed_batch_sizes


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("max_batch_size: 3", "1:17"),
        ("max_batches { value: 3 }", 'no field named "max_batches"'),
        ("max_batch_size { value: 0 }", "max_batch_size must be positive; was 0"),
        ("max_enqueued_batches { value: 0 }", "max_enqueued_batches must be positive; was 0"),
        ("num_batch_threads { value: -1 }", "num_batch_threads must be positive; was -1"),
        ("batch_timeout_micros { value: -1 }", "batch_timeout_micros must be non-negative; was -1"),
        ("max_batch_size { value: 4 } allowed_batch_sizes: [2, 1, 4]", "increasing order; was [2, 1, 4]"),
        ("max_batch_size { value: 4 } allowed_batch_sizes: [1, 2]", "last entry was 2; expected 4"),
        ("max_batch_size { value: 4 } max_execution_batch_size { value: 5 }", "from 1 to max_batch_size=4; was 5"),
    ],
)
def test_a_wrong_parameters_file_is_one_sentence_that_names_it(tmp_path, text, words):
    path = tmp_path / "batching.config"
    path.write_text(text)
    with pytest.raises(ValueError, match=str(path)) as caught:
        read_parameters(path)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_parameters_file_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"none cannot be read: No such file"):
        read_parameters(tmp_path / "none")


# -- over the wire


@pytest.fixture(scope="module")
def batching_address(base_path, tmp_path_factory):
    config = tmp_path_factory.mktemp("batching") / "batching.config"
    config.write_text(
        "max_batch_size { value: 4 } batch_timeout_micros { value: 400000 } num_batch_threads { value: 1 } "
        "max_enqueued_batches { value: 1 } allowed_batch_sizes: [2, 4]"
    )
    flags = ["--enable_batching", f"--batching_parameters_file={config}", "--grpc_max_threads=16"]
    with process.running(base_path, flags=flags) as address:
        yield address


def request(signature: str, mixture: np.ndarray) -> bytes:
    spec = model_pb2.ModelSpec(name="stemline", signature_name=signature)
    return tensors.predict_request(spec, {"mixture": mixture})


def test_a_server_runs_requests_of_several_clients_in_one_batch_and_sheds_the_rest(batching_address):
    """Eight requests of two seconds each take two runs; a ninth finds the queue full, which holds one batch."""
    with grpc.insecure_channel(batching_address) as channel:
        predict = channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
        mixtures = [np.full((1, 4), value, np.float32) for value in range(9)]
        started = time.monotonic()
        batch = [predict.future(request("two_seconds", mixture), timeout=60) for mixture in mixtures[:4]]
        time.sleep(0.5)
        queued = [predict.future(request("two_seconds", mixture), timeout=60) for mixture in mixtures[4:8]]
        time.sleep(0.5)
        with pytest.raises(grpc.RpcError) as shed:
            predict(request("two_seconds", mixtures[8]), timeout=60)
        answers = [tensors.from_response(future.result())[0]["vocals"] for future in batch + queued]
        seconds = time.monotonic() - started
    np.testing.assert_array_equal(np.concatenate(answers), np.concatenate(mixtures[:8]))
    assert 4 <= seconds < 12  # two runs, not eight
    assert shed.value.code() is Code.UNAVAILABLE
    assert shed.value.details().endswith("currently 1 batches enqueued and max_enqueued_batches is 1")


def test_a_server_says_what_a_batch_cannot_be(batching_address):
    with grpc.insecure_channel(batching_address) as channel:
        predict = channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
        with pytest.raises(grpc.RpcError) as caught:
            predict(request("serving_default", np.ones((5, 2), np.float32)), timeout=60)
    assert caught.value.code() is Code.INVALID_ARGUMENT
    assert caught.value.details() == "Task size 5 is larger than maximum input batch size 4"


def test_a_server_does_not_start_with_parameters_that_cannot_be_used(base_path, tmp_path):
    path = tmp_path / "batching.config"
    path.write_text("max_batch_size { value: 4 } allowed_batch_sizes: [1, 2]")
    flags = ["--enable_batching", f"--batching_parameters_file={path}"]
    with (
        pytest.raises(process.ServerError, match=rf"exit code 2: .*{path}: Last entry in allowed_batch_sizes must"),
        process.running(base_path, flags=flags),
    ):
        pass


def test_a_version_that_goes_answers_what_is_in_its_queue(batching_address, base_path, louder_model):
    """Comes last: it leaves the server with another version."""
    with grpc.insecure_channel(batching_address) as channel:
        predict = channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
        message = request("two_seconds", np.ones((1, 4), np.float32))
        asked = [predict.future(message, timeout=60) for _ in range(4)]
        time.sleep(0.5)
        asked += [predict.future(message, timeout=60) for _ in range(4)]
        shutil.copytree(louder_model, base_path / ".tmp-2", dirs_exist_ok=True)
        (base_path / ".tmp-2").rename(base_path / "2")
        answered = {tensors.from_response(future.result())[1].version.value for future in asked}
        deadline, newest = time.monotonic() + 60, 1
        while newest == 1 and time.monotonic() < deadline:
            response = predict(request("serving_default", np.ones((1, 4), np.float32)), timeout=60)
            newest = tensors.from_response(response)[1].version.value
    assert answered == {1}
    assert newest == 2
