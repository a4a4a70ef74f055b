"""BSS Eval against the libraries that define it: mir_eval for v3, museval for v4."""

import mir_eval.separation
import museval
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.evaluation.bss_eval.score import METRICS, score

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")


def signals(seed: int, *shape: int, noise: float = 0.3) -> tuple[np.ndarray, np.ndarray]:
    """Coloured references and estimates with interference, noise, delay and another gain."""
    generator = np.random.default_rng(seed)
    references = generator.standard_normal(shape)
    references[:, 1:] += 0.9 * references[:, :-1]
    others = np.roll(references, 1, axis=0)
    estimates = 0.7 * np.roll(references, 3, axis=1) + 0.2 * others + noise * generator.standard_normal(shape)
    return references, estimates


def v3(references: np.ndarray, estimates: np.ndarray) -> dict[str, np.ndarray]:
    """metric -> [targets]"""
    return {metric: of_sets[0] for metric, of_sets in score(references, [estimates], ["v3"])["v3"].items()}


def v4(references: np.ndarray, estimates: np.ndarray, window_samples: int) -> dict[str, np.ndarray]:
    """metric -> [targets, frames]"""
    scores = score(references, [estimates], ["v4"], window_samples)["v4"]
    return {metric: of_sets[0] for metric, of_sets in scores.items()}


def mir_eval_sources(references: np.ndarray, estimates: np.ndarray) -> tuple[np.ndarray, ...]:
    return mir_eval.separation.bss_eval_sources(references, estimates, compute_permutation=False)[:3]


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 2**31), count=st.integers(2, 3), samples=st.integers(1300, 9000))
def test_v3_is_mir_evals(seed: int, count: int, samples: int) -> None:
    references, estimates = signals(seed, count, samples)
    ours = v3(references, estimates)
    for metric, theirs in zip(METRICS["v3"], mir_eval_sources(references, estimates), strict=True):
        np.testing.assert_allclose(ours[metric], theirs, atol=1e-6)


@pytest.mark.parametrize("noise", [1e-2, 1e-4, 1e-6])
def test_v3_is_mir_evals_where_energies_cancel(noise: float) -> None:
    references, _ = signals(1, 2, 6000)
    estimates = references + noise * np.random.default_rng(2).standard_normal(references.shape)
    ours = v3(references, estimates)
    assert ours["SDR"].min() > -20 * np.log10(noise) - 10
    for metric, theirs in zip(METRICS["v3"], mir_eval_sources(references, estimates), strict=True):
        np.testing.assert_allclose(ours[metric], theirs, atol=1e-6)


def test_v3_is_mir_evals_across_blocks_of_the_correlation() -> None:
    references, estimates = signals(3, 2, 64 * (4096 - 511) + 7)
    ours = v3(references, estimates)
    for metric, theirs in zip(METRICS["v3"], mir_eval_sources(references, estimates), strict=True):
        np.testing.assert_allclose(ours[metric], theirs, atol=1e-6)


def test_v3_of_stereo_is_musevals() -> None:
    references, estimates = signals(4, 2, 5000, 2)
    ours = v3(references, estimates)
    theirs = museval.metrics.bss_eval_sources(references, estimates, compute_permutation=False)[:3]
    for metric, values in zip(METRICS["v3"], theirs, strict=True):
        np.testing.assert_allclose(ours[metric], np.ravel(values), atol=1e-6)


def test_v3_of_several_sets_is_each_sets() -> None:
    references, first = signals(5, 3, 3000)
    second = signals(6, 3, 3000)[1]
    together = score(references, np.stack([first, second]), ["v3"])["v3"]
    for place, estimates in enumerate([first, second]):
        alone = v3(references, estimates)
        for metric in METRICS["v3"]:
            assert together[metric].shape == (2, 3)
            np.testing.assert_allclose(together[metric][place], alone[metric], atol=1e-9)


def test_v3_ignores_gain() -> None:
    references, estimates = signals(7, 2, 4000)
    loud, quiet = v3(references, estimates), v3(references, 1e-4 * estimates)
    for metric in METRICS["v3"]:
        np.testing.assert_allclose(loud[metric], quiet[metric], atol=1e-8)


def test_v3_of_silence() -> None:
    references, estimates = signals(8, 3, 3000)
    whole = v3(references[:2], estimates[:2])
    references[2] = 0
    scores = v3(references, estimates)
    for metric in METRICS["v3"]:
        assert np.isnan(scores[metric][2])
        np.testing.assert_allclose(scores[metric][:2], whole[metric], atol=1e-9)
    estimates[0] = 0
    silent = v3(references, estimates)
    assert [silent[metric][0] for metric in METRICS["v3"]] == [-np.inf] * 3
    assert silent["SDR"][1] == pytest.approx(scores["SDR"][1])


def test_v3_without_another_sounding_reference_has_no_sir() -> None:
    references, estimates = signals(9, 2, 3000)
    references[1] = 0
    scores = v3(references, estimates)
    assert np.isnan(scores["SIR"][0])
    assert np.isfinite(scores["SDR"][0])
    assert np.isfinite(scores["SAR"][0])


def test_v3_of_samples_that_are_not_finite() -> None:
    references, estimates = signals(10, 2, 3000)
    estimates[0, 17] = np.nan
    scores = v3(references, estimates)
    assert np.isnan(scores["SDR"][0])
    assert np.isfinite(scores["SDR"][1])
    references[1, 5] = np.inf
    with pytest.raises(ValueError, match="references hold NaN or infinite"):
        v3(references, estimates)


@pytest.mark.parametrize("shape", [(2, 1), (2, 2), (2, 100), (2, 3000, 2)])
def test_v3_of_short_or_repeated_references_is_defined(shape: tuple[int, ...]) -> None:
    """Delayed copies of so few samples, or of equal channels, depend on each other: no factorisation without a ridge."""
    references, estimates = signals(11, *shape)
    if len(shape) == 3:
        references[:, :, 1] = references[:, :, 0]
    scores = v3(references, estimates)
    assert all(not np.isnan(scores[metric]).any() for metric in ("SDR", "SAR"))


@pytest.mark.parametrize(
    ("references", "estimates"), [((2, 100), (3, 100)), ((2, 0), (2, 0)), ((2, 100), (2, 101)), ((100,), (100,))]
)
def test_v3_refuses_shapes_that_do_not_fit(references: tuple[int, ...], estimates: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="have the shape"):
        v3(np.ones(references), np.ones(estimates))


@pytest.mark.parametrize(
    ("shape", "gap"), [((2, 7000), False), ((3, 5100), True), ((2, 4500, 2), True), ((2, 600), False)]
)
def test_v4_is_musevals(shape: tuple[int, ...], gap: bool) -> None:
    references, estimates = signals(12, *shape)
    if gap:
        references[0, 1000:2000] = 0
    ours = v4(references, estimates, 1000)
    theirs = museval.metrics.bss_eval(references, estimates, window=1000, hop=1000)[:4]
    for metric, values in zip(METRICS["v4"], theirs, strict=True):
        np.testing.assert_allclose(ours[metric], values, atol=1e-8)
    assert np.isnan(ours["SDR"]).any() == gap


def test_v4_where_museval_raises() -> None:
    references, estimates = signals(13, 2, 3500)
    normal = v4(references, estimates, 1000)
    silent, broken = estimates.copy(), estimates.copy()
    silent[0], broken[0, 9] = 0, np.inf
    assert np.all(v4(references, silent, 1000)["SDR"][0] == -np.inf)
    assert np.isnan(v4(references, broken, 1000)["SIR"][0]).all()
    for estimate in (silent, broken):
        np.testing.assert_allclose(v4(references, estimate, 1000)["SAR"][1], normal["SAR"][1])
    references[1] = 0
    none = v4(references, estimates, 1000)
    assert all(none[metric].shape == (2, 3) and np.isnan(none[metric]).all() for metric in METRICS["v4"])


def test_v4_refuses_shapes_that_differ() -> None:
    with pytest.raises(ValueError, match="have the shape"):
        v4(np.ones((2, 100)), np.ones((2, 99)), 10)
