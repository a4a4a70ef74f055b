"""BSS Eval on bad and odd input: a clear error or a value that is defined, by both engines alike."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from threadpoolctl import threadpool_info

from pipeline.evaluation.bss_eval.score import Engine, score
from pipeline.evaluation.bss_eval.threads import on_one_blas_thread

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")

WINDOW = 1000
VERSIONS = ("v3", "v4")
ENGINES = ("stemline", "reference")


def signals(seed: int, *shape: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    references = rng.standard_normal(shape)
    references[:, 1:] += 0.9 * references[:, :-1]
    return references, 0.8 * references + 0.2 * np.roll(references, 1, axis=0) + 0.3 * rng.standard_normal(shape)


def judge(
    references, estimates, engine: Engine = "stemline", window_samples: int = WINDOW
) -> dict[str, dict[str, np.ndarray]]:
    """version -> metric -> [targets(, frames)] of one set of estimates."""
    scores = score(references, [estimates], VERSIONS, window_samples, engine)
    return {version: {metric: values[0] for metric, values in of.items()} for version, of in scores.items()}


def all_values(scores: dict[str, dict[str, np.ndarray]], version: str, target: int) -> np.ndarray:
    return np.ravel([values[target] for values in scores[version].values()])


def assert_engines_agree(references: np.ndarray, estimates: np.ndarray) -> dict[str, dict[str, np.ndarray]]:
    ours, theirs = (judge(references, estimates, engine) for engine in ENGINES)
    for version in VERSIONS:
        for metric, values in theirs[version].items():
            np.testing.assert_allclose(ours[version][metric], values, atol=1e-4)
    return ours


@pytest.mark.parametrize("silent", ["reference", "estimate"])
def test_silence_throughout(silent: str) -> None:
    references, estimates = signals(1, 3, 4000)
    (references if silent == "reference" else estimates)[1] = 0
    scores = assert_engines_agree(references, estimates)
    if silent == "reference":
        assert np.isnan(all_values(scores, "v3", 1)).all()
        assert np.isfinite(all_values(scores, "v3", 0)).all()
        assert all(np.isnan(all_values(scores, "v4", target)).all() for target in range(3))
    else:
        for version in VERSIONS:
            assert (all_values(scores, version, 1) == -np.inf).all()
            assert np.isfinite(all_values(scores, version, 0)).all()


def test_all_references_silent() -> None:
    _, estimates = signals(2, 2, 4000)
    for engine in ENGINES:
        scores = judge(np.zeros((2, 4000)), estimates, engine)
        assert all(np.isnan(values).all() for of in scores.values() for values in of.values())


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_an_estimate_that_is_not_finite(bad: float) -> None:
    references, estimates = signals(3, 2, 4000)
    estimates[0, 2500] = bad
    scores = assert_engines_agree(references, estimates)
    for version in VERSIONS:
        assert np.isnan(all_values(scores, version, 0)).all()
        assert np.isfinite(all_values(scores, version, 1)).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("engine", ENGINES)
def test_a_reference_that_is_not_finite(bad: float, engine: str) -> None:
    references, estimates = signals(4, 2, 4000)
    references[0, 2500] = bad
    with pytest.raises(ValueError, match="the references hold NaN or infinite samples; legal: finite samples"):
        judge(references, estimates, engine)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("references", "estimates", "words"),
    [
        ((2, 100), (2, 99), r"estimates have the shape \(2, 99, 1\); legal: that of the references, \(2, 100, 1\)"),
        ((2, 100, 1), (2, 100, 2), r"estimates have the shape \(2, 100, 2\); legal: .* \(2, 100, 1\)"),
        ((2, 100), (3, 100), r"estimates have the shape \(3, 100, 1\)"),
        ((2, 0), (2, 0), r"references have the shape \(2, 0\); legal: \[targets, samples\(, channels\)\], none of"),
        ((0, 100), (0, 100), r"references have the shape \(0,\)"),
        ((100,), (100,), r"references have the shape \(100,\)"),
    ],
)
def test_shapes_that_do_not_fit(references: tuple, estimates: tuple, words: str, engine: str) -> None:
    with pytest.raises(ValueError, match=words):
        judge(np.ones(references), np.ones(estimates), engine)


def test_references_of_different_lengths() -> None:
    with pytest.raises(ValueError, match=r"references have the shape \[\(99,\), \(100,\)\]"):
        judge([np.ones(100), np.ones(99)], [np.ones(100), np.ones(99)])


def test_unknown_words() -> None:
    pair = signals(5, 2, 1000)
    with pytest.raises(ValueError, match="BSS Eval version is 'v5'; legal: v3, v4"):
        score(pair[0], [pair[1]], ["v5"], WINDOW)
    with pytest.raises(ValueError, match="engine is 'gpu'; legal: stemline, reference"):
        score(pair[0], [pair[1]], ["v3"], WINDOW, "gpu")


def test_mono_in_two_channels() -> None:
    references, estimates = signals(6, 2, 6000, 2)
    references[..., 1] = references[..., 0]
    scores = assert_engines_agree(references, estimates)
    assert all(np.isfinite(all_values(scores, version, target)).all() for version in VERSIONS for target in (0, 1))


def test_references_that_are_copies_of_each_other() -> None:
    """No interference can be told from the target: SIR is that of rounding, and everything else is defined."""
    references, estimates = signals(7, 2, 6000)
    references[1] = references[0]
    ours, theirs = (judge(references, estimates, engine) for engine in ENGINES)
    for metric in ("SDR", "ISR", "SAR"):
        np.testing.assert_allclose(ours["v4"][metric], theirs["v4"][metric], atol=1e-4)
    for scores in (ours, theirs):
        assert scores["v4"]["SIR"].min() > 100
    alone = judge(references[:1], estimates[:1])
    np.testing.assert_allclose(ours["v3"]["SDR"][0], alone["v3"]["SDR"][0], atol=1e-6)


def test_one_target_has_no_interference() -> None:
    references, estimates = signals(8, 1, 4000)
    ours = judge(references, estimates)
    assert np.isnan(ours["v3"]["SIR"]).all()
    assert (ours["v4"]["SIR"] > 200).all()
    theirs = judge(references, estimates, "reference")
    for version, metric in (("v3", "SDR"), ("v3", "SAR"), ("v4", "SDR"), ("v4", "ISR"), ("v4", "SAR")):
        np.testing.assert_allclose(ours[version][metric], theirs[version][metric], atol=1e-6)


@pytest.mark.parametrize("samples", [1, 2, 100, 511, 513])
def test_shorter_than_the_filters(samples: int) -> None:
    """One frame; museval's SDR and ISR are determined, its SIR and SAR are not: too few samples for the filters."""
    references, estimates = signals(9, 2, samples)
    ours, theirs = (judge(references, estimates, engine) for engine in ENGINES)
    np.testing.assert_allclose(ours["v4"]["SDR"], theirs["v4"]["SDR"], atol=1e-6)
    assert all(not np.isnan(all_values(ours, "v4", target)).any() for target in (0, 1))


def test_a_frame_as_long_as_the_track_or_longer_is_one_frame() -> None:
    references, estimates = signals(10, 2, 4000)
    expected = judge(references, estimates, "reference", 4000)["v4"]
    for window in (4000, 4001, 10**6):
        ours = judge(references, estimates, window_samples=window)["v4"]
        for metric, values in expected.items():
            np.testing.assert_allclose(ours[metric], values, atol=1e-8)


def test_the_volume_of_the_estimate_changes_only_sdr_and_isr() -> None:
    references, estimates = signals(11, 2, 6000)
    loud, quiet = (judge(references, gain * estimates) for gain in (1.0, 1e-4))
    for version, metric in (("v3", "SDR"), ("v3", "SIR"), ("v3", "SAR"), ("v4", "SIR"), ("v4", "SAR")):
        np.testing.assert_allclose(loud[version][metric], quiet[version][metric], atol=1e-8)
    assert (quiet["v4"]["SDR"] < 0.01).all()


@pytest.mark.parametrize("kind", [np.int16, np.float32])
def test_samples_of_any_type_are_not_rounded_again(kind: type) -> None:
    references, estimates = (np.round(1000 * each).astype(kind) for each in signals(12, 2, 5000, 2))
    ours, exact = judge(references, estimates), judge(references.astype(float), estimates.astype(float))
    for version in VERSIONS:
        for metric, values in exact[version].items():
            np.testing.assert_array_equal(ours[version][metric], values)


def test_sets_together_are_sets_alone() -> None:
    """The mixture stands for every target, and one set's silence is not another's."""
    references, estimates = signals(13, 2, 5000, 2)
    mixture, partly = references.sum(axis=0), estimates.copy()
    partly[0, 1000:2000] = 0
    sets = [estimates, [mixture, mixture], partly]
    together = score(references, sets, VERSIONS, WINDOW)
    for place, each in enumerate(sets):
        alone = judge(references, each)
        for version in VERSIONS:
            for metric, values in alone[version].items():
                np.testing.assert_allclose(together[version][metric][place], values, atol=1e-8)
    assert np.isnan(together["v4"]["SDR"][:, :, 1]).tolist() == [[False] * 2, [False] * 2, [True] * 2]


def digits(threads: int) -> str:
    """All figures to the last digit, computed by a process whose libraries have so many threads."""
    code = (
        "import numpy as np; from pipeline.evaluation.bss_eval.score import score\n"
        "rng = np.random.default_rng(0); r = rng.standard_normal((3, 40000, 2)); e = r + 0.3 * r[::-1]\n"
        "e += 0.1 * rng.standard_normal(r.shape)\n"
        "scores = score(r, [e, 0.5 * e], ['v3', 'v4'], 9000)\n"
        "print([values.tobytes().hex() for of in scores.values() for values in of.values()])"
    )
    variables = {name: str(threads) for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    return subprocess.run(
        [sys.executable, "-c", code], env={**variables, "PATH": ""}, check=True, capture_output=True, text=True
    ).stdout


def test_the_last_digit_does_not_depend_on_the_number_of_threads() -> None:
    assert digits(1) == digits(2)


def test_every_thread_computes_on_one_blas_thread_and_leaves_the_limit_as_it_was() -> None:
    """Also while other threads that have had their turn are alive."""

    def blas_threads() -> set[int]:
        return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}

    before = blas_threads()
    with ThreadPoolExecutor(max_workers=3) as executor:
        turns = [executor.submit(on_one_blas_thread, blas_threads) for _ in range(6)]
        seen = [turn.result() for turn in turns]
        assert [*seen, on_one_blas_thread(blas_threads)] == [{1}] * 7
    assert blas_threads() == before


def test_errors_pass_through_the_limit() -> None:
    with pytest.raises(ZeroDivisionError):
        on_one_blas_thread(lambda: 1 // 0)
