"""What the trials of a study say together: over seeds, and clip by clip against the first variant or any other."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.stats

from pipeline.config.gate import PairedConfig
from pipeline.evaluation.gate import paired
from pipeline.evaluation.gate.paired import Comparison
from pipeline.studies.result import Result, Trial
from pipeline.studies.study import Claim

# Each bound of an interval of 95 %.
_PAIRED = PairedConfig(confidence=0.975)


@dataclass(frozen=True)
class Spread:
    """Of a figure over seeds, in dB; deviation: the sample's, None of one seed."""

    mean: float
    deviation: float | None


@dataclass(frozen=True)
class Difference:
    """A variant less another, in dB, over the clips, each of which is the mean over seeds.

    low, high: the interval of 95 % of `pipeline.evaluation.gate.paired`, None where the clips are too few for one. p: of
    Wilcoxon's signed-rank test, two-sided, which takes clips of one singer for independent; None where no clip differs.
    """

    average: float
    low: float | None
    high: float | None
    better: int
    clips: int
    p: float | None


@dataclass(frozen=True)
class Variant:
    """The trials of a variant: `metric` or `<target>/<metric>` -> its spread; against: the first variant, None for itself."""

    name: str
    trials: tuple[Trial, ...]
    scores: Mapping[str, Spread]
    against: Difference | None


def variants(result: Result) -> list[Variant]:
    """All that have a score, the best first."""
    of: dict[str, list[Trial]] = {}
    for trial in result.finished:
        of.setdefault(trial.variant, []).append(trial)
    first = result.first
    found = [
        Variant(
            name,
            tuple(trials),
            _scores(result, trials),
            difference(result, trials, of[first], result.metrics[0]) if first in of and name != first else None,
        )
        for name, trials in of.items()
    ]
    return sorted(found, key=lambda each: each.scores[result.metrics[0]].mean, reverse=True)


def pairs(result: Result, metric: str) -> dict[tuple[str, str], Difference]:
    """Every pair of variants -> the second less the first."""
    found = variants(result)
    told = {
        (a.name, b.name): difference(result, b.trials, a.trials, metric) for a, b in itertools.combinations(found, 2)
    }
    return {names: each for names, each in told.items() if each}


def answers(result: Result) -> list[tuple[Difference | None, str]]:
    """Of every claim the difference that decides, and whether it holds: where the whole interval is above what is claimed.

    It does not hold where the whole interval is below; all else, also a variant without clips, is not shown.
    """
    of: dict[str, list[Trial]] = {}
    for trial in result.finished:
        of.setdefault(trial.variant, []).append(trial)
    found: list[tuple[Difference | None, str]] = []
    for claim in result.claims:
        known = difference(result, of.get(claim.better, []), of.get(claim.than, []), figure(result, claim))
        answer = "not shown"
        if known and known.low is not None and known.low > claim.by_db:
            answer = "holds"
        elif known and known.high is not None and known.high < claim.by_db:
            answer = "does not hold"
        found.append((known, answer))
    return found


def figure(result: Result, claim: Claim) -> str:
    """The claim's metric in the study's version: `v3/GNSDR` of SDR."""
    return next(each for each in result.metrics if each.endswith(claim.metric))


def difference(result: Result, ours: Sequence[Trial], theirs: Sequence[Trial], metric: str) -> Difference | None:
    """Clip by clip; None where the clips of either are not known."""
    both = [by_clip(trials, metric) for trials in (ours, theirs)]
    found = _compared(result, *both) if all(each.size for each in both) else None
    if not found or not found.tracks:
        return None
    differences = paired.paired_differences(*both)
    differences = differences[~np.isnan(differences)]
    p = None
    if np.any(differences != 0):
        p = float(scipy.stats.wilcoxon(differences).pvalue)
    low, high = (each if np.isfinite(each) else None for each in (found.low_db, found.high_db))
    return Difference(found.difference_db, low, high, found.better, found.tracks, p)


def by_clip(trials: Sequence[Trial], metric: str) -> np.ndarray:
    """Mean over seeds of each clip's figure in dB: [clips], NaN where a seed has none; empty where none are known."""
    known = [trial.clips[metric] for trial in trials if metric in trial.clips]
    return np.mean(np.array(known, float), axis=0) if known else np.empty(0)


def _compared(result: Result, ours: np.ndarray, theirs: np.ndarray) -> Comparison:
    aggregation = "mean" if result.version == "v3" else "median"
    weights = np.array(result.seconds)
    return paired.compare(ours, theirs, weights, aggregation, 0.0, _PAIRED, result.groups or None)


def _scores(result: Result, trials: Sequence[Trial]) -> dict[str, Spread]:
    names = {metric: (metric, result.target) for metric in result.metrics}
    names |= {
        f"{each}/{result.metrics[0]}": (result.metrics[0], each) for each in result.targets if each != result.target
    }
    found: dict[str, Spread] = {}
    for name, (metric, target) in names.items():
        values = [score for trial in trials if (score := result.score(trial.scores, metric, target)) is not None]
        if values:
            deviation = float(np.std(values, ddof=1)) if len(values) > 1 else None
            found[name] = Spread(float(np.mean(values)), deviation)
    return found
