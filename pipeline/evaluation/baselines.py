"""What a separator is measured against: the untouched mixture, ideal masks, and separation without training.

Ideal masks bound a separator that masks from above. Robust principal component analysis needs no training: Huang, Chen,
Smaragdis, Hasegawa-Johnson, "Singing-voice separation from monaural recordings using robust principal component analysis",
ICASSP 2012: music repeats, so its spectrogram has a low rank; a voice is sparse in it. Quoted for MIR-1K by Huang et al.
2014: vocals GNSDR/GSIR/GSAR 3.15/4.43/11.09 dB, which the soft mask meets and the binary does not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.signal
import threadpoolctl

from models.spec import ModelSpec
from pipeline.data.datasets.track import Track
from pipeline.evaluation.scores import Estimates, Separate

MASK_TOLERANCE = 1e-5
"""Of the decomposition that masks are made from: a smaller one moves one bin in ten thousand."""
_EPSILON = 1e-10
_MU_GROWTH = 1.5
_MU_LARGEST = 1e7
_MOST_ITERATIONS = 100


@dataclass(frozen=True)
class Stft:
    """The STFT in NumPy, for signals of any length: frame length and hop in samples, and the window ("hann", "hamming" or
    "sine")."""

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
        if self.window == "sine":
            window = scipy.signal.windows.cosine(self.frame_length)
        else:
            window = scipy.signal.get_window(self.window, self.frame_length)
        return {"window": window, "nperseg": self.frame_length, "noverlap": self.frame_length - self.hop}


def estimate_by_all(
    track: Track, separators: Mapping[str, Separate], spec: ModelSpec, baselines: Sequence[str]
) -> dict[str, Estimates]:
    """Estimates of one track by every method: the mixture itself, the baselines asked for and the separators."""
    stems = {target: track.stems[target] for target in spec.targets if target in track.stems}
    # Next to a single target stands the rest of the mixture.
    sources = stems if len(stems) > 1 else {**stems, "": track.mixture - sum(stems.values())}
    masked = track.mixture, sources, Stft(spec.frame_length, spec.hop, spec.window)
    made = {
        "rpca": lambda: robust_pca(track.mixture, Stft(spec.frame_length, spec.frame_length // 4, "hann")),
        "irm": lambda: ratio_mask(*masked),
        "ibm": lambda: binary_mask(*masked),
    }
    return {
        "mixture": dict.fromkeys(stems, track.mixture),
        **{name: made[name]() for name in baselines},
        **{method: separate(track.mixture, track.sample_rate_hz) for method, separate in separators.items()},
    }


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


def robust_pca(mixture: np.ndarray, stft: Stft) -> dict[str, np.ndarray]:
    """`vocals` and `accompaniment` of a mixture [samples, channels]; each channel is taken apart on its own.

    A bin is shared out as |sparse| to |low rank|. The paper's STFT has at 16 kHz 1024 samples, a hop of a quarter of it.

    Raises:
        ValueError: the window and hop allow no reconstruction.
    """
    spectrogram = stft.forward(mixture)
    masks = []
    with threadpoolctl.threadpool_limits(1, "blas"):  # matrices this small take twice the CPU on two threads
        for magnitude in np.abs(spectrogram):
            low_rank, sparse = (np.abs(part) for part in decompose(magnitude, tolerance=MASK_TOLERANCE))
            masks.append(sparse / (sparse + low_rank + _EPSILON))
    vocals = np.stack(masks) * spectrogram
    parts = {"vocals": vocals, "accompaniment": spectrogram - vocals}
    return {target: stft.inverse(part, len(mixture)) for target, part in parts.items()}


def decompose(
    matrix: np.ndarray, sparsity: float | None = None, tolerance: float = 1e-7
) -> tuple[np.ndarray, np.ndarray]:
    """min |L|_* + sparsity |S|_1 with L + S = matrix, by the inexact augmented Lagrange multiplier method.

    Lin, Chen, Ma, "The augmented Lagrange multiplier method for exact recovery of corrupted low-rank matrices" (2010),
    algorithm 5.

    Args:
        matrix: [rows, columns], finite.
        sparsity: weight of S; 1 / sqrt(max(rows, columns)) by default.
        tolerance: the largest |matrix - L - S| in relation to |matrix|, in Frobenius norm.

    Returns:
        The low-rank part L and the sparse part S.
    """
    norm = np.linalg.norm(matrix)
    if norm == 0:
        return np.zeros_like(matrix), np.zeros_like(matrix)
    weight = sparsity if sparsity is not None else 1 / np.sqrt(max(matrix.shape))
    spectral = np.linalg.norm(matrix, 2)
    multiplier = matrix / max(spectral, np.abs(matrix).max() / weight)
    mu = 1.25 / spectral
    largest_mu = mu * _MU_LARGEST
    sparse = np.zeros_like(matrix)
    for _ in range(_MOST_ITERATIONS):
        low_rank = _shrink_singular_values(matrix - sparse + multiplier / mu, 1 / mu)
        sparse = matrix - low_rank + multiplier / mu
        sparse = sparse - np.clip(sparse, -weight / mu, weight / mu)
        residual = matrix - low_rank - sparse
        multiplier = multiplier + mu * residual
        mu = min(mu * _MU_GROWTH, largest_mu)
        if np.linalg.norm(residual) < tolerance * norm:
            break
    return low_rank, sparse


def _magnitudes(references: Mapping[str, np.ndarray], stft: Stft) -> np.ndarray:
    """[references, channels, bins, frames]."""
    return np.stack([np.abs(stft.forward(reference)) for reference in references.values()])


def _masked(
    mixture: np.ndarray, names: Mapping[str, np.ndarray], masks: np.ndarray, stft: Stft
) -> dict[str, np.ndarray]:
    spectrogram = stft.forward(mixture)
    return {name: stft.inverse(mask * spectrogram, len(mixture)) for name, mask in zip(names, masks, strict=True)}


def _shrink_singular_values(matrix: np.ndarray, threshold: float | np.floating) -> np.ndarray:
    """Every singular value less the threshold, at least 0. By the eigenvectors of the smaller Gram matrix, which costs
    a fraction of an SVD; what squaring loses lies far below any threshold of the iteration."""
    if matrix.shape[0] < matrix.shape[1]:
        return _shrink_singular_values(matrix.T, threshold).T
    squares, vectors = np.linalg.eigh(matrix.T @ matrix)
    kept = squares > threshold**2
    vectors = vectors[:, kept]
    return (matrix @ (vectors * (1 - threshold / np.sqrt(squares[kept])))) @ vectors.T
