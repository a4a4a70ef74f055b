"""A SavedModel in this process, with the separations of serving.client and no server."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from tensorflow_serving.apis import predict_pb2

from serving.client.separation import DEFAULT_SIGNATURE, Separation
from serving.client.signals import SeparationError, Stems
from serving.server.models.servable import Servable
from serving.wire import tensors
from serving.wire.status import StatusError


class LocalModel(Separation):
    """The SavedModel in `directory`, closed by leaving the `with` block.

    Args:
      directory: holds saved_model.pb.
      model_rate_hz: the model's sample rate; not needed when the model has the signature `describe`.

    Raises (all methods):
      SeparationError: it cannot be loaded, or does not run.
    """

    def __init__(self, directory: Path, model_rate_hz: int | None = None) -> None:
        super().__init__(f"model {directory}", model_rate_hz)
        try:
            self._servable = Servable(directory)
        except StatusError as error:
            raise SeparationError(f"model {directory} cannot be loaded: {error.message}") from error

    def __enter__(self) -> LocalModel:
        return self

    def __exit__(self, *_: object) -> None:
        self._servable.close()

    @property
    def signatures(self) -> Mapping:
        return self._servable.signatures

    def run(self, inputs: Mapping[str, np.ndarray], signature_name: str = DEFAULT_SIGNATURE) -> Stems:
        request = predict_pb2.PredictRequest()
        request.model_spec.signature_name = signature_name
        for alias, array in inputs.items():
            request.inputs[alias].CopyFrom(tensors.to_proto(array))
        try:
            return self._servable.predict(request)
        except StatusError as error:
            raise SeparationError(f"{self.label} refused with {error.code.name}: {error.message}") from error
