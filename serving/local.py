"""A SavedModel in this process, with the separations of serving.client and no server."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import numpy as np

from serving.client import Client
from serving.client.signals import SeparationError, Stems
from serving.wire import messages, tensors
from serving.wire.status import StatusError

T = TypeVar("T")


def local_client(directory: Path, model_rate_hz: int | None = None, alone: bool = False) -> Client:
    """A client of the SavedModel in `directory`; chunks are run one after the other.

    Args:
      alone: this process does nothing else with TensorFlow, so that its runtime is all that has to be loaded.

    Raises (and so do the client's methods):
      SeparationError: it cannot be loaded, or does not run.
    """
    if alone:
        from serving.server import runtime

        runtime.only()
    return Client(Local(directory), model_rate_hz=model_rate_hz, in_flight=1)


class Local:
    """The SavedModel in `directory`, a `serving.client.separation.Transport`: there is one version, the one loaded."""

    def __init__(self, directory: Path) -> None:
        from serving.server.models.servable import Options, Servable  # TensorFlow takes seconds to import

        self.label = f"model {directory}"
        self.version = int(directory.name) if directory.name.isdecimal() else None
        try:  # nobody waits for a first request that is replayed only for the time it takes
            self._servable = Servable(directory, Options(warmup_iterations=0))
        except StatusError as error:
            raise SeparationError(f"{self.label} cannot be loaded: {error.message}") from error

    @property
    def signatures(self) -> Mapping:
        return self._servable.signatures

    def run(self, inputs: Mapping[str, np.ndarray], signature_name: str) -> Stems:
        from tensorflow_serving.apis import predict_pb2

        message = tensors.predict_request(messages.ModelSpec(signature_name=signature_name), inputs)
        request = predict_pb2.PredictRequest.FromString(message)
        try:
            return self._servable.predict(request)
        except StatusError as error:
            raise SeparationError(f"{self.label} refused with {error.code.name}: {error.message}") from error

    def pinned(self) -> Local:
        return self

    def on_one_version(self, work: Callable[[Local], T]) -> T:
        return work(self)

    def close(self) -> None:
        self._servable.close()
