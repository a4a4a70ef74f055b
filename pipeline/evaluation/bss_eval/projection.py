"""Least-squares projections of estimates on the delayed references of one track, which all estimates share.

With the references and their delayed copies as columns of S, the projection of an estimate e has the filters
C = (S'S)^-1 S'e. Both S'S (block Toeplitz) and S'e are correlations (Vincent, Gribonval, Févotte, "Performance
measurement in blind audio source separation", IEEE TASLP 14(4), 2006).
"""

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np
import scipy.linalg

from pipeline.evaluation.bss_eval.correlations import Correlations, Signals
from pipeline.evaluation.bss_eval.threads import on_one_blas_thread

Pairs = Sequence[tuple[int, int]]
"""(estimate, reference) by their places."""

Solver = Callable[[np.ndarray], np.ndarray]


class Filters(NamedTuple):
    """Distortion filters of the estimates; output channel first, then the reference's channel."""

    whole: np.ndarray
    """On all references, [estimates, channels, targets * channels, taps]."""
    own: np.ndarray
    """On one reference, for each pair (estimate, target), [pairs, channels, channels, taps]."""


class Space:
    """All delayed references of one track, and their correlations with each other and with the estimates."""

    def __init__(
        self, references: Signals, estimates: Signals, pairs: Pairs, taps: int, frames: Sequence[slice]
    ) -> None:
        """references: none silent; estimates: of the same shape; pairs: of which estimate is to be held to which
        reference; taps: length of the distortion filters; frames: those of which the correlations will be asked for."""
        self.references, self.estimates, self.pairs, self.taps = references, estimates, pairs, taps
        self.targets, self.channels = len(references), references[0].shape[1]
        self.rows = self.targets * self.channels
        self.correlations = Correlations([*references, *estimates], references, frames, taps)

    @cached_property
    def filters(self) -> Filters:
        """Filters over the whole track of all estimates on all references, and on the reference of each pair."""
        return on_one_blas_thread(self._solve)

    def span(self, target: int) -> slice:
        """The rows of a target's channels."""
        return slice(target * self.channels, (target + 1) * self.channels)

    def split(self, correlations: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Of the references, [rows, rows, taps], and of the estimates, [estimates, channels, rows, taps]."""
        of_estimates = correlations[self.rows :].reshape(len(self.estimates), self.channels, self.rows, self.taps)
        return correlations[: self.rows], of_estimates

    def _solve(self) -> Filters:
        references, products = self.split(self.correlations.whole)
        spans = [self.span(target) for target in range(self.targets)]
        alone = [solver(references[rows, rows]) for rows in spans]
        own = []
        for estimate, target in self.pairs:
            mine = products[estimate, :, spans[target]]
            own.append(alone[target](_columns(mine[None])).T.reshape(mine.shape))
        return Filters(solver(references)(_columns(products)).T.reshape(products.shape), np.stack(own))


def gram(correlations: np.ndarray) -> np.ndarray:
    """Inner products of all delayed signals from their correlations [n, n, lags]: [n * lags, n * lags]."""
    rows, _, lags = correlations.shape
    matrix = np.empty((rows, lags, rows, lags))
    for i, j in np.ndindex(rows, rows):
        diagonals = np.concatenate([correlations[j, i, :0:-1], correlations[i, j]])
        matrix[i, :, j] = np.lib.stride_tricks.sliding_window_view(diagonals, lags)[::-1]
    return matrix.reshape(rows * lags, rows * lags)


def solver(correlations: np.ndarray) -> Solver:
    """x -> G^-1 x by Cholesky, G being `gram` of the correlations with museval's epsilon on the diagonal.

    Where references repeat each other, or are shorter than their filters, it has no inverse: then the slightest ridge
    that factorises it, of the many filters with the same projection of the whole track, chooses small ones.
    """
    ridge = float(np.finfo(float).eps)
    while True:
        matrix = gram(correlations).T  # symmetric; in LAPACK's order, so that it is factorised in place
        largest = float(np.diag(matrix).max())
        np.fill_diagonal(matrix, np.diag(matrix) + ridge)
        try:
            factor = scipy.linalg.cho_factor(matrix, overwrite_a=True, check_finite=False)
        except np.linalg.LinAlgError:
            ridge = max(1e-14 * largest, 10 * ridge)
        else:
            return lambda right: scipy.linalg.cho_solve(factor, right, check_finite=False)


def _columns(products: np.ndarray) -> np.ndarray:
    """[estimates, channels, rows, taps] -> [rows * taps, estimates * channels]."""
    return products.reshape(products.shape[0] * products.shape[1], -1).T
