"""Replaying a version's recorded requests before it serves: https://www.tensorflow.org/tfx/serving/saved_model_warmup."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from serving.server import monitoring
from serving.wire.status import Code, StatusError

if TYPE_CHECKING:
    from serving.server.models.servable import Servable

FILE = Path("assets.extra", "tf_serving_warmup_requests")
MAX_RECORDS = 1000


def replay(servable: Servable, directory: Path, iterations: int) -> None:
    """Sends the version's TFRecord of PredictionLog, if there is one, to the servable, each request `iterations` times.

    Raises:
      StatusError: a request fails, or the file is none.
    """
    path = directory / FILE
    if not iterations or not path.is_file():
        return
    try:
        with monitoring.warming_up(str(directory)):
            for count, record in enumerate(tf.compat.v1.io.tf_record_iterator(str(path)), 1):
                if count > MAX_RECORDS:
                    message = f"Number of warmup records exceeds the maximum ({MAX_RECORDS}) at {path}"
                    raise StatusError(Code.INVALID_ARGUMENT, message)
                log = _parse(record, path)
                for _ in range(iterations):
                    _send(servable, log)
    except tf.errors.DataLossError as error:
        message = f"{error.message}. Please verify your warmup data is in TFRecord format."
        raise StatusError(Code.DATA_LOSS, message) from error


def _parse(record: bytes, path: Path) -> prediction_log_pb2.PredictionLog:
    try:
        return prediction_log_pb2.PredictionLog.FromString(record)
    except Exception as error:  # DecodeError's module depends on the protobuf implementation
        raise StatusError(Code.INVALID_ARGUMENT, f"Failed to parse warmup record from {path}") from error


def _send(servable: Servable, log: prediction_log_pb2.PredictionLog) -> None:
    kind = log.WhichOneof("log_type")
    if kind == "predict_log":
        servable.predict(log.predict_log.request)
    elif kind == "classify_log":
        servable.classify(log.classify_log.request)
    elif kind == "regress_log":
        servable.regress(log.regress_log.request)
    elif kind == "multi_inference_log":
        servable.multi_inference(log.multi_inference_log.request)
    else:
        raise StatusError(Code.UNIMPLEMENTED, f"Unsupported log_type for warmup: {kind}")
