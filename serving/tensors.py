"""Arrays to and from TensorProto, fast where audio is large.

TensorFlow Serving answers floats as packed `float_val`. Going through the repeated field costs a Python object per
sample; on the wire that field is one run of little-endian floats, so it is written from and read into numpy as it is.
Wire format: https://protobuf.dev/programming-guides/encoding/.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2, tensor_shape_pb2, types_pb2
from tensorflow_serving.apis import model_pb2

Buffer = bytes | memoryview

# A TensorProto may repeat its last value: a few bytes can stand for any amount of memory. Up to this much is filled in,
# and beyond it at most 8 bytes per byte sent (an int64 may take one byte on the wire).
FILL_BYTES = 64 * 2**20

_FLOAT_VAL = 5
_PACKED = {np.dtype("float32"): _FLOAT_VAL, np.dtype("float64"): 6}
_REPEATED = {
    **dict.fromkeys((types_pb2.DT_INT32, types_pb2.DT_INT16, types_pb2.DT_INT8), "int_val"),
    **dict.fromkeys((types_pb2.DT_UINT16, types_pb2.DT_UINT8), "int_val"),
    types_pb2.DT_INT64: "int64_val",
    types_pb2.DT_BOOL: "bool_val",
}


# ---- writing


def to_proto(array: np.ndarray) -> tensor_pb2.TensorProto:
    """A request's tensor: numbers as `tensor_content`, strings (object or bytes arrays) as `string_val`."""
    proto = _header(array)
    if proto.dtype == types_pb2.DT_STRING:
        proto.string_val.extend(array.ravel().tolist())
    else:
        proto.tensor_content = array.tobytes()
    return proto


def predict_response(spec: model_pb2.ModelSpec, outputs: Mapping[str, np.ndarray]) -> bytes:
    """A serialized PredictResponse whose tensors use the typed fields, as TensorFlow Serving's do."""
    parts: list[Buffer] = []
    for alias, array in outputs.items():
        tensor = _encode(array)
        parts += _nested(1, [*_nested(1, [alias.encode()]), *_nested(2, tensor)])
    return b"".join([*parts, *_nested(2, [spec.SerializeToString()])])


def _header(array: np.ndarray) -> tensor_pb2.TensorProto:
    dims = [tensor_shape_pb2.TensorShapeProto.Dim(size=size) for size in array.shape]
    return tensor_pb2.TensorProto(
        dtype=tf.as_dtype(array.dtype).as_datatype_enum, tensor_shape=tensor_shape_pb2.TensorShapeProto(dim=dims)
    )


def _encode(array: np.ndarray) -> list[Buffer]:
    """The wire pieces of one tensor; the samples themselves are not copied."""
    proto = _header(array)
    if array.dtype in _PACKED:
        little_endian = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
        samples = memoryview(little_endian.reshape(-1).view(np.uint8))
        return [proto.SerializeToString(), *(_nested(_PACKED[array.dtype], [samples]) if samples.nbytes else [])]
    if proto.dtype in _REPEATED:
        getattr(proto, _REPEATED[proto.dtype]).extend(array.ravel().tolist())
        return [proto.SerializeToString()]
    return [to_proto(array).SerializeToString()]


def _nested(number: int, parts: Sequence[Buffer]) -> list[Buffer]:
    """Length-delimited field `number` around `parts`."""
    return [_varint(number << 3 | 2), _varint(sum(map(len, parts))), *parts]


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


# ---- reading


def from_response(message: bytes) -> tuple[dict[str, np.ndarray], model_pb2.ModelSpec]:
    """Outputs by alias and the model spec of a serialized PredictResponse.

    Raises:
      ValueError: it is not one.
    """
    outputs, spec = {}, model_pb2.ModelSpec()
    for number, field, _ in _fields(memoryview(message)):
        if number == 1:
            entry = {key: value for key, value, _ in _fields(field)}
            outputs[bytes(entry.get(1, b"")).decode()] = _decode(entry.get(2, memoryview(b"")))
        elif number == 2:
            spec.MergeFromString(bytes(field))
    return outputs, spec


def from_proto(proto: tensor_pb2.TensorProto) -> np.ndarray:
    """The array of a request's tensor, by TensorFlow's own rules (too few values repeat the last one).

    Raises:
      ValueError: unknown dtype, unknown or negative shape, content that does not fit the shape, or a declared size out
        of all proportion to what was sent (see FILL_BYTES); the size is checked before anything is allocated.
    """
    dtype = _dtype(proto.dtype)
    shape = tuple(dim.size for dim in proto.tensor_shape.dim)
    if proto.tensor_shape.unknown_rank or min(shape, default=0) < 0:
        raise ValueError("the tensor's shape is not fully defined")
    content = proto.tensor_content
    if content and dtype != tf.string:  # a view: reshape refuses any other size
        return np.frombuffer(content, dtype.as_numpy_dtype).reshape(shape)
    message = proto.SerializeToString()
    declared = math.prod(shape) * (dtype.size if dtype != tf.string else 8)
    if declared > max(FILL_BYTES, 8 * len(message)):
        raise ValueError(f"the tensor declares {declared} bytes and was sent in {len(message)}")
    return _decode(message) if dtype == tf.float32 and proto.float_val else _parse(message, dtype)


def _dtype(number: int) -> tf.DType:
    try:
        dtype = tf.as_dtype(number)
    except TypeError as error:
        raise ValueError(f"tensor dtype {number} is unknown") from error
    if number in (types_pb2.DT_INVALID, types_pb2.DT_RESOURCE, types_pb2.DT_VARIANT):
        raise ValueError(f"tensor dtype {dtype.name} holds no values")
    return dtype


def _parse(message: bytes, dtype: tf.DType) -> np.ndarray:
    try:
        with tf.device("/CPU:0"):
            return np.asarray(tf.io.parse_tensor(message, dtype).numpy())
    except tf.errors.OpError as error:
        raise ValueError(error.message) from error


def _decode(message: Buffer) -> np.ndarray:
    """Packed floats are lifted out of the message; what is left is small and goes through the real TensorProto."""
    rest, floats = [], []
    for number, field, whole in _fields(memoryview(message)):
        (floats if number == _FLOAT_VAL and len(whole) != 5 else rest).append((field, whole))
    proto = tensor_pb2.TensorProto.FromString(b"".join(whole for _, whole in rest))
    if not floats or proto.float_val:
        return tf.make_ndarray(tensor_pb2.TensorProto.FromString(bytes(message)))
    values = [np.frombuffer(field, "<f4") for field, _ in floats]
    flat = values[0] if len(values) == 1 else np.concatenate(values)
    shape = tuple(dim.size for dim in proto.tensor_shape.dim)
    return _fill(flat, math.prod(shape)).reshape(shape)


def _fill(flat: np.ndarray, size: int) -> np.ndarray:
    """Tensor::FromProto: surplus values are ignored, missing ones repeat the last."""
    return flat[:size] if len(flat) >= size else np.pad(flat, (0, size - len(flat)), "edge")


def _fields(message: memoryview) -> Iterator[tuple[int, memoryview, memoryview]]:
    """(number, payload, whole field) of each field of one message."""
    position = 0
    while position < len(message):
        tag, start = _read_varint(message, position)
        if tag & 7 == 2:
            length, start = _read_varint(message, start)
            stop = start + length
        elif tag & 7 == 0:
            stop = _read_varint(message, start)[1]
        elif tag & 7 in (1, 5):
            stop = start + (8 if tag & 7 == 1 else 4)
        else:
            raise ValueError(f"wire type {tag & 7} at byte {position} is none of protobuf's")
        if stop > len(message):
            raise ValueError(f"the message ends in the field at byte {position}")
        yield tag >> 3, message[start:stop], message[position:stop]
        position = stop


def _read_varint(message: memoryview, position: int) -> tuple[int, int]:
    value = shift = 0
    for index in range(position, min(position + 10, len(message))):
        value |= (message[index] & 0x7F) << shift
        if message[index] < 0x80:
            return value, index + 1
        shift += 7
    raise ValueError("a number in the message does not end")
