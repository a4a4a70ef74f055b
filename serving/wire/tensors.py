"""Arrays to and from TensorProto, fast where audio is large.

TensorFlow Serving answers floats as packed `float_val`. Going through the repeated field costs a Python object per
sample; on the wire that field is one run of little-endian floats, so it is written from and read into numpy as it is.
Wire format: https://protobuf.dev/programming-guides/encoding/.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
from google.protobuf.message import DecodeError, Message

from serving.wire.messages import DATA_TYPES, ModelSpec, TensorProto

Buffer = bytes | memoryview
M = TypeVar("M", bound=Message)

# A TensorProto may repeat its last value: a few bytes can stand for any amount of memory. This much of it is filled in.
FILL_BYTES = 64 * 2**20
_STRING_BYTES = 24  # of a string in TensorFlow, besides its characters

_PACKED = {5: np.dtype("<f4"), 6: np.dtype("<f8")}  # fields float_val and double_val: runs of little-endian floats
_PACKED_NUMBER = {np.dtype("float32"): 5, np.dtype("float64"): 6}

_CONTENT = 4  # field tensor_content

# of numpy, by the number of a DataType; names that are not the same in both
_OTHERWISE = {"FLOAT": "float32", "DOUBLE": "float64", "HALF": "float16", "STRING": "object"}
_NAMES = {number: _OTHERWISE.get(name[3:], name[3:].lower()) for name, number in DATA_TYPES.items()}
_NUMBERS = {name: number for number, name in _NAMES.items()}
_STRING = _NUMBERS["object"]

# tensor.proto: the field with a dtype's values, and their type in it
_FIELDS: dict[int, tuple[str, type]] = {
    _NUMBERS[name]: (field, kind)
    for names, field, kind in (
        ("float32", "float_val", np.float32),
        ("float64", "double_val", np.float64),
        ("int32 int16 int8 uint16 uint8", "int_val", np.int32),
        ("int64", "int64_val", np.int64),
        ("uint32", "uint32_val", np.uint32),
        ("uint64", "uint64_val", np.uint64),
        ("bool", "bool_val", np.bool_),
        ("float16 bfloat16", "half_val", np.uint16),
        ("complex64", "scomplex_val", np.float32),
        ("complex128", "dcomplex_val", np.float64),
    )
    for name in names.split()
}
_LEGAL = [_NAMES[number] for number in _FIELDS]
_BITWISE = {"half_val", "scomplex_val", "dcomplex_val"}  # the values are in the field bit by bit


# ---- writing


def to_proto(array: np.ndarray) -> Any:
    """A request's TensorProto: numbers as `tensor_content`, strings (arrays of objects, bytes or text) as `string_val`.

    Raises:
      ValueError: an array of what no tensor holds.
    """
    proto = _header(array)
    if proto.dtype == _STRING:
        proto.string_val.extend(item.encode() if isinstance(item, str) else item for item in array.ravel().tolist())
    else:
        proto.tensor_content = _little_endian(array).tobytes()
    return proto


def predict_request(spec: Message, inputs: Mapping[str, np.ndarray]) -> bytes:
    """A serialized PredictRequest; numbers as `tensor_content`, copied once."""
    parts: list[Buffer] = _nested(1, [spec.SerializeToString()])
    for alias, array in inputs.items():
        strings = array.dtype.kind in "OSU"
        values = [] if strings else _packed(_CONTENT, array)
        tensor = (to_proto(array) if strings else _header(array)).SerializeToString()
        parts += _nested(2, [*_nested(1, [alias.encode()]), *_nested(2, [tensor, *values])])
    return b"".join(parts)


def predict_response(spec: Message, outputs: Mapping[str, np.ndarray]) -> bytes:
    """A serialized PredictResponse whose tensors use the typed fields, as TensorFlow Serving's do."""
    parts: list[Buffer] = []
    for alias, array in outputs.items():
        tensor = _encode(array)
        parts += _nested(1, [*_nested(1, [alias.encode()]), *_nested(2, tensor)])
    return b"".join([*parts, *_nested(2, [spec.SerializeToString()])])


def _header(array: np.ndarray) -> Any:
    names = array.dtype.names or (array.dtype.name,)  # a quantized number of TensorFlow is a structure of one
    name = "object" if array.dtype.kind in "OSU" else names[0]
    if name not in _NUMBERS:
        raise ValueError(f"an array of {array.dtype} is no tensor; legal are strings, {', '.join(_LEGAL)}")
    return TensorProto(dtype=_NUMBERS[name], tensor_shape={"dim": [{"size": size} for size in array.shape]})


def _encode(array: np.ndarray) -> list[Buffer]:
    """The wire pieces of one tensor; the samples themselves are not copied."""
    proto = _header(array)
    if array.dtype in _PACKED_NUMBER:
        return [proto.SerializeToString(), *_packed(_PACKED_NUMBER[array.dtype], array)]
    if proto.dtype in _FIELDS:
        name, kind = _FIELDS[proto.dtype]
        flat = np.ascontiguousarray(array).ravel()
        getattr(proto, name).extend((flat.view(kind) if name in _BITWISE else flat).tolist())
        return [proto.SerializeToString()]
    return [to_proto(array).SerializeToString()]


def _packed(number: int, array: np.ndarray) -> list[Buffer]:
    """Field `number` with the array's bytes, little-endian; nothing when there are none."""
    samples = _little_endian(array).reshape(-1).view(np.uint8).data
    return _nested(number, [samples]) if samples.nbytes else []


def _little_endian(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array, array.dtype.newbyteorder("<"))


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


def from_response(message: bytes) -> tuple[dict[str, np.ndarray], Any]:
    """Outputs by alias and the model spec of a serialized PredictResponse.

    Raises:
      ValueError: it is not one, or a tensor in it is refused as `from_proto` refuses it.
    """
    outputs, spec = {}, ModelSpec()
    for number, field, _ in _fields(memoryview(message)):
        if number == 1:
            entry = {key: value for key, value, _ in _fields(field)}
            outputs[bytes(entry.get(1, b"")).decode()] = _decode(entry.get(2, memoryview(b"")))
        elif number == 2:
            spec.MergeFrom(_parse(ModelSpec, bytes(field)))
    return outputs, spec


def from_proto(proto: Any) -> np.ndarray:
    """The array of a request's tensor, by TensorFlow's own rules (Tensor::FromProto).

    No values are zeros, too few repeat the last one, surplus ones are ignored.

    Raises:
      ValueError: a dtype that is unknown or has no values, an unknown or negative shape, content that does not fit the
        shape, or more memory to be filled in than FILL_BYTES; the size is checked before anything is allocated.
    """
    packed = _lift(proto.SerializeToString())[1] if proto.float_val or proto.double_val else {}
    return _array(proto, packed)


def dtype_of(number: int) -> np.dtype:
    """Of the arrays of a DataType; object for strings.

    Raises:
      ValueError: one that is unknown or that no request carries, or bfloat16 where nothing has imported ml_dtypes.
    """
    if number not in _FIELDS and number != _STRING:
        raise ValueError(f"tensor dtype {number} is unknown, or none that requests can carry")
    try:
        return np.dtype(_NAMES[number])
    except TypeError as error:  # TensorFlow imports it
        raise ValueError(f"numpy does not know {_NAMES[number]} before the package ml_dtypes is imported") from error


def _decode(message: Buffer) -> np.ndarray:
    """Packed floats are lifted out of the message; what is left is small and goes through the real TensorProto."""
    rest, packed = _lift(message)
    proto = _parse(TensorProto, rest)
    if proto.float_val or proto.double_val:  # not packed: legal, but no one sends them so
        return from_proto(_parse(TensorProto, bytes(message)))
    return _array(proto, packed)


def _lift(message: Buffer) -> tuple[bytes, dict[int, list[memoryview]]]:
    """A TensorProto without its packed floats, and these by field."""
    rest: list[memoryview] = []
    packed: dict[int, list[memoryview]] = {}
    for number, field, whole in _fields(memoryview(message)):
        if number in _PACKED and whole[0] & 7 == 2:
            packed.setdefault(number, []).append(field)
        else:
            rest.append(whole)
    return b"".join(rest), packed


def _parse(kind: type[M], message: bytes) -> M:
    try:
        return kind.FromString(message)
    except DecodeError as error:
        raise ValueError(f"the message holds no {kind.DESCRIPTOR.name}") from error


def _array(proto: Any, packed: Mapping[int, Sequence[memoryview]]) -> np.ndarray:
    dtype, shape = dtype_of(proto.dtype), _shape(proto.tensor_shape)
    content = proto.tensor_content
    if proto.dtype == _STRING:
        flat = np.empty(len(proto.string_val), object)
        flat[:] = proto.string_val
        return _fill(_strings(content, math.prod(shape)) if content else flat, shape)
    if content:  # a view: reshape refuses any other size
        return np.frombuffer(content, dtype).reshape(shape)
    return _fill(_values(proto, dtype, packed), shape)


def _shape(proto: Any) -> tuple[int, ...]:
    shape = tuple(dim.size for dim in proto.dim)
    if proto.unknown_rank or min(shape, default=0) < 0:
        raise ValueError("the tensor's shape is not fully defined")
    return shape


def _values(proto: Any, dtype: np.dtype, packed: Mapping[int, Sequence[memoryview]]) -> np.ndarray:
    """What was sent, flat."""
    name, kind = _FIELDS[proto.dtype]
    pieces = packed.get(_PACKED_NUMBER.get(dtype, 0), ())
    if pieces:
        values = [np.frombuffer(piece, kind) for piece in pieces]
        return values[0] if len(values) == 1 else np.concatenate(values)
    sent = getattr(proto, name)
    wide = np.int64 if name in ("int_val", "half_val") else kind  # integers wrap around, as in C++
    flat = np.fromiter(sent, wide, len(sent)).astype(kind)
    return flat.view(dtype) if name in _BITWISE else flat.astype(dtype)


def _strings(content: bytes, count: int) -> np.ndarray:
    """DecodeStringList: the lengths of `count` strings as varints, then their characters."""
    if count > len(content):
        raise ValueError(f"{len(content)} bytes hold no {count} strings")
    lengths, position = [], 0
    for _ in range(count):
        length, position = _read_varint(memoryview(content), position)
        lengths.append(length)
    if position + sum(lengths) != len(content):
        raise ValueError(f"the lengths of {count} strings do not sum up to the {len(content)} bytes that were sent")
    flat = np.empty(count, object)
    for index, length in enumerate(lengths):
        flat[index] = content[position : position + length]
        position += length
    return flat


def _fill(flat: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The values in their shape; those missing repeat the last one, or are zero."""
    missing = math.prod(shape) - len(flat)
    if missing <= 0:
        return flat[: math.prod(shape)].reshape(shape)
    nothing = b"" if flat.dtype == object else flat.dtype.type(0)
    last = flat[-1] if len(flat) else nothing
    item_bytes = _STRING_BYTES + len(last) if flat.dtype == object else flat.itemsize
    if missing * item_bytes > FILL_BYTES:
        declared = f"{math.prod(shape)} values and sends {len(flat)}"
        raise ValueError(f"the tensor declares {declared}; legal is up to {FILL_BYTES} bytes that are not sent")
    return np.concatenate([flat, np.full(missing, last, flat.dtype)]).reshape(shape)


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
