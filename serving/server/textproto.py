"""TensorFlow Serving's text-format config files.

The pip package `tensorflow-serving-api` ships the model config's message but not those of batching, TLS and
monitoring; they are declared here, field by field, as TensorFlow Serving 2.16.1 declares them
(session_bundle_config.proto, ssl_config.proto, monitoring_config.proto).
"""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format, wrappers_pb2
from google.protobuf.message import Message

M = TypeVar("M", bound=Message)

_PACKAGE = "tensorflow.serving"
_FIELD = descriptor_pb2.FieldDescriptorProto
_SCALARS = {"string": _FIELD.TYPE_STRING, "bool": _FIELD.TYPE_BOOL, "int64": _FIELD.TYPE_INT64}
_INT64, _BOOL, _STRING = (f".google.protobuf.{name}Value" for name in ("Int64", "Bool", "String"))

# message -> field -> (number, type), a leading * for repeated ones
_SCHEMA = {
    "BatchingParameters": {
        "max_batch_size": (1, _INT64),
        "batch_timeout_micros": (2, _INT64),
        "max_enqueued_batches": (3, _INT64),
        "num_batch_threads": (4, _INT64),
        "thread_pool_name": (5, _STRING),
        "allowed_batch_sizes": (6, "*int64"),
        "pad_variable_length_inputs": (7, "bool"),
        "enable_large_batch_splitting": (8, _BOOL),
        "max_execution_batch_size": (9, _INT64),
    },
    "SSLConfig": {
        "server_key": (1, "string"),
        "server_cert": (2, "string"),
        "custom_ca": (3, "string"),
        "client_verify": (4, "bool"),
    },
    "PrometheusConfig": {"enable": (1, "bool"), "path": (2, "string")},
    "MonitoringConfig": {"prometheus_config": (1, f".{_PACKAGE}.PrometheusConfig")},
}


def _messages() -> dict[str, type[Message]]:
    file = descriptor_pb2.FileDescriptorProto(name="stemline_serving.proto", package=_PACKAGE, syntax="proto3")
    file.dependency.append(wrappers_pb2.DESCRIPTOR.name)
    for name, fields in _SCHEMA.items():
        message = file.message_type.add(name=name)
        for field, (number, kind) in fields.items():
            label = _FIELD.LABEL_REPEATED if kind.startswith("*") else _FIELD.LABEL_OPTIONAL
            added = message.field.add(name=field, number=number, label=label)
            if scalar := _SCALARS.get(kind.lstrip("*")):
                added.type = scalar
            else:
                added.type, added.type_name = _FIELD.TYPE_MESSAGE, kind
    pool = descriptor_pool.DescriptorPool()  # of its own: another package may have registered the same names
    pool.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)
    pool.Add(file)
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.{name}")) for name in _SCHEMA}


_MESSAGES = _messages()


def message(name: str) -> Message:
    """An empty `BatchingParameters`, `SSLConfig` or `MonitoringConfig`."""
    return _MESSAGES[name]()


def read(path: Path, into: M, secret: bool = False) -> M:
    """Parses the text proto at `path` into the message, and returns it.

    Args:
      secret: never quote the file in an error; it may hold a private key.

    Raises:
      ValueError: it cannot be read, or is no such message; one sentence that names the file and where it fails.
    """
    kind = into.DESCRIPTOR.name
    try:
        return text_format.Parse(path.read_text(encoding="utf-8"), into)
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}; legal is a text file with a {kind}") from error
    except UnicodeDecodeError:
        raise ValueError(f"{path} is no text; legal is a text file with a {kind}") from None
    except text_format.ParseError as error:
        place = f"line {error.GetLine()}" if secret else str(error)
        raise ValueError(f"{path} is no {kind}: {place}") from (None if secret else error)
