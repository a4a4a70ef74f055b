"""The STFT of the evaluation baselines, in NumPy: forward and back for signals of any length."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.signal


@dataclass(frozen=True)
class Stft:
    """Frame length and hop in samples, and the window ("hann", "hamming" or "sine")."""

    frame_length: int
    hop: int
    window: str

    def forward(self, signal: np.ndarray) -> np.ndarray:
        """[samples, channels] -> complex [channels, bins, frames].

        Raises:
            ValueError: the window and hop allow no reconstruction.
        """
        padding = ((0, 0), (0, max(0, self.frame_length - len(signal))))
        return scipy.signal.stft(np.pad(signal.T, padding), **self._settings)[2]

    def inverse(self, spectrogram: np.ndarray, samples: int) -> np.ndarray:
        """Complex [channels, bins, frames] -> [samples, channels]."""
        return scipy.signal.istft(spectrogram, **self._settings)[1].T[:samples]

    @property
    def _settings(self) -> dict[str, Any]:
        return {
            "window": _window(self.window, self.frame_length),
            "nperseg": self.frame_length,
            "noverlap": self.frame_length - self.hop,
        }


def _window(name: str, frame_length: int) -> np.ndarray:
    if name == "sine":
        return scipy.signal.windows.cosine(frame_length)
    return scipy.signal.get_window(name, frame_length)
