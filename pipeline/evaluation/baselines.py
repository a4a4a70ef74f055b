"""What bounds a separator from above and below: the ideal masks and the untouched mixture."""

from collections.abc import Mapping

import numpy as np

from pipeline.evaluation.spectrograms import Stft

_EPSILON = 1e-10


def ratio_mask(mixture: np.ndarray, references: Mapping[str, np.ndarray], stft: Stft) -> dict[str, np.ndarray]:
    """Estimates of the ideal ratio mask |S_j| / (|S_1| + ... + |S_J|) on the mixture's spectrogram (irm).

    Args:
        mixture: [samples, channels]; references: target -> the same shape.
        stft: that of the model it is compared with.

    Raises:
        ValueError: the window and hop allow no reconstruction.
    """
    magnitudes = _magnitudes(references, stft)
    return _masked(mixture, references, magnitudes / (magnitudes.sum(axis=0) + _EPSILON), stft)


def binary_mask(mixture: np.ndarray, references: Mapping[str, np.ndarray], stft: Stft) -> dict[str, np.ndarray]:
    """Estimates of the ideal binary mask (ibm): every bin of the mixture goes to the loudest reference.

    A bin in which none sounds, or several are equally loud, goes to the first. Arguments and errors as `ratio_mask`.
    """
    magnitudes = _magnitudes(references, stft)
    loudest = np.arange(len(magnitudes)).reshape(-1, 1, 1, 1) == magnitudes.argmax(axis=0)
    return _masked(mixture, references, loudest, stft)


def mixture_copy(mixture: np.ndarray, references: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The mixture itself as the estimate of every target."""
    return dict.fromkeys(references, mixture)


def _magnitudes(references: Mapping[str, np.ndarray], stft: Stft) -> np.ndarray:
    """[references, channels, bins, frames]."""
    return np.stack([np.abs(stft.forward(reference)) for reference in references.values()])


def _masked(
    mixture: np.ndarray, names: Mapping[str, np.ndarray], masks: np.ndarray, stft: Stft
) -> dict[str, np.ndarray]:
    spectrogram = stft.forward(mixture)
    return {name: stft.inverse(mask * spectrogram, len(mixture)) for name, mask in zip(names, masks, strict=True)}
