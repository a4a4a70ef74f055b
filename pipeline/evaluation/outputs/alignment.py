"""How two signals lie to each other: energies, correlation, level and delay."""

from typing import Any

import numpy as np
import scipy.fft

Number = Any  # float or np.ndarray, all of a call the same

MAX_DELAY_SAMPLES = 4096
SOUNDING = 10 ** (-84 / 20)
"""RMS of two steps of 16 bits: below it a reference is dither, not sound."""

_LIKENESS = 0.3  # a correlation below it says nothing about delay
_PROMINENCE = 1.1  # by which a delay must explain more than no delay does


def delay(reference: np.ndarray, estimate: np.ndarray) -> tuple[int, float]:
    """Lag of an estimate [samples, channels] and the correlation there; (0, ...) where no lag stands out."""
    norm = float(np.sum(np.square(reference), dtype=float) * np.sum(np.square(estimate), dtype=float)) ** 0.5
    if norm == 0:
        return 0, 0.0
    width = scipy.fft.next_fast_len(len(reference) + MAX_DELAY_SAMPLES, real=True)
    spectra = [scipy.fft.rfft(each, width, axis=0) for each in (reference, estimate)]
    products = scipy.fft.irfft(np.sum(spectra[0].conj() * spectra[1], axis=1), width) / norm
    most = min(MAX_DELAY_SAMPLES, len(reference) - 1)
    lags = np.arange(-most, most + 1)
    best = int(lags[np.argmax(np.abs(products[lags]))])
    if abs(products[best]) < max(_LIKENESS, _PROMINENCE * abs(products[0])):
        best = 0
    return best, float(products[best])


def level_error_db(reference: Number, estimate: Number, product: Number) -> Number:
    """How much too loud (positive) or too quiet (negative) an estimate is; 0 within what its errors explain.

    Of an estimate e with correlation c to its reference s, the gain that brings e closest to s is
    <e, s> / <e, e>, and the coefficient of s in e is <e, s> / <s, s>. An unbiased estimate (the least squares: it
    shrinks what is uncertain) has a gain of 1, one that leaks (s + interference) a coefficient of 1, so the level
    |e| / |s| of a sound estimate lies between c and 1 / c. What lies outside is no error of separation.

    Args, numbers or arrays of one shape:
        reference: its energy <s, s>, above 0.
        estimate: its energy <e, e>; of 0 the error is -inf.
        product: <e, s>.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        level_db = 10 * np.log10(np.divide(estimate, reference))
        room_db = -10 * np.log10(np.minimum(1.0, np.divide(product**2, reference * estimate)))
        error_db = np.sign(level_db) * np.maximum(0.0, np.abs(level_db) - room_db)
    return np.where(np.asarray(estimate) > 0, error_db, -np.inf)[()]
