"""The paired test over tracks: what it decides, how often it errs, and that nothing but the scores moves it."""

import dataclasses
import math

import numpy as np
import pytest
import scipy.stats

from pipeline.config.gate import PairedConfig
from pipeline.evaluation.gate import paired

SETTINGS = PairedConfig()


def compare(
    model, rival=None, margin_db: float = 0.0, how: paired.Aggregation = "mean", weights=None, clusters=None, **settings
) -> paired.Comparison:
    model = np.asarray(model, float)
    return paired.compare(
        model,
        np.zeros(len(model)) if rival is None else np.asarray(rival, float),
        np.ones(len(model)) if weights is None else np.asarray(weights, float),
        how,
        margin_db,
        dataclasses.replace(SETTINGS, **settings),
        clusters,
    )


def songs(seed: int, count: int = 40, shift_db: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Scores of two models on the same tracks: tracks differ by 3 dB, the models by `shift_db` and 0.5 dB a track."""
    generator = np.random.default_rng(seed)
    rival = 6 + 3 * generator.standard_normal(count)
    return rival + shift_db + 0.5 * generator.standard_normal(count), rival


# --- what it decides -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["mean", "median"])
def test_measured_no_worse_than_the_margin_and_twice_the_margin_excluded(how: paired.Aggregation) -> None:
    spread = np.linspace(-0.2, 0.2, 30)
    assert compare(spread - 0.29, margin_db=-0.3, how=how).passed
    assert not compare(spread - 0.31, margin_db=-0.3, how=how).passed
    wide = compare(10 * spread - 0.1, margin_db=-0.3, how=how)
    assert wide.difference_db == pytest.approx(-0.1)
    assert wide.low_db < -0.4
    assert (wide.passed, compare(10 * spread - 0.1, margin_db=-0.8, how=how).passed) == (wide.low_db >= -0.6, True)


def test_a_boundary_of_one_is_the_textbooks_test() -> None:
    model, rival = songs(3, shift_db=-0.2)
    textbook = compare(model, rival, margin_db=-0.3, boundary=1.0)
    assert textbook.passed is (textbook.low_db >= -0.3)
    assert not textbook.passed
    assert compare(model, rival, margin_db=-0.3).passed


def test_a_gain_that_is_demanded_has_to_be_shown() -> None:
    spread = np.linspace(-1, 1, 20)
    assert compare(spread + 1.0, margin_db=0.5).passed
    assert not compare(spread + 0.6, margin_db=0.5).passed, "the interval reaches below 0.5"
    assert not compare(spread, margin_db=0.0).passed, "a margin of 0 asks for proof"


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
    assert (six.decided, six.passed) == (True, True)
    assert not compare([0.0] * 5).passed
    assert not compare([]).passed
    assert [compare([1.0] * count, min_tracks=1).passed for count in (1, 2, 3)] == [False, True, True], (
        "no spread of one"
    )


def test_tracks_without_a_score_of_the_rival_are_left_out_and_those_without_one_of_the_model_are_lost() -> None:
    model = np.r_[np.full(8, 1.0) + np.arange(8) / 100, 1.0, math.nan]
    rival = np.r_[np.zeros(8), math.nan, math.nan]
    result = compare(model, rival)
    assert (result.tracks, result.left_out) == (8, 2)
    assert result == dataclasses.replace(compare(model[:8], rival[:8]), left_out=2)
    half = compare(np.where(np.arange(20) % 2, math.nan, 5.0), np.full(20, 4.0), margin_db=-0.3)
    assert (half.tracks, half.left_out, half.better) == (20, 0, 10)
    assert half.average_db == pytest.approx((10 * 1.0 - 10 * 20.0) / 20)
    assert not half.passed


# --- what cannot carry a model ---------------------------------------------------------------------------------------


def test_no_difference_counts_as_more_than_20_db_and_one_of_them_neither_carries_nor_sinks() -> None:
    even, lost = np.full(8, 5.0), np.array([-math.inf, 4.9])
    assert compare(np.r_[even, lost], np.r_[even, 4.9, 4.9], margin_db=-0.3).average_db == pytest.approx(0, abs=0.01)
    two = compare(np.r_[even, lost[0], lost[0]], np.full(10, 5.0), margin_db=-0.3)
    assert two.average_db == pytest.approx(-4.0)
    assert not two.passed
    assert compare(np.r_[even, 5.0], np.r_[even - 0.1, -math.inf]).average_db == pytest.approx(0.1)


def test_one_outlier_does_not_carry_a_model_that_is_worse_on_most_tracks() -> None:
    model = np.r_[np.full(9, -0.4) - np.arange(9) / 100, 30.0]
    assert np.mean(model) > 2
    result = compare(model, margin_db=-0.1)
    assert result.average_db == pytest.approx(-0.44, abs=0.02)
    assert not result.passed


def test_the_median_must_agree_with_the_mean_and_the_mean_with_the_median() -> None:
    """Worse than the margin on two tracks of three and far better on the third; then a little better on most, and ruined on some."""
    carried = compare(np.r_[np.full(20, -0.6), np.full(10, 30.0)] + np.arange(30) / 1000, margin_db=-0.3)
    assert carried.low_db >= -0.6
    assert carried.average_db > 5
    assert not carried.passed
    ruined = compare(np.r_[np.full(40, 0.1), np.full(10, -10.0)] + np.arange(50) / 1000, margin_db=-0.3, how="median")
    assert ruined.low_db > 0
    assert not ruined.passed


def test_one_singer_does_not_carry_the_others() -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, 60)
    for good, bad, names in ((2.5, -0.5, "abcd" * 15), (1.2, -0.7, "ab" * 30), (2.5, -0.7, "abc" * 20)):
        model = noise + np.where(np.array([*names]) == "a", good, bad)
        alone = compare(model, margin_db=-0.3, boundary=2.0)
        grouped = compare(model, margin_db=-0.3, clusters=[*names])
        assert alone.average_db >= -0.3
        assert grouped.low_db < -0.6
        assert grouped.clusters == len(set(names))
        assert not grouped.passed


# --- the intervals ---------------------------------------------------------------------------------------------------


def test_the_interval_of_the_mean_is_tukeys_and_mclaughlins() -> None:
    """One of 40 tracks on either side winsorised, by scipy; of fewer than six none, which leaves Student's."""
    model, rival = songs(3, shift_db=0.4)
    kept = np.asarray(scipy.stats.mstats.winsorize(model - rival, (1 / 40, 1 / 40)))
    factor = 39 / 37
    theirs = scipy.stats.t.interval(0.9, 37, np.mean(kept), factor * scipy.stats.sem(kept))
    ours = compare(model, rival)
    assert ours.average_db == pytest.approx(np.mean(kept))
    assert (ours.low_db, ours.high_db) == pytest.approx(theirs)
    five = compare([1.0, 2.0, 4.0, 4.5, 7.0], min_tracks=2)
    theirs = scipy.stats.ttest_1samp([1.0, 2.0, 4.0, 4.5, 7.0], 0).confidence_interval(0.9)
    assert (five.low_db, five.high_db) == pytest.approx((theirs.low, theirs.high)), "too few to winsorise"


def test_the_interval_of_the_median_lies_where_the_exact_sign_test_puts_it() -> None:
    """scipy's quantile_test inverts the binomial: its end is an order statistic of more than 95 %, the next one of less."""
    for count in (12, 25, 50, 124):
        model, rival = songs(count, count)
        ours, ordered = compare(model, rival, how="median"), np.sort(model - rival)
        exact = scipy.stats.quantile_test(ordered, p=0.5, alternative="greater").confidence_interval(0.95).low
        place = int(np.searchsorted(ordered, exact))
        assert ours.median_db == pytest.approx(np.median(ordered))
        assert ordered[place - 1] <= ours.low_db <= ordered[place + 1]


def test_equal_clusters_give_students_interval_of_their_means() -> None:
    """The cluster jackknife of clusters of one size is the t-test of their means; the extremes are twins, so nothing is winsorised."""
    generator = np.random.default_rng(4)
    effects = np.repeat(generator.normal(0.2, 0.6, 8), 4)
    values = effects + generator.normal(0, 0.1, 32)
    values[[0, 1]], values[[2, 3]] = values.max() + 0.1, values.min() - 0.1
    means = values.reshape(8, 4).mean(1)
    half = (means.mean() - scipy.stats.ttest_1samp(means, 0).confidence_interval(0.9).low) * 31 / 29
    result = compare(values, clusters=[f"singer {index}" for index in np.repeat(range(8), 4)])
    assert result.average_db == pytest.approx(np.mean(values))
    assert result.low_db == pytest.approx(np.mean(values) - half)
    assert result.low_db < compare(values).low_db


@pytest.mark.parametrize("how", ["mean", "median"])
def test_agrees_with_a_bootstrap_of_clusters_where_there_are_many(how: paired.Aggregation) -> None:
    generator = np.random.default_rng(8)
    values = np.repeat(generator.normal(0, 0.4, 60), 5) + generator.normal(0, 0.4, 300)
    by_cluster = values.reshape(60, 5)
    drawn = by_cluster[generator.integers(60, size=(4000, 60))].reshape(4000, -1)
    low, high = np.quantile(np.mean(drawn, 1) if how == "mean" else np.median(drawn, 1), [0.05, 0.95])
    ours = compare(values, how=how, clusters=[str(index) for index in np.repeat(range(60), 5)])
    assert (ours.low_db, ours.high_db) == pytest.approx((low, high), abs=0.03)


def test_clusters_that_agree_by_chance_do_not_narrow_the_interval() -> None:
    values = np.random.default_rng(2).normal(0, 1, (10, 5))
    values = (values - values.mean(1, keepdims=True)).ravel()
    grouped = compare(values, clusters=[str(index) for index in np.repeat(range(10), 5)])
    assert grouped.low_db == compare(values).low_db


@pytest.mark.parametrize("how", ["mean", "median"])
def test_a_single_cluster_and_one_for_each_track_change_nothing(how: paired.Aggregation) -> None:
    model, rival = songs(6)
    alone = compare(model, rival, how=how)
    assert alone == compare(model, rival, how=how, clusters=[str(track) for track in range(40)])
    assert dataclasses.replace(alone, clusters=1) == compare(model, rival, how=how, clusters=["ann"] * 40)


# --- that nothing else moves it --------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["mean", "median"])
def test_the_order_of_the_tracks_changes_no_digit(how: paired.Aggregation) -> None:
    model, rival = songs(5)
    model[3] = rival[3] = math.nan
    weights = np.random.default_rng(1).uniform(1, 9, len(model))
    names = np.array([*"abcde" * 8])
    order = np.random.default_rng(2).permutation(len(model))
    first = compare(model, rival, how=how, weights=weights, clusters=names)
    assert first == compare(model, rival, how=how, weights=weights, clusters=names)
    assert first == compare(model[order], rival[order], how=how, weights=weights[order], clusters=names[order])


def test_long_tracks_weigh_more_in_a_mean_and_no_more_in_a_median() -> None:
    model, weights = [1.0, 1.0, 1.0, 1.0, -5.0, -5.0], [1, 1, 1, 1, 4, 4]
    assert compare(model, weights=weights).average_db == pytest.approx(-3.0)
    assert compare(model, weights=weights).median_db == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("metadata", "cluster", "groups"),
    [
        ([{"singer": "ann", "album": "x"}, {"singer": "ben", "album": "x"}], "auto", ["singer ann", "singer ben"]),
        ([{"artist": "Ann"}, {"artist": "Ann"}], "auto", ["artist Ann", "artist Ann"]),
        ([{"album": "x"}, {}], "auto", ["album x", "track 1"]),
        ([{"genre": "rock"}, {"genre": "folk"}], "auto", None),
        ([{"genre": "rock", "singer": "ann"}, {"genre": "folk"}], "genre", ["genre rock", "genre folk"]),
        ([{"singer": "ann"}] * 2, None, None),
    ],
)
def test_which_tracks_belong_together(metadata, cluster: str | None, groups: list[str] | None) -> None:
    assert paired.clusters_of(metadata, dataclasses.replace(SETTINGS, cluster=cluster)) == groups
