"""The paired test over tracks: what it decides, how often it errs, and that nothing but the scores moves it."""

import dataclasses
import math

import numpy as np
import pytest
import scipy.stats

from pipeline.config.gate import PairedConfig
from pipeline.evaluation.gate import paired

SETTINGS = PairedConfig()


def compare(model, baseline=None, margin_db: float = 0.0, how: paired.Aggregation = "mean", weights=None, **settings):
    model = np.asarray(model, float)
    return paired.compare(
        model,
        np.zeros(len(model)) if baseline is None else np.asarray(baseline, float),
        np.ones(len(model)) if weights is None else np.asarray(weights, float),
        how,
        margin_db,
        dataclasses.replace(SETTINGS, **settings),
    )


def songs(seed: int, count: int = 40, shift_db: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Scores of two models on the same tracks: tracks differ by 3 dB, the models by `shift_db` and 0.5 dB a track."""
    generator = np.random.default_rng(seed)
    baseline = 6 + 3 * generator.standard_normal(count)
    return baseline + shift_db + 0.5 * generator.standard_normal(count), baseline


def test_the_lower_bound_is_below_the_truth_as_often_as_it_says() -> None:
    """400 experiments of 40 tracks whose true difference is 0.2 dB; a binomial of 0.95 spreads by 0.011. The percentile
    interval is known to be a little narrow."""
    bounds = np.array([compare(*songs(seed, shift_db=0.2), resamples=1000).low_db for seed in range(400)])
    assert 0.91 <= np.mean(bounds <= 0.2) <= 0.98
    assert np.mean(bounds) == pytest.approx(0.2 - 1.645 * 0.5 / math.sqrt(40), abs=0.02)


def test_a_model_worse_by_the_margin_rarely_passes_and_an_equal_one_mostly_does() -> None:
    worse = [compare(*songs(seed, shift_db=-0.3), margin_db=-0.3, resamples=500).passed for seed in range(300)]
    equal = [compare(*songs(seed), margin_db=-0.3, resamples=500).passed for seed in range(300)]
    assert np.mean(worse) <= 0.08
    assert np.mean(equal) >= 0.9


@pytest.mark.parametrize("how", ["mean", "median"])
def test_agrees_with_scipys_bootstrap(how: paired.Aggregation) -> None:
    model, baseline = songs(3, shift_db=0.4)
    weights = np.random.default_rng(0).uniform(0.5, 2, len(model))

    def statistic(model, baseline, weights, axis):
        if how == "median":
            return np.median(model, axis=axis) - np.median(baseline, axis=axis)
        return np.sum((model - baseline) * weights, axis=axis) / np.sum(weights, axis=axis)

    theirs = scipy.stats.bootstrap(
        (model, baseline, weights), statistic, paired=True, method="percentile", confidence_level=0.9, random_state=1
    )
    ours = compare(model, baseline, how=how, weights=weights)
    assert ours.difference_db == pytest.approx(statistic(model, baseline, weights, 0))
    tolerance = 0.15 if how == "median" else 0.01
    assert (ours.low_db, ours.high_db) == pytest.approx(tuple(theirs.confidence_interval), abs=tolerance)
    assert ours.p_value == pytest.approx(scipy.stats.wilcoxon(model - baseline, alternative="greater").pvalue)


@pytest.mark.parametrize("how", ["mean", "median"])
def test_the_order_of_the_tracks_changes_no_digit(how: paired.Aggregation) -> None:
    model, baseline = songs(5)
    model[3] = math.nan
    weights = np.random.default_rng(1).uniform(1, 9, len(model))
    order = np.random.default_rng(2).permutation(len(model))
    first = compare(model, baseline, how=how, weights=weights)
    assert first == compare(model, baseline, how=how, weights=weights)
    assert first == compare(model[order], baseline[order], how=how, weights=weights[order])


def test_long_tracks_weigh_more_in_a_mean_and_no_more_in_a_median() -> None:
    model, weights = [1.0, 1.0, 1.0, 1.0, 1.0, -5.0], [1, 1, 1, 1, 1, 5]
    assert compare(model, weights=weights).difference_db == pytest.approx(-2.0)
    assert compare(model, weights=weights, how="median").difference_db == pytest.approx(1.0)


@pytest.mark.parametrize(("margin_db", "passed"), [(-0.1, True), (0.0, True), (0.1, False)])
def test_the_same_model_again_is_a_tie_that_passes_unless_it_must_be_better(margin_db: float, passed: bool) -> None:
    scores = songs(1)[1]
    result = compare(scores, scores, margin_db=margin_db)
    assert result.tie
    assert result.passed is passed
    assert (result.difference_db, result.low_db, result.high_db, result.better) == (0, 0, 0, 0)


def test_decides_nothing_on_too_few_pairs() -> None:
    five, six = compare([1.0, 1.1, 0.9, 1.2, 1.3]), compare([1.0, 1.1, 0.9, 1.2, 1.3, 1.4])
    assert (five.decided, five.passed) == (False, False)
    assert (six.decided, six.passed, six.p_value) == (True, True, pytest.approx(1 / 64))
    assert not compare([0.0] * 5).passed
    assert not compare([]).passed


def test_pairs_that_are_not_numbers_are_left_out_and_counted() -> None:
    model = np.r_[np.full(8, 1.0) + np.arange(8) / 100, math.nan, 1.0]
    baseline = np.r_[np.zeros(8), 0.0, math.nan]
    result = compare(model, baseline)
    assert (result.tracks, result.left_out) == (8, 2)
    assert result == dataclasses.replace(compare(model[:8], baseline[:8]), left_out=2)


def test_infinite_scores_count_as_120_db() -> None:
    model, baseline = np.full(8, 5.0), np.full(8, 4.9)
    assert compare(np.r_[model, 5.0], np.r_[baseline, -math.inf]).difference_db == pytest.approx((0.8 + 125) / 9)
    broken = compare(np.r_[model, -math.inf], np.r_[baseline, 5.0], margin_db=-0.5)
    assert broken.difference_db == pytest.approx((0.8 - 125) / 9)
    assert not broken.passed


def test_one_outlier_does_not_carry_a_model_that_is_worse_on_most_tracks() -> None:
    model = np.r_[np.full(9, -0.4) - np.arange(9) / 100, 30.0]
    result = compare(model, margin_db=-0.1)
    assert result.difference_db > 2
    assert result.low_db < -0.1
    assert result.p_value > 0.5
    assert not result.passed


def test_wilcoxon_must_agree_with_the_bootstrap() -> None:
    """Worse than the margin on two tracks of three and far better on the third: the mean alone would let it through."""
    result = compare(np.r_[np.full(20, -0.6), np.full(10, 30.0)] + np.arange(30) / 1000, margin_db=-0.3)
    assert result.low_db >= -0.3
    assert result.p_value > 0.05
    assert not result.passed
