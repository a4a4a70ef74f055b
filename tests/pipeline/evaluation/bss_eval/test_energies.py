"""Correlations against sums of products, and energies by quadratic forms against energies of samples."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.evaluation.bss_eval import correlations, energies
from pipeline.evaluation.bss_eval.correlations import Correlations
from pipeline.evaluation.bss_eval.projection import Space
from pipeline.evaluation.bss_eval.samples import KINDS, Samples
from pipeline.evaluation.bss_eval.score import score

TAPS = 16
SAMPLES = 1000

TILES = [slice(start, start + 300) for start in (0, 300, 600)]
FRAMES = {
    "tiles and a rest": TILES,
    "gaps": [slice(10, 200), slice(200, 350), slice(700, 900)],
    "overlap": [slice(start, start + 300) for start in range(0, 701, 100)],
    "shorter than the filters": [slice(start, start + 7) for start in range(0, 994, 7)],
    "one": [slice(0, SAMPLES)],
    "none": [],
}


def signals(seed: int, count: int, channels: int = 2) -> list[np.ndarray]:
    return list(np.random.default_rng(seed).standard_normal((count, SAMPLES, channels)))


def products(left: np.ndarray, right: np.ndarray, lags: int) -> np.ndarray:
    """sum_t left[t] right[t - lag], the definition."""
    return np.array([np.sum(left[lag:] * right[: len(right) - lag]) for lag in range(min(lags, len(left)))])


def expected(estimates: list[np.ndarray], references: list[np.ndarray], frame: slice, lags: int) -> np.ndarray:
    left, right = (np.concatenate([each[frame] for each in group], axis=1).T for group in (estimates, references))
    out = np.zeros((len(left), len(right), lags))
    for i, j in np.ndindex(len(left), len(right)):
        of_pair = products(left[i], right[j], lags)
        out[i, j, : len(of_pair)] = of_pair
    return out


@pytest.mark.parametrize("kept", [0, correlations._BYTES_KEPT])
@pytest.mark.parametrize("lags", [1, TAPS])
@pytest.mark.parametrize("frames", FRAMES.values(), ids=FRAMES)
def test_correlations_are_sums_of_products(
    frames: list[slice], lags: int, kept: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(correlations, "_BYTES_KEPT", kept)
    monkeypatch.setattr(correlations, "_FFT_LENGTH", 4 * TAPS)
    monkeypatch.setattr(correlations, "_VALUES_AT_ONCE", 1000)
    estimates, references = signals(1, 3), signals(2, 2)
    found = Correlations(estimates, references, frames, lags)
    np.testing.assert_allclose(found.whole, expected(estimates, references, slice(0, SAMPLES), lags), atol=1e-10)
    in_frames = list(found.in_frames())
    assert len(in_frames) == len(frames)
    for frame, of_frame in zip(frames, in_frames, strict=True):
        np.testing.assert_allclose(of_frame, expected(estimates, references, frame, lags), atol=1e-10)


@pytest.mark.parametrize("channels", [1, 2])
def test_quadratic_forms_are_of_samples(channels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    references, (noise, *others) = signals(3, 2, channels), signals(4, 3, channels)
    estimates = [references[0] + 0.3 * references[1] + 0.1 * noise, *others]
    pairs = [(0, 0), (1, 1), (2, 0)]
    space = Space(references, estimates, pairs, TAPS, TILES)
    monkeypatch.setattr(energies, "_ROUNDING", 0)  # none is doubtful, so none is computed from samples
    found = energies.energies(space, list(KINDS))
    for pair in range(len(pairs)):
        for number, frame in enumerate(TILES):
            expected = Samples(space).energies(frame, {pair: list(KINDS)})[pair]
            np.testing.assert_allclose([found[kind][pair, number] for kind in KINDS], expected, rtol=1e-11)


def test_projections_are_those_of_the_definition() -> None:
    """By convolution and by least squares on delayed copies."""
    references, estimates = signals(5, 2, 1), signals(6, 1, 1)
    space = Space(references, estimates, [(0, 1)], TAPS, [])
    filters = space.filters
    delayed = np.zeros((SAMPLES + TAPS - 1, 2 * TAPS))
    for column in range(2 * TAPS):
        delay = column % TAPS
        delayed[delay : delay + SAMPLES, column] = references[column // TAPS][:, 0]
    padded = np.concatenate([estimates[0][:, 0], np.zeros(TAPS - 1)])
    whole, own = (np.linalg.lstsq(columns, padded, rcond=None)[0] for columns in (delayed, delayed[:, TAPS:]))
    np.testing.assert_allclose(filters.whole.ravel(), whole, atol=1e-10)
    np.testing.assert_allclose(filters.own.ravel(), own, atol=1e-10)
    kinds = ["own", "projected", "artefacts"]
    found = Samples(space).energies(slice(0, SAMPLES), {0: kinds})[0]
    signals_made = [delayed[:, TAPS:] @ own, delayed @ whole, padded - delayed @ whole]
    np.testing.assert_allclose(found, [np.sum(signal**2) for signal in signals_made], rtol=1e-9)


def test_what_cancels_is_computed_from_samples() -> None:
    """A form would leave an error of rounding where there is none, and one of 1e-9 would drown in it."""
    references, noise = signals(7, 2), np.random.default_rng(8).standard_normal((SAMPLES, 2))
    estimates = [references[0], references[1] + 1e-9 * noise]
    [sdr] = score(references, [estimates], ["v4"], 300)["v4"]["SDR"]
    assert np.isposinf(sdr[0]).all()
    exact = [np.sum(references[1][f] ** 2) / np.sum((estimates[1] - references[1])[f] ** 2) for f in TILES]
    np.testing.assert_allclose(sdr[1], 10 * np.log10(exact), atol=1e-9)


def test_filters_of_one_estimate_do_not_depend_on_the_others() -> None:
    references, estimates = signals(9, 2), signals(10, 2)
    together = Space(references, estimates, [(0, 0), (1, 1)], TAPS, []).filters
    alone = Space(references, estimates[1:], [(0, 1)], TAPS, []).filters
    np.testing.assert_allclose(together.whole[1], alone.whole[0], atol=1e-12)
    np.testing.assert_allclose(together.own[1], alone.own[0], atol=1e-12)
