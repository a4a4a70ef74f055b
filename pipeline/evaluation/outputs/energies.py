"""Energies and inner products of signals [samples, channels], block by block."""

import numpy as np


def energies(signal: np.ndarray, block_samples: int) -> np.ndarray:
    """Energy of each block, all channels together: [blocks]; the last one may be shorter."""
    return products(signal, signal, block_samples)


def products(left: np.ndarray, right: np.ndarray, block_samples: int) -> np.ndarray:
    """Inner product of each block, all channels together: [blocks]."""
    of_samples = np.einsum("tc,tc->t", left, right)
    return np.add.reduceat(of_samples, np.arange(0, len(left), block_samples), dtype=float)
