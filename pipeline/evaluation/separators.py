"""A SavedModel as a function from a mixture of any length to its stems, through the signatures that are served."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from models.directory import ModelDirectory
from serving.client import signals
from serving.client.separation import CHUNK_SECONDS, OVERLAP_SECONDS
from serving.local import local_client

WHOLE_SECONDS = 60.0


class SavedSeparator:
    """Separates mixtures of any length: in one piece up to a minute; beyond, by chunks as a client does."""

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
        self._client = local_client(Path(directory), self._rate_hz)
        self._seconds = chunk_seconds, overlap_seconds

    def __call__(self, mixture: np.ndarray, sample_rate_hz: int) -> dict[str, np.ndarray]:
        """mixture [samples, channels] -> target -> float32 [samples, channels].

        Raises:
            ValueError: another sample rate than the model's, or channels that the model cannot take.
        """
        self.check_fits(sample_rate_hz, mixture.shape[1])
        if len(mixture) > WHOLE_SECONDS * sample_rate_hz:
            return self._client.separate(mixture, sample_rate_hz, *self._seconds)
        # `run` lets pass what is not finite: the gate says so in words.
        stems = self._client.run({"mixture": signals.fold(mixture, self._client.mixture_shape)})
        return {target: signals.unfold(stems[target], mixture.shape[1]) for target in self._targets}

    def check_fits(self, sample_rate_hz: int, channels: int, targets: Iterable[str] = ()) -> None:
        """Raises ValueError if the model cannot take such audio or does not put out all of `targets`."""
        if sample_rate_hz != self._rate_hz:
            raise ValueError(f"the mixtures have {sample_rate_hz} Hz; the model takes {self._rate_hz} Hz")
        if self._channels not in (1, channels):
            raise ValueError(f"the mixtures have {channels} channels; the model takes {self._channels}")
        if missing := [target for target in targets if target not in self._targets]:
            raise ValueError(f"{missing[0]!r} is asked for; the model separates {', '.join(self._targets)}")
