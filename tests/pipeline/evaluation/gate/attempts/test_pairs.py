"""Models against the last blessed one on scores made up for it: many tracks, singers, outliers and noise, which no audio renders fast."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from pipeline.config.config import Config
from pipeline.config.gate import GateConfig, Threshold
from pipeline.evaluation.evaluation import conclude
from pipeline.evaluation.gate.verdict import Verdict
from pipeline.evaluation.outputs.output_facts import OutputFacts
from pipeline.evaluation.scores import Figure, TrackScores

FINE = OutputFacts(level_db=-1.0, correlation=0.9, gain_db=5.0, resembles="vocals")


def noise(count: int, deviation_db: float, seed: int = 0) -> np.ndarray:
    """Of zero mean and median and just this deviation: what it does to a verdict is no matter of luck."""
    drawn = np.random.default_rng(seed).standard_normal(count // 2)
    drawn = np.r_[drawn, -drawn, [0.0] * (count % 2)]
    return deviation_db * drawn / np.std(drawn)


def ruined(count: int, ruined: int, by_db: float, others_db: float) -> np.ndarray:
    return np.r_[np.full(ruined, by_db), np.full(count - ruined, others_db)] + noise(count, 0.05)


@dataclass(frozen=True)
class Pairs:
    """What the model gains over the last blessed one on every track, and what the gate must say."""

    gains_db: np.ndarray
    words: str = ""
    version: str = "v3"
    kinds: str = "baseline"
    singers: Sequence[str] = ()
    key: str = "singer"
    samples: Sequence[int] = ()
    baseline_db: np.ndarray | float = 6.0
    margin_db: float = -0.3
    first: bool = False


SEVENTEEN, FOUR = [*"abcdefghijklmnopq" * 6], [*"abcd" * 31]


def by_singer(singers: Sequence[str], gains_db: dict[str, float], others_db: float, seed: int = 0) -> np.ndarray:
    return np.array([gains_db.get(singer, others_db) for singer in singers]) + noise(len(singers), 0.2, seed)


BAD: dict[str, Pairs] = {
    "one outlier carries fifty tracks": Pairs(ruined(50, 1, 60.0, -0.35), "the average is below it and the median is below"),
    "four outliers carry fifty tracks": Pairs(ruined(50, 4, 30.0, -0.4), "not shown to meet the required -0.30 dB: the median is"),
    "outliers without a measure": Pairs(ruined(20, 3, 110.0, -0.4), "the median is below it"),
    "one singer of seventeen carries all": Pairs(by_singer(SEVENTEEN, {"c": 8.0}, -0.5), "the median is below it", singers=SEVENTEEN),
    "one singer of four carries all": Pairs(by_singer(FOUR, {"c": 2.5}, -0.5), "worse than -0.60 dB is not", singers=FOUR),
    "one singer of four is lost": Pairs(by_singer(FOUR, {"c": -1.0}, 0.1), "worse than -0.60 dB is not excluded", singers=FOUR),
    "one of two singers carries the other": Pairs(
        by_singer([*"ab" * 25], {"a": 1.4}, -0.9), "worse than -0.60 dB is not excluded", singers=[*"ab" * 25]
    ),
    "one of three singers is lost": Pairs(
        by_singer([*"abc" * 10], {"a": -1.5}, 0.8), "worse than -0.60 dB is not excluded", singers=[*"abc" * 10]
    ),
    "one album of five carries all": Pairs(
        by_singer([*"abcde" * 10], {"a": 3.0}, -0.45), "the median", singers=[*"abcde" * 10], key="album"
    ),
    "no score on half of the tracks": Pairs(
        np.where(np.arange(50) % 2, math.nan, 0.5), "better on 25 of 50 tracks, by -9.75 dB on average", kinds="mixture, baseline"
    ),
    "a tenth of the tracks lost": Pairs(np.where(np.arange(50) % 10, 0.2, -60.0), "the average is below it"),
    "two of fifty tracks ruined": Pairs(ruined(50, 2, -12.0, 0.05), "the average is below it"),
    "two of fifty tracks ruined, by the median": Pairs(ruined(50, 2, -12.0, 0.05), "the average is below it", version="v4"),
    "a tail that the median does not see": Pairs(ruined(50, 10, -8.0, 0.2), "the average is below it", version="v4"),
    "as often far better as farther worse": Pairs(ruined(50, 25, 2.0, -2.7), "the average is below it"),
    "worse by a hair more than the margin on most tracks": Pairs(noise(124, 0.1) - 0.31, "the average is below it and the median"),
    "worse by twice the margin in noise": Pairs(noise(50, 0.85) - 0.6, "is not excluded with 95% confidence"),
    "hidden in noise": Pairs(noise(20, 2.0) - 0.25, "worse than -0.60 dB is not excluded with 95% confidence"),
    "worse on the long tracks": Pairs(
        ruined(50, 5, -1.0, 0.1), "the average is below it", samples=[100_000] * 5 + [10_000] * 45
    ),
    "a last blessed model that has hardly a score": Pairs(
        noise(50, 0.1) + 1, "5 tracks (45 left out: no score of the last blessed model) cannot decide",
        baseline_db=np.where(np.arange(50) < 5, 6.0, math.nan),
    ),
    "a gain that is demanded, in noise": Pairs(noise(50, 0.85) + 0.35, "worse than 0.30 dB is not excluded", margin_db=0.3),
    "no loss, as one track less would have it": Pairs(noise(50, 0.5), "worse than 0.00 dB is not", margin_db=0.0),
    "a single track and no model before": Pairs(np.ones(1), "a score on 1 track; gate.min_tracks asks for 2", kinds="tracks", first=True),
    "ten tracks of which one sounds": Pairs(
        np.r_[1.0, np.full(9, math.nan)], "a score on 1 track; gate.min", kinds="tracks, mixture", first=True
    ),
}  # fmt: skip

GOOD: dict[str, Pairs] = {
    "another seed": Pairs(noise(50, 0.85)),
    "another seed, by the median": Pairs(noise(50, 0.5), version="v4"),
    "another seed that is a little worse": Pairs(noise(50, 0.85) - 0.1),
    "another seed on few tracks": Pairs(noise(10, 0.4) - 0.05),
    "without averaged weights": Pairs(noise(50, 0.05) - 0.03),
    "one track lost": Pairs(np.r_[-90.0, noise(49, 0.3)]),
    "one track found": Pairs(np.r_[noise(49, 0.3), 90.0] - 0.05),
    "heavy tails": Pairs(np.r_[noise(40, 0.3), noise(10, 3.0)]),
    "every singer a little otherwise": Pairs(
        by_singer(SEVENTEEN, dict(zip("abcdefghijklmnopq", noise(17, 0.2), strict=True)), 0.0), singers=SEVENTEEN
    ),
    "four singers a little otherwise": Pairs(by_singer(FOUR, {"a": 0.15, "b": -0.15}, 0.0), singers=FOUR),
    "two singers a little otherwise": Pairs(by_singer([*"ab" * 25], {"a": 0.3}, -0.3), singers=[*"ab" * 25]),
    "silent references on a third": Pairs(noise(60, 0.5), baseline_db=np.where(np.arange(60) % 3, 6.0, math.nan)),
    "better everywhere by what is demanded and more": Pairs(noise(50, 0.3) + 0.5, margin_db=0.3),
    "few tracks and no model before": Pairs(np.ones(2), first=True),
}  # fmt: skip


def judged(pairs: Pairs, order: Sequence[int] | None = None) -> Verdict:
    """What the gate says of a model with these gains, tracks in any order."""
    count = len(pairs.gains_db)
    baseline = np.broadcast_to(pairs.baseline_db, count) + 3 * np.random.default_rng(9).standard_normal(count)
    metric = "SDR"
    tracks = []
    for index in order if order is not None else range(count):
        silent = math.isnan(baseline[index])
        scores = {"model": baseline[index] + pairs.gains_db[index], "mixture": math.nan if silent else -9.0}
        scores |= {} if pairs.first else {"baseline": baseline[index]}
        values = {Figure(method, "vocals", pairs.version, metric): (float(value),) for method, value in scores.items()}
        metadata = {pairs.key: pairs.singers[index]} if pairs.singers else {}
        samples = pairs.samples[index] if pairs.samples else 80_000
        tracks.append(TrackScores(f"track {index}", samples, 8000, values, metadata, {"vocals": FINE}))
    gate = GateConfig((Threshold("vocals", f"{pairs.version}/SDR", pairs.margin_db, over="baseline"),))
    return conclude(tracks, Config("attempt", gate=gate)).verdict


@pytest.mark.parametrize("name", BAD)
def test_refused_for_the_right_reason(name: str) -> None:
    verdict = judged(BAD[name])
    refused = [check for check in verdict.checks if not check.passed]
    assert {check.kind for check in refused} == set(BAD[name].kinds.split(", ")), verdict.reasons
    assert BAD[name].words in "\n".join(check.words for check in refused), verdict.reasons


@pytest.mark.parametrize("name", GOOD)
def test_passes_in_any_order(name: str) -> None:
    verdict = judged(GOOD[name])
    assert verdict.blessed, verdict.reasons
    backwards: Any = range(len(GOOD[name].gains_db))[::-1]
    assert judged(GOOD[name], backwards).reasons == verdict.reasons
