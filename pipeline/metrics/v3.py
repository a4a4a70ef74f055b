"""BSS Eval version 3, sources: the whole track, distortion filters of 512 taps, no permutation.

Vincent, Gribonval, Févotte, "Performance measurement in blind audio source separation", IEEE TASLP 14(4), 2006. The
numbers are those of `mir_eval.separation.bss_eval_sources(compute_permutation=False)` and, for several channels, of
`museval.metrics.bss_eval_sources`: each channel of an estimate is projected on all channels of the references, and
energies add up over channels.

With the references and their delayed copies as columns of S, the projection of an estimate e has the filters
C = (S'S)^-1 S'e. Both S'S (block Toeplitz) and S'e are correlations, so the energies of all projections are quadratic
forms of C and no projected signal is made, except for ratios above 60 dB, which cancellation would blur.
"""

import itertools
from collections.abc import Sequence

import numpy as np
import scipy.fft
import scipy.linalg
import scipy.signal

METRICS = ("SDR", "SIR", "SAR")
FILTER_LENGTH = 512

_FFT_LENGTH = 4096
_BLOCKS_AT_ONCE = 64
_CANCELLATION = 1e-6


def sources(references: np.ndarray, estimates: np.ndarray, filter_length: int = FILTER_LENGTH) -> dict[str, np.ndarray]:
    """SDR, SIR and SAR in dB of each estimate against the reference at the same place.

    Args:
        references: [targets, samples, channels], or [targets, samples] for one channel.
        estimates: the same shape, or one more axis in front: several sets of estimates of the same references, which
            share the references' correlations and their factorisation.
        filter_length: taps of the distortion filters.

    Returns:
        {"SDR", "SIR", "SAR"} of shape [targets], or [sets, targets]. A silent reference scores NaN and is left out as
        interference; SIR is NaN when no other reference sounds; an estimate that holds NaN or infinity scores NaN; a
        silent estimate of a reference that sounds scores -inf; a ratio to exactly nothing is +inf.

    Raises:
        ValueError: the shapes do not fit each other, there are no samples, or a reference is not finite.
    """
    leading = _leading_shape(references, estimates)
    references = np.asarray(references, float).reshape(*references.shape[:2], -1)
    sets = np.asarray(estimates, float).reshape(-1, *references.shape)
    scores = np.full((len(METRICS), *sets.shape[:2]), np.nan)
    sounding = [j for j, reference in enumerate(references) if reference.any()]
    judged = [(s, j) for s, j in itertools.product(range(len(sets)), sounding) if np.isfinite(sets[s, j]).all()]
    if judged:
        space = _Space(references[sounding], filter_length)
        places = [sounding.index(j) for _, j in judged]
        values = space.scores(np.stack([sets[s, j] for s, j in judged]), places)
        for (s, j), triple in zip(judged, values, strict=True):
            scores[:, s, j] = triple
    return dict(zip(METRICS, scores.reshape(len(METRICS), *leading), strict=True))


def lagged_products(signals: np.ndarray, references: np.ndarray, lags: int) -> np.ndarray:
    """Correlations sum_t signals[i, t] references[j, t - lag] for 0 <= lag < lags, as [signals, references, lags].

    Sums the cross spectra of short overlapping blocks, so that memory does not grow with the length of the signals.
    """
    width = max(_FFT_LENGTH, scipy.fft.next_fast_len(2 * lags, real=True))
    step = width - lags + 1
    samples = signals.shape[1]
    cross = np.zeros((len(signals), len(references), width // 2 + 1), complex)
    for start in range(0, samples, step * _BLOCKS_AT_ONCE):
        stop = min(start + step * _BLOCKS_AT_ONCE, samples)
        left = _block_spectra(signals, start, stop, step, step, width)
        right = _block_spectra(references, start - lags + 1, stop, width, step, width)
        cross += np.einsum("ikf,jkf->ijf", left.conj(), right, optimize=False)
    return scipy.fft.irfft(cross, width)[..., lags - 1 :: -1]


def _block_spectra(signals: np.ndarray, start: int, stop: int, length: int, step: int, width: int) -> np.ndarray:
    """Spectra [signals, blocks, bins] of blocks of `length` samples every `step`, zeros before 0 and after `stop`."""
    before = max(0, -start)
    blocks = -(-(stop - start - (length - step)) // step)
    after = (blocks - 1) * step + length - (stop - start)
    piece = np.pad(signals[:, start + before : stop], ((0, 0), (before, after)))
    windows = np.lib.stride_tricks.sliding_window_view(piece, length, axis=1)[:, ::step]
    return scipy.fft.rfft(windows, width, axis=2)


class _Space:
    """All delayed references of one track, spanned once and shared by every estimate."""

    def __init__(self, references: np.ndarray, filter_length: int) -> None:
        """references: [targets, samples, channels], none silent."""
        self.targets, _, self.channels = references.shape
        self.filter_length = filter_length
        self.signals = references.transpose(0, 2, 1).reshape(self.targets * self.channels, -1)
        self.gram = _gram(lagged_products(self.signals, self.signals, filter_length))
        self.whole = _solver(self.gram)
        width = self.channels * filter_length
        self.rows = [slice(j * width, (j + 1) * width) for j in range(self.targets)]
        self.alone = [_solver(self.gram[rows, rows]) for rows in self.rows]

    def scores(self, estimates: np.ndarray, places: Sequence[int]) -> list[tuple[float, float, float]]:
        """(SDR, SIR, SAR) of estimates [estimates, samples, channels], estimate i being of target places[i]."""
        channels = estimates.transpose(0, 2, 1).reshape(len(estimates) * self.channels, -1)
        products = lagged_products(channels, self.signals, self.filter_length)
        products = products.reshape(len(estimates), self.channels, -1).transpose(0, 2, 1)
        filters = self.whole(np.concatenate(list(products), axis=1))
        weighted = np.split(self.gram @ filters, len(estimates), axis=1)
        filters = np.split(filters, len(estimates), axis=1)
        return [self._score(*each) for each in zip(estimates, places, products, filters, weighted, strict=True)]

    def _score(
        self, estimate: np.ndarray, place: int, products: np.ndarray, filters: np.ndarray, weighted: np.ndarray
    ) -> tuple[float, float, float]:
        """products: S'e; filters: C; weighted: S'S C; each [targets * channels * taps, channels]."""
        total = float(np.sum(estimate**2))
        if total == 0:
            return -np.inf, -np.inf, -np.inf
        rows = self.rows[place]
        own = self.alone[place](products[rows])
        target = float(np.sum(own * (self.gram[rows, rows] @ own)))
        span = float(np.sum(filters * weighted))
        distortion = total - 2 * float(np.sum(products[rows] * own)) + target
        artefacts = total - 2 * float(np.sum(products * filters)) + span
        interference = span - 2 * float(np.sum(weighted[rows] * own)) + target
        floor = _CANCELLATION * total
        if distortion < floor:
            distortion = self._energy(estimate.T, self._signals_of(place), -own)
        if artefacts < floor:
            artefacts = self._energy(estimate.T, self.signals, -filters)
        if interference < floor:
            others = filters.copy()
            others[rows] -= own
            interference = self._energy(0 * estimate.T, self.signals, others)
        sir = _ratio_db(target, interference) if self.targets > 1 else np.nan
        return _ratio_db(target, distortion), sir, _ratio_db(span, artefacts)

    def _signals_of(self, place: int) -> np.ndarray:
        return self.signals[place * self.channels : (place + 1) * self.channels]

    def _energy(self, estimate: np.ndarray, signals: np.ndarray, filters: np.ndarray) -> float:
        """Energy of the estimate [channels, samples] plus filtered signals, from the samples themselves."""
        total = self._project(signals, filters)
        total[:, : estimate.shape[1]] += estimate
        return float(np.sum(total**2))

    def _project(self, signals: np.ndarray, filters: np.ndarray) -> np.ndarray:
        """Sum of signals [n, samples] through filters [n * taps, channels]: [channels, samples + taps - 1]."""
        taps = filters.T.reshape(self.channels, len(signals), self.filter_length)
        return np.stack([scipy.signal.oaconvolve(signals, each, axes=1).sum(axis=0) for each in taps])


def _leading_shape(references: np.ndarray, estimates: np.ndarray) -> tuple[int, ...]:
    shape, got = np.shape(references), np.shape(estimates)
    if len(shape) not in (2, 3) or not all(shape):
        raise ValueError(f"references have the shape {shape}; legal: [targets, samples(, channels)], none of them 0")
    if got[-len(shape) :] != shape or len(got) > len(shape) + 1:
        raise ValueError(f"estimates have the shape {got}; legal: that of the references, {shape}, or sets of it")
    if not np.isfinite(references).all():
        raise ValueError("the references hold NaN or infinite samples; legal: finite samples")
    return got[: len(got) - len(shape)] + shape[:1]


def _gram(correlations: np.ndarray) -> np.ndarray:
    """Inner products of all delayed signals from their correlations [n, n, lags]: [n * lags, n * lags]."""
    order = range(len(correlations))
    blocks = [[scipy.linalg.toeplitz(correlations[j, i], correlations[i, j]) for j in order] for i in order]
    return np.block(blocks)


def _solver(gram: np.ndarray):
    """x -> gram^-1 x by Cholesky; where references repeat each other, the slightest ridge that factorises it."""
    ridge = 0.0
    largest = float(np.max(np.diag(gram)))
    while True:
        try:
            factor = scipy.linalg.cho_factor(
                gram + ridge * largest * np.eye(len(gram)) if ridge else gram, check_finite=False
            )
        except np.linalg.LinAlgError:
            ridge = max(1e-14, 10 * ridge)
        else:
            return lambda right: scipy.linalg.cho_solve(factor, right, check_finite=False)


def _ratio_db(numerator: float, denominator: float) -> float:
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(10 * np.log10(np.float64(numerator) / denominator))
