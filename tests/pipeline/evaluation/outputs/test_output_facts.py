"""Facts of outputs: each defect is measured as large as it was made, and sound estimates have none."""

import json
import math

import numpy as np
import pytest
import scipy.signal

from pipeline.evaluation import results
from pipeline.evaluation.outputs import output_facts
from pipeline.evaluation.outputs.output_facts import OutputFacts
from pipeline.evaluation.scores import Figure, TrackScores

RATE_HZ = 8000
TARGETS = ("vocals", "drums", "rest")


def signals(samples: int = 40000, channels: int = 2) -> dict[str, np.ndarray]:
    """Noises of one colour that differ in all else: no two are correlated."""
    generator = np.random.default_rng(samples)
    return {
        target: 0.1 * scipy.signal.lfilter([1.0], [1.0, -0.5], generator.standard_normal((samples, channels)), axis=0)
        for target in TARGETS
    }


STEMS = signals()
MIXTURE = sum(STEMS.values())


def facts(vocals: np.ndarray | None = None, **others: np.ndarray | None) -> dict[str, OutputFacts]:
    estimates = {**STEMS, **({} if vocals is None else {"vocals": vocals}), **others}
    return output_facts.facts(STEMS, estimates, MIXTURE, RATE_HZ)


def test_the_references_have_no_defect() -> None:
    for target, each in facts().items():
        assert each.resembles == target
        assert each.correlation == pytest.approx(1)
        assert each.level_db == pytest.approx(0)
        assert each.level_error_db == pytest.approx(0)
        assert each.gain_db > 50
        defects = (
            each.missing,
            each.bad_samples,
            each.delay_samples,
            each.dropped_share,
            each.clipped_share,
            each.offset,
        )
        assert not any(defects)


def test_a_note_is_lost_to_another_target_and_dropped_where_none_has_it() -> None:
    """Where a target is not judged it may have the note; one estimate alone tells no more."""
    gain = np.ones((len(MIXTURE), 1))
    gain[8000:12000] = 0.03
    vocals = gain * STEMS["vocals"]
    assert facts(vocals, rest=STEMS["rest"] + STEMS["vocals"] - vocals)["vocals"].artefacts.lost_share > 0.08
    assert facts(vocals)["vocals"].artefacts.lost_share == 0
    for judged in (("vocals",), ("vocals", "drums")):
        references = {target: STEMS[target] for target in judged}
        found = output_facts.facts(references, {**references, "vocals": vocals}, MIXTURE, RATE_HZ)
        assert found["vocals"].artefacts.lost_share > 0.08


def test_what_is_missing_or_not_finite_is_counted_and_touches_no_other_target() -> None:
    broken = STEMS["vocals"].copy()
    broken[5], broken[7, 0] = np.inf, np.nan
    found = facts(broken, drums=None)
    assert (found["vocals"].bad_samples, found["vocals"].resembles) == (3, "vocals")
    assert found["drums"].missing
    assert found["rest"] == facts()["rest"]


@pytest.mark.parametrize("gain_db", [-80.0, -20.0, -3.0, 7.0])
def test_level_is_measured_and_its_error_is_all_of_it_for_a_perfect_estimate(gain_db: float) -> None:
    found = facts(10 ** (gain_db / 20) * STEMS["vocals"])["vocals"]
    assert found.level_db == pytest.approx(gain_db)
    assert found.level_error_db == pytest.approx(gain_db)
    assert found.correlation == pytest.approx(1)


def test_the_level_of_a_leaky_and_of_a_shrunk_estimate_is_no_error() -> None:
    leaky = facts(STEMS["vocals"] + 0.8 * STEMS["drums"])["vocals"]
    assert leaky.level_db > 2
    shrunk = STEMS["vocals"] + STEMS["drums"]
    gain = np.sum(shrunk * STEMS["vocals"]) / np.sum(shrunk**2)
    least_squares = facts(gain * shrunk)["vocals"]
    assert least_squares.level_db < -2
    for each in (leaky, least_squares):
        assert each.level_error_db == pytest.approx(0, abs=0.15)


@pytest.mark.parametrize("delay", [-700, -1, 1, 13, 3000])
@pytest.mark.parametrize("sign", [1, -1])
def test_finds_delay_and_polarity(delay: int, sign: int) -> None:
    found = facts(sign * np.roll(STEMS["vocals"], delay, axis=0))["vocals"]
    assert found.delay_samples == delay
    assert found.correlation == pytest.approx(sign, abs=0.1)


def test_the_delay_of_a_long_track_comes_from_its_loudest_part() -> None:
    long = signals(1_400_000, 1)
    long["vocals"][:600_000] = 0
    late = np.roll(long["vocals"], 25, axis=0)
    assert output_facts.facts(long, {**long, "vocals": late}, sum(long.values()), RATE_HZ)["vocals"].delay_samples == 25


def test_an_unlike_estimate_has_no_delay() -> None:
    assert facts(np.random.default_rng(1).standard_normal(MIXTURE.shape))["vocals"].delay_samples == 0


def test_clipping_counts_beyond_what_mixture_and_reference_have() -> None:
    vocals = STEMS["vocals"]
    loud = 20 * vocals
    expected = np.mean(np.abs(loud) >= 1 - 1e-4)
    assert expected > 0.1
    assert facts(loud)["vocals"].clipped_share == pytest.approx(expected, abs=1e-4)
    ceiling = np.quantile(np.abs(vocals), 0.95)
    assert facts(np.clip(vocals, -ceiling, ceiling))["vocals"].clipped_share == pytest.approx(0.05, abs=1e-3)
    square = {"vocals": 0.5 * np.sign(vocals), "drums": STEMS["drums"]}
    assert output_facts.facts(square, square, sum(square.values()), RATE_HZ)["vocals"].clipped_share == 0
    assert facts(1e-4 * np.sign(vocals))["vocals"].clipped_share == 0


def test_offset_is_that_of_the_worst_channel_beyond_the_mixtures() -> None:
    assert facts(STEMS["vocals"] + [0.0, -0.05])["vocals"].offset == pytest.approx(0.05, abs=0.005)
    stems = {target: stem + 0.02 for target, stem in STEMS.items()}
    leaky = stems["vocals"] + stems["drums"]
    assert output_facts.facts(stems, {**stems, "vocals": leaky}, sum(stems.values()), RATE_HZ)["vocals"].offset == 0


def test_dropouts_count_by_the_energy_that_is_lost() -> None:
    vocals = STEMS["vocals"].copy()
    vocals[: 4 * 4096] = 0
    assert facts(vocals)["vocals"].dropped_share == pytest.approx(4 * 4096 / 40000, abs=0.02)
    quiet = {**STEMS, "vocals": np.where(np.arange(40000)[:, np.newaxis] < 4 * 4096, 1e-3, 1.0) * STEMS["vocals"]}
    estimates = {**quiet, "vocals": vocals}
    assert output_facts.facts(quiet, estimates, sum(quiet.values()), RATE_HZ)["vocals"].dropped_share < 1e-5


def test_silence_is_told_from_a_silent_reference() -> None:
    assert facts(0 * STEMS["vocals"])["vocals"].level_db == -math.inf
    silent = {**STEMS, "vocals": 1e-5 * STEMS["vocals"]}
    found = output_facts.facts(silent, {**STEMS, "vocals": 0 * MIXTURE}, MIXTURE, RATE_HZ)["vocals"]
    assert math.isnan(found.level_db)
    assert math.isnan(found.correlation)


def test_a_rotation_of_three_targets_is_named_and_a_mixture_is_none() -> None:
    rotated = dict(zip(TARGETS, [STEMS["drums"], STEMS["rest"], STEMS["vocals"]], strict=True))
    assert [each.resembles for each in output_facts.facts(STEMS, rotated, MIXTURE, RATE_HZ).values()] == [
        "drums",
        "rest",
        "vocals",
    ]
    copies = output_facts.facts(STEMS, dict.fromkeys(TARGETS, MIXTURE), MIXTURE, RATE_HZ)
    assert [each.resembles for each in copies.values()] == list(TARGETS)
    assert [each.gain_db for each in copies.values()] == [0, 0, 0]


def test_a_single_target_can_resemble_the_rest_of_the_mixture() -> None:
    vocals = {"vocals": STEMS["vocals"]}
    assert output_facts.facts(vocals, vocals, MIXTURE, RATE_HZ)["vocals"].resembles == "vocals"
    rest = {"vocals": MIXTURE - STEMS["vocals"]}
    assert output_facts.facts(vocals, rest, MIXTURE, RATE_HZ)["vocals"].resembles == ""


def test_nothing_is_gained_where_the_mixture_is_the_reference() -> None:
    alone = {"vocals": STEMS["vocals"], "drums": 0 * MIXTURE}
    assert math.isnan(output_facts.facts(alone, alone, STEMS["vocals"], RATE_HZ)["vocals"].gain_db)


def test_facts_survive_the_store() -> None:
    silent = {**STEMS, "vocals": 0 * MIXTURE}
    given = {**output_facts.facts(silent, STEMS, MIXTURE, RATE_HZ), "drums": OutputFacts(bad_samples=3)}
    assert given["vocals"].false_voice.stretches
    track = TrackScores("a", 5, 8000, {Figure("model", "vocals", "v3", "SDR"): (1.0,)}, {"singer": "Ani"}, given)
    back = results.from_json(results.to_json(track))
    assert back.metadata == {"singer": "Ani"}
    assert repr(back) == repr(track)


def test_facts_of_an_older_store_have_what_came_later_empty() -> None:
    track = TrackScores("a", 5, 8000, {}, {}, facts())
    fields = json.loads(results.to_json(track))
    del fields["outputs"]["vocals"]["false_voice"]
    assert results.from_json(json.dumps(fields)).outputs["vocals"].false_voice == OutputFacts().false_voice
