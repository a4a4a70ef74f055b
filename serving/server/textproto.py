"""TensorFlow Serving's text-format config files.

The pip package `tensorflow-serving-api` ships the model config's message but not those of batching, TLS and
monitoring; they are declared here, field by field, as TensorFlow Serving 2.16.1 declares them
(session_bundle_config.proto, ssl_config.proto, monitoring_config.proto).
"""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from google.protobuf import text_format, wrappers_pb2
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message

from serving.wire.messages import Schema, declare

M = TypeVar("M", bound=Message)

_PACKAGE = "tensorflow.serving"
_INT64, _BOOL, _STRING = (f"google.protobuf.{name}Value" for name in ("Int64", "Bool", "String"))

_SCHEMA: Schema = {
    "BatchingParameters": {
        "max_batch_size": (1, _INT64),
        "batch_timeout_micros": (2, _INT64),
        "max_enqueued_batches": (3, _INT64),
        "num_batch_threads": (4, _INT64),
        "thread_pool_name": (5, _STRING),
        "allowed_batch_sizes": (6, "repeated int64"),
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
    "MonitoringConfig": {"prometheus_config": (1, f"{_PACKAGE}.PrometheusConfig")},
}


_POOL = DescriptorPool()
_POOL.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)
_MESSAGES = declare(_POOL, _PACKAGE, _SCHEMA, [wrappers_pb2.DESCRIPTOR.name])


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
        words = f"Error parsing text-format {into.DESCRIPTOR.full_name}: {place}"  # as protobuf in C++ says it
        raise ValueError(f"{path} is no {kind}: {words}") from (None if secret else error)
