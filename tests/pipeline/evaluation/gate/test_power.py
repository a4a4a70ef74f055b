"""What the paired test can decide: against analysis, and against the test itself."""

import dataclasses
import math

import numpy as np
import pytest
import scipy.stats

from pipeline.config.gate import PairedConfig
from pipeline.evaluation.gate import paired, power
from pipeline.evaluation.gate.paired import Aggregation

SETTINGS = PairedConfig()
TEXTBOOK = PairedConfig(boundary=1.0)
FIGURES: list[tuple[Aggregation, float]] = [("mean", 0.85), ("median", 0.5)]
EQUAL, WORSE, TWICE = "equal", "worse by the margin", "worse by twice the margin"


@pytest.mark.parametrize("tracks", [20, 50, 124])
def test_the_textbooks_test_has_the_power_of_the_noncentral_t(tracks: int) -> None:
    """Student's t-test of H0 "worse by 0.3 dB"; to winsorise costs up to three per cent."""
    settled = power.acceptance(power.normal(0.85), "mean", -0.3, tracks, TEXTBOOK, draws=10_000)
    shift = 0.3 / (0.85 / math.sqrt(tracks))
    expected = scipy.stats.nct.sf(scipy.stats.t.ppf(0.95, tracks - 1), tracks - 1, shift)
    assert expected - 0.035 <= settled[EQUAL] <= expected + 0.01
    assert settled[WORSE] == pytest.approx(0.05, abs=0.012)


def test_the_textbooks_test_of_a_median_has_its_asymptotic_power() -> None:
    """The median of n normal values deviates by sqrt(pi / 2) times as much as their mean."""
    settled = power.acceptance(power.normal(0.5), "median", -0.1, 124, TEXTBOOK, draws=10_000)
    expected = scipy.stats.norm.cdf(0.1 / (math.sqrt(math.pi / 2) * 0.5 / math.sqrt(124)) - 1.645)
    assert settled[EQUAL] == pytest.approx(expected, abs=0.03)


@pytest.mark.parametrize(("how", "deviation_db"), FIGURES)
def test_the_promise_of_a_margin(how: Aggregation, deviation_db: float) -> None:
    for tracks in (6, 8, 10, 20, 50, 124):
        found = power.acceptance(power.normal(deviation_db), how, -0.3, tracks, SETTINGS, draws=10_000)
        assert found[TWICE] <= 0.055, tracks
        assert found[WORSE] <= 0.5, tracks
        assert found[EQUAL] >= (0.97 if tracks >= 50 else 0.0), tracks
        assert found["better by the margin"] >= found[EQUAL] >= found[WORSE] >= found[TWICE]


def test_trainings_that_deviate_from_seed_to_seed_pass_less_often() -> None:
    """Twice the variance of a seed, in all tracks alike; both normal, and the estimate's limit alone decides at 124 tracks."""
    found = power.acceptance(power.normal(0.01), "mean", -0.3, 124, SETTINGS, seeds_db=0.2, draws=20_000)
    assert found[EQUAL] == pytest.approx(scipy.stats.norm.cdf(0.3 / (math.sqrt(2) * 0.2)), abs=0.01)
    assert power.acceptance(power.normal(0.85), "mean", -0.3, 50, SETTINGS, seeds_db=0.1)[EQUAL] >= 0.9


@pytest.mark.slow
@pytest.mark.parametrize(("how", "deviation_db"), FIGURES)
@pytest.mark.parametrize("clusters", [0, 4, 17])
def test_the_table_by_the_comparison_itself(how: Aggregation, deviation_db: float, clusters: int) -> None:
    """Every experiment through `paired.compare`, tracks of four and of seventeen singers too."""
    generator = np.random.default_rng(3)
    names = [f"singer {track % clusters}" for track in range(124)] if clusters else None
    for truth, margins in power.TRUTHS.items():
        passed = [
            paired.compare(
                rival + 0.3 * margins + deviation_db * generator.standard_normal(124),
                rival,
                np.ones(124),
                how,
                -0.3,
                SETTINGS,
                names,
            ).passed
            for rival in (6 + 3 * generator.standard_normal(124) for _ in range(500))
        ]
        least, most = {EQUAL: (0.97, 1), WORSE: (0.25, 0.5), TWICE: (0, 0.02)}.get(truth, (0.99, 1))
        assert least <= np.mean(passed) <= most


@pytest.mark.parametrize("clusters", [4, 5, 10, 17])
@pytest.mark.parametrize(("how", "deviation_db"), FIGURES)
def test_singers_who_differ_do_not_let_worse_models_pass(how: Aggregation, deviation_db: float, clusters: int) -> None:
    """A fifth of the variance between singers: the size holds from four of them on."""
    spread = power.normal(deviation_db * math.sqrt(0.8))
    spread = dataclasses.replace(spread, between_db=deviation_db * math.sqrt(0.2), sizes=[60 // clusters] * clusters)
    found = power.acceptance(spread, how, -0.3, 60 // clusters * clusters, SETTINGS, draws=10_000)
    assert found[TWICE] <= 0.055


def test_finds_the_spread_of_tracks_and_of_singers_again() -> None:
    generator = np.random.default_rng(0)
    names = [str(index) for index in np.repeat(range(200), 10)]
    differences = np.repeat(generator.normal(0.3, 0.4, 200), 10) + generator.normal(0, 0.7, 2000)
    found = power.seen(differences, np.ones(2000), names)
    assert found.between_db == pytest.approx(0.4, abs=0.05)
    assert np.std(found.within) == pytest.approx(0.7, abs=0.03)
    assert found.sizes == (10,) * 200
    alone = power.seen(differences, np.ones(2000), None)
    assert alone.of_a_track_db == pytest.approx(np.std(differences, ddof=1), rel=1e-3)
    assert (alone.between_db, alone.sizes) == (0.0, ())


@pytest.mark.parametrize("sizes", [(), (3, 5, 2, 4), (10, 20)])
def test_as_many_tracks_and_such_a_margin_as_it_says_give_ninety_per_cent(sizes: tuple[int, ...]) -> None:
    spread = dataclasses.replace(power.normal(0.85), sizes=sizes, between_db=0.1 if sizes else 0.0)
    told = power.of_threshold(spread, "mean", -0.3, 14, SETTINGS)
    assert told.tracks_needed
    assert told.margin_allowed_db

    def equal(margin_db: float, tracks: int) -> float:
        return power.acceptance(spread, "mean", margin_db, tracks, SETTINGS)[EQUAL]

    assert told.chances[EQUAL] == equal(-0.3, 14) < 0.9
    assert equal(-0.3, told.tracks_needed) >= 0.9 > equal(-0.3, told.tracks_needed - 1)
    assert equal(told.margin_allowed_db, 14) >= 0.9 > equal(0.98 * told.margin_allowed_db, 14)
    assert told.clusters == (len(sizes) or 14)


@pytest.mark.parametrize(
    ("sizes", "tracks", "clusters"),
    [
        ((31,) * 4, 124, 4),
        ((31,) * 4, 8, 4),
        ((31,) * 4, 248, 8),
        ((31,) * 4, 2, 2),
        ((5, 5), 40, 2),
        ((6,) * 17, 99, 17),
    ],
)
def test_fewer_tracks_are_fewer_of_each_singer_and_more_tracks_are_more_singers(
    sizes: tuple[int, ...], tracks: int, clusters: int
) -> None:
    spread = dataclasses.replace(power.normal(0.1), sizes=sizes)
    assert power.of_threshold(spread, "mean", -0.3, tracks, SETTINGS).clusters == clusters


def test_what_no_number_of_tracks_gives() -> None:
    proof = power.of_threshold(power.normal(0.5), "mean", 0.0, 50, SETTINGS)
    assert proof.tracks_needed is None
    assert proof.chances[EQUAL] == pytest.approx(0.05, abs=0.015)
    assert power.of_threshold(power.normal(30.0), "mean", -0.1, 50, SETTINGS).tracks_needed is None
    few = power.of_threshold(power.normal(0.5), "mean", -0.3, 5, SETTINGS)
    assert (few.margin_allowed_db, set(few.chances.values())) == (None, {0.0})
