"""A session as in C++: what it checks of a feed, and what it leaves to the graph."""

import threading
import time
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from serving.server.models.session import Session
from serving.wire.status import Code, StatusError

X = {"x:0": np.array([2.0, 3.0, 4.0], np.float32)}
Y = {"y": "y:0"}


def opened(directory: Path) -> Session:
    return Session(directory, ["serve"], tf.compat.v1.ConfigProto())


@pytest.fixture(scope="module")
def session(half_plus_two):
    session = opened(half_plus_two / "00000123")
    yield session
    session.close()


@pytest.mark.parametrize("shape", [(3,), (3, 1), (1, 3), (1, 1, 3)])
def test_any_shape_that_the_operations_take_is_run(session, shape):
    answer = session.run({"x:0": X["x:0"].reshape(shape)}, Y)["y"]
    np.testing.assert_array_equal(answer, np.array([3.0, 3.5, 4.0], np.float32).reshape(shape))


@pytest.mark.parametrize(
    ("feeds", "fetches", "code", "words"),
    [
        ({"x:0": np.array([True])}, Y, Code.INVALID_ARGUMENT, "Expects arg[0] to be float but bool is provided"),
        ({"x:0": np.ones(1)}, Y, Code.INVALID_ARGUMENT, "Expects arg[0] to be float but double is provided"),
        ({"x:0": np.array([b""], object)}, Y, Code.INVALID_ARGUMENT, "to be float but string is provided"),
        ({"z:0": X["x:0"]}, Y, Code.NOT_FOUND, "FeedInputs: unable to find feed output z:0"),
        (X, {"y": "z:0"}, Code.NOT_FOUND, "FetchOutputs node z:0: not found"),
        (X, {"y": "x:0"}, Code.INVALID_ARGUMENT, "x:0 is both fed and fetched."),
        (X, {}, Code.INVALID_ARGUMENT, "Must specify at least one target to fetch or execute."),
        ({}, Y, Code.INVALID_ARGUMENT, "You must feed a value for placeholder tensor 'tf_example'"),
    ],
)
def test_what_it_refuses_is_in_the_runtimes_words(session, feeds, fetches, code, words):
    with pytest.raises(StatusError) as caught:
        session.run(feeds, fetches)
    assert caught.value.code is code
    assert words in caught.value.message


def test_two_names_of_one_output_both_have_it(session):
    answer = session.run(X, {"a": "y:0", "b": "y:0"})
    np.testing.assert_array_equal(answer["a"], answer["b"])


@pytest.mark.parametrize("seconds", [0, -1, 0.3])
def test_the_time_limit_is_the_calls_own(saved_model, seconds):
    session = opened(saved_model)
    slow, fast = (session.signatures[name] for name in ("slow", "serving_default"))
    mixture = np.ones((1, 2), np.float32)
    with pytest.raises(StatusError) as caught:
        session.run({slow.inputs["mixture"].name: mixture}, {"vocals": slow.outputs["vocals"].name}, seconds)
    assert caught.value.code is Code.DEADLINE_EXCEEDED
    session.run({fast.inputs["mixture"].name: mixture}, {"vocals": fast.outputs["vocals"].name}, 1e12)
    session.close()


def test_words_that_quote_bytes_of_the_request_are_told_as_far_as_they_are_text(saved_model):
    session = opened(saved_model)
    wav = session.signatures["wav"]
    with pytest.raises(StatusError) as caught:
        session.run(
            {wav.inputs["audio"].name: np.array([b"RIF\xff" * 20], object)}, {"vocals": wav.outputs["vocals"].name}
        )
    session.close()
    assert caught.value.code is Code.INVALID_ARGUMENT
    assert "Header mismatch: Expected RIFF but found RIF\ufffd" in caught.value.message


def test_closing_cuts_short_what_runs_and_refuses_what_comes(saved_model):
    session = opened(saved_model)
    slow = session.signatures["slow"]
    ask = {slow.inputs["mixture"].name: np.ones((1, 2), np.float32)}, {"vocals": slow.outputs["vocals"].name}
    failures = []

    def run():
        with pytest.raises(StatusError) as caught:
            session.run(*ask)
        failures.append(caught.value.code)

    running = threading.Thread(target=run)
    running.start()
    time.sleep(0.5)
    session.close()
    running.join(20)
    run()
    assert failures == [Code.UNAVAILABLE] * 2
