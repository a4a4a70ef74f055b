"""Classify, Regress and MultiInference on a tiny TF1 model: answers, and the real server's refusals."""

import shutil

import grpc
import pytest
from tensorflow.core.example import example_pb2
from tensorflow_serving.apis import (
    classification_pb2,
    inference_pb2,
    predict_pb2,
    prediction_log_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)

INVALID = grpc.StatusCode.INVALID_ARGUMENT
CLASSIFY, REGRESS = "tensorflow/serving/classify", "tensorflow/serving/regress"


@pytest.fixture(scope="module")
def stub(serve, examples_model, saved_model, tmp_path_factory):
    base = tmp_path_factory.mktemp("base")
    shutil.copytree(examples_model, base / "m" / "1")
    shutil.copytree(saved_model, base / "stemline" / "1")
    config = base / "models.config"
    config.write_text(
        "model_config_list {"
        + "".join(
            f'config {{ name: "{name}" base_path: "{base / name}" model_platform: "tensorflow" }}'
            for name in ("m", "stemline")
        )
        + "}"
    )
    with serve(f"--model_config_file={config}") as ports, grpc.insecure_channel(f"localhost:{ports.grpc}") as channel:
        yield prediction_service_pb2_grpc.PredictionServiceStub(channel)


@pytest.fixture(scope="module")
def strict(serve, examples_model, tmp_path_factory):
    """A server that checks the signatures' methods."""
    base = tmp_path_factory.mktemp("strict")
    shutil.copytree(examples_model, base / "1")
    argv = (f"--model_base_path={base}", "--model_name=m", "--enable_signature_method_name_check")
    with serve(*argv) as ports, grpc.insecure_channel(f"localhost:{ports.grpc}") as channel:
        yield prediction_service_pb2_grpc.PredictionServiceStub(channel)


def example(**features: float) -> example_pb2.Example:
    made = example_pb2.Example()
    for name, value in features.items():
        made.features.feature[name].float_list.value.append(value)
    return made


def request(kind, *xs: float, signature: str = "", name: str = "m"):
    made = kind()
    made.model_spec.name, made.model_spec.signature_name = name, signature
    made.input.example_list.examples.extend(example(x=x) for x in xs)
    return made


def classify(*xs, **spec):
    return request(classification_pb2.ClassificationRequest, *xs, **spec)


def regress(*xs, **spec):
    return request(regression_pb2.RegressionRequest, *xs, **spec)


def multi(*tasks: tuple[str, str], xs=(0.25, 1.0), name: str = "m") -> inference_pb2.MultiInferenceRequest:
    made = inference_pb2.MultiInferenceRequest()
    for method, signature in tasks:
        task = made.tasks.add(method_name=method)
        task.model_spec.name, task.model_spec.signature_name = name, signature
    made.input.example_list.examples.extend(example(x=x) for x in xs)
    return made


def refusal(call, message) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as caught:
        call(message, timeout=20)
    return caught.value.code(), caught.value.details()


def table(result: classification_pb2.ClassificationResult) -> list[list[tuple[str, float]]]:
    return [[(one.label, one.score) for one in item.classes] for item in result.classifications]


def test_classify_answers_labels_with_scores(stub):
    response = stub.Classify(classify(0.25, 1.0), timeout=20)
    assert table(response.result) == [[("yes", 0.25), ("no", 0.75)], [("yes", 1.0), ("no", 0.0)]]
    spec = response.model_spec
    assert (spec.name, spec.version.value, spec.signature_name) == ("m", 1, "serving_default")


def test_classify_answers_labels_alone(stub):
    response = stub.Classify(classify(0.25, signature="labels"), timeout=20)
    assert table(response.result) == [[("yes", 0.0), ("no", 0.0)]]


def test_a_contexts_features_come_before_each_examples(stub):
    message = classify()
    message.input.example_list_with_context.context.CopyFrom(example(x=0.5))
    message.input.example_list_with_context.examples.extend([example(), example(x=0.125)])
    assert [row[0][1] for row in table(stub.Classify(message, timeout=20).result)] == [0.5, 0.125]


def test_regress_answers_values(stub):
    response = stub.Regress(regress(0.25, 3.0, signature="regress"), timeout=20)
    assert [one.value for one in response.result.regressions] == [0.5, 6.0]
    assert response.model_spec.signature_name == "regress"


def test_a_predict_signature_with_the_right_names_regresses_unless_methods_are_checked(stub, strict):
    assert stub.Regress(regress(2.0, signature="predict"), timeout=20).result.regressions[0].value == 4.0
    words = (
        "Expected regression signature method_name to be tensorflow/serving/regress. Was: tensorflow/serving/predict"
    )
    assert refusal(strict.Regress, regress(2.0, signature="predict")) == (INVALID, words)


def test_multi_inference_answers_every_task(stub):
    response = stub.MultiInference(multi((CLASSIFY, ""), (REGRESS, "regress")), timeout=20)
    first, second = response.results
    assert table(first.classification_result) == [[("yes", 0.25), ("no", 0.75)], [("yes", 1.0), ("no", 0.0)]]
    assert [one.value for one in second.regression_result.regressions] == [0.5, 2.0]
    assert [one.model_spec.signature_name for one in response.results] == ["serving_default", "regress"]
    assert {one.model_spec.version.value for one in response.results} == {1}


@pytest.mark.parametrize(
    ("call", "message", "code", "words"),
    [
        ("Classify", classification_pb2.ClassificationRequest(), INVALID, "Missing ModelSpec"),
        ("Regress", regression_pb2.RegressionRequest(), INVALID, "Missing ModelSpec"),
        ("Classify", classify(1.0, name="x"), grpc.StatusCode.NOT_FOUND, "Servable not found for request: Latest(x)"),
        ("Classify", classify(1.0, signature="x"), INVALID, "No signature was found with the name: x"),
        ("Regress", regress(1.0, signature="x"), INVALID, "No signature was found with the name: x"),
        ("Classify", classify(), INVALID, "Input is empty."),
        ("Regress", regress(signature="regress"), INVALID, "Input is empty."),
        ("Regress", regress(1.0), INVALID, "Expected one output Tensor."),
        (
            "Regress",
            regress(1.0, signature="flat"),
            INVALID,
            "Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got [1,2]",
        ),
        ("MultiInference", inference_pb2.MultiInferenceRequest(), INVALID, "ModelSpec has no name specified."),
        (
            "MultiInference",
            multi((CLASSIFY, ""), (CLASSIFY, "")),
            INVALID,
            "Duplicate evaluation of signature: serving_default",
        ),
        ("MultiInference", multi((CLASSIFY, "x")), INVALID, "Requested signature not found in model graph: x"),
        (
            "MultiInference",
            multi(("my/method", "")),
            grpc.StatusCode.UNIMPLEMENTED,
            "Unsupported signature method_name: my/method",
        ),
        ("MultiInference", multi((REGRESS, "regress"), xs=()), INVALID, "Input is empty."),
    ],
)
def test_refusals_in_tensorflow_servings_words(stub, call, message, code, words):
    assert refusal(getattr(stub, call), message) == (code, words)


def test_a_separators_signatures_neither_classify_nor_regress(stub):
    """They are predict signatures whose input is not called `inputs`."""
    code, words = refusal(stub.Classify, classify(1.0, name="stemline", signature="examples"))
    assert code is INVALID
    assert words.startswith("No classification inputs found in SignatureDef: ")
    assert refusal(stub.Regress, regress(1.0, name="stemline", signature="examples")) == (
        INVALID,
        "Expected one output Tensor.",
    )


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (
            classify(1.0, signature="predict"),
            "Expected classification signature method_name to be tensorflow/serving/classify. "
            "Was: tensorflow/serving/predict",
        ),
        (
            classify(1.0, signature="none"),
            "Expected classification signature method_name to be tensorflow/serving/classify. Was: my/method",
        ),
    ],
)
def test_methods_are_checked_where_the_flag_says_so(strict, message, words):
    assert refusal(strict.Classify, message) == (INVALID, words)


def test_predict_checks_the_method_where_the_flag_says_so(stub, strict):
    message = predict_pb2.PredictRequest()
    message.model_spec.name, message.model_spec.signature_name = "m", "none"
    message.inputs["inputs"].dtype = 7
    message.inputs["inputs"].tensor_shape.dim.add(size=1)
    message.inputs["inputs"].string_val.append(example(x=0.5).SerializeToString())
    assert list(stub.Predict(message, timeout=20).outputs["scores"].float_val) == [0.5, 0.5]
    assert refusal(strict.Predict, message) == (
        grpc.StatusCode.INTERNAL,
        "Expected prediction signature method_name to be one of {tensorflow/serving/predict, "
        "tensorflow/serving/classify, tensorflow/serving/regress}. Was: my/method",
    )


def test_every_method_warms_up(examples_model, tmp_path):
    import tensorflow as tf

    from serving.server.models.servable import Servable
    from serving.wire.status import StatusError

    logs = [prediction_log_pb2.PredictionLog() for _ in range(3)]
    logs[0].classify_log.request.CopyFrom(classify(0.5))
    logs[1].regress_log.request.CopyFrom(regress(0.5, signature="regress"))
    logs[2].multi_inference_log.request.CopyFrom(multi((CLASSIFY, "")))
    shutil.copytree(examples_model, tmp_path / "1")
    (tmp_path / "1" / "assets.extra").mkdir()
    path = str(tmp_path / "1" / "assets.extra" / "tf_serving_warmup_requests")
    with tf.io.TFRecordWriter(path) as writer:
        for log in logs:
            writer.write(log.SerializeToString())
    Servable(tmp_path / "1").close()
    logs[1].regress_log.request.model_spec.signature_name = ""
    with tf.io.TFRecordWriter(path) as writer:
        writer.write(logs[1].SerializeToString())
    with pytest.raises(StatusError, match=r"Expected one output Tensor\."):
        Servable(tmp_path / "1")
