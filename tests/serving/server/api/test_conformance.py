"""Every row of the contract with TensorFlow Serving, over a real socket: status code and words.

Beside this table: states and versions on disk in test_versions.py, labels in test_labels.py, reloads that succeed in
test_model_service.py, the rest of REST and of the metrics in test_rest.py and test_monitoring.py, warm-up in
test_versions.py.
"""

import http.client
import json
import shutil
import threading
import time

import grpc
import numpy as np
import pytest
import tensorflow as tf
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tensorflow.core.framework import tensor_pb2, types_pb2
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)

from serving.server.models.servable import Options, Servable
from serving.wire.status import StatusError

INVALID = grpc.StatusCode.INVALID_ARGUMENT
NOT_FOUND = grpc.StatusCode.NOT_FOUND
PRECONDITION = grpc.StatusCode.FAILED_PRECONDITION

MIXTURE = np.linspace(-1, 1, 12, dtype=np.float32).reshape(2, 6)


@pytest.fixture(scope="module")
def address(serve, base_path):
    argv = (f"--model_base_path={base_path}", "--model_name=stemline", "--enable_grpc_healthcheck_service")
    argv += ("--stemline_reload_roots=/models",)
    with serve(*argv) as ports:
        yield f"localhost:{ports.grpc}"


@pytest.fixture
def prediction(channel):
    return prediction_service_pb2_grpc.PredictionServiceStub(channel)


@pytest.fixture
def model_service(channel):
    return model_service_pb2_grpc.ModelServiceStub(channel)


def predict_request(inputs=None, name="stemline", signature="", outputs=()) -> predict_pb2.PredictRequest:
    request = predict_pb2.PredictRequest(output_filter=outputs)
    request.model_spec.name = name
    request.model_spec.signature_name = signature
    for alias, value in (inputs if inputs is not None else {"mixture": MIXTURE}).items():
        proto = value if isinstance(value, tensor_pb2.TensorProto) else tf.make_tensor_proto(value)
        request.inputs[alias].CopyFrom(proto)
    return request


def tensor(dtype=types_pb2.DT_FLOAT, shape=(), **values) -> tensor_pb2.TensorProto:
    proto = tensor_pb2.TensorProto(dtype=dtype, **values)
    for size in shape:
        proto.tensor_shape.dim.add(size=size)
    return proto


def with_spec(**fields) -> predict_pb2.PredictRequest:
    request = predict_request()
    for field, value in fields.items():
        if field == "version":
            request.model_spec.version.value = value
        else:
            setattr(request.model_spec, field, value)
    return request


def without_spec() -> predict_pb2.PredictRequest:
    request = predict_request()
    request.ClearField("model_spec")
    return request


def alone(proto: tensor_pb2.TensorProto) -> predict_pb2.PredictRequest:
    return predict_request({"mixture": proto})


TARGETS = "{accompaniment,vocals}"
PREDICT_ERRORS = {
    "no model_spec": (without_spec(), INVALID, "Missing ModelSpec"),
    "empty name": (predict_request(name=""), INVALID, "ModelSpec has no name specified."),
    "unknown model": (predict_request(name="m"), NOT_FOUND, "Servable not found for request: Latest(m)"),
    "unknown version": (with_spec(version=9), NOT_FOUND, "Servable not found for request: Specific(stemline, 9)"),
    "version 0 is not the latest": (
        with_spec(version=0),
        NOT_FOUND,
        "Servable not found for request: Specific(stemline, 0)",
    ),
    "version of unknown model": (
        with_spec(name="m", version=9),
        NOT_FOUND,
        "Servable not found for request: Specific(m, 9)",
    ),
    "unknown label": (with_spec(version_label="x"), INVALID, "Unrecognized servable version label: x"),
    "unknown signature": (predict_request(signature="x"), PRECONDITION, 'Serving signature key "x" not found.'),
    "too many inputs": (
        predict_request({"mixture": MIXTURE, "b": MIXTURE}),
        INVALID,
        "input size does not match signature: 2!=1 len({b,mixture}) != len({mixture}). "
        "Sent extra: {b}. Missing but required: {}.",
    ),
    "too few inputs": (
        predict_request({}),
        INVALID,
        "input size does not match signature: 0!=1 len({}) != len({mixture}). "
        "Sent extra: {}. Missing but required: {mixture}.",
    ),
    "wrong input name": (
        predict_request({"x": MIXTURE}),
        INVALID,
        "Signature input alias: mixture(feed name: serving_default_mixture:0) not found in request and no default value "
        "provided. Inputs expected to be in the request {x}, or default input alias set: ",
    ),
    "content of the wrong size": (
        alone(tensor(shape=(2, 3), tensor_content=b"123")),
        INVALID,
        "tensor parsing error: mixture",
    ),
    "content that is no shape's": (
        alone(tensor(shape=(2, 3), tensor_content=bytes(20))),
        INVALID,
        "tensor parsing error: mixture",
    ),
    "no dtype": (alone(tensor(types_pb2.DT_INVALID, (1,))), INVALID, "tensor parsing error: mixture"),
    "unknown dtype": (alone(tensor(77, (1,))), INVALID, "tensor parsing error: mixture"),
    "negative shape": (alone(tensor(shape=(-1, 4), float_val=[1])), INVALID, "tensor parsing error: mixture"),
    "overflowing shape": (
        alone(tensor(shape=(2**40, 2**40), float_val=[1])),
        INVALID,
        "tensor parsing error: mixture",
    ),
    "half a gigabyte declared in a few bytes": (
        alone(tensor(shape=(1, 2**27), float_val=[1])),
        INVALID,
        "tensor parsing error: mixture",
    ),
    "wrong dtype": (
        predict_request({"mixture": np.ones((1, 4), bool)}),
        INVALID,
        "Expects arg[0] to be float but bool is provided",
    ),
    "wrong dtype, double": (
        predict_request({"mixture": np.ones((1, 4))}),
        INVALID,
        "Expects arg[0] to be float but double is provided",
    ),
    "bad output_filter": (
        predict_request(outputs=["x"]),
        INVALID,
        f"output tensor alias not found in signature: x Outputs expected to be in the set {TARGETS}.",
    ),
    "repeated output_filter": (
        predict_request(outputs=["vocals", "vocals"]),
        INVALID,
        "duplicate output tensor alias: vocals",
    ),
}


@pytest.mark.parametrize(("request_", "code", "message"), PREDICT_ERRORS.values(), ids=PREDICT_ERRORS.keys())
def test_predict_refuses_in_tensorflow_servings_words(prediction, request_, code, message):
    with pytest.raises(grpc.RpcError) as caught:
        prediction.Predict(request_, timeout=20)
    assert (caught.value.code(), caught.value.details()) == (code, message)


def test_the_oversize_request_is_small_indeed():
    request = PREDICT_ERRORS["half a gigabyte declared in a few bytes"][0]
    assert request.inputs["mixture"].ByteSize() < 51


def test_a_static_shape_is_not_checked_before_the_graph_runs(prediction):
    answer = prediction.Predict(predict_request({"mixture": MIXTURE[0]}, outputs=["vocals"]), timeout=20)
    np.testing.assert_array_equal(tf.make_ndarray(answer.outputs["vocals"]), MIXTURE[0] * np.float32(0.25))


def test_long_messages_are_cut_at_1024_characters(prediction):
    with pytest.raises(grpc.RpcError) as caught:
        prediction.Predict(predict_request(signature="fails"), timeout=20)
    details = caught.value.details()
    assert caught.value.code() is INVALID
    assert details.endswith("x...TRUNCATED")
    assert len(details) == 1024 + len("...TRUNCATED")


def test_the_clients_deadline_bounds_the_run(channel, prediction):
    with pytest.raises(grpc.RpcError) as caught:
        prediction.Predict(predict_request(signature="slow"), timeout=0.5)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    answer = prediction.Predict(predict_request(), timeout=20)  # and the run does not hold the server afterwards
    assert answer.model_spec.version.value == 1


@pytest.mark.parametrize("signature", ["", "serving_default"])
def test_predict_answers_all_outputs_as_float_val(prediction, signature):
    response = prediction.Predict(predict_request(signature=signature), timeout=20)
    spec = response.model_spec
    assert (spec.name, spec.version.value, spec.signature_name) == ("stemline", 1, "serving_default")
    assert sorted(response.outputs) == ["accompaniment", "vocals"]
    for output, gain in (("vocals", 0.25), ("accompaniment", 0.75)):
        proto = response.outputs[output]
        assert not proto.tensor_content
        assert [dim.size for dim in proto.tensor_shape.dim] == [2, 6]
        np.testing.assert_allclose(proto.float_val, gain * MIXTURE.ravel(), rtol=1e-6)


def test_output_filter_chooses(prediction):
    response = prediction.Predict(predict_request(outputs=["vocals"]), timeout=20)
    assert list(response.outputs) == ["vocals"]


def test_an_explicit_version_answers(prediction):
    assert prediction.Predict(with_spec(version=1), timeout=20).model_spec.version.value == 1


@pytest.mark.parametrize(
    ("proto", "expected"),
    [
        (tensor(shape=(2, 6), float_val=MIXTURE.ravel()), MIXTURE),
        (tensor(shape=(2, 6), tensor_content=MIXTURE.tobytes()), MIXTURE),
        (tensor(shape=(1, 5), float_val=[0.5, 1]), np.array([[0.5, 1, 1, 1, 1]])),
        (tensor(shape=(1, 3)), np.zeros((1, 3))),
        (tensor(shape=(1, 0)), np.zeros((1, 0))),
        (tensor(shape=(1, 2), float_val=[1, 2, 3]), np.array([[1, 2]])),
    ],
    ids=["float_val", "tensor_content", "last value repeated", "no values are zeros", "empty", "surplus ignored"],
)
def test_inputs_are_read_as_tensorflow_reads_them(prediction, proto, expected):
    response = prediction.Predict(alone(proto), timeout=20)
    np.testing.assert_allclose(tf.make_ndarray(response.outputs["vocals"]), 0.25 * expected, rtol=1e-6)


def test_every_dtype_is_echoed_in_its_typed_field(prediction):
    inputs = {
        "whole": np.array([-(2**40), 7], np.int64),
        "small": np.array([-3, 4], np.int32),
        "flag": np.array([True, False]),
        "text": np.array([b"\xff\x00", b""], object),
        "double": np.array([0.1, np.nan]),
    }
    response = prediction.Predict(predict_request(inputs, signature="echo"), timeout=20)
    assert all(not proto.tensor_content for proto in response.outputs.values())
    for name, value in inputs.items():
        np.testing.assert_array_equal(tf.make_ndarray(response.outputs[name]), value)


def test_what_is_not_served_is_unimplemented(channel):
    call = channel.unary_unary("/tensorflow.serving.SessionService/SessionRun")
    with pytest.raises(grpc.RpcError) as caught:
        call(b"", timeout=20)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


# ---- GetModelMetadata


def metadata_request(name="stemline", fields=("signature_def",)) -> get_model_metadata_pb2.GetModelMetadataRequest:
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=fields)
    request.model_spec.name = name
    return request


METADATA_ERRORS = [
    (get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"]), INVALID, "Missing ModelSpec"),
    (metadata_request(fields=[]), INVALID, "GetModelMetadataRequest must specify at least one metadata_field"),
    (metadata_request(fields=["signature_def", "x"]), INVALID, "Metadata field x is not supported"),
    (metadata_request(name=""), INVALID, "ModelSpec has no name specified."),
    (metadata_request(name="m"), NOT_FOUND, "Servable not found for request: Latest(m)"),
]


@pytest.mark.parametrize(("request_", "code", "message"), METADATA_ERRORS)
def test_metadata_refuses_in_tensorflow_servings_words(prediction, request_, code, message):
    with pytest.raises(grpc.RpcError) as caught:
        prediction.GetModelMetadata(request_, timeout=20)
    assert (caught.value.code(), caught.value.details()) == (code, message)


def test_metadata_is_the_packed_signature_def_map(prediction):
    response = prediction.GetModelMetadata(metadata_request(), timeout=20)
    assert (response.model_spec.name, response.model_spec.version.value) == ("stemline", 1)
    assert list(response.metadata) == ["signature_def"]
    signatures = get_model_metadata_pb2.SignatureDefMap()
    assert response.metadata["signature_def"].Unpack(signatures)
    default = signatures.signature_def["serving_default"]
    assert default.method_name == "tensorflow/serving/predict"
    assert default.inputs["mixture"].dtype == types_pb2.DT_FLOAT
    assert {"serving_default", "wav", "examples", "describe"} <= set(signatures.signature_def)


# ---- GetModelStatus


def status_request(name="stemline", version=None) -> get_model_status_pb2.GetModelStatusRequest:
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = name
    if version is not None:
        request.model_spec.version.value = version
    return request


@pytest.mark.parametrize("version", [None, 1])
def test_status_of_an_available_version(model_service, version):
    response = model_service.GetModelStatus(status_request(version=version), timeout=20)
    (status,) = response.model_version_status
    assert (status.version, status.state) == (1, 30)
    assert (status.status.error_code, status.status.error_message) == (0, "")


@pytest.mark.parametrize(
    ("request_", "code", "message"),
    [
        (get_model_status_pb2.GetModelStatusRequest(), INVALID, "Missing ModelSpec"),
        (status_request(name="m"), NOT_FOUND, "Could not find any versions of model m"),
        (status_request(version=9), NOT_FOUND, "Could not find version 9 of model stemline"),
        (status_request(name="m", version=9), NOT_FOUND, "Could not find version 9 of model m"),
    ],
)
def test_status_refuses_in_tensorflow_servings_words(model_service, request_, code, message):
    with pytest.raises(grpc.RpcError) as caught:
        model_service.GetModelStatus(request_, timeout=20)
    assert (caught.value.code(), caught.value.details()) == (code, message)


# ---- HandleReloadConfigRequest: what is refused changes nothing


def reload_request(*models: dict, labels=()) -> model_management_pb2.ReloadConfigRequest:
    request = model_management_pb2.ReloadConfigRequest()
    for model in models:
        added = request.config.model_config_list.config.add(model_platform="tensorflow", **model)
        added.version_labels.update(labels)
    return request


STEMLINE = {"name": "stemline", "base_path": "/models/stemline"}
RELOAD_ERRORS = {
    "relative base path": (
        reload_request({"name": "stemline", "base_path": "models"}),
        INVALID,
        "Expected model stemline to have an absolute path or URI; got base_path()=models",
    ),
    "duplicate name": (
        reload_request(STEMLINE, STEMLINE),
        INVALID,
        "Illegal to list model stemline multiple times in config list",
    ),
    "label on a version that is not available": (
        reload_request(STEMLINE, labels={"stable": 9}),
        PRECONDITION,
        "Request to assign label to version 9 of model stemline, which is not currently available for inference",
    ),
    "no list": (
        model_management_pb2.ReloadConfigRequest(),
        INVALID,
        "ServerModelConfig type not supported by HandleReloadConfigRequest. "
        "Only ModelConfigList is currently supported",
    ),
}


@pytest.mark.parametrize(("request_", "code", "message"), RELOAD_ERRORS.values(), ids=RELOAD_ERRORS.keys())
def test_reload_refuses_in_tensorflow_servings_words(model_service, prediction, request_, code, message):
    with pytest.raises(grpc.RpcError) as caught:
        model_service.HandleReloadConfigRequest(request_, timeout=20)
    assert (caught.value.code(), caught.value.details()) == (code, message)
    assert prediction.Predict(predict_request(), timeout=20).model_spec.version.value == 1


# ---- Classify, Regress, MultiInference: no separator has a signature for them


@pytest.mark.parametrize(
    ("call", "request_"),
    [
        ("Classify", classification_pb2.ClassificationRequest()),
        ("Regress", regression_pb2.RegressionRequest(model_spec={"name": "stemline", "signature_name": "examples"})),
        ("MultiInference", inference_pb2.MultiInferenceRequest()),
    ],
)
def test_methods_of_no_separator_are_unimplemented_in_words(prediction, call, request_):
    with pytest.raises(grpc.RpcError) as caught:
        getattr(prediction, call)(request_, timeout=20)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert caught.value.details().startswith(f"{call} is not served: ")
    assert caught.value.details().endswith("legal is Predict")


def test_predict_checks_the_signatures_method_where_the_flag_says_so(saved_model, tmp_path):
    shutil.copytree(saved_model, tmp_path / "1")
    path = tmp_path / "1" / "saved_model.pb"
    saved = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    saved.meta_graphs[0].signature_def["serving_default"].method_name = "my/method"
    path.write_bytes(saved.SerializeToString())
    servable = Servable(tmp_path / "1")
    np.testing.assert_array_equal(servable.predict(predict_request())["vocals"], 0.25 * MIXTURE)
    servable.close()
    strict = Servable(tmp_path / "1", Options(check_method_names=True))
    with pytest.raises(StatusError) as caught:
        strict.predict(predict_request())
    strict.close()
    assert (caught.value.code, caught.value.message) == (
        grpc.StatusCode.INTERNAL,
        "Expected prediction signature method_name to be one of {tensorflow/serving/predict, "
        "tensorflow/serving/classify, tensorflow/serving/regress}. Was: my/method",
    )


# ---- batching: one run at a time, one waiting


@pytest.fixture(scope="module")
def batching(serve, base_path, tmp_path_factory):
    """(PredictionService stub, REST port, gRPC port) of a server that runs one request and queues one more."""
    directory = tmp_path_factory.mktemp("batching")
    parameters, monitoring = directory / "batching.config", directory / "monitoring.config"
    parameters.write_text(
        "max_batch_size { value: 1 } max_enqueued_batches { value: 1 } num_batch_threads { value: 1 } "
        "batch_timeout_micros { value: 0 }"
    )
    monitoring.write_text("prometheus_config { enable: true }")
    argv = (
        f"--model_base_path={base_path}",
        "--model_name=stemline",
        "--enable_batching",
        f"--batching_parameters_file={parameters}",
        f"--monitoring_config_file={monitoring}",
        "--rest_api_timeout_in_ms=300",
    )
    with serve(*argv) as ports, grpc.insecure_channel(f"localhost:{ports.grpc}") as channel:
        yield prediction_service_pb2_grpc.PredictionServiceStub(channel), ports.rest, ports.grpc


ONE = {"mixture": MIXTURE[:1]}


def test_a_full_queue_sheds_and_a_queued_request_expires(batching):
    stub, rest_port, _ = batching
    busy = [stub.Predict.future(predict_request(ONE, signature="two_seconds"), timeout=20)]
    time.sleep(0.5)  # it runs
    expired = []
    asking = threading.Thread(
        target=lambda: expired.append(rest_predict(rest_port, {"inputs": ONE["mixture"].tolist()}))
    )
    asking.start()  # waits in the queue, and its time is over before the run
    asking.join()
    assert expired == [(429, {"error": "Run() timeout exceeded while waiting in batching queue"})]
    busy += [stub.Predict.future(predict_request(ONE, signature="two_seconds"), timeout=20) for _ in range(4)]
    shed = [one.exception() for one in busy if one.exception() is not None]
    assert len(shed) >= 2  # of five at most one runs, one waits, and one more may have come after the first had ended
    full = "The batch scheduling queue to which this task was submitted is full; "
    words = f"{full}currently 1 batches enqueued and max_enqueued_batches is 1"
    assert {(error.code(), error.details()) for error in shed} == {(grpc.StatusCode.UNAVAILABLE, words)}


def test_a_batch_larger_than_the_maximum_is_refused(batching):
    with pytest.raises(grpc.RpcError) as caught:
        batching[0].Predict(predict_request(), timeout=20)
    assert caught.value.code() is INVALID
    assert caught.value.details() == "Task size 2 is larger than maximum input batch size 1"


# ---- REST and metrics


def rest_predict(port: int, document: dict) -> tuple[int, dict]:
    connection = http.client.HTTPConnection("localhost", port, timeout=30)
    connection.request("POST", "/v1/models/stemline:predict", json.dumps(document))
    response = connection.getresponse()
    return response.status, json.loads(response.read())


@pytest.mark.parametrize(
    ("path", "code", "words"),
    [
        ("/v1/models/stemline", 200, '"state": "AVAILABLE"'),
        ("/v1/models/stemline/versions/1", 200, '"state": "AVAILABLE"'),
        ("/v1/models/stemline/metadata", 200, '"method_name": "tensorflow/serving/predict"'),
        ("/v1/models/stemline/versions/1/metadata", 200, '"version": "1"'),
        ("/v1/models/stemline/versions/9/metadata", 404, "Servable not found for request: Specific(stemline, 9)"),
        ("/v1/models/m/metadata", 404, "Servable not found for request: Latest(m)"),
        ("/v1/models/stemline/versions/9", 404, "Could not find version 9 of model stemline"),
        ("/monitoring/prometheus/metrics", 200, ':tensorflow:serving:request_count{model_name="stemline",status="'),
        ("/monitoring/prometheus/metrics", 200, "# TYPE :tensorflow:serving:request_latency histogram"),
        ("/monitoring/prometheus/metrics", 200, "# TYPE :tensorflow:serving:runtime_latency histogram"),
    ],
)
def test_rest_paths(batching, path, code, words):
    assert rest_predict(batching[1], {"inputs": ONE["mixture"].tolist()})[0] == 200
    connection = http.client.HTTPConnection("localhost", batching[1], timeout=30)
    connection.request("GET", path)
    response = connection.getresponse()
    body = response.read().decode()
    assert response.status == code
    assert words in body


# ---- health


@pytest.mark.parametrize("service", ["", "PredictionService", "ModelService"])
def test_health_is_serving(channel, service):
    """The names of server.cc, which are not those of the services."""
    stub = health_pb2_grpc.HealthStub(channel)
    answer = stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=20)
    assert answer.status == health_pb2.HealthCheckResponse.SERVING


def test_health_knows_no_other_name(channel):
    with pytest.raises(grpc.RpcError) as caught:
        health_pb2_grpc.HealthStub(channel).Check(
            health_pb2.HealthCheckRequest(service="tensorflow.serving.ModelService"), timeout=20
        )
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


def test_health_is_served_only_where_the_flag_says_so(batching):
    """The module's batching server was started without --enable_grpc_healthcheck_service."""
    with grpc.insecure_channel(f"localhost:{batching[2]}") as channel, pytest.raises(grpc.RpcError) as caught:
        health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=20)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
