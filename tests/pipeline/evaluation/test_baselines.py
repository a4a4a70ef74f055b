"""Ideal masks and robust PCA: matrices whose parts are known, mixtures whose parts are tones, or a loop and a glide."""

import numpy as np
import pytest

from pipeline.evaluation import baselines
from pipeline.evaluation.baselines import Stft
from pipeline.evaluation.bss_eval.score import score

STFT = Stft(512, 128, "hann")


@pytest.mark.parametrize("mask", [baselines.ratio_mask, baselines.binary_mask])
@pytest.mark.parametrize("window", ["sine", "hann", "hamming"])
@pytest.mark.parametrize("samples", [2, 700, 9001])
def test_ideal_masks_share_out_the_whole_mixture(mask, window: str, samples: int) -> None:
    stems = dict(zip("ab", np.random.default_rng(4).normal(size=(2, samples, 2)), strict=True))
    mixture = sum(stems.values())
    estimates = mask(mixture, stems, Stft(512, 256, window))
    np.testing.assert_allclose(sum(estimates.values()), mixture, atol=1e-6)
    assert all(estimate.shape == mixture.shape for estimate in estimates.values())


def test_ideal_masks_give_disjoint_tones_back_and_split_equal_ones() -> None:
    """Two tones that share no bin are recovered by both masks; of two equal stems the ratio mask gives each a half, the
    binary mask everything to the first."""
    time = np.arange(8192)[:, np.newaxis]
    low, high = np.sin(2 * np.pi * 16 * time / 512), np.sin(2 * np.pi * 96 * time / 512)
    stft = Stft(512, 256, "hann")
    for mask in (baselines.ratio_mask, baselines.binary_mask):
        apart = mask(low + high, {"low": low, "high": high}, stft)
        np.testing.assert_allclose(apart["low"][512:-512], low[512:-512], atol=1e-3)
        np.testing.assert_allclose(apart["high"][512:-512], high[512:-512], atol=1e-3)
    equal = {"a": low, "b": low}
    np.testing.assert_allclose(baselines.ratio_mask(2 * low, equal, stft)["b"], low, atol=1e-6)
    assert not baselines.binary_mask(2 * low, equal, stft)["b"].any()


@pytest.mark.parametrize("shape", [(200, 120), (90, 150)])
def test_recovers_a_low_rank_and_a_sparse_matrix_from_their_sum(shape: tuple[int, int]) -> None:
    """Candes et al. (2011): exact recovery of rank 5 under gross errors in 5 % of the entries."""
    generator = np.random.default_rng(0)
    low_rank = generator.normal(size=(shape[0], 5)) @ generator.normal(size=(5, shape[1]))
    sparse = np.where(generator.random(shape) < 0.05, 10 * generator.normal(size=shape), 0)
    found = baselines.decompose(low_rank + sparse)
    np.testing.assert_allclose(found[0], low_rank, atol=1e-4)
    np.testing.assert_allclose(found[1], sparse, atol=1e-4)
    assert np.linalg.matrix_rank(found[0], 1e-3) == 5


@pytest.mark.parametrize("matrix", [np.random.default_rng(1).normal(size=(60, 40)), np.zeros((7, 3)), np.ones((1, 9))])
def test_the_parts_add_up_to_the_matrix(matrix: np.ndarray) -> None:
    low_rank, sparse = baselines.decompose(matrix)
    assert np.linalg.norm(matrix - low_rank - sparse) <= 1e-7 * np.linalg.norm(matrix)


def test_a_large_weight_leaves_nothing_sparse_and_a_small_one_nothing_of_low_rank() -> None:
    matrix = np.random.default_rng(2).normal(size=(30, 20))
    assert not baselines.decompose(matrix, sparsity=10.0)[1].any()
    assert np.abs(baselines.decompose(matrix, sparsity=1e-3)[0]).max() < 1e-6


def test_a_voice_that_glides_is_lifted_off_music_that_repeats() -> None:
    """The voice gains 6 dB and more over the mixture; the parts add up to the mixture; channels do not mix."""
    time = np.arange(4 * 8000) / 8000
    beat = sum(np.sin(2 * np.pi * f * time) for f in (110, 220, 330, 440)) * (1 + np.sign(np.sin(4 * np.pi * time))) / 8
    voice = 0.5 * np.sin(2 * np.pi * (900 * time + 120 * time**2 + 40 * np.sin(5 * time)))
    stems = {"vocals": np.stack([voice, 0 * voice], 1), "accompaniment": np.stack([beat, beat], 1)}
    mixture = stems["vocals"] + stems["accompaniment"]
    parts = baselines.robust_pca(mixture, STFT)
    np.testing.assert_allclose(sum(parts.values()), mixture, atol=1e-9)
    references, estimates = ([each[t][:, 0] for t in stems] for each in (stems, parts))
    before, after = score(references, [[mixture[:, 0]] * 2, estimates], ["v3"])["v3"]["SDR"][:, 0]
    assert after - before > 6
    np.testing.assert_allclose(baselines.robust_pca(mixture[:, 1:], STFT)["vocals"][:, 0], parts["vocals"][:, 1])


@pytest.mark.parametrize("samples", [1, 100, 5000])
def test_any_length_and_silence(samples: int) -> None:
    for mixture in (np.zeros((samples, 1)), np.random.default_rng(3).normal(size=(samples, 1))):
        parts = baselines.robust_pca(mixture, STFT)
        assert all(part.shape == mixture.shape and np.isfinite(part).all() for part in parts.values())
