"""What a client reads and writes of TensorFlow Serving's messages, without TensorFlow.

The packages that have them all, tensorflow-serving-api and tensorflow, import TensorFlow for it. Names, numbers and types
of the fields are those of TensorFlow Serving 2.16.1 and TensorFlow 2.16; a field that is not declared here is kept, as
protobuf keeps what it does not know.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from google.protobuf import any_pb2, descriptor_pb2, message_factory, wrappers_pb2
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message

# message -> field -> (number, type as .proto files write it); a message in another one comes after it
Schema = Mapping[str, Mapping[str, tuple[int, str]]]

_FIELD = descriptor_pb2.FieldDescriptorProto
_KIND = re.compile(r"(?P<repeated>repeated )?(?P<map>map<string, )?(?P<name>[\w.]+)>?")
_SCALARS = {
    name: getattr(_FIELD, f"TYPE_{name.upper()}")
    for name in ("bool", "bytes", "double", "float", "int32", "int64", "string", "uint32", "uint64")
}


def declare(
    pool: DescriptorPool,
    package: str,
    schema: Schema,
    imports: Sequence[str] = (),
    enums: Mapping[str, Mapping[str, int]] | None = None,
) -> dict[str, type[Message]]:
    """Adds messages to a pool as the file `<package>.proto`; returns their classes by name.

    Args:
      pool: of its own, as another package may have registered the same names.
      imports: names of the files in the pool whose messages are used.
      enums: those of the package: names and numbers.
    """
    file = descriptor_pb2.FileDescriptorProto(name=f"{package}.proto", package=package, syntax="proto3")
    file.dependency.extend(imports)
    for name, values in (enums or {}).items():
        enum = file.enum_type.add(name=name)
        for value, number in values.items():
            enum.value.add(name=value, number=number)
    added: dict[str, descriptor_pb2.DescriptorProto] = {}
    for name, fields in schema.items():
        outer, _, own = name.rpartition(".")
        added[name] = message = added[outer].nested_type.add(name=own) if outer else file.message_type.add(name=own)
        for field, (number, kind) in fields.items():
            _add(message, f"{package}.{name}", field, number, kind)
    pool.Add(file)
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{package}.{name}")) for name in schema}


def _add(message: descriptor_pb2.DescriptorProto, full_name: str, field: str, number: int, kind: str) -> None:
    found = _KIND.fullmatch(kind)
    assert found, kind
    name = found["name"]
    if found["map"]:
        entry = message.nested_type.add(name=f"{field.title().replace('_', '')}Entry")
        entry.options.map_entry = True
        _add(entry, "", "key", 1, "string")
        _add(entry, "", "value", 2, name)
        name = f"{full_name}.{entry.name}"
    many = found["map"] or found["repeated"]
    added = message.field.add(name=field, number=number, label=_FIELD.LABEL_REPEATED if many else _FIELD.LABEL_OPTIONAL)
    if name in _SCALARS:
        added.type = _SCALARS[name]
    else:  # a message or an enum: the pool finds out
        added.type_name = f".{name}"


_POOL = DescriptorPool()
for _known in (any_pb2, wrappers_pb2):
    _POOL.AddSerializedFile(_known.DESCRIPTOR.serialized_pb)

_NUMBERED = """INVALID FLOAT DOUBLE INT32 UINT8 INT16 INT8 STRING COMPLEX64 INT64 BOOL QINT8 QUINT8 QINT32 BFLOAT16 QINT16
    QUINT16 UINT16 COMPLEX128 HALF RESOURCE VARIANT UINT32 UINT64 FLOAT8_E5M2 FLOAT8_E4M3FN"""
DATA_TYPES = {f"DT_{name}": number for number, name in enumerate(_NUMBERED.split())} | {"DT_INT4": 29, "DT_UINT4": 30}
_SHAPE = "tensorflow.TensorShapeProto"
TENSORFLOW: Schema = {
    "TensorShapeProto": {"dim": (2, f"repeated {_SHAPE}.Dim"), "unknown_rank": (3, "bool")},
    "TensorShapeProto.Dim": {"size": (1, "int64"), "name": (2, "string")},
    "TensorProto": {
        "dtype": (1, "tensorflow.DataType"),
        "tensor_shape": (2, _SHAPE),
        "version_number": (3, "int32"),
        "tensor_content": (4, "bytes"),
        "float_val": (5, "repeated float"),
        "double_val": (6, "repeated double"),
        "int_val": (7, "repeated int32"),
        "string_val": (8, "repeated bytes"),
        "scomplex_val": (9, "repeated float"),
        "int64_val": (10, "repeated int64"),
        "bool_val": (11, "repeated bool"),
        "dcomplex_val": (12, "repeated double"),
        "half_val": (13, "repeated int32"),
        "uint32_val": (16, "repeated uint32"),
        "uint64_val": (17, "repeated uint64"),
    },
    "TensorInfo": {"name": (1, "string"), "dtype": (2, "tensorflow.DataType"), "tensor_shape": (3, _SHAPE)},
    "SignatureDef": {
        "inputs": (1, "map<string, tensorflow.TensorInfo>"),
        "outputs": (2, "map<string, tensorflow.TensorInfo>"),
        "method_name": (3, "string"),
    },
}
_SPEC = "tensorflow.serving.ModelSpec"
SERVING: Schema = {
    "ModelSpec": {
        "name": (1, "string"),
        "version": (2, "google.protobuf.Int64Value"),
        "signature_name": (3, "string"),
    },
    "GetModelMetadataRequest": {"model_spec": (1, _SPEC), "metadata_field": (2, "repeated string")},
    "GetModelMetadataResponse": {"model_spec": (1, _SPEC), "metadata": (2, "map<string, google.protobuf.Any>")},
    "SignatureDefMap": {"signature_def": (1, "map<string, tensorflow.SignatureDef>")},
}
_TENSORFLOW = declare(_POOL, "tensorflow", TENSORFLOW, enums={"DataType": DATA_TYPES})
_SERVING = declare(
    _POOL,
    "tensorflow.serving",
    SERVING,
    ["tensorflow.proto", any_pb2.DESCRIPTOR.name, wrappers_pb2.DESCRIPTOR.name],
)

TensorProto: Any = _TENSORFLOW["TensorProto"]
ModelSpec: Any = _SERVING["ModelSpec"]
GetModelMetadataRequest: Any = _SERVING["GetModelMetadataRequest"]
GetModelMetadataResponse: Any = _SERVING["GetModelMetadataResponse"]
SignatureDefMap: Any = _SERVING["SignatureDefMap"]
