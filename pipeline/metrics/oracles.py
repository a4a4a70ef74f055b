"""What bounds a separator from above and below: the ideal ratio mask and the untouched mixture."""

from collections.abc import Mapping

import numpy as np
import scipy.signal

_EPSILON = 1e-10


def ratio_mask(
    mixture: np.ndarray, references: Mapping[str, np.ndarray], frame_length: int, hop: int, window: str
) -> dict[str, np.ndarray]:
    """Estimates of the ideal ratio mask |S_j| / (|S_1| + ... + |S_J|) on the mixture's spectrogram (irm).

    Args:
        mixture: [samples, channels]; references: target -> the same shape.
        frame_length, hop, window ("hann", "hamming" or "sine"): the STFT of the model it is compared with.

    Raises:
        ValueError: the window and hop allow no reconstruction.
    """
    samples = len(mixture)
    padding = ((0, 0), (0, max(0, frame_length - samples)))
    settings = {"window": _window(window, frame_length), "nperseg": frame_length, "noverlap": frame_length - hop}

    def forward(signal: np.ndarray) -> np.ndarray:
        return scipy.signal.stft(np.pad(signal.T, padding), **settings)[2]

    magnitudes = {name: np.abs(forward(reference)) for name, reference in references.items()}
    filtered = forward(mixture) / (sum(magnitudes.values()) + _EPSILON)
    return {
        name: scipy.signal.istft(magnitude * filtered, **settings)[1].T[:samples]
        for name, magnitude in magnitudes.items()
    }


def mixture_copy(mixture: np.ndarray, references: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The mixture itself as the estimate of every target."""
    return dict.fromkeys(references, mixture)


def _window(name: str, frame_length: int) -> np.ndarray:
    if name == "sine":
        return scipy.signal.windows.cosine(frame_length)
    return scipy.signal.get_window(name, frame_length)
