"""Classify, Regress and MultiInference: tf.Examples in, labels with scores or values out.

Checks, words and order as in TensorFlow Serving's classifier.cc, regressor.cc and multi_inference.cc. Pure functions
of signatures and arrays; running the graph is the servable's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from tensorflow_serving.apis import classification_pb2, inference_pb2, input_pb2, regression_pb2

from serving.wire.status import Code, StatusError

CLASSIFY_METHOD = "tensorflow/serving/classify"
REGRESS_METHOD = "tensorflow/serving/regress"
INPUTS, CLASSES, SCORES, OUTPUTS = "inputs", "classes", "scores", "outputs"
KNOWN_OUTPUTS = (CLASSES, SCORES, OUTPUTS)

Outputs = Mapping[str, np.ndarray]


def examples(request_input: input_pb2.Input) -> np.ndarray:
    """The serialized tf.Examples of a request [examples]; a context's features are put before each one's.

    Raises:
      StatusError: INVALID_ARGUMENT, there is none.
    """
    kind = request_input.WhichOneof("kind")
    if kind == "example_list_with_context":
        with_context = request_input.example_list_with_context
        context = with_context.context.SerializeToString()
        serialized = [context + example.SerializeToString() for example in with_context.examples]
    else:
        serialized = [example.SerializeToString() for example in request_input.example_list.examples]
    if not serialized:
        raise _invalid("Input is empty.")
    return np.array(serialized, object)


def check_classify(signature: Any, check_method: bool = False) -> None:
    """StatusError INVALID_ARGUMENT unless the signature classifies examples."""
    if check_method and signature.method_name != CLASSIFY_METHOD:
        raise _wrong_method("classification", CLASSIFY_METHOD, signature)
    if len(signature.inputs) != 1:
        raise _invalid("Expected one input Tensor.")
    if len(signature.outputs) not in (1, 2):
        raise _invalid(f"Expected one or two output Tensors, found {len(signature.outputs)}")
    if INPUTS not in signature.inputs:
        raise _invalid(f"No classification inputs found in SignatureDef: {signature}")
    if CLASSES not in signature.outputs and SCORES not in signature.outputs:
        raise _invalid(
            f'Expected classification signature outputs to contain at least one of "{CLASSES}" or "{SCORES}". '
            f"Signature was: {signature}"
        )


def check_regress(signature: Any, check_method: bool = False) -> None:
    """StatusError INVALID_ARGUMENT unless the signature regresses examples."""
    if check_method and signature.method_name != REGRESS_METHOD:
        raise _wrong_method("regression", REGRESS_METHOD, signature)
    if len(signature.inputs) != 1:
        raise _invalid("Expected one input Tensor.")
    if len(signature.outputs) != 1:
        raise _invalid("Expected one output Tensor.")
    if INPUTS not in signature.inputs:
        raise _invalid(f"No regression inputs found in SignatureDef: {signature}")
    if OUTPUTS not in signature.outputs:
        raise _invalid(f"No regression outputs found in SignatureDef: {signature}")


def classification(outputs: Outputs, count: int) -> classification_pb2.ClassificationResult:
    """Labels (bytes [examples, classes]) and scores (float32 of the same shape), either of which may be missing."""
    classes, scores = outputs.get(CLASSES), outputs.get(SCORES)
    _check_matrix(classes, CLASSES, "DT_STRING", count)
    _check_matrix(scores, SCORES, "DT_FLOAT", count)
    if classes is not None and scores is not None and classes.shape[1] != scores.shape[1]:
        raise _invalid(
            f"Tensors class and score should match in dim_size(1). Got {classes.shape[1]} vs. {scores.shape[1]}"
        )
    width = next(array.shape[1] for array in (classes, scores) if array is not None)
    result = classification_pb2.ClassificationResult()
    for row in range(count):
        added = result.classifications.add()
        for column in range(width):
            added.classes.add(
                label=classes[row, column] if classes is not None else "",
                score=scores[row, column] if scores is not None else 0.0,
            )
    return result


def regression(outputs: Outputs, count: int) -> regression_pb2.RegressionResult:
    """Values: float32 [examples] or [examples, 1]."""
    values = outputs[OUTPUTS]
    if values.ndim != 1 and not (values.ndim == 2 and values.shape[1] == 1):
        raise _invalid(
            "Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got " + _shape(values)
        )
    if len(values) != count:
        raise _invalid(f"Input batch size did not match output batch size: {count} vs. {len(values)}")
    if _dtype(values) != "DT_FLOAT":
        raise _invalid(f"Expected output Tensor of DT_FLOAT.  Got: {_dtype(values)}")
    regressions = [regression_pb2.Regression(value=value) for value in values.ravel().tolist()]
    return regression_pb2.RegressionResult(regressions=regressions)


CHECKS: Mapping[str, Callable[..., None]] = {CLASSIFY_METHOD: check_classify, REGRESS_METHOD: check_regress}
RESULTS: Mapping[str, Callable[[Outputs, int], Any]] = {CLASSIFY_METHOD: classification, REGRESS_METHOD: regression}


def check_tasks(request: inference_pb2.MultiInferenceRequest) -> None:
    """StatusError INVALID_ARGUMENT unless the tasks have one model between them and a signature each."""
    if any(not task.model_spec.name for task in request.tasks):
        raise _invalid("Found ModelSpec with an empty model name.")
    if len({task.model_spec.name for task in request.tasks}) > 1:
        raise _invalid("All ModelSpecs in a MultiInferenceRequest must access the same model name.")
    seen = set()
    for task in request.tasks:
        name = task.model_spec.signature_name or "serving_default"
        if name in seen:
            raise _invalid(f"Duplicate evaluation of signature: {name}")
        seen.add(name)


def check_task(task: inference_pb2.InferenceTask, signature: Any, check_method: bool = False) -> None:
    """StatusError unless the signature can do what the task asks."""
    if task.method_name not in CHECKS:
        raise StatusError(Code.UNIMPLEMENTED, f"Unsupported signature method_name: {task.method_name}")
    CHECKS[task.method_name](signature, check_method)


def _check_matrix(array: np.ndarray | None, alias: str, dtype: str, count: int) -> None:
    if array is None:
        return
    if array.ndim != 2:
        raise _invalid(f"Expected Tensor shape: [batch_size num_classes] but got {_shape(array)}")
    if _dtype(array) != dtype:
        raise _invalid(f"Expected {alias} Tensor of {dtype}. Got: {_dtype(array)}")
    if len(array) != count:
        raise _invalid(f"Expected {alias} output batch size of {count}. Got: {len(array)}")


def _dtype(array: np.ndarray) -> str:
    if array.dtype == object:
        return "DT_STRING"
    return {"float32": "DT_FLOAT", "float64": "DT_DOUBLE"}.get(array.dtype.name, f"DT_{array.dtype.name.upper()}")


def _shape(array: np.ndarray) -> str:
    return "[" + ",".join(map(str, array.shape)) + "]"


def _wrong_method(kind: str, method: str, signature: Any) -> StatusError:
    return _invalid(f"Expected {kind} signature method_name to be {method}. Was: {signature.method_name}")


def _invalid(message: str) -> StatusError:
    return StatusError(Code.INVALID_ARGUMENT, message)
