"""Version labels: whom they may name, when, and what requests get for them."""

from __future__ import annotations

import shutil
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

from serving.server import __main__ as server

PRECONDITION = grpc.StatusCode.FAILED_PRECONDITION


@pytest.fixture(scope="module")
def base(saved_model, louder_model, tmp_path_factory) -> Path:
    """Versions 1 (gain 0.25) and 2 (gain 0.5)."""
    base = tmp_path_factory.mktemp("labels")
    shutil.copytree(saved_model, base / "1")
    shutil.copytree(louder_model, base / "2")
    return base


def config(base: Path, **labels: int) -> str:
    assigned = " ".join(f'version_labels {{ key: "{key}" value: {value} }}' for key, value in labels.items())
    model = (
        f'name: "m" base_path: "{base}" model_platform: "tensorflow" model_version_policy {{ all {{ }} }} {assigned}'
    )
    return f"model_config_list {{ config {{ {model} }} }}"


class Client:
    def __init__(self, port: int) -> None:
        channel = grpc.insecure_channel(f"localhost:{port}")
        self._models = model_service_pb2_grpc.ModelServiceStub(channel)
        self._prediction = prediction_service_pb2_grpc.PredictionServiceStub(channel)

    def reload(self, text: str) -> None:
        request = model_management_pb2.ReloadConfigRequest()
        text_format.Parse(text, request.config)
        self._models.HandleReloadConfigRequest(request, timeout=60)

    def refusal(self, text: str) -> tuple[grpc.StatusCode, str]:
        with pytest.raises(grpc.RpcError) as caught:
            self.reload(text)
        return caught.value.code(), caught.value.details()

    def wait(self) -> Client:
        """Until both versions are available: the port opens with the first."""
        request = get_model_status_pb2.GetModelStatusRequest()
        request.model_spec.name = "m"
        deadline = time.monotonic() + 30
        while [one.state for one in self._models.GetModelStatus(request, timeout=20).model_version_status] != [30, 30]:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        return self

    def predict(self, label: str) -> tuple[int, float]:
        request = predict_pb2.PredictRequest()
        request.model_spec.name, request.model_spec.version_label = "m", label
        request.inputs["mixture"].CopyFrom(tf.make_tensor_proto([[1.0]]))
        response = self._prediction.Predict(request, timeout=20)
        assert not response.model_spec.version_label  # the answer names the version
        return response.model_spec.version.value, response.outputs["vocals"].float_val[0]

    def status(self, label: str) -> list[int]:
        request = get_model_status_pb2.GetModelStatusRequest()
        request.model_spec.name, request.model_spec.version_label = "m", label
        return [one.version for one in self._models.GetModelStatus(request, timeout=20).model_version_status]


def unavailable(version: int) -> str:
    return f"Request to assign label to version {version} of model m, which is not currently available for inference"


@pytest.fixture(scope="module")
def running(serve, base, tmp_path_factory):
    path = tmp_path_factory.mktemp("config") / "models.config"
    path.write_text(config(base))
    with serve(f"--model_config_file={path}") as ports:
        yield Client(ports.grpc).wait()


@pytest.fixture
def client(running, base):
    running.reload(config(base))
    return running


def test_a_label_names_a_version_and_moves(client, base):
    client.reload(config(base, stable=1, canary=2))
    assert client.predict("stable") == (1, 0.25)
    assert client.predict("canary") == (2, 0.5)
    client.reload(config(base, stable=2))
    assert client.predict("stable") == (2, 0.5)
    with pytest.raises(grpc.RpcError) as caught:
        client.predict("canary")
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert caught.value.details() == "Unrecognized servable version label: canary"


@pytest.mark.parametrize("label", ["stable", "x"])
def test_a_status_is_of_all_versions_whatever_the_label(client, base, label):
    """model_servers/get_model_status_impl.cc at 2.16.1 looks at the version alone."""
    client.reload(config(base, stable=1))
    assert client.status(label) == [2, 1]


def test_a_label_on_a_version_that_is_not_available_is_refused_and_the_old_ones_stay(client, base):
    client.reload(config(base, stable=1))
    assert client.refusal(config(base, stable=9)) == (PRECONDITION, unavailable(9))
    assert client.refusal(config(base, stable=2, new=9)) == (PRECONDITION, unavailable(9))
    assert client.predict("stable") == (1, 0.25)


def test_labels_in_the_first_config_need_the_flag(serve, base, tmp_path):
    """Nothing is available yet when the first config is read."""
    path = tmp_path / "models.config"
    path.write_text(config(base, stable=1))
    with pytest.raises(server.StartError) as caught, serve(f"--model_config_file={path}"):
        pass
    assert (str(caught.value), caught.value.exit_code) == (f"FAILED_PRECONDITION: {unavailable(1)}", 2)


def test_with_the_flag_new_labels_may_come_first_and_old_ones_may_not_move_to_nothing(serve, base, tmp_path):
    path = tmp_path / "models.config"
    path.write_text(config(base, stable=1))
    argv = (f"--model_config_file={path}", "--allow_version_labels_for_unavailable_models")
    with serve(*argv) as ports:
        client = Client(ports.grpc).wait()
        assert client.predict("stable") == (1, 0.25)
        client.reload(config(base, stable=1, future=7))
        with pytest.raises(grpc.RpcError) as caught:
            client.predict("future")
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND
        assert caught.value.details() == "Servable not found for request: Specific(m, 7)"
        assert client.refusal(config(base, stable=7)) == (PRECONDITION, unavailable(7))
        assert client.predict("stable") == (1, 0.25)
