"""Several models by config file and by HandleReloadConfigRequest: policies, refusals, waiting, a port of its own."""

import shutil
import threading
import time
from pathlib import Path

import grpc
import pytest
import tensorflow as tf
from google.protobuf import text_format
from tensorflow_serving.apis import (
    get_model_status_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)
from tensorflow_serving.config import model_server_config_pb2

from serving.server.models import model_config
from serving.server.models.versions import latest
from serving.wire.status import StatusError

INVALID, PRECONDITION = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.FAILED_PRECONDITION
LOADING, AVAILABLE, END = 20, 30, 50
GAINS = {1: 0.25, 2: 0.5, 3: 0.25}


@pytest.fixture(scope="module")
def models(saved_model, louder_model, tmp_path_factory) -> Path:
    """Two models, `a` with versions 1, 2 and 3, `b` with version 1."""
    base = tmp_path_factory.mktemp("models")
    for version, model in ((1, saved_model), (2, louder_model), (3, saved_model)):
        shutil.copytree(model, base / "a" / str(version))
    shutil.copytree(saved_model, base / "b" / "1")
    return base


def config(models: Path, **policies: str) -> str:
    """A model list: per model name the text of its policy and labels."""
    entries = [
        f'config {{ name: "{name}" base_path: "{models / name}" model_platform: "tensorflow" {policy} }}'
        for name, policy in policies.items()
    ]
    return f"model_config_list {{ {' '.join(entries)} }}"


def joined(first: str, second: str) -> str:
    """One list with the models of both."""
    return first.removesuffix("}") + second.removeprefix("model_config_list {")


class Client:
    def __init__(self, port: int) -> None:
        channel = grpc.insecure_channel(f"localhost:{port}")
        self._models = model_service_pb2_grpc.ModelServiceStub(channel)
        self._prediction = prediction_service_pb2_grpc.PredictionServiceStub(channel)

    def reload(self, text: str, timeout: float = 60) -> model_management_pb2.ReloadConfigResponse:
        request = model_management_pb2.ReloadConfigRequest()
        text_format.Parse(text, request.config)
        return self._models.HandleReloadConfigRequest(request, timeout=timeout)

    def refusal(self, text: str, timeout: float = 60) -> tuple[grpc.StatusCode, str]:
        with pytest.raises(grpc.RpcError) as caught:
            self.reload(text, timeout)
        return caught.value.code(), caught.value.details()

    def states(self, name: str = "a") -> dict[int, int]:
        request = get_model_status_pb2.GetModelStatusRequest()
        request.model_spec.name = name
        answer = self._models.GetModelStatus(request, timeout=20)
        return {status.version: status.state for status in answer.model_version_status}

    def available(self, name: str = "a") -> list[int]:
        return [version for version, state in self.states(name).items() if state == AVAILABLE]

    def wait_for(self, versions: list[int], name: str = "a") -> None:
        deadline = time.monotonic() + 30
        while self.available(name) != versions:
            assert time.monotonic() < deadline, (name, self.states(name))
            time.sleep(0.02)

    def ask(self, request: predict_pb2.PredictRequest) -> predict_pb2.PredictResponse:
        return self._prediction.Predict(request, timeout=20)

    def predict(self, name: str = "a", **version: object) -> tuple[int, float]:
        """(version that answered, gain)."""
        request = predict_pb2.PredictRequest()
        request.model_spec.name = name
        if "label" in version:
            request.model_spec.version_label = version["label"]
        if "number" in version:
            request.model_spec.version.value = version["number"]
        request.inputs["mixture"].CopyFrom(tf.make_tensor_proto([[1.0]]))
        response = self.ask(request)
        return response.model_spec.version.value, response.outputs["vocals"].float_val[0]


@pytest.fixture(scope="module")
def running(serve, models, tmp_path_factory):
    path = tmp_path_factory.mktemp("config") / "models.config"
    path.write_text(config(models, a="", b=""))
    with serve(f"--model_config_file={path}", f"--stemline_reload_roots={path.parents[1]}") as ports:
        yield Client(ports.grpc)


@pytest.fixture
def client(running, models):
    """The module's server, serving the latest of `a` and of `b` before each test."""
    running.reload(config(models, a="", b=""))
    running.wait_for([3])
    running.wait_for([1], "b")
    return running


def test_every_model_of_the_config_serves(client):
    assert client.predict("a") == (3, GAINS[3])
    assert client.predict("b") == (1, GAINS[1])


@pytest.mark.parametrize(
    ("policy", "versions"),
    [
        ("model_version_policy { latest { num_versions: 2 } }", [3, 2]),
        ("model_version_policy { latest { num_versions: 9 } }", [3, 2, 1]),
        ("model_version_policy { latest { } }", [3]),
        ("model_version_policy { all { } }", [3, 2, 1]),
        ("model_version_policy { specific { versions: 1 versions: 2 } }", [2, 1]),
        ("model_version_policy { specific { versions: 2 versions: 77 } }", [2]),
    ],
)
def test_the_policy_chooses_the_versions(client, models, policy, versions):
    client.reload(config(models, a=policy))
    client.wait_for(versions)
    assert client.predict() == (versions[0], GAINS[versions[0]])
    for number in versions:
        assert client.predict(number=number) == (number, GAINS[number])


def test_versions_switch_without_a_gap(client, models):
    answers, failures, stop = [], [], threading.Event()

    def ask():
        while not stop.is_set():
            try:
                answers.append(client.predict()[0])
            except grpc.RpcError as error:
                failures.append(error)

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        client.reload(config(models, a="model_version_policy { specific { versions: 1 } }"))
        client.wait_for([1])
    finally:
        stop.set()
        asking.join()
    assert failures == []
    assert set(answers) <= {3, 1}


def test_the_list_is_replaced_as_a_whole(client, models):
    client.reload(config(models, b=""))
    client.wait_for([])
    deadline = time.monotonic() + 30
    while client.states("a")[3] != END:  # unloading first
        assert time.monotonic() < deadline, client.states("a")
        time.sleep(0.02)
    with pytest.raises(grpc.RpcError) as caught:
        client.predict("a")
    assert caught.value.details() == "Servable not found for request: Latest(a)"
    assert client.predict("b")[0] == 1


def test_the_call_waits_for_models_that_are_new(client, models):
    client.reload(config(models, b=""))
    client.wait_for([])
    answer = client.reload(config(models, a="", b=""))
    assert (answer.status.error_code, answer.status.error_message) == (0, "")
    assert client.available("a") == [3]


def test_a_new_model_that_does_not_load_is_named(client, models, tmp_path):
    (tmp_path / "c" / "4").mkdir(parents=True)
    code, words = client.refusal(joined(config(models, a=""), config(tmp_path, c="")))
    assert code is grpc.StatusCode.UNKNOWN
    assert words.startswith("1 model(s) did not become available: {{{name: c version: 4} due to error: NOT_FOUND: ")
    assert client.predict("a")[0] == 3  # the others serve


def test_a_new_model_that_never_comes_keeps_the_call_up_to_its_deadline(client, models, tmp_path):
    missing = joined(config(models, a=""), config(tmp_path, missing=""))
    assert client.refusal(missing, timeout=1)[0] is grpc.StatusCode.DEADLINE_EXCEEDED
    client.reload(config(models, a="", b=""), timeout=20)  # and no later call waits behind it


@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        (
            lambda text: text.replace('"b"', '"a"'),
            INVALID,
            "Illegal to list model a multiple times in config list",
        ),
        (
            lambda text: text.replace('base_path: "/', 'base_path: "', 1),
            INVALID,
            "Expected model a to have an absolute path or URI; got base_path()=",
        ),
        (
            lambda text: text.replace('"tensorflow"', '"caffe"', 1),
            INVALID,
            "Illegal to change a model's platform. For model a platform was tensorflow "
            "and new platform requested is caffe",
        ),
        (
            lambda text: text.replace('"tensorflow"', '"caffe"').replace('"a"', '"c"').replace('"b"', '"d"'),
            INVALID,
            "Model c requests unsupported platform caffe",
        ),
        (
            lambda text: text.replace('model_platform: "tensorflow"', "", 1),
            INVALID,
            "Illegal setting neither ModelServerConfig::model_type (deprecated) nor ModelServerConfig::model_platform.",
        ),
        (
            lambda text: text.replace(
                'model_platform: "tensorflow"', 'model_platform: "tensorflow" model_type: TENSORFLOW', 1
            ),
            INVALID,
            "Illegal setting both ModelServerConfig::model_type (deprecated) and ModelServerConfig::model_platform.",
        ),
        (
            lambda text: "custom_model_config { }",
            INVALID,
            "ServerModelConfig type not supported by HandleReloadConfigRequest. ",
        ),
        (
            lambda text: "",
            INVALID,
            "ServerModelConfig type not supported by HandleReloadConfigRequest. "
            "Only ModelConfigList is currently supported",
        ),
    ],
)
def test_a_config_that_is_refused_changes_nothing(client, models, change, code, words):
    got, details = client.refusal(change(config(models, a="", b="")))
    assert (got, details[: len(words)]) == (code, words)
    assert client.predict("a")[0] == 3
    assert client.predict("b")[0] == 1


def test_the_deprecated_model_type_is_taken(client, models):
    client.reload(config(models, a="").replace('model_platform: "tensorflow"', "model_type: TENSORFLOW"))
    assert client.available() == [3]


def test_a_base_path_may_change_and_change_back(client, models):
    """ReloadConfigChangeModelBasePath of server_core_test.cc: `a` is also served from where `b` has version 1 alone."""
    client.reload(config(models, a=""))
    client.wait_for([3])
    for base, versions in (("b", [1]), ("a", [3])):
        client.reload(config(models, a="").replace(f"{models}/a", f"{models}/{base}"))
        client.wait_for(versions)


def test_a_file_with_another_kind_of_config_changes_nothing(serve, models, tmp_path, caplog):
    """IllegalReconfigurationToCustomConfig of server_core_test.cc."""
    path = tmp_path / "models.config"
    path.write_text(config(models, a=""))
    with serve(f"--model_config_file={path}", "--model_config_file_poll_wait_seconds=0.05") as ports:
        path.write_text("custom_model_config { }")
        deadline = time.monotonic() + 20
        while "Cannot transition to requested config." not in caplog.text:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert Client(ports.grpc).predict("a")[0] == 3


def test_the_config_file_is_read_again(serve, models, tmp_path):
    path = tmp_path / "models.config"
    path.write_text(config(models, a="model_version_policy { specific { versions: 1 } }"))
    with serve(f"--model_config_file={path}", "--model_config_file_poll_wait_seconds=0.05") as ports:
        client = Client(ports.grpc)
        assert client.predict("a") == (1, GAINS[1])
        path.write_text("no config at all {")
        time.sleep(0.3)
        assert client.predict("a") == (1, GAINS[1])
        path.write_text(config(models, a="model_version_policy { specific { versions: 2 } }", b=""))
        client.wait_for([2])
        assert client.predict("a") == (2, GAINS[2])
        path.write_text(config(models, b=""))
        client.wait_for([])
        client.wait_for([1], "b")


def test_model_service_can_have_a_port_of_its_own(serve, models):
    with serve(f"--model_base_path={models / 'a'}", "--stemline_model_service_port={model_service}") as ports:
        assert Client(ports.model_service).states("default") == {3: AVAILABLE}
        main = Client(ports.grpc)
        assert main.predict("default")[0] == 3
        with pytest.raises(grpc.RpcError) as caught:
            main.states("default")
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
        with pytest.raises(grpc.RpcError) as caught:
            Client(ports.model_service).predict("default")
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_model_service_can_be_switched_off(serve, models):
    with serve(f"--model_base_path={models / 'a'}", "--stemline_model_service_port=0") as ports:
        assert Client(ports.grpc).predict("default")[0] == 3
        with pytest.raises(grpc.RpcError) as caught:
            Client(ports.grpc).states("default")
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_the_model_list_may_be_empty_until_it_is_not(serve, models, tmp_path):
    path = tmp_path / "models.config"
    path.write_text("")
    with serve(f"--model_config_file={path}", f"--stemline_reload_roots={models}") as ports:
        client = Client(ports.grpc)
        with pytest.raises(grpc.RpcError) as caught:
            client.states("a")
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND
        client.reload(config(models, a=""))
        assert client.predict("a")[0] == 3


def test_a_config_is_a_model_server_config(models):
    parsed = text_format.Parse(config(models, a="", b=""), model_server_config_pb2.ModelServerConfig())
    assert [model.name for model in parsed.model_config_list.config] == ["a", "b"]


@pytest.fixture(scope="module")
def closed(serve, models):
    """A server of `a` alone, with no flag that opens more."""
    with serve(f"--model_base_path={models / 'a'}", "--model_name=a") as ports:
        yield Client(ports.grpc)


def test_a_reload_names_what_was_configured_at_the_start(closed, models):
    closed.reload(config(models, a="model_version_policy { specific { versions: 1 } }"))
    closed.wait_for([1])
    closed.reload(config(models, a="").replace(str(models), f"{models}/b/.."))
    closed.wait_for([3])


@pytest.mark.parametrize(
    "place", ["{models}/b", "{models}", "{models}/a/../b", "{models}/ab", "{links}/out", "/", "/proc", "s3://bucket/a"]
)
def test_a_reload_names_nothing_else(closed, models, tmp_path, place):
    (tmp_path / "out").symlink_to(models / "b")
    base = place.format(models=models, links=tmp_path)
    text = f'model_config_list {{ config {{ name: "x" base_path: "{base}" model_platform: "tensorflow" }} }}'
    code, words = closed.refusal(text)
    assert code is grpc.StatusCode.PERMISSION_DENIED
    assert words.startswith(f"The base path {base} of model x lies in no directory that a reload may name; ")
    assert closed.predict("a")[0] in (1, 3)


@pytest.mark.parametrize(
    ("place", "root", "lies"),
    [
        ("/a", "/a", True), ("/a/b", "/a/", True), ("/a/b/..", "/a", True), ("/ab", "/a", False), ("/a/../b", "/a", False),
        ("/a", "/a/b", False), ("/a", "/", True), ("s3://b/m", "s3://b", True), ("s3://b/m/n", "s3://b/m/", True),
        ("s3://b/mn", "s3://b/m", False), ("s3://b/m/../n", "s3://b/m", False), ("gs://b/m", "s3://b", False),
        ("s3://b/m", "/", False), ("/a", "s3://b", False), ("s3://b/m", "s3://b/../..", False),
    ],
)  # fmt: skip
def test_what_lies_in_a_root(place, root, lies):
    model = model_config.ModelConfig("m", Path(place), latest(), {})
    object.__setattr__(model, "base_path", place)  # a Path would shorten s3://
    if lies:
        model_config.check_places([model], ["/nowhere", root])
    else:
        with pytest.raises(StatusError, match="lies in no directory"):
            model_config.check_places([model], ["/nowhere", root])


@pytest.mark.parametrize("change", [('"a"', r'"a\nb"'), ('/a" model', r'/a\x1b[2J" model')])
def test_names_with_control_characters_are_refused(closed, models, change):
    code, words = closed.refusal(config(models, a="").replace(*change))
    assert code is INVALID
    assert words.endswith('" has control characters; legal is printable text')
    assert words.isprintable()


@pytest.mark.parametrize("part", ["name", "label", "signature"])
def test_so_are_those_that_a_request_asks_for(closed, part):
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "a\n" if part == "name" else "a"
    if part == "label":
        request.model_spec.version_label = "\x1b[2J"
    if part == "signature":
        request.model_spec.signature_name = "a\u2028"
    with pytest.raises(grpc.RpcError) as caught:
        closed.ask(request)
    assert caught.value.code() is INVALID
    assert caught.value.details().endswith('" has control characters; legal is printable text')
