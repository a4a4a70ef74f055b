"""The shipped config files: messages the real server reads, and our server runs on them as they are."""

import shutil
from pathlib import Path

import grpc
import pytest
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

import serving
from serving.server import textproto
from serving.server.models import model_config

CONFIG = Path(serving.__file__).parent / "config"


def test_the_model_config_is_a_model_server_config():
    (model,) = model_config.read(CONFIG / "model.config").model_config_list.config
    assert (model.name, model.model_platform) == ("stemline", "tensorflow")
    assert model.base_path.startswith("/")
    assert model.model_version_policy.latest.num_versions == 1


def test_the_batching_config_obeys_the_servers_rules():
    parsed = textproto.read(CONFIG / "batching.config", textproto.message("BatchingParameters"))
    sizes = list(parsed.allowed_batch_sizes)
    assert sizes == sorted(sizes)
    assert sizes[-1] == parsed.max_batch_size.value
    assert parsed.num_batch_threads.value >= 1
    assert not parsed.pad_variable_length_inputs


def test_the_monitoring_config_serves_prometheus():
    parsed = textproto.read(CONFIG / "monitoring.config", textproto.message("MonitoringConfig"))
    assert parsed.prometheus_config.enable
    assert parsed.prometheus_config.path == "/monitoring/prometheus/metrics"


def test_the_server_runs_on_these_very_files(serve, saved_model, tmp_path):
    """All but the place of the models, which is a mount in production."""
    shutil.copytree(saved_model, tmp_path / "1")
    models = tmp_path / "model.config"
    models.write_text((CONFIG / "model.config").read_text().replace("/models/stemline", str(tmp_path)))
    argv = (
        f"--model_config_file={models}",
        "--enable_batching",
        f"--batching_parameters_file={CONFIG / 'batching.config'}",
        f"--monitoring_config_file={CONFIG / 'monitoring.config'}",
    )
    with serve(*argv) as ports, grpc.insecure_channel(f"localhost:{ports.grpc}") as channel:
        request = predict_pb2.PredictRequest()
        request.model_spec.name = "stemline"
        request.inputs["mixture"].CopyFrom(tf.make_tensor_proto([[1.0]]))
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        assert list(stub.Predict(request, timeout=20).outputs["vocals"].float_val) == [0.25]


@pytest.mark.parametrize(
    ("flag", "text", "words"),
    [
        ("model_config_file", "model_config_list {", "is no ModelServerConfig"),
        ("model_config_file", "custom_model_config { }", "does not yet support custom model config"),
        ("model_config_file", 'model_config_list { config { name: "m" base_path: "m" } }', "to have an absolute path"),
        ("monitoring_config_file", "no_such_field: 1", "is no MonitoringConfig"),
        ("batching_parameters_file", "max_batch_size { value: 0 }", "max_batch_size must be positive"),
        ("tensorflow_session_config_file", "no_such_field: 1", "is no ConfigProto"),
        ("ssl_config_file", "server_key: 1", "is no SSLConfig"),
    ],
)
def test_a_config_that_cannot_be_used_is_one_sentence_and_exit_code_2(serve, saved_model, tmp_path, flag, text, words):
    from serving.server.__main__ import StartError

    path = tmp_path / "file.config"
    path.write_text(text)
    base = tmp_path / "base"
    shutil.copytree(saved_model, base / "1")
    argv = [f"--{flag}={path}", *(["--enable_batching"] if flag.startswith("batching") else [])]
    with pytest.raises(StartError) as caught, serve(f"--model_base_path={base}", *argv):
        pass
    assert caught.value.exit_code == 2
    assert words in str(caught.value)
