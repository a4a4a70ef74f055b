"""What TensorFlow Serving 2.16.1 asks of its own server, asked of this one over sockets.

The ids of a table are the names of the tests there, of the file that its heading names; rows with an id in words are
neighbours of ours, from the source beside the test. Not here, as they lie with others of their kind: json_tensor_test.cc
(test_json_tensors.py), what is wrong with a list of models (server_core_test.cc, in test_model_service.py and
test_labels.py), warm-up (saved_model_warmup_test.cc, in test_versions.py).
"""

from __future__ import annotations

import gzip
import http.client
import json
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import descriptor_pool, message_factory, text_format
from grpc_reflection.v1alpha import reflection_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)

from serving import process
from serving.server import flags
from serving.server.api import reflection

INVALID, NOT_FOUND, PRECONDITION, UNIMPLEMENTED = (
    getattr(grpc.StatusCode, name) for name in ("INVALID_ARGUMENT", "NOT_FOUND", "FAILED_PRECONDITION", "UNIMPLEMENTED")
)
SERVED = {"half_plus_two": 3.0, "half_plus_three": 4.0}  # of x = 2


@dataclass(frozen=True)
class Server:
    """A running server's ports and socket."""

    grpc: int
    rest: int
    socket: str

    def rest_answer(self, method: str, path: str, body: str | bytes = b"", **headers: str) -> tuple[int, str, dict]:
        connection = http.client.HTTPConnection("127.0.0.1", self.rest, timeout=30)
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        return response.status, response.read().decode(), dict(response.getheaders())

    def json(self, method: str, path: str, document: object = None) -> tuple[int, dict]:
        status, body, _ = self.rest_answer(method, path, "" if document is None else json.dumps(document))
        return status, json.loads(body)


def config(labels: str = "", **bases: Path) -> str:
    """Of the models by name; labels are of every one."""
    models = [
        f'config {{ name: "{name}" base_path: "{base}" model_platform: "tensorflow" {labels} }}'
        for name, base in bases.items()
    ]
    return f"model_config_list {{ {' '.join(models)} }}"


@pytest.fixture(scope="module")
def server(serve, half_plus_two, half_plus_three, tmp_path_factory) -> Iterator[Server]:
    """The flags that the tests of tensorflow_model_server_test.py give to theirs, all at once."""
    folder = tmp_path_factory.mktemp("server")
    label = 'version_labels { key: "label" value: 123 }'
    (folder / "models").write_text(config(label, half_plus_two=half_plus_two, half_plus_three=half_plus_three))
    (folder / "monitoring").write_text("prometheus_config { enable: true }")
    socket = f"unix:{folder}/socket"
    argv = (
        f"--model_config_file={folder}/models",
        "--allow_version_labels_for_unavailable_models",
        f"--monitoring_config_file={folder}/monitoring",
        f"--grpc_socket_path={folder}/socket",
        "--grpc_channel_arguments=grpc.max_connection_age_ms=2000,grpc.lb_policy_name=grpclb",
        "--rest_api_enable_cors_support",
        "--rest_api_timeout_in_ms=5000",
    )
    with serve(*argv) as ports:
        yield Server(ports.grpc, ports.rest, socket)


@pytest.fixture
def channel(server) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc}") as channel:
        yield channel


def half_of(
    model: str, shape=(1,), outputs=("y",), signature: str = "serving_default", **fields
) -> predict_pb2.PredictRequest:
    """Asks a model for x = 2."""
    request = predict_pb2.PredictRequest(output_filter=outputs, **fields)
    request.model_spec.name, request.model_spec.signature_name = model, signature
    request.inputs["x"].CopyFrom(tf.make_tensor_proto(np.full(shape, 2, np.float32)))
    return request


def predicted(channel: grpc.Channel, request: predict_pb2.PredictRequest) -> tuple[list[float], str, str, int]:
    answer = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict(request, timeout=20)
    assert list(answer.outputs) == ["y"]
    spec = answer.model_spec
    return list(answer.outputs["y"].float_val), spec.name, spec.signature_name, spec.version.value


# ---- model_servers/tensorflow_model_server_test.py, over gRPC


@pytest.mark.parametrize("outputs", [["y"], []], ids=["output", "no output"])
@pytest.mark.parametrize("model", SERVED)
def test_predict_saved_model_and_good_model_config(channel, model, outputs):
    """testPredictSavedModel, testGoodModelConfig, testGoodGrpcChannelArgs."""
    assert predicted(channel, half_of(model, outputs=outputs)) == ([SERVED[model]], model, "serving_default", 123)


@pytest.mark.parametrize("shape", [(3,), (3, 1), (1, 3)])
def test_any_shape_is_run(channel, shape):
    assert predicted(channel, half_of("half_plus_two", shape))[0] == [3.0] * 3


@pytest.mark.parametrize("shape", [(3,), (3, 1)])
def test_any_shape_is_run_in_a_batch(serve, half_plus_two, tmp_path, shape):
    parameters = tmp_path / "batching"  # the values of testdata/batching_config.txt
    parameters.write_text(
        "max_batch_size { value: 128 } batch_timeout_micros { value: 0 } max_enqueued_batches { value: 1000000 } "
        "num_batch_threads { value: 8 }"
    )
    argv = (f"--model_base_path={half_plus_two}", "--enable_batching", f"--batching_parameters_file={parameters}")
    with serve(*argv) as ports, grpc.insecure_channel(f"127.0.0.1:{ports.grpc}") as channel:
        assert predicted(channel, half_of("default", shape))[0] == [3.0] * 3


def test_predict_uds(server):
    with grpc.insecure_channel(server.socket) as channel:
        assert predicted(channel, half_of("half_plus_two"))[0] == [3.0]


def test_get_model_status(channel):
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = "half_plus_two"
    answer = model_service_pb2_grpc.ModelServiceStub(channel).GetModelStatus(request, timeout=20)
    assert [(one.version, one.status.error_code) for one in answer.model_version_status] == [(123, 0)]


def test_get_model_metadata(channel):
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    request.model_spec.name = "half_plus_two"
    answer = prediction_service_pb2_grpc.PredictionServiceStub(channel).GetModelMetadata(request, timeout=20)
    assert (answer.model_spec.name, answer.model_spec.version.value) == ("half_plus_two", 123)
    assert list(answer.metadata) == ["signature_def"]


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ("Classify", classification_pb2.ClassificationRequest()),
        ("Regress", regression_pb2.RegressionRequest()),
        ("MultiInference", inference_pb2.MultiInferenceRequest()),
    ],
    ids=["testClassify, testClassifyTf2", "testRegress, testRegressTf2", "testMultiInference, testMultiInferenceTf2"],
)
def test_what_is_not_for_separators_is_unimplemented(channel, method, message):
    with pytest.raises(grpc.RpcError) as caught:
        getattr(prediction_service_pb2_grpc.PredictionServiceStub(channel), method)(message, timeout=20)
    assert caught.value.code() is UNIMPLEMENTED
    assert caught.value.details().startswith(f"{method} is not served: ")


@pytest.mark.parametrize(("poll_seconds", "model"), [(0.05, "half_plus_three"), (0, "half_plus_two")])
def test_model_config_reload(serve, half_plus_two, half_plus_three, tmp_path, poll_seconds, model):
    """testModelConfigReload, testModelConfigReloadWithZeroPollPeriod."""
    path = tmp_path / "models"
    path.write_text(config(half_plus_two=half_plus_two))
    argv = (f"--model_config_file={path}", f"--model_config_file_poll_wait_seconds={poll_seconds}")
    with serve(*argv) as ports, grpc.insecure_channel(f"127.0.0.1:{ports.grpc}") as channel:
        assert predicted(channel, half_of("half_plus_two"))[0] == [3.0]
        path.write_text(config(half_plus_three=half_plus_three))
        time.sleep(1)
        assert predicted(channel, half_of(model))[0] == [SERVED[model]]


def test_bad_model_config(tmp_path):
    path = tmp_path / "models"
    path.write_text("improperly formatted file")
    line = process.command("--port=0", f"--model_config_file={path}")
    done = subprocess.run(line, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "Error parsing text-format tensorflow.serving.ModelServerConfig: 1:1 : " in done.stderr
    assert done.stderr.strip().count("\n") == 0


@pytest.mark.parametrize("flag", ["--prefer_tflite_model=true"])
def test_predict_on_tf_lite_is_refused_by_name(capsys, flag):
    """testPredictOnTfLite, testPredictWithSignatureDefOnTfLite."""
    with pytest.raises(SystemExit):
        flags.parse(["--model_base_path=/m", flag])
    assert "TensorFlow Lite models are not served" in capsys.readouterr().err


class Multiple(tf.Module):
    """Of test_tf_saved_model_save and test_tf_saved_model_save_multiple_signatures, and an input with a default."""

    def __init__(self) -> None:
        super().__init__()
        self.factor = tf.Variable(6.0)

    @tf.function(input_signature=[tf.TensorSpec(None, tf.float32)])
    def product(self, x):
        return {"y": self.factor * x}

    @tf.function(input_signature=[tf.TensorSpec(None, tf.float32)])
    def one(self, x):
        return {"y": tf.constant(1.0)}

    @tf.function(input_signature=[tf.TensorSpec([1], tf.float32)])
    def defaulted(self, x=tf.constant([5], shape=[1], dtype=tf.float32)):  # noqa: B008
        return {"y": x}


@pytest.fixture(scope="module")
def exported(serve, tmp_path_factory) -> Iterator[grpc.Channel]:
    """Models of this TensorFlow, and one of Keras."""
    folder = tmp_path_factory.mktemp("exported")
    module = Multiple()
    signatures = {"serving_default": module.product, "one": module.one, "defaulted": module.defaulted}
    tf.saved_model.save(module, str(folder / "module" / "00000123"), signatures=signatures)
    # Keras 3 names an input after the layer; the test there is of Keras 2
    keras = tf.keras.Sequential([tf.keras.layers.Input((1,), name="x"), tf.keras.layers.Identity(name="y")])
    archive = tf.keras.export.ExportArchive()
    archive.track(keras)
    spec = tf.TensorSpec((None, 1), tf.float32, "x")
    archive.add_endpoint("serving_default", lambda x: {"y": keras(x)}, input_signature=[spec])
    archive.write_out(str(folder / "keras" / "00000123"))
    (folder / "models").write_text(config(module=folder / "module", keras=folder / "keras"))
    with (
        serve(f"--model_config_file={folder}/models") as ports,
        grpc.insecure_channel(f"127.0.0.1:{ports.grpc}") as channel,
    ):
        yield channel


@pytest.mark.parametrize(
    ("model", "shape", "signature", "expected"),
    [
        ("module", (1,), "serving_default", 12.0),
        ("module", (1,), "one", 1.0),
        ("keras", (1, 1), "serving_default", 2.0),
        ("module", (), "serving_default", 12.0),
    ],
    ids=[
        "test_tf_saved_model_save", "test_tf_saved_model_save_multiple_signatures",
        "test_sequential_keras_saved_model_save", "a scalar",
    ],
)  # fmt: skip
def test_models_of_today(exported, model, shape, signature, expected):
    assert predicted(exported, half_of(model, shape, signature=signature))[0] == [expected]


def test_an_input_that_is_not_sent_has_its_default(exported):
    """GetInputValues in TensorFlow's cc/saved_model/util.cc; saved_model_half_plus_two.py has such an input."""
    request = half_of("module", signature="defaulted")
    assert predicted(exported, request)[0] == [2.0]
    del request.inputs["x"]
    assert predicted(exported, request)[0] == [5.0]
    request.inputs["z"].CopyFrom(tf.make_tensor_proto([1.0]))
    with pytest.raises(grpc.RpcError) as caught:
        predicted(exported, request)
    words = "Inputs contains invalid name. Used request inputs: , request input: z"
    assert (caught.value.code(), caught.value.details()) == (INVALID, words)


# ---- model_servers/tensorflow_model_server_test.py and http_rest_api_handler_test.cc, over REST

TWO, THREE = "/v1/models/half_plus_two", "/v1/models/half_plus_three"
AVAILABLE = {
    "model_version_status": [
        {"version": "123", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
    ]
}
ANSWERS = {
    "testPredictREST": ("POST", f"{TWO}:predict", {"instances": [2.0, 3.0, 4.0]}, {"predictions": [3.0, 3.5, 4.0]}),
    "testPredictColumnarREST": ("POST", f"{TWO}:predict", {"inputs": [2.0, 3.0, 4.0]}, {"outputs": [3.0, 3.5, 4.0]}),
    "testGetStatusREST": ("GET", TWO, None, AVAILABLE),
    "Predict, latest": (
        "POST",
        f"{TWO}:predict",
        {"instances": [[1.0, 2.0], [3.0, 4.0]]},
        {"predictions": [[2.5, 3.0], [3.5, 4.0]]},
    ),
    "Predict, version": ("POST", f"{TWO}/versions/123:predict", {"instances": [1.0]}, {"predictions": [2.5]}),
    "Predict, label": ("POST", f"{TWO}/labels/label:predict", {"instances": [1.0]}, {"predictions": [2.5]}),
    "Predict, signature": (
        "POST",
        f"{THREE}/versions/123:predict",
        {"signature_name": "serving_default", "instances": [3.0]},
        {"predictions": [4.5]},
    ),
    "Predict, signature and columns": (
        "POST",
        f"{THREE}/versions/123:predict",
        {"signature_name": "serving_default", "inputs": [3.0]},
        {"outputs": [4.5]},
    ),
    "GetStatus, version": ("GET", f"{TWO}/versions/123", None, AVAILABLE),
    "GetStatus, label": ("GET", f"{TWO}/labels/label", None, AVAILABLE),
    "a version with zeros before it": ("GET", f"{TWO}/versions/{'0' * 5000}123", None, AVAILABLE),
    "a question of no use": ("GET", f"{TWO}?x=1", None, AVAILABLE),
    "whatever the case": ("POST", "/V1/Models/half_plus_two:PREDICT", {"inputs": 2.0}, {"outputs": 3.0}),
}  # fmt: skip


@pytest.mark.parametrize(("method", "path", "document", "expected"), ANSWERS.values(), ids=ANSWERS.keys())
def test_rest_answers(server, method, path, document, expected):
    assert server.json(method, path, document) == (200, expected)


def test_get_model_metadata_rest(server):
    """testGetModelMetadataREST, GetModelMetadata: half_plus_two_model_metadata.json has these words for these signatures."""
    size = {"dim": [{"size": "-1", "name": ""}, {"size": "1", "name": ""}], "unknown_rank": False}
    real = {name: {"dtype": "DT_FLOAT", "tensor_shape": size, "name": f"{name}:0"} for name in ("x", "y")}
    text = {"dtype": "DT_STRING", "tensor_shape": {"dim": [{"size": "-1", "name": ""}], "unknown_rank": False}}
    example = {"inputs": {**text, "name": "tf_example:0"}}

    def signature(method: str, inputs: dict, outputs: dict) -> dict:
        name = f"tensorflow/serving/{method}"
        return {"inputs": inputs, "outputs": outputs, "method_name": name, "defaults": {}}

    signatures = {
        "serving_default": signature("predict", {"x": real["x"]}, {"y": real["y"]}),
        "regress_x_to_y": signature("regress", example, {"outputs": real["y"]}),
        "classify_x_to_y": signature("classify", example, {"scores": real["y"]}),
    }
    assert server.json("GET", f"{TWO}/metadata") == (
        200,
        {
            "model_spec": {"name": "half_plus_two", "signature_name": "", "version": "123"},
            "metadata": {"signature_def": {"signature_def": signatures}},
        },
    )


def test_prometheus_endpoint(server):
    status, page, _ = server.rest_answer("GET", "/monitoring/prometheus/metrics")
    assert status == 200
    assert "# TYPE" in page


MALFORMED = "Malformed request: "
ONE = '{"instances": [1]}'
RESERVED = "%21%23%24%25%26%27%28%29%2A%2B%2C%2F%3A%3B%3D%3F%40%5B%5D"
REFUSALS = {
    # http_rest_api_handler_test.cc
    "UnsupportedApiCalls, foo": ("GET", "/v1/foo", "", 400, MALFORMED),
    "UnsupportedApiCalls, POST foo": ("POST", "/v1/foo", "", 400, MALFORMED),
    "UnsupportedApiCalls, no model": ("GET", "/v1/models", "", 400, "Missing model name in request."),
    "UnsupportedApiCalls, debug": ("GET", "/v1/models/debug/model_name", "", 400, MALFORMED),
    "UnsupportedApiCalls, POST models": ("POST", "/v1/models", "", 400, MALFORMED),
    "UnsupportedApiCalls, GET predict": ("GET", "/v1/models/foo:predict", "", 400, MALFORMED),
    "UnsupportedApiCalls, version": ("GET", "/v1/models/foo/version/50:predict", "", 400, MALFORMED),
    "UnsupportedApiCalls, POST version": ("POST", "/v1/models/foo/version/50:regress", "", 400, MALFORMED),
    "UnsupportedApiCalls, HELLO": ("POST", "/v1/models/foo/versions/HELLO:regress", "", 400, MALFORMED),
    "UnsupportedApiCalls, uint64": (
        "POST",
        f"/v1/models/foo/versions/{2**64 - 1}:regress",
        "",
        501,  # there Failed to convert version: Regress is not served here at all
        "Regress is not served",
    ),
    "UnsupportedApiCalls, POST metadata": ("POST", "/v1/models/foo/metadata", "", 400, MALFORMED),
    "UnsupportedApiCalls, label": ("POST", "/v1/models/foo/label/some_label:regress", "", 400, MALFORMED),
    "UnsupportedApiCalls, both": ("POST", "/v1/models/foo/versions/50/labels/some_label:regress", "", 400, MALFORMED),
    "PredictModelNameVersionErrors, name": ("POST", "/v1/models/foo:predict", ONE, 404, "Servable not found for request: Latest(foo)"),
    "PredictModelNameVersionErrors, both": ("POST", "/v1/models/foo/versions/50:predict", ONE, 404, "Servable not found for request: Specific(foo, 50)"),
    "PredictModelNameVersionErrors, version": ("POST", f"{TWO}/versions/99:predict", ONE, 404, "Servable not found for request: Specific(half_plus_two, 99)"),
    "PredictRequestErrors, empty": ("POST", f"{TWO}:predict", "", 400, "JSON Parse error: The document is empty"),
    "PredictRequestErrors, format": ("POST", f"{TWO}:predict", "instances = [1, 2]", 400, "JSON Parse error: Invalid value. at offset: 0"),
    "PredictRequestErrors, type": ("POST", f"{TWO}:predict", '{"instances": ["x", "y"]}', 400, "Failed to process element: 0 of 'instances' list. Error: INVALID_ARGUMENT: JSON Value: \"x\" Type: String is not of expected type: float"),
    "PredictRequestErrors, label": ("POST", f"{TWO}/labels/x:predict", ONE, 400, "Unrecognized servable version label: x"),
    "PredictRequestErrors, signature": ("POST", f"{TWO}:predict", '{"signature_name": 100}', 400, 'JSON Value: {\n    "signature_name": 100\n} not formatted correctly. \'signature_name\' key must be a string value.'),
    "testClassifyREST": ("POST", f"{TWO}:classify", '{"signature_name": "classify_x_to_y", "examples": [{"x": 2.0}]}', 501, "Classify is not served"),
    "testRegressREST": ("POST", f"{TWO}:regress", '{"signature_name": "regress_x_to_y", "examples": [{"x": 2.0}]}', 501, "Regress is not served"),
    # http_rest_api_util_test.cc: what is in a path after it is decoded
    "TestParseModelInfoForGet, name": ("GET", f"/v1/models/n{RESERVED}", "", 404, "Could not find any versions of model n!#$%&'()*+,/:;=?@[]"),
    "TestParseModelInfoForGet, version": ("GET", "/v1/models/modelname/versions/99", "", 404, "Could not find version 99 of model modelname"),
    "TestParseModelInfoForGet, label": ("GET", f"/v1/models/n/labels/l{RESERVED}/metadata", "", 400, "Unrecognized servable version label: l!#$%&'()*+,/:;=?@[]"),
    "TestParseModelInfoForPost, name": ("POST", f"/v1/models/n{RESERVED}:predict", ONE, 404, "Servable not found for request: Latest(n!#$%&'()*+,/:;=?@[])"),
    "TestParseModelInfoForPost, both": ("POST", f"/v1/models/n{RESERVED}/labels/l{RESERVED}:predict", ONE, 400, "Unrecognized servable version label: l!#$%&'()*+,/:;=?@[]"),
    "TestParseModelInfoForPost, string": ("POST", "/v1/models/foo/versions/string:predict", ONE, 400, MALFORMED),
    "TestParseModelInfoForPost, uint64": ("POST", f"/v1/models/foo/versions/{2**64 - 1}:predict", ONE, 400, f"Failed to convert version: {2**64 - 1} to numeric."),
    "a signature of no name": ("POST", f"{TWO}:predict", '{"signature_name": "x", "inputs": 1}', 400, 'Serving signature name: "x" not found in signature def'),
    "another method": ("PUT", TWO, "", 400, MALFORMED),
}  # fmt: skip


@pytest.mark.parametrize(("method", "path", "body", "code", "words"), REFUSALS.values(), ids=REFUSALS.keys())
def test_rest_refusals(server, method, path, body, code, words):
    status, text, headers = server.rest_answer(method, path, body)
    assert (status, headers["Content-Type"].partition(";")[0]) == (code, "application/json")
    assert json.loads(text)["error"].startswith(words)


@pytest.mark.parametrize("path", ["/statuspage", "/index", "/v1", "/v2/models/half_plus_two"])
def test_other_paths_are_not_found(server, path):
    """kPathRegex of http_rest_api_handler_test.cc."""
    assert server.rest_answer("GET", path)[0] == 404


# ---- model_servers/get_model_status_impl_test.cc, over both


@pytest.fixture(scope="module")
def versions(serve, half_plus_two, tmp_path_factory) -> Iterator[Server]:
    base = tmp_path_factory.mktemp("versions")
    for version in ("00000123", "00000124"):
        shutil.copytree(half_plus_two / "00000123", base / "m" / version)
    policy = "model_version_policy { specific { versions: 123 versions: 124 } }"
    (base / "models").write_text(config(policy, m=base / "m"))
    with serve(f"--model_config_file={base}/models") as ports:
        server = Server(ports.grpc, ports.rest, "")
        deadline = time.monotonic() + 30
        while "LOADING" in (text := server.rest_answer("GET", "/v1/models/m")[1]) or text.count("AVAILABLE") < 2:
            assert time.monotonic() < deadline
        yield server


STATUSES = {
    "MissingOrEmptyModelSpecFailure": (None, None, INVALID, "Missing ModelSpec"),
    "an empty name": ("", None, NOT_FOUND, "Could not find any versions of model "),
    "InvalidModelNameFailure": ("nonexistent", None, NOT_FOUND, "Could not find any versions of model nonexistent"),
    "InvalidModelVersionFailure": ("m", 125, NOT_FOUND, "Could not find version 125 of model m"),
    "AllVersionsSuccess": ("m", None, [124, 123], ""),
    "SingleVersionSuccess": ("m", 123, [123], ""),
}


@pytest.mark.parametrize(("name", "version", "expected", "words"), STATUSES.values(), ids=STATUSES.keys())
def test_get_model_status_impl(versions, name, version, expected, words):
    request = get_model_status_pb2.GetModelStatusRequest()
    if name is not None:
        request.model_spec.name = name
        request.model_spec.SetInParent()
    if version is not None:
        request.model_spec.version.value = version
    with grpc.insecure_channel(f"127.0.0.1:{versions.grpc}") as channel:
        stub = model_service_pb2_grpc.ModelServiceStub(channel)
        if isinstance(expected, list):
            answer = stub.GetModelStatus(request, timeout=20)
            assert [one.version for one in answer.model_version_status] == expected
            assert {(one.status.error_code, one.status.error_message) for one in answer.model_version_status} == {
                (0, "")
            }
            return
        with pytest.raises(grpc.RpcError) as caught:
            stub.GetModelStatus(request, timeout=20)
    assert (caught.value.code(), caught.value.details()) == (expected, words)


# ---- servables/tensorflow/predict_impl_test.cc, predict_util_test.cc and get_model_metadata_impl_test.cc


def without_spec(request):
    request.ClearField("model_spec")
    return request


def fed(**inputs) -> predict_pb2.PredictRequest:
    request = half_of("half_plus_two")
    request.ClearField("inputs")
    for alias, value in inputs.items():
        request.inputs[alias].CopyFrom(tf.make_tensor_proto(value))
    return request


def metadata(*fields: str, **spec: str) -> get_model_metadata_pb2.GetModelMetadataRequest:
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=fields)
    if spec:
        request.model_spec.name = spec["name"]
        request.model_spec.SetInParent()
    return request


RPCS = {
    "MissingOrEmptyModelSpec, none": (without_spec(half_of("")), INVALID, "Missing ModelSpec"),
    "MissingOrEmptyModelSpec, no name": (half_of(""), INVALID, "ModelSpec has no name specified."),
    "MissingOrEmptyModelSpec, another": (half_of("test"), NOT_FOUND, "Servable not found for request: Latest(test)"),
    "EmptyInputList": (
        fed(),
        INVALID,
        "input size does not match signature: 0!=1 len({}) != len({x}). Sent extra: {}. Missing but required: {x}.",
    ),
    "InputTensorsDontMatchModelSpecInputs": (
        fed(unknown_key1=1.0, unknown_key2=1.0),
        INVALID,
        "input size does not match signature: 2!=1 len({unknown_key1,unknown_key2}) != len({x}). "
        "Sent extra: {unknown_key1,unknown_key2}. Missing but required: {x}.",
    ),
    "one that the signature does not know": (
        fed(key=1.0),
        INVALID,
        "Signature input alias: x(feed name: x:0) not found in request and no default value provided. "
        "Inputs expected to be in the request {key}, or default input alias set: ",
    ),
    "PredictionInvalidTensor": (fed(x=[True]), INVALID, "Expects arg[0] to be float but bool is provided"),
    "InputTensorsHaveWrongType": (fed(x=["a"]), INVALID, "Expects arg[0] to be float but string is provided"),
    "OutputFiltersDontMatchModelSpecOutputs, unknown": (
        half_of("half_plus_two", outputs=["output_filter"]),
        INVALID,
        "output tensor alias not found in signature: output_filter Outputs expected to be in the set {y}.",
    ),
    "OutputFiltersDontMatchModelSpecOutputs, twice": (
        half_of("half_plus_two", outputs=["y", "y"]),
        INVALID,
        "duplicate output tensor alias: y",
    ),
    "ModelMissingSignatures": (
        half_of("half_plus_two", signature="missing"),
        PRECONDITION,
        'Serving signature key "missing" not found.',
    ),
    "EmptyOrInvalidMetadataFieldList, empty": (
        metadata(name="half_plus_two"),
        INVALID,
        "GetModelMetadataRequest must specify at least one metadata_field",
    ),
    "EmptyOrInvalidMetadataFieldList, another": (
        metadata("some_stuff", name="half_plus_two"),
        INVALID,
        "Metadata field some_stuff is not supported",
    ),
    "MissingOrEmptyModelSpec, metadata": (metadata("signature_def"), INVALID, "Missing ModelSpec"),
    "MissingOrEmptyModelSpec, metadata of no name": (
        metadata("signature_def", name=""),
        INVALID,
        "ModelSpec has no name specified.",
    ),
    "MissingOrEmptyModelSpec, metadata of another": (
        metadata("signature_def", name="test"),
        NOT_FOUND,
        "Servable not found for request: Latest(test)",
    ),
}


@pytest.mark.parametrize(("request_", "code", "words"), RPCS.values(), ids=RPCS.keys())
def test_grpc_refusals(channel, request_, code, words):
    stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
    call = stub.Predict if isinstance(request_, predict_pb2.PredictRequest) else stub.GetModelMetadata
    with pytest.raises(grpc.RpcError) as caught:
        call(request_, timeout=20)
    assert (caught.value.code(), caught.value.details()) == (code, words)


def test_of_very_many_names_the_first_are_told_as_if_all_were(channel):
    names = [f"input{number}" for number in range(5000)]
    with pytest.raises(grpc.RpcError) as caught:
        predicted(channel, fed(**dict.fromkeys(names, 1.0)))
    whole = (
        f"input size does not match signature: 5000!=1 len({{{','.join(sorted(names))}}}) != len({{x}}). Sent extra: "
    )
    assert caught.value.details() == f"{whole[:1024]}...TRUNCATED"


@pytest.mark.parametrize(
    ("signature", "alias", "method"),
    [("regress_x_to_y", "outputs", "Regression"), ("classify_x_to_y", "scores", "Classification")],
)
def test_predict_runs_signatures_of_other_methods(channel, signature, alias, method):
    """PredictionWithNamedRegressionSignature, PredictionWithNamedClassificationSignature."""
    example = tf.train.Example()
    example.features.feature["x"].float_list.value.append(2.0)
    request = fed(inputs=[example.SerializeToString()])
    request.model_spec.signature_name = signature
    request.ClearField("output_filter")
    answer = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict(request, timeout=20)
    assert list(answer.outputs[alias].float_val) == [3.0]


# ---- what had been answered otherwise

CORRECTED = {
    "a shape that is not the placeholder's": (f"{TWO}:predict", '{"instances": [2.0, 3.0, 4.0]}', {}, 200, "[3.0,\n3.5,\n4.0]"),
    "a float that loses precision": (f"{TWO}:predict", '{"inputs": 16777216}', {}, 200, "8.38861e+06"),
    "a float beyond the range": (f"{TWO}:predict", '{"inputs": [1e39, -1e39]}', {}, 200, "[Infinity, -Infinity]"),
    "a key that is written twice": (f"{TWO}:predict", '{"inputs": 2, "inputs": 4}', {}, 200, '"outputs": 3.0'),
    "a question before a request": (f"{TWO}:predict", None, {"Origin": "https://example.org"}, 200, ""),
    "one without an origin": (f"{TWO}:predict", None, {}, 400, "Origin header is missing in CORS preflight"),
    "no gzip": (f"{TWO}:predict", ONE, {"Content-Encoding": "gzip"}, 400, "the body is not what Content-Encoding says"),
    "gzip": (f"{TWO}:predict", gzip.compress(ONE.encode()), {"Content-Encoding": "gzip"}, 200, "2.5"),
    "a version of 5,000 digits": (f"{TWO}/versions/{'9' * 5000}:predict", ONE, {}, 400, "Failed to convert version: 999"),
    "JSON nested 900 deep": (f"{TWO}:predict", '{"inputs": ' + "[" * 900 + "]" * 900 + "}", {}, 400, "JSON Value: ["),
    "JSON nested 100,000 deep": (f"{TWO}:predict", "[" * 100_000, {}, 400, "The document is nested too deeply"),
    "a number of 5,000 digits": (f"{TWO}:predict", f'{{"inputs": {"9" * 5000}}}', {}, 400, "Number too big to be stored in double."),
    "20 MB in an error's words": (f"{TWO}:predict", '{"signature_name": 1, "inputs": [' + "1, " * 7_000_000 + "1]}", {}, 400, "...TRUNCATED"),
    "regress": (f"{TWO}:regress", "{}", {}, 501, "Regress is not served"),
}  # fmt: skip


@pytest.mark.parametrize(("path", "body", "headers", "code", "words"), CORRECTED.values(), ids=CORRECTED.keys())
def test_what_was_corrected(server, path, body, headers, code, words):
    status, text, found = server.rest_answer("OPTIONS" if body is None else "POST", path, body or b"", **headers)
    assert (status, found["Content-Type"].partition(";")[0]) == (code, "application/json")
    assert words in text
    assert len(text) < 1500
    assert found["Access-Control-Allow-Origin"] == "*"
    assert found["Access-Control-Allow-Methods"] == "POST, GET"


def test_a_client_that_knows_nothing_finds_the_services_by_reflection(channel):
    """//tensorflow_serving/model_servers:tensorflow_model_server_main_lib is linked with grpc++_reflection."""
    database = ProtoReflectionDescriptorDatabase(channel)
    assert sorted(database.get_services()) == [
        "grpc.reflection.v1alpha.ServerReflection",
        "tensorflow.serving.ModelService",
        "tensorflow.serving.PredictionService",
    ]
    pool = descriptor_pool.DescriptorPool(database)
    model_service = pool.FindServiceByName("tensorflow.serving.ModelService")
    assert [method.name for method in model_service.methods] == ["GetModelStatus", "HandleReloadConfigRequest"]
    service = pool.FindServiceByName("tensorflow.serving.PredictionService")
    names = ["Classify", "Regress", "Predict", "MultiInference", "GetModelMetadata"]
    assert [method.name for method in service.methods] == names
    method = service.FindMethodByName("Predict")
    request, response = (
        message_factory.GetMessageClass(message) for message in (method.input_type, method.output_type)
    )
    call = channel.unary_unary(f"/{service.full_name}/{method.name}", request.SerializeToString, response.FromString)
    asked = text_format.Parse(
        'model_spec { name: "half_plus_two" } '
        'inputs { key: "x" value { dtype: DT_FLOAT tensor_shape { dim { size: 1 } } float_val: 2 } }',
        request(),
    )
    assert list(call(asked, timeout=20).outputs["y"].float_val) == [3.0]


def test_reflection_streams_that_idle_hold_up_no_request(serve, half_plus_two, monkeypatch):
    monkeypatch.setattr(reflection, "STREAM_SECONDS", 3.0)
    with (
        serve(f"--model_base_path={half_plus_two}", "--grpc_max_threads=1") as ports,
        grpc.insecure_channel(f"127.0.0.1:{ports.grpc}") as channel,
    ):
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        never = threading.Event()
        idle = [stub.ServerReflectionInfo(iter(never.wait, True)) for _ in range(reflection.STREAMS + 300)]
        assert predicted(channel, half_of("default"))[0] == [3.0]
        ends = [stream.code() for stream in idle]
        assert ends.count(grpc.StatusCode.RESOURCE_EXHAUSTED) == 300
        assert ends.count(grpc.StatusCode.CANCELLED) == reflection.STREAMS
        assert "tensorflow.serving.ModelService" in ProtoReflectionDescriptorDatabase(channel).get_services()
        never.set()
