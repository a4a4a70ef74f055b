"""A SavedModel as a function from a mixture of any length to its stems, by the code and the defaults of the client."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from models.directory import ModelDirectory
from serving.client import Client
from serving.client.separation import CHUNK_SECONDS, OVERLAP_SECONDS
from serving.local import Local


class _Client(Client):
    """Lets pass what is not finite: the gate says so in words."""

    must_be_finite = False


class SavedSeparator:
    """Separates mixtures by the chunks and crossfades that whoever listens gets, whatever their length."""

    def __init__(
        self, directory: str | Path, chunk_seconds: float = CHUNK_SECONDS, overlap_seconds: float = OVERLAP_SECONDS
    ) -> None:
        """Loads a SavedModel that `models.exported.save` wrote.

        Raises:
            ValueError: the directory holds none.
        """
        description = ModelDirectory(directory).description
        self._rate_hz, self._channels = description["sample_rate_hz"], description["channels"]
        self._targets = description["targets"]
        self._client = _Client(Local(Path(directory)), model_rate_hz=self._rate_hz, in_flight=1)
        self._seconds = chunk_seconds, overlap_seconds

    def __call__(self, mixture: np.ndarray, sample_rate_hz: int) -> dict[str, np.ndarray]:
        """mixture [samples, channels] -> target -> float32 [samples, channels].

        Raises:
            ValueError: another sample rate than the model's, or channels that the model cannot take.
        """
        self.check_fits(sample_rate_hz, mixture.shape[1])
        return self._client.separate(mixture, sample_rate_hz, *self._seconds)

    def check_fits(self, sample_rate_hz: int, channels: int, targets: Iterable[str] = ()) -> None:
        """Raises ValueError if the model cannot take such audio or does not put out all of `targets`."""
        if sample_rate_hz != self._rate_hz:
            raise ValueError(f"the mixtures have {sample_rate_hz} Hz; the model takes {self._rate_hz} Hz")
        if self._channels not in (1, channels):
            raise ValueError(f"the mixtures have {channels} channels; the model takes {self._channels}")
        if missing := [target for target in targets if target not in self._targets]:
            raise ValueError(f"{missing[0]!r} is asked for; the model separates {', '.join(self._targets)}")
