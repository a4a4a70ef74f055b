"""One version of a SavedModel, loaded the way TensorFlow Serving loads it: a graph and a session of its own.

A session (not `tf.saved_model.load`) because it is what the real server runs: the feeds and fetches of a SignatureDef,
only the asked outputs computed, a time limit for every run, and all memory given back on close. See
serving.server.models.session.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from tensorflow.core.protobuf.config_pb2 import ConfigProto
from tensorflow.python.framework import errors
from tensorflow.python.lib.io import tf_record
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

from serving.server import monitoring
from serving.server.limits import NO_LIMITS, Limits
from serving.server.models.batching_parameters import BatchingParameters
from serving.server.models.session import Session
from serving.wire import tensors
from serving.wire.status import MAX_MESSAGE_LENGTH, Code, StatusError

DEFAULT_SIGNATURE = "serving_default"
METHODS = ("tensorflow/serving/predict", "tensorflow/serving/classify", "tensorflow/serving/regress")  # for Predict
WARM_UP_FILE = Path("assets.extra", "tf_serving_warmup_requests")
MAX_WARM_UP_RECORDS = 1000


@dataclass(frozen=True)
class Options:
    """How servables are loaded and run."""

    tags: tuple[str, ...] = ("serve",)
    session: ConfigProto = field(default_factory=ConfigProto)
    warmup_iterations: int = 1  # replays of each warm-up request; 0 leaves them alone
    check_method_names: bool = False  # a request needs a signature of its own method
    batching: BatchingParameters | None = None  # how requests share runs; None runs each alone
    limits: Limits = NO_LIMITS


class Servable:
    """A loaded SavedModel.

    Args:
      directory: the version directory, holding saved_model.pb.

    Raises:
      StatusError: it cannot be loaded, or a warm-up request fails.
    """

    def __init__(self, directory: Path, options: Options | None = None) -> None:
        self._options = options = options or Options()
        if not is_complete(directory):
            message = f"Could not find SavedModel .pb or .pbtxt at supplied export directory path: {directory}"
            raise StatusError(Code.NOT_FOUND, message)
        with monitoring.loading(str(directory)):
            self._session = Session(directory, options.tags, options.session)
        self.signatures = self._session.signatures
        self._scheduler = None
        if options.batching is not None:
            from serving.server.models.batching import Scheduler  # with it comes TensorFlow's making of functions

            self._scheduler = Scheduler(self._session.run, options.batching)
        try:
            self._warm_up(directory)
        except BaseException:
            self.close()
            raise

    def predict(
        self, request: predict_pb2.PredictRequest, timeout_seconds: float | None = None
    ) -> dict[str, np.ndarray]:
        """The request's outputs by alias, or StatusError with TensorFlow Serving's code and message."""
        name = request.model_spec.signature_name or DEFAULT_SIGNATURE
        if name not in self.signatures:
            raise StatusError(Code.FAILED_PRECONDITION, f'Serving signature key "{name}" not found.')
        signature = self.signatures[name]
        if self._options.check_method_names and signature.method_name not in METHODS:
            message = f"Expected prediction signature method_name to be one of {{{', '.join(METHODS)}}}. "
            raise StatusError(Code.INTERNAL, f"{message}Was: {signature.method_name}")
        feeds = _feeds(signature, request)
        outputs = _outputs(signature, request.output_filter)
        self._options.limits.check({alias: feeds[info.name].shape for alias, info in signature.inputs.items()})
        run = self._session.run if self._scheduler is None else self._scheduler.predict
        with monitoring.runtime(request.model_spec.name, "Predict"):
            return run(feeds, outputs, timeout_seconds)

    def close(self) -> None:
        """Cuts short what is running, and gives the memory back."""
        self._session.close()
        if self._scheduler is not None:
            self._scheduler.close()

    def _warm_up(self, directory: Path) -> None:
        """Replays the version's TFRecord of PredictionLog, if there is one, each request `warmup_iterations` times.

        https://www.tensorflow.org/tfx/serving/saved_model_warmup

        Raises:
          StatusError: a request fails or is none of Predict's, or the file is no TFRecord.
        """
        path = directory / WARM_UP_FILE
        if not self._options.warmup_iterations or not path.is_file():
            return
        try:
            records: Any = tf_record.tf_record_iterator(str(path))
            with monitoring.warming_up(str(directory)):
                for count, record in enumerate(records, 1):
                    if count > MAX_WARM_UP_RECORDS:
                        message = f"Number of warmup records exceeds the maximum ({MAX_WARM_UP_RECORDS}) at {path}"
                        raise StatusError(Code.INVALID_ARGUMENT, message)
                    request = _warm_up_request(record, path)
                    for _ in range(self._options.warmup_iterations):
                        self.predict(request)
        except errors.DataLossError as error:
            message = f"{error.message}. Please verify your warmup data is in TFRecord format."
            raise StatusError(Code.DATA_LOSS, message) from error


def is_complete(directory: Path) -> bool:
    """Whether the file that a copy writes last, saved_model.pb, is there."""
    return (directory / "saved_model.pb").is_file() or (directory / "saved_model.pbtxt").is_file()


def _warm_up_request(record: bytes, path: Path) -> predict_pb2.PredictRequest:
    try:
        log = prediction_log_pb2.PredictionLog.FromString(record)
    except Exception as error:  # DecodeError's module depends on the protobuf implementation
        raise StatusError(Code.INVALID_ARGUMENT, f"Failed to parse warmup record from {path}") from error
    kind = log.WhichOneof("log_type")
    if kind != "predict_log":
        message = f"Unsupported log_type for warmup: {kind} at {path}; legal is predict_log"
        raise StatusError(Code.UNIMPLEMENTED, message)
    return log.predict_log.request


# ---- the checks of a request against a signature: PreProcessPrediction (TensorFlow Serving 2.16.1's predict_util.cc) and
# GetInputValues (TensorFlow's cc/saved_model/util.cc)


def _braces(names: Iterable[str]) -> str:
    """The names in order; of very many no more than can be read before the message is cut."""
    return "{" + ",".join(heapq.nsmallest(MAX_MESSAGE_LENGTH, names)) + "}"


def _feeds(signature, request: predict_pb2.PredictRequest) -> dict[str, np.ndarray]:
    """By tensor name; an input that was not sent has the signature's default value, if there is one."""
    sent, wanted, defaults = set(request.inputs), set(signature.inputs), set(signature.defaults)
    if len(sent) > len(wanted) or (len(sent) < len(wanted) and not defaults):
        raise StatusError(
            Code.INVALID_ARGUMENT,
            f"input size does not match signature: {len(sent)}!={len(wanted)} "
            f"len({_braces(sent)}) != len({_braces(wanted)}). Sent extra: {_braces(sent - wanted)}. "
            f"Missing but required: {_braces(wanted - sent)}.",
        )
    feeds = {}
    for alias in sorted(wanted):
        name = signature.inputs[alias].name
        if alias not in sent | defaults:
            raise StatusError(
                Code.INVALID_ARGUMENT,
                f"Signature input alias: {alias}(feed name: {name}) not found in request and no default value provided. "
                f"Inputs expected to be in the request {_braces(sent)}, or default input alias set: "
                f"{','.join(sorted(defaults))}",
            )
        try:
            feeds[name] = tensors.from_proto((request.inputs if alias in sent else signature.defaults)[alias])
        except ValueError as error:
            raise StatusError(Code.INVALID_ARGUMENT, f"tensor parsing error: {alias}") from error
    if sent - wanted:
        used, names = (_braces(names)[1:-1] for names in (sent & wanted, sent))
        message = f"Inputs contains invalid name. Used request inputs: {used}, request input: {names}"
        raise StatusError(Code.INVALID_ARGUMENT, message)
    return feeds


def _outputs(signature, output_filter) -> dict[str, str]:
    chosen: dict[str, str] = {}
    for alias in output_filter:
        if alias not in signature.outputs:
            raise StatusError(
                Code.INVALID_ARGUMENT,
                f"output tensor alias not found in signature: {alias} "
                f"Outputs expected to be in the set {_braces(signature.outputs)}.",
            )
        if alias in chosen:
            raise StatusError(Code.INVALID_ARGUMENT, f"duplicate output tensor alias: {alias}")
        chosen[alias] = signature.outputs[alias].name
    return chosen or {alias: info.name for alias, info in signature.outputs.items()}
