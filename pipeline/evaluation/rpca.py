"""Separation without training: robust principal component analysis of the mixture's magnitudes.

Huang, Chen, Smaragdis, Hasegawa-Johnson, "Singing-voice separation from monaural recordings using robust principal
component analysis", ICASSP 2012: music repeats, so its spectrogram has a low rank; a voice is sparse in it. Quoted for
MIR-1K by Huang et al. 2014: vocals GNSDR/GSIR/GSAR 3.15/4.43/11.09 dB, which the soft mask meets and the binary does not.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import threadpoolctl

from pipeline.evaluation.spectrograms import Stft

SPARSE, LOW_RANK = "vocals", "accompaniment"
"""The targets that it separates; it knows no others."""

# Of the decomposition that masks are made from: a smaller one moves one bin in ten thousand.
MASK_TOLERANCE = 1e-5
_EPSILON = 1e-10
_MU_GROWTH = 1.5
_MU_LARGEST = 1e7
_MOST_ITERATIONS = 100


def stft_of(frame_length: int) -> Stft:
    """The paper's STFT: at 16 kHz 1024 samples, a hop of a quarter of it."""
    return Stft(frame_length, frame_length // 4, "hann")


def separate(mixture: np.ndarray, stft: Stft, mask: Literal["binary", "soft"] = "soft") -> dict[str, np.ndarray]:
    """Vocals and accompaniment of a mixture [samples, channels]; each channel is taken apart on its own.

    Args:
        mask: `soft` shares a bin out as |sparse| to |low rank|; `binary` gives it to vocals where |sparse| > |low rank|
            (the paper's gain of 1).

    Raises:
        ValueError: the window and hop allow no reconstruction.
    """
    spectrogram = stft.forward(mixture)
    with threadpoolctl.threadpool_limits(1, "blas"):  # matrices this small take twice the CPU on two threads
        masks = [_vocal_mask(np.abs(channel), mask) for channel in spectrogram]
    vocals = np.stack(masks) * spectrogram
    parts = {SPARSE: vocals, LOW_RANK: spectrogram - vocals}
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
        sparse = _shrink(matrix - low_rank + multiplier / mu, weight / mu)
        residual = matrix - low_rank - sparse
        multiplier = multiplier + mu * residual
        mu = min(mu * _MU_GROWTH, largest_mu)
        if np.linalg.norm(residual) < tolerance * norm:
            break
    return low_rank, sparse


def _vocal_mask(magnitude: np.ndarray, mask: str) -> np.ndarray:
    low_rank, sparse = (np.abs(part) for part in decompose(magnitude, tolerance=MASK_TOLERANCE))
    return sparse > low_rank if mask == "binary" else sparse / (sparse + low_rank + _EPSILON)


def _shrink(values: np.ndarray, threshold: float) -> np.ndarray:
    return values - np.clip(values, -threshold, threshold)


def _shrink_singular_values(matrix: np.ndarray, threshold: float) -> np.ndarray:
    """Every singular value less the threshold, at least 0. By the eigenvectors of the smaller Gram matrix, which costs
    a fraction of an SVD; what squaring loses lies far below any threshold of the iteration."""
    if matrix.shape[0] < matrix.shape[1]:
        return _shrink_singular_values(matrix.T, threshold).T
    squares, vectors = np.linalg.eigh(matrix.T @ matrix)
    kept = squares > threshold**2
    vectors = vectors[:, kept]
    return (matrix @ (vectors * (1 - threshold / np.sqrt(squares[kept])))) @ vectors.T
