"""JSON of the REST API's :classify and :regress to tf.Examples, and their results to JSON.

As MakeExampleFromJsonObject and MakeJsonFrom*Result in tensorflow_serving/util/json_tensor.cc.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from tensorflow.core.example import example_pb2, feature_pb2
from tensorflow_serving.apis import classification_pb2, input_pb2, regression_pb2

from serving.server.api import json_tensors
from serving.wire.status import Code, StatusError

_LARGEST_FLOAT = float(np.finfo(np.float32).max)


def examples(document: Mapping[str, Any]) -> input_pb2.Input:
    """The examples of a request, with its context where it has one.

    Raises:
      StatusError: INVALID_ARGUMENT in the real server's words.
    """
    listed = document.get("examples")
    if "examples" not in document:
        raise _invalid("When method is classify, key 'examples' is expected and was not found")
    if not isinstance(listed, list):
        raise _invalid("Expecting 'examples' value to be an list/array")
    if not listed:
        raise _invalid("'examples' value is an empty array")
    found = [_example(item) for item in listed]
    if "context" not in document:
        return input_pb2.Input(example_list=input_pb2.ExampleList(examples=found))
    with_context = input_pb2.ExampleListWithContext(examples=found, context=_example(document["context"]))
    return input_pb2.Input(example_list_with_context=with_context)


def classifications(result: classification_pb2.ClassificationResult) -> bytes:
    """One list of [label, score] per example."""
    if not result.classifications:
        raise _invalid("Cannot convert empty ClassificationResults to JSON")
    return json_tensors.results([_classes(item) for item in result.classifications])


def regressions(result: regression_pb2.RegressionResult) -> bytes:
    """One value per example."""
    if not result.regressions:
        raise _invalid("Cannot convert empty RegressionResults to JSON")
    values = np.array([item.value for item in result.regressions], np.float32)
    return json_tensors.results(json_tensors.decimals(values))


def _classes(item: classification_pb2.Classifications) -> str:
    scores = json_tensors.decimals(np.array([one.score for one in item.classes], np.float32))
    labels = [json_tensors.string(one.label.encode()) for one in item.classes]
    return "[" + ", ".join(f"[{label}, {score}]" for label, score in zip(labels, scores, strict=True)) + "]"


def _example(item: Any) -> example_pb2.Example:
    if not isinstance(item, dict):
        raise _invalid(f"Example must be JSON object but got JSON {_kind(item)}")
    example = example_pb2.Example()
    for name, content in item.items():
        feature = example.features.feature[name]
        for value in content if isinstance(content, list) else [content]:
            _add(feature, name, value)
    return example


def _add(feature: feature_pb2.Feature, name: str, value: Any) -> None:
    if value is None or isinstance(value, list) or (isinstance(value, dict) and not json_tensors.is_base64(value)):
        raise _invalid(f"Feature: {name} has element with unexpected JSON type: {_kind(value)}")
    if isinstance(value, bool | int):
        kind, converted = "int64_list", int(value)
    elif isinstance(value, float):
        kind, converted = "float_list", value
    else:
        kind = "bytes_list"
        converted = json_tensors.decode_base64(value["b64"]) if isinstance(value, dict) else _utf8(value)
    sent = feature.WhichOneof("kind")
    if sent not in (None, kind):
        raise _invalid(f"Unexpected element type in feature: {name} expecting type: {sent.removesuffix('_list')}")
    _check_range(name, converted)
    getattr(feature, kind).value.append(converted)


def _check_range(name: str, value: Any) -> None:
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise _invalid(f"Feature: {name} has uint64 element. Only int64 is supported.")
    if isinstance(value, float) and _LARGEST_FLOAT < abs(value) < np.inf:
        raise _invalid(f"Cannot convert JSON value: {value} to float without loss of precision.")


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _kind(value: Any) -> str:
    if value is None:
        return "Null"
    if isinstance(value, bool):
        return str(value)
    return {dict: "Object", list: "Array", str: "String"}.get(type(value), "Number")


def _invalid(message: str) -> StatusError:
    return StatusError(Code.INVALID_ARGUMENT, message)
