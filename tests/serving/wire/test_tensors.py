"""Tensors on the wire: equal to what the real protos write and read, and fast on audio."""

import contextlib
import time
import tracemalloc

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorflow.core.framework import tensor_pb2, types_pb2
from tensorflow_serving.apis import model_pb2, predict_pb2

from serving.wire import tensors

STEM_SAMPLES = 20 * 44100  # three minutes: see tests/benchmarks/test_serving.py
ARRAYS = [
    np.zeros((0, 3), np.float32),
    np.array(1.5, np.float32),
    np.arange(6, dtype=np.float32).reshape(2, 3),
    np.arange(6, dtype=np.float32).reshape(2, 3).T,
    np.array([np.nan, np.inf, -0.0], np.float32),
    np.arange(3, dtype=np.float64),
    np.array([-1, 2**40], np.int64),
    np.array([-1, 5], np.int32),
    np.array([200, 5], np.uint8),
    np.array([1, 2**32 - 1], np.uint32),
    np.array([1, 2**64 - 1], np.uint64),
    np.array([-1, 5], np.int16),
    np.array([1.5, np.inf], np.float16),
    np.array([1.5, np.inf], tf.bfloat16.as_numpy_dtype),
    np.array([1, 200], np.uint16),
    np.array([-3, 5], np.int8),
    np.array([1 + 2j, -1j], np.complex128),
    np.array([1 + 2j, -1j], np.complex64),
    np.array([True, False]),
    np.array([b"", b"\x00\xff", b"stem"], object),
]


def response_of(array: np.ndarray) -> bytes:
    spec = model_pb2.ModelSpec(name="m", signature_name="s")
    return tensors.predict_response(spec, {"vocals": array, "a": array})


@pytest.mark.parametrize("array", ARRAYS, ids=lambda array: f"{array.dtype}{array.shape}")
def test_responses_are_those_of_the_real_proto_and_come_back(array):
    message = response_of(array)
    response = predict_pb2.PredictResponse.FromString(message)
    assert (response.model_spec.name, response.model_spec.signature_name) == ("m", "s")
    assert sorted(response.outputs) == ["a", "vocals"]
    assert not response.outputs["vocals"].tensor_content
    if array.size:
        np.testing.assert_array_equal(tf.make_ndarray(response.outputs["vocals"]), array)
    outputs, spec = tensors.from_response(message)
    assert spec.SerializeToString() == response.model_spec.SerializeToString()
    assert outputs["a"].dtype == array.dtype
    np.testing.assert_array_equal(outputs["a"], array)


@pytest.mark.parametrize("array", ARRAYS, ids=lambda array: f"{array.dtype}{array.shape}")
def test_requests_come_back(array):
    np.testing.assert_array_equal(tensors.from_proto(tensors.to_proto(array)), array)


@pytest.mark.parametrize("array", ARRAYS, ids=lambda array: f"{array.dtype}{array.shape}")
def test_requests_written_on_the_wire_are_those_of_the_real_proto(array):
    spec = model_pb2.ModelSpec(name="m", signature_name="s")
    request = predict_pb2.PredictRequest.FromString(tensors.predict_request(spec, {"a": array, "b": array}))
    assert request.model_spec == spec
    assert request.inputs["a"] == request.inputs["b"]
    assert request.inputs["a"] == tensor_pb2.TensorProto.FromString(tensors.to_proto(array).SerializeToString())
    np.testing.assert_array_equal(tf.make_ndarray(request.inputs["a"]), array)


def test_big_endian_numbers_and_text_are_sent_as_tensorflow_reads_them():
    for array, sent in ((np.array([1, 2], ">f4"), [1, 2]), (np.array(["a", "é"]), [b"a", "é".encode()])):
        request = predict_pb2.PredictRequest.FromString(tensors.predict_request(model_pb2.ModelSpec(), {"a": array}))
        assert tf.make_ndarray(request.inputs["a"]).tolist() == sent


def test_an_array_that_is_no_tensor_is_named():
    with pytest.raises(ValueError, match=r"an array of datetime64\[s\] is no tensor; legal are strings, float32, "):
        tensors.to_proto(np.zeros(1, "datetime64[s]"))


def test_tensor_content_in_a_response_is_read():
    array = np.arange(4, dtype=np.float32)
    response = predict_pb2.PredictResponse()
    response.outputs["x"].CopyFrom(tf.make_tensor_proto(array))
    np.testing.assert_array_equal(tensors.from_response(response.SerializeToString())[0]["x"], array)


def test_unpacked_and_split_float_val_is_read():
    header = tensor_pb2.TensorProto(dtype=1)
    header.tensor_shape.dim.add(size=3)
    one, two = np.float32(1).tobytes(), np.array([2, 3], np.float32).tobytes()
    packed = header.SerializeToString() + b"\x2a\x04" + one + b"\x2a\x08" + two
    unpacked = header.SerializeToString() + b"\x2d" + one + b"\x2a\x08" + two
    for message in (packed, unpacked):
        np.testing.assert_array_equal(tensors._decode(message), [1, 2, 3])


@pytest.mark.parametrize("cut", [1, 5, 9])
def test_a_message_that_is_cut_short_is_a_value_error(cut):
    with pytest.raises(ValueError, match="message"):
        tensors.from_response(response_of(np.ones(3, np.float32))[:-cut])


# ---- tensors that are not what they say


def proto_of(dtype: int, *dims: int, **values) -> tensor_pb2.TensorProto:
    proto = tensor_pb2.TensorProto(dtype=dtype, **values)
    for size in dims:
        proto.tensor_shape.dim.add(size=size)
    return proto


FLOAT, INT8, STRING, BOOL = (types_pb2.DataType.Value(f"DT_{name}") for name in ("FLOAT", "INT8", "STRING", "BOOL"))
REFUSED = {
    "half a gigabyte in a few bytes": proto_of(FLOAT, 2**27, float_val=[1]),
    "half a gigabyte of zeros": proto_of(FLOAT, 2**27),
    "a size beyond 64 bits": proto_of(FLOAT, 2**62, 2**62, float_val=[1]),
    "a long string many times": proto_of(STRING, 10**6, string_val=[b"x" * 1000]),
    "many empty strings": proto_of(STRING, 10**8),
    "a negative dimension": proto_of(FLOAT, -1, float_val=[1]),
    "two negative dimensions": proto_of(FLOAT, -2, -2, float_val=[1, 2, 3, 4]),
    "too many dimensions": proto_of(FLOAT, *[1] * 255, float_val=[1]),
    "less content than declared": proto_of(FLOAT, 2, tensor_content=b"1234"),
    "more content than declared": proto_of(FLOAT, 1, tensor_content=b"12345678"),
    "a part of a value": proto_of(FLOAT, 1, tensor_content=b"123"),
    "fewer strings than declared": proto_of(STRING, 2, tensor_content=b"\x01a"),
    "a string beyond the content": proto_of(STRING, 1, tensor_content=b"\x7fa"),
    "strings without an end": proto_of(STRING, 1, tensor_content=b"\xff" * 12),
    "no dtype": proto_of(0, 1, float_val=[1]),
    "an unknown dtype": proto_of(99, 1),
    "a reference": proto_of(101, 1, tensor_content=b"1234"),
    "a resource": proto_of(types_pb2.DT_RESOURCE, 1),
    "a variant": proto_of(types_pb2.DT_VARIANT, 1),
}


@pytest.mark.parametrize("proto", REFUSED.values(), ids=REFUSED)
def test_a_tensor_that_is_not_what_it_says_is_refused_before_it_is_allocated(proto, capfd):
    tracemalloc.start()
    with pytest.raises(ValueError):  # noqa: PT011 - numpy's words for some of them
        tensors.from_proto(proto)
    with pytest.raises(ValueError):  # noqa: PT011
        tensors._decode(proto.SerializeToString())
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak_bytes < 2**20
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("proto", "expected"),
    [
        (proto_of(FLOAT, 3, float_val=[1, 2]), [1, 2, 2]),
        (proto_of(FLOAT, 3), [0, 0, 0]),
        (proto_of(FLOAT, 2, int_val=[1, 2]), [0, 0]),
        (proto_of(FLOAT, 1, float_val=[1, 2]), [1]),
        (proto_of(FLOAT, 0, 2), []),
        (proto_of(INT8, 2, int_val=[300, -1]), [44, -1]),
        (proto_of(BOOL, 2, tensor_content=b"\x01\x00"), [True, False]),
        (proto_of(STRING, 2, string_val=[b"ab"]), [b"ab", b"ab"]),
        (proto_of(STRING, 2), [b"", b""]),
        (proto_of(STRING, 3, tensor_content=b"\x02\x00\x01abc"), [b"ab", b"", b"c"]),
    ],
)
def test_values_are_filled_in_and_cut_as_tensorflow_does(proto, expected):
    array = tensors.from_proto(proto)
    assert array.ravel().tolist() == expected
    kind = tf.as_dtype(proto.dtype)
    np.testing.assert_array_equal(array, tf.io.parse_tensor(proto.SerializeToString(), kind).numpy())
    np.testing.assert_array_equal(array, tensors._decode(proto.SerializeToString()))


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=60))
def test_any_bytes_are_a_tensor_a_response_or_a_value_error(message):
    for read in (tensors._decode, tensors.from_response):
        with contextlib.suppress(ValueError):
            read(message)


# ---- speed


def best_ms(function, *arguments) -> float:
    seconds = []
    for _ in range(3):
        started = time.process_time()
        function(*arguments)
        seconds.append(time.process_time() - started)
    return 1000 * min(seconds)


def test_a_stem_costs_a_fraction_of_the_repeated_field(record_property):
    stem = np.random.default_rng(0).standard_normal((1, STEM_SAMPLES)).astype(np.float32)
    spec = model_pb2.ModelSpec(name="m")
    message = tensors.predict_response(spec, {"vocals": stem})
    encode = best_ms(tensors.predict_response, spec, {"vocals": stem})
    decode = best_ms(tensors.from_response, message)
    proto = predict_pb2.PredictResponse.FromString(message).outputs["vocals"]
    request = best_ms(tensors.from_proto, proto)
    repeated = best_ms(lambda: np.array(proto.float_val, np.float32))
    content = best_ms(tensors.from_proto, tensors.to_proto(stem))
    figures = {"encode": encode, "decode": decode, "request": request, "content": content, "repeated": repeated}
    for name, value in figures.items():
        record_property(f"{name}_ms", round(value, 2))
    assert max(encode, decode) < repeated / 5
    np.testing.assert_array_equal(tensors.from_response(message)[0]["vocals"], stem)
    np.testing.assert_array_equal(tensors.from_proto(proto), stem)
