"""A SavedModel as a function from a mixture to its stems, through the signature that is served."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from serving import chunking

WHOLE_SECONDS = 60.0


def load(directory: str | Path, chunk_seconds: float = 10.0, overlap_seconds: float = 1.0) -> "Separator":
    """Loads a SavedModel that `models.export.save` wrote.

    Raises:
        ValueError: the directory holds no SavedModel, or one without `assets.extra/stemline.json`.
    """
    described = Path(directory) / "assets.extra" / "stemline.json"
    if not (Path(directory) / "saved_model.pb").is_file() or not described.is_file():
        raise ValueError(f"{directory} is no model of this project: saved_model.pb or {described.name} is missing")
    return Separator(
        tf.saved_model.load(str(directory)), json.loads(described.read_text()), chunk_seconds, overlap_seconds
    )


class Separator:
    """Separates mixtures of any length: in one piece up to a minute, by chunks with overlap-add beyond."""

    def __init__(self, model: Any, info: Mapping[str, Any], chunk_seconds: float, overlap_seconds: float) -> None:
        self._model = model  # the signature does not keep the model's variables alive by itself
        self._signature = model.signatures["serving_default"]
        self.sample_rate_hz = int(info["sample_rate_hz"])
        self.channels = int(info["channels"])
        self.targets = tuple(info["targets"])
        self._plan = chunking.plan_seconds(chunk_seconds, overlap_seconds, self.sample_rate_hz)

    def __call__(self, mixture: np.ndarray, sample_rate_hz: int) -> dict[str, np.ndarray]:
        """mixture [samples, channels] -> target -> float32 [samples, channels].

        Raises:
            ValueError: another sample rate than the model's, or channels that the model cannot take.
        """
        self.check(sample_rate_hz, mixture.shape[1])
        if len(mixture) <= WHOLE_SECONDS * sample_rate_hz:
            return self._separate(mixture)
        return self._by_chunks(mixture)

    def check(self, sample_rate_hz: int, channels: int, targets: Iterable[str] = ()) -> None:
        """Raises ValueError if the model cannot take such audio or does not put out all of `targets`."""
        if sample_rate_hz != self.sample_rate_hz:
            raise ValueError(f"the mixtures have {sample_rate_hz} Hz; the model takes {self.sample_rate_hz} Hz")
        if self.channels not in (1, channels):
            raise ValueError(f"the mixtures have {channels} channels; the model takes {self.channels}")
        if missing := [target for target in targets if target not in self.targets]:
            raise ValueError(f"{missing[0]!r} is asked for; the model separates {', '.join(self.targets)}")

    def _separate(self, mixture: np.ndarray) -> dict[str, np.ndarray]:
        """One request: a network of one channel gets the channels as a batch."""
        batch = mixture[np.newaxis] if self.channels > 1 else mixture.T
        outputs = self._signature(mixture=tf.constant(batch, tf.float32))
        return {
            target: outputs[target].numpy()[0] if self.channels > 1 else outputs[target].numpy().T
            for target in self.targets
        }

    def _by_chunks(self, mixture: np.ndarray) -> dict[str, np.ndarray]:
        adders = {target: chunking.OverlapAdder(self._plan) for target in self.targets}
        finished: dict[str, list[np.ndarray]] = {target: [] for target in self.targets}
        for chunk, last in chunking.split([mixture], self._plan):
            padded = self._separate(chunking.pad(chunk, self._plan.chunk_samples))
            for target, estimate in padded.items():
                finished[target].append(adders[target].push(estimate[: len(chunk)], last))
        return {target: np.concatenate(pieces) for target, pieces in finished.items()}
