"""The gate on figures made up for it: which models it lets through, which it refuses, and what it says."""

import math
from collections.abc import Sequence
from dataclasses import replace

import pytest

from pipeline.config.gate import Budgets, GateConfig, OutputLimits, PairedConfig, Threshold
from pipeline.evaluation.gate import checks
from pipeline.evaluation.outputs.image import ImageFacts
from pipeline.evaluation.outputs.output_facts import OutputFacts
from pipeline.evaluation.outputs.stretches import Extreme, StretchFacts
from pipeline.evaluation.scores import Figure, TrackScores

FLOOR = Threshold("vocals", "v3/GSDR", 5.0)
OVER_MIXTURE = Threshold("vocals", "v3/SDR", 3.0, over="mixture")
OVER_BASELINE = Threshold("vocals", "v3/GSDR", -0.1, over="baseline")
WORST = Threshold("vocals", "v3/SDR", 2.0, across="worst")
BY_SINGER = Threshold("vocals", "v3/SDR", 4.0, across="singer")
ALL = (FLOOR, OVER_MIXTURE, OVER_BASELINE)
FINE = OutputFacts(level_db=-1.0, correlation=0.9, gain_db=5.0, resembles="vocals")
Scores = float | Sequence[float] | None


def tracks(
    model: Scores, mixture: Scores = 0.0, baseline: Scores = None, count: int = 8, singers: str = "abababab"
) -> list[TrackScores]:
    """v3 SDR of the vocals of several tracks by every method that is given; a number is that of all tracks."""
    given = {"model": model, "mixture": mixture, "baseline": baseline}
    rows = {m: [v] * count if isinstance(v, float) else list(v) for m, v in given.items() if v is not None}
    return [
        TrackScores(
            track=f"song {index}",
            samples=1000,
            sample_rate_hz=8000,
            values={Figure(method, "vocals", "v3", "SDR"): (row[index],) for method, row in rows.items()},
            metadata={"singer": singers[index]} if index < len(singers) else {},
            outputs={"vocals": FINE},
        )
        for index in range(len(next(iter(rows.values()))))
    ]


def judge(given: Sequence[TrackScores], *thresholds: Threshold, facts=None, problem="", **settings) -> checks.Verdict:
    return checks.decide(given, GateConfig(thresholds, **{"better_than_mixture": False, **settings}), problem, facts)


def failed(verdict: checks.Verdict) -> list[checks.Check]:
    return [check for check in verdict.checks if not check.passed]


SPREAD = [7.0 + 0.1 * index for index in range(8)]
GOOD = {
    "well above everything": (tracks(7.0, baseline=6.0), ALL),
    "exactly at the floor": (tracks(5.0), (FLOOR,)),
    "exactly the margin over the mixture": (tracks(4.0, mixture=1.0), (OVER_MIXTURE,)),
    "worse than the baseline within the margin": (tracks(6.95, baseline=7.0), ALL),
    "no baseline yet": (tracks(7.0), ALL),
    "silent baseline": (tracks(7.0, baseline=-math.inf), ALL),
    "the baseline again": (tracks(7.0, baseline=7.0), ALL),
    "no thresholds": (tracks(7.0), ()),
    "worst track exactly at its floor": (tracks([2.0, *SPREAD[1:]]), (WORST,)),
    "every singer above the floor": (tracks(SPREAD), (BY_SINGER,)),
    "a track without a voice": (tracks([math.nan, *SPREAD[1:]], [math.nan] + 7 * [0.0]), (*ALL, WORST, BY_SINGER)),
    "a track with nothing but voice": (tracks([40.0, *SPREAD[1:]], [math.inf] + 7 * [0.0]), (FLOOR, OVER_MIXTURE)),
}

BAD = {
    "mixture copy": (tracks(0.0), ALL, "mixture", "+0.00 dB over the mixture"),
    "noise": (tracks(-20.0), ALL, "floor", "misses the required 5.00 dB"),
    "silence": (tracks(-math.inf), ALL, "floor", "of the model is -inf"),
    "not a number": (tracks(math.nan), ALL, "floor", "of the model is not a number"),
    "infinite": (tracks(math.inf), ALL, "floor", "of the model is inf"),
    "worse than the baseline": (
        tracks(7.0, baseline=7.2),
        ALL,
        "baseline",
        "-0.20 dB over the last blessed model (7.20 dB); better on 0 of 8 tracks in 2 groups, by -0.20 dB on average",
    ),
    "below the floor but over the mixture": (tracks(4.99), ALL, "floor", "is 4.99 dB; misses"),
    "mixture missing": (tracks(7.0, mixture=None), ALL, "mixture", "of the mixture is not a number"),
    "mixture not a number": (tracks(7.0, mixture=math.nan), ALL, "mixture", "of the mixture is not a number"),
    "baseline not a number": (
        tracks(7.0, baseline=math.nan),
        ALL,
        "baseline",
        "of the last blessed model is not a number",
    ),
    "a metric that was not judged": (
        tracks(7.0),
        (Threshold("vocals", "v4/SIR", 0.0),),
        "floor",
        "vocals v4/SIR of the model is miss",
    ),
    "unknown target": (tracks(7.0), (Threshold("drums", "v3/SDR", 0.0),), "floor", "drums v3/SDR of the model is miss"),
    "too few tracks for a baseline": (
        tracks(7.0, baseline=6.0, count=5),
        ALL,
        "baseline",
        "5 tracks cannot decide whether it meets the required -0.10 dB: 6 are needed",
    ),
    "one bad track": (
        tracks([1.9, *SPREAD[1:]]),
        (WORST,),
        "worst track",
        "misses the required 2.00 dB on 1 of 8 tracks: 'song 0' (1.90 dB)",
    ),
    "many bad tracks": (tracks(1.0), (WORST,), "worst track", "'song 1' (1.00 dB), 'song 2' (1.00 dB) and 5 more"),
    "a track that only the mixture has a score on": (
        tracks([math.nan, *SPREAD[1:]]),
        (WORST,),
        "worst track",
        "on 1 of 8 tracks: 'song 0' (not a number)",
    ),
    "one bad singer": (
        tracks([7.0, 1.0] * 4),
        (BY_SINGER,),
        "group",
        "vocals v3/SDR of singer 'b' is 1.00 dB; misses the required 4.00 dB",
    ),
    "a track without a singer": (
        tracks(7.0, singers="abab"),
        (BY_SINGER,),
        "group",
        "4 of 8 tracks have no singer: 'song 4', 'song 5', 'song 6' and 1 more",
    ),
}


@pytest.mark.parametrize("case", GOOD)
def test_passes(case: str) -> None:
    given, thresholds = GOOD[case]
    verdict = judge(given, *thresholds)
    assert verdict.blessed, verdict.reasons
    assert len(verdict.checks) == 1 + len(thresholds)
    assert all(reason.startswith("ok: ") for reason in verdict.reasons)


@pytest.mark.parametrize("case", BAD)
def test_refuses_and_says_why(case: str) -> None:
    given, thresholds, kind, words = BAD[case]
    verdict = judge(given, *thresholds)
    assert not verdict.blessed
    assert any(check.kind == kind and words in check.words for check in failed(verdict)), verdict.reasons


def test_one_missed_threshold_refuses_whatever_the_others_say() -> None:
    verdict = judge(tracks(7.0), FLOOR, Threshold("vocals", "v3/GSDR", 8.0))
    assert [check.passed for check in verdict.checks] == [True, True, False]
    assert verdict.reasons[2] == "refused: vocals v3/GSDR is 7.00 dB; misses the required 8.00 dB"


def test_a_problem_of_the_tracks_refuses_whatever_the_scores() -> None:
    verdict = checks.decide(tracks(7.0), GateConfig(), problems=["track 'a' is also in the train split"])
    assert verdict.reasons[0] == "refused: track 'a' is also in the train split"
    assert [check.kind for check in failed(verdict)] == ["leak"]


def test_no_tracks_and_no_model_refuse() -> None:
    assert checks.decide([], GateConfig()).reasons == ("refused: no track was judged",)
    assert checks.decide(tracks(None), GateConfig()).reasons == ("refused: no model was judged",)


def test_says_what_is_asked_of_the_first_model() -> None:
    first = "ok: vocals v3/GSDR has no baseline to beat: no model was blessed before"
    assert judge(tracks(7.0), OVER_BASELINE).reasons[-1] == first


def test_a_baseline_that_cannot_be_judged_refuses_where_it_is_needed_and_once() -> None:
    problem = "the last blessed model cannot be judged on these tracks: the mixtures have 8000 Hz"
    verdict = judge(tracks(7.0), *ALL, OVER_BASELINE, problem=problem)
    assert [(check.kind, check.words) for check in failed(verdict)] == [("baseline", problem)]
    assert judge(tracks(7.0), FLOOR, OVER_MIXTURE, problem=problem).blessed


def test_says_how_a_tie_is_decided() -> None:
    tied = tracks(7.0, baseline=7.0)
    assert judge(tied, OVER_BASELINE).reasons[-1].endswith("; a tie, equal on 8 tracks, meets the required -0.10 dB")
    better = Threshold("vocals", "v3/GSDR", 0.1, over="baseline")
    assert judge(tied, better).reasons[-1].endswith("; a tie, equal on 8 tracks, misses the required 0.10 dB")


def test_a_paired_test_says_all_that_it_rests_on() -> None:
    model = [6.0, 7.1, 8.3, 5.2, 6.6, 7.7, 9.0, 5.0]
    given = tracks(model, baseline=[5.9, 6.9, 8.0, 5.0, 6.2, 7.3, 8.4, math.nan])
    words = judge(given, OVER_BASELINE).reasons[-1]
    assert words.startswith(
        "ok: vocals v3/GSDR is 7.13 dB, +0.31 dB over the last blessed model (6.81 dB); better on 7 of"
    )
    assert "7 tracks (1 left out: no score of the last blessed model) in 2 groups, by +0.30 dB on average and" in words
    assert "on the median track, 90% interval of the mean +0.18 to +0.42 dB; meets" in words
    assert words.endswith("meets the required -0.10 dB, and worse than -0.20 dB is excluded with 95% confidence")


def test_the_last_blessed_model_by_singer_and_by_track() -> None:
    twelve = {"count": 12, "singers": "ab" * 6}
    given = tracks([7.0, 5.0] * 6, baseline=[6.0, 6.0] * 6, **twelve)
    by_singer = Threshold("vocals", "v3/SDR", -0.5, over="baseline", across="singer")
    (missed,) = failed(judge(given, by_singer))
    assert missed.kind == "group"
    assert "vocals v3/SDR of singer 'b' is 5.00 dB, -1.00 dB over the last blessed model" in missed.words
    worst = Threshold("vocals", "v3/SDR", -0.5, over="baseline", across="worst")
    (missed,) = failed(judge(given, worst))
    assert "vocals v3/SDR over the last blessed model misses the required -0.50 dB on 6 of 12 tracks" in missed.words
    assert judge(tracks(7.0, baseline=7.0, **twelve), by_singer, worst).blessed
    assert judge(tracks(7.0), by_singer, worst).blessed


@pytest.mark.parametrize(
    ("model", "mixture", "passed", "words"),
    [
        (0.02, 0.0, True, "vocals v3/SDR is +0.02 dB over the mixture and above it on 8 of 8 tracks"),
        (0.005, 0.0, False, "needed are more than 0.01 dB"),
        ([-0.5] * 7 + [40.0], 0.0, False, "above it on 1 of 8 tracks"),
        ([1.0] * 6 + [-1.0] * 2, 0.0, True, "above it on 6 of 8 tracks"),
        ([1.0] * 5 + [-0.1] * 3, 0.0, False, "above it on 5 of 8 tracks; needed are more than 0.01 dB and 75%"),
        (math.nan, 0.0, False, "above it on 0 of 8 tracks"),
        (9.0, math.nan, False, "cannot be compared with the mixture"),
        ([9.0] * 7 + [30.0], [0.0] * 7 + [math.inf], True, "above it on 7 of 7 tracks"),
    ],
)
def test_every_model_has_to_beat_the_mixture(model: Scores, mixture: Scores, passed: bool, words: str) -> None:
    verdict = judge(tracks(model, mixture), better_than_mixture=True)
    (check,) = [check for check in verdict.checks if check.kind == "mixture"]
    assert (check.passed, verdict.blessed) == (passed, passed)
    assert words in check.words


def test_budgets_hold_and_need_facts() -> None:
    budgets = Budgets(real_time_factor=0.5, megabytes=20, parameters=5_000_000)
    within = judge(tracks(7.0), facts=checks.ModelFacts(0.5, 19.9, 5_000_000), budgets=budgets)
    assert within.blessed
    assert within.reasons[-1] == "ok: the model has 5,000,000 parameters; within the budget of 5,000,000"
    over = judge(tracks(7.0), facts=checks.ModelFacts(0.51, 20.1, 5_000_001), budgets=budgets)
    assert [check.words for check in failed(over)] == [
        "the model needs 0.51 s of computing for a second of audio; over the budget of 0.5 s",
        "the model takes 20.1 MB on disk; over the budget of 20.0 MB",
        "the model has 5,000,001 parameters; over the budget of 5,000,000",
    ]
    unknown = judge(tracks(7.0), facts=checks.ModelFacts(None, 19.9, 5), budgets=budgets)
    assert [check.words for check in failed(unknown)] == [
        "real_time_factor of the model was not measured; the budget is 0.5 s"
    ]
    assert len(failed(judge(tracks(7.0), budgets=budgets))) == 3
    assert judge(tracks(7.0), facts=checks.ModelFacts(None, 1e6, 10**12)).blessed


def outputs(*facts: OutputFacts) -> list[TrackScores]:
    given = tracks(7.0, count=len(facts))
    return [
        TrackScores(t.track, 1000, 8000, t.values, outputs={"vocals": f}) for t, f in zip(given, facts, strict=True)
    ]


def fact(**changes) -> OutputFacts:
    return OutputFacts(**{**vars(FINE), **changes})


def stretch(**extremes: float) -> OutputFacts:
    return fact(stretches=StretchFacts(**{name: Extreme(value, 7.0) for name, value in extremes.items()}))


def image(**changes: float) -> OutputFacts:
    return fact(image=ImageFacts(**changes))


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ([fact(missing=True)] * 3, "the model's estimates of vocals are missing: it separates no such target"),
        ([FINE, fact(bad_samples=3)], "hold samples that are not finite on 1 of 2 tracks: 'song 1' (3 samples)"),
        ([FINE, fact(level_db=-math.inf)], "are silent, 60 dB or more below references that sound, on 1 of 2 tracks"),
        ([FINE, fact(level_db=-61.0)], "'song 1' (-61 dB)"),
        ([FINE, fact(dropped_share=0.3)], "drop out where the reference sounds on 1 of 2 tracks: 'song 1' (30% of its"),
        ([FINE, fact(clipped_share=0.02)], "clip on 1 of 2 tracks: 'song 1' (2.0% of the samples); legal: up to 0.1%"),
        ([FINE, fact(offset=0.1)], "have a constant offset on 1 of 2 tracks: 'song 1' (0.100 of full scale)"),
        ([fact(level_db=9.0)] * 2, "are 8.1 dB too loud on the median of 2 tracks; legal: up to 6 dB"),
        ([fact(level_db=-9.0)] * 2, "are 8.1 dB too quiet on the median of 2 tracks; legal: up to 6 dB"),
        (
            [FINE, stretch(delay_samples=40)],
            "lag behind their references on 1 of 2 tracks: 'song 1' (40 samples at 7 s)",
        ),
        (
            [FINE, stretch(delay_samples=-40)],
            "run ahead of their references on 1 of 2 tracks: 'song 1' (40 samples at 7",
        ),
        (
            [FINE, stretch(correlation=-0.9)],
            "have the opposite polarity of their references on 1 of 2 tracks: 'song 1'",
        ),
        (
            [FINE, stretch(loud_db=11.0)],
            "are too loud in a stretch or a channel on 1 of 2 tracks: 'song 1' (+11.0 dB at 7",
        ),
        (
            [FINE, stretch(quiet_db=-41.0)],
            "are lost in a stretch or a channel on 1 of 2 tracks: 'song 1' (-41.0 dB",
        ),
        (
            [FINE, image(balance_db=-math.inf)],
            "are out of balance on 1 of 2 tracks: 'song 1' (left -inf dB against right)",
        ),
        (
            [image(balance_db=-4.0)] * 2,
            "are out of balance, left -4.0 dB against right on the median of 2 tracks; legal",
        ),
        ([FINE, image(side_correlation=-0.9)], "have left and right swapped on 1 of 2 tracks: 'song 1'"),
        ([FINE, image(width_db=-math.inf)], "are mono where their references are stereo on 1 of 2 tracks: 'song 1'"),
        ([image(width_db=5.0)] * 2, "are 5.0 dB too wide on the median of 2 tracks; legal: up to 4 dB"),
        (
            [FINE, image(tilt_db=-12.0)],
            "sound unlike left and right on 1 of 2 tracks: 'song 1' (an octave -12.0 dB louder",
        ),
        ([fact(resembles="drums")] * 2, "are swapped: they resemble drums on 2 of 2 tracks"),
    ],
)
def test_refuses_unsound_outputs_unless_their_check_is_off(facts: list[OutputFacts], words: str) -> None:
    (check,) = failed(judge(outputs(*facts)))
    assert check.kind == "output"
    assert words in check.words
    off = judge(outputs(*facts), outputs=OutputLimits(**{**dict.fromkeys(vars(OutputLimits())), "stray_share": 1.0}))
    assert off.blessed is not ("missing" in words or "not finite" in words)


def test_one_track_in_many_strays_by_chance_and_two_do_not() -> None:
    """Of 148 tracks that each stray with probability 1/1000, two or more do in 1 % of all cases (binomial)."""
    inverted = stretch(correlation=-0.9)
    assert failed(judge(outputs(*[FINE] * 9, inverted)))
    assert not failed(judge(outputs(*[FINE] * 10, inverted)))
    assert not failed(judge(outputs(*[FINE] * 123, inverted)))
    assert failed(judge(outputs(*[FINE] * 122, inverted, inverted)))
    assert not failed(judge(outputs(*[FINE] * 150, inverted, inverted)))


def test_outputs_are_there_and_finite_whatever_is_switched_off() -> None:
    assert judge(outputs(stretch(correlation=-0.9), fact(offset=0.5)), outputs=None).blessed
    assert failed(judge(outputs(fact(bad_samples=3)), outputs=None))


def test_outputs_that_were_not_measured_are_not_called_sound() -> None:
    given = [*tracks(7.0)[:3], replace(tracks(7.0)[3], outputs={})]
    (check,) = failed(judge(given))
    assert check.words == "the model's outputs were not measured on 1 of 4 tracks: 'song 3'"


def test_a_level_that_errors_explain_is_no_error_of_level() -> None:
    """An estimate of correlation c may shrink to c times the reference's level or leak up to 1 / c times it."""
    for correlation in (0.5, 0.9):
        room = -20 * math.log10(correlation)
        assert fact(correlation=correlation, level_db=-room).level_error_db == pytest.approx(0)
        assert fact(correlation=correlation, level_db=room).level_error_db == pytest.approx(0)
        assert fact(correlation=-correlation, level_db=room + 3).level_error_db == pytest.approx(3)
        assert fact(correlation=correlation, level_db=-room - 4).level_error_db == pytest.approx(-4)
    assert math.isnan(OutputFacts().level_error_db)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Threshold("vocals", "v3/SDR", math.nan), "gate.thresholds.at_least_db is nan"),
        (lambda: Threshold("vocals", "v3/SDR", 0.0, across=""), "gate.thresholds.across is ''"),
        (lambda: PairedConfig(confidence=1.0), "gate.paired.confidence is 1.0"),
        (lambda: PairedConfig(min_tracks=0), "gate.paired.min_tracks is 0"),
        (lambda: Budgets(megabytes=0), "gate.budgets.megabytes is 0"),
        (lambda: GateConfig(better_on_share=1.5), "gate.better_on_share is 1.5"),
    ],
)
def test_settings_that_decide_nothing_are_refused(make, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make()
