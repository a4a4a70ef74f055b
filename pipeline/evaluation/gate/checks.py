"""The gate: judged tracks and what they must keep in, a verdict in words out. Pure; knows no files and no TFX.

docs/gates.md says what every check means and what is defined where there is nothing to compare with.
"""

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from pipeline.config.gate import Budgets, GateConfig, PairedConfig, Threshold
from pipeline.evaluation.gate import paired
from pipeline.evaluation.gate.outputs import output_checks
from pipeline.evaluation.gate.verdict import Check, Verdict, on_tracks, some
from pipeline.evaluation.scores import Figure, TrackScores, by_track, figure_of, over_tracks

RIVALS = {"mixture": "mixture", "baseline": "last blessed model", "anchor": "anchor"}
_BETTER_DB = 0.01
_NOTHING_TO_SEPARATE_DB = 60.0

Tracks = Sequence[TrackScores]


@dataclass(frozen=True)
class ModelFacts:
    """What a model costs: seconds of computing per second of audio (None: not measured), size on disk, weights."""

    real_time_factor: float | None
    megabytes: float
    parameters: int


@dataclass(frozen=True)
class Anchor:
    """What a threshold over the anchor means in one evaluation.

    method: whose figures are the anchor's; empty where there is nothing to compare with, and such thresholds pass.
    words: a sentence on what the anchor is. problem: why it has no figures on these tracks; refuses.
    """

    method: Literal["anchor", "baseline", ""] = ""
    words: str = "there is no anchor yet: no model was blessed before"
    problem: str = ""


NO_ANCHOR = Anchor()


def decide(
    tracks: Tracks,
    config: GateConfig,
    baseline_problem: str = "",
    facts: ModelFacts | None = None,
    problems: Sequence[str] = (),
    anchor: Anchor = NO_ANCHOR,
) -> Verdict:
    """Judges the figures and outputs of `model` by everything that the configuration asks for.

    Args:
        tracks: with figures of `model` and `mixture`, and of `baseline` where a model was blessed before.
        config: all of it must hold. What is over the baseline passes when no model was blessed before.
        baseline_problem: why the last blessed model has no figures on these tracks; refuses where it is needed.
        facts: what the model costs; needed where a budget is set.
        problems: what is wrong with the test split, such as tracks that the model was trained on; any refuses.
        anchor: what thresholds over the anchor compare with, where there are any.
    """
    checks = [Check(False, problem, "leak") for problem in problems]
    if not any(figure.method == "model" for track in tracks for figure in track.values):
        return Verdict(
            (*checks, Check(False, "no track was judged" if not tracks else "no model was judged", "tracks"))
        )
    checks += _track_checks(tracks, config)
    checks += output_checks.check_outputs({track.track: track.outputs for track in tracks}, config.outputs)
    checks += _mixture_checks(tracks, config) if config.better_than_mixture else []
    anchored = [each for each in config.thresholds if each.over == "anchor"]
    compared = [each for each in config.thresholds if each.over == "baseline"]
    compared += anchored if anchor.method == "baseline" else []
    if baseline_problem and compared:
        checks.append(Check(False, baseline_problem, "baseline"))
    if anchored:
        checks.append(Check(not anchor.problem, anchor.problem or anchor.words, "anchor"))
    left_out = [*(compared if baseline_problem else ()), *(anchored if anchor.problem or not anchor.method else ())]
    for threshold in (each for each in config.thresholds if each not in left_out):
        of = _as_anchor(tracks, anchor.method) if threshold in anchored else tracks
        checks += _threshold_checks(threshold, of, config.paired)
    return Verdict((*checks, *_budget_checks(config.budgets, facts)))


def _track_checks(tracks: Tracks, config: GateConfig) -> Iterator[Check]:
    """Tracks on which the model has a score, by the target that has fewest; a word on few, nothing on many."""
    counts: dict[str, int] = {}
    for figure in dict.fromkeys(f for t in tracks for f in t.values if (f.method, f.metric) == ("model", "SDR")):
        scored = int(np.sum(~np.isnan(by_track(tracks, figure))))
        counts[figure.target] = max(scored, counts.get(figure.target, 0))
    target, count = min(counts.items(), key=lambda each: each[1], default=("", 0))
    words = f"{target} of the model has a score on {on_tracks(count)}"
    if count < config.min_tracks:
        yield Check(False, f"{words}; gate.min_tracks asks for {config.min_tracks}", "tracks")
    elif count < config.paired.min_tracks:
        yield Check(True, f"{words}: few, on which a lucky model is hardly told from a good one", "tracks")


def _as_anchor(tracks: Tracks, method: str) -> list[TrackScores]:
    """The tracks with the figures of a method as those of `anchor`."""
    return [
        dataclasses.replace(
            track, values={f._replace(method="anchor") if f.method == method else f: v for f, v in track.values.items()}
        )
        for track in tracks
    ]


# --- better than the mixture ------------------------------------------------------------------------------------------


def _mixture_checks(tracks: Tracks, config: GateConfig) -> list[Check]:
    """The SDR of every target in every version above the mixture's; what passes is said in one sentence."""
    figures = dict.fromkeys(f for t in tracks for f in t.values if (f.method, f.metric) == ("model", "SDR"))
    checks = [_above_mixture(tracks, figure, config.better_on_share) for figure in figures]
    checks += [_closer(tracks, target) for target in dict.fromkeys(f.target for f in figures if f.version == "v4")]
    missed = [check for check in checks if not check.passed]
    return missed or [Check(True, "; ".join(check.words for check in checks), "mixture")]


def _above_mixture(tracks: Tracks, figure: Figure, share: float) -> Check:
    """Above the mixture over all tracks, and on a share of them. Where the mixture is the target, nothing is judged."""
    open_to_gain = _open_to_gain(tracks, figure)
    name = f"{figure.target} {figure.version}/{figure.metric}"
    if not open_to_gain:
        return Check(
            False,
            f"{name} cannot be compared with the mixture: the target sounds against others on no track",
            "mixture",
        )
    over = over_tracks(open_to_gain, figure) - over_tracks(open_to_gain, figure._replace(method="mixture"))
    with np.errstate(invalid="ignore"):  # both silent: nothing gained
        gains = by_track(open_to_gain, figure) - by_track(open_to_gain, figure._replace(method="mixture"))
    better = int(np.sum(gains > _BETTER_DB))
    passed = over > _BETTER_DB and better >= share * len(gains)
    words = f"{name} is {over:+.2f} dB over the mixture and above it on {better} of {on_tracks(len(gains))}"
    needed = f"; needed are more than {_BETTER_DB:g} dB and {share:.0%} of the tracks"
    return Check(passed, words if passed else words + needed, "mixture")


def _open_to_gain(tracks: Tracks, figure: Figure) -> list[TrackScores]:
    """The tracks in which the target sounds against something else, so that the mixture can be beaten.

    A reference of nothing but dither has scores, which say nothing.
    """
    mixture = by_track(tracks, figure._replace(method="mixture"))
    return [
        track
        for track, score in zip(tracks, mixture, strict=True)
        if score < _NOTHING_TO_SEPARATE_DB
        and not (figure.target in track.outputs and track.outputs[figure.target].never_sounds)
    ]


def _closer(tracks: Tracks, target: str) -> Check:
    """The same at any level: a mixture turned down scores more in version 4 than the mixture and is no better."""
    gains = [track.outputs[target].gain_db for track in tracks if target in track.outputs]
    gains = [gain for gain in gains if not math.isnan(gain)]
    gain = float(np.median(gains)) if gains else math.nan
    words = f"{target} at any level is {gain:+.2f} dB SDR over the mixture on the median track"
    passed = gain > _BETTER_DB
    return Check(passed, words if passed else f"{words}; needed are more than {_BETTER_DB:g} dB", "mixture")


# --- thresholds ------------------------------------------------------------------------------------------------------


def _threshold_checks(threshold: Threshold, tracks: Tracks, settings: PairedConfig) -> list[Check]:
    figure = figure_of("model", threshold.target, threshold.metric)
    name = f"{threshold.target} {threshold.metric}"
    kind = _kind(threshold)
    if not any(each.values.get(figure) for each in tracks):
        return [Check(False, f"{name} of the model is missing; a finite score is needed", kind)]
    if threshold.over == "baseline" and not any(f.method == "baseline" for track in tracks for f in track.values):
        return [Check(True, f"{name} has no baseline to beat: no model was blessed before", kind)]
    if threshold.across == "worst":
        return [_worst(threshold, name, figure, tracks)]
    if threshold.across == "all":
        return [dataclasses.replace(_of_all(threshold, name, figure, tracks, settings), kind=kind)]
    return _by_group(threshold, name, figure, tracks, settings)


def _kind(threshold: Threshold) -> str:
    if threshold.across == "all":
        return "floor" if threshold.over == "absolute" else threshold.over
    return "worst track" if threshold.across == "worst" else "group"


def _of_all(threshold: Threshold, name: str, figure: Figure, tracks: Tracks, settings: PairedConfig) -> Check:
    """The aggregate over these tracks against the floor, the mixture, the last blessed model or the anchor."""
    value = over_tracks(tracks, figure)
    if not math.isfinite(value):
        return Check(False, f"{name} of the model is {_figure(value)}; a finite score is needed", "")
    if threshold.over == "absolute":
        return _compare(f"{name} is {value:.2f} dB", value, threshold.at_least_db)
    rival = figure._replace(method=threshold.over)
    kept = _open_to_gain(tracks, figure) if threshold.over == "mixture" else tracks
    kept = [t for t in kept if not math.isnan(t.score(figure)) and not math.isnan(t.score(rival))]
    if not kept:
        words = f"{name} of the {RIVALS[threshold.over]} is not a number; nothing to compare {value:.2f} dB with"
        return Check(False, words, "")
    value, other = over_tracks(kept, figure), over_tracks(kept, rival)
    words = f"{name} is {value:.2f} dB, {value - other:+.2f} dB over the {RIVALS[threshold.over]} ({other:.2f} dB)"
    if threshold.over == "mixture":
        return _compare(words, value - other, threshold.at_least_db)
    comparison = paired_comparison(tracks, figure, threshold.at_least_db, settings, threshold.over)
    return Check(comparison.passed, f"{words}; {_tested(comparison, RIVALS[threshold.over])}", "")


def paired_comparison(
    tracks: Tracks, figure: Figure, margin_db: float, settings: PairedConfig, rival: str = "baseline"
) -> paired.Comparison:
    """The model against another method of the same tracks, in the figure's own aggregation (see `gate.paired.compare`)."""
    return paired.compare(
        by_track(tracks, figure),
        by_track(tracks, figure._replace(method=rival)),
        np.array([track.samples for track in tracks], float),
        "mean" if figure.version == "v3" else "median",
        margin_db,
        settings,
        paired.clusters_of([track.metadata for track in tracks], settings),
    )


def _tested(result: paired.Comparison, rival: str) -> str:
    """The outcome of a paired test, with all that it rests on."""
    left_out = f" ({result.left_out} left out: no score of the {rival})" if result.left_out else ""
    pairs = f"{on_tracks(result.tracks)}{left_out}"
    required = f"the required {result.margin_db:.2f} dB"
    if not result.decided:
        return f"{pairs} cannot decide whether it meets {required}: {result.settings.min_tracks} are needed"
    if result.tie:
        return f"a tie, equal on {pairs}, {'meets' if result.passed else 'misses'} {required}"
    confidence, boundary = result.settings.confidence, paired.boundary_db(result.margin_db, result.settings)
    groups = f" in {result.clusters} groups" if 1 < result.clusters < result.tracks else ""
    words = (
        f"better on {result.better} of {pairs}{groups}, by {result.average_db:+.2f} dB on average and "
        f"{result.median_db:+.2f} dB on the median track, {2 * confidence - 1:.0%} interval of the {result.aggregation} "
        f"{result.low_db:+.2f} to {result.high_db:+.2f} dB"
    )
    if result.passed:
        return (
            f"{words}; meets {required}, and worse than {boundary:.2f} dB is excluded with {confidence:.0%} confidence"
        )
    measured = {"average": result.average_db, "median": result.median_db}
    doubts = [
        f"the {name} is below it" for name, value in measured.items() if not paired.reaches(value, result.margin_db)
    ]
    if not paired.reaches(result.low_db, boundary):
        doubts.append(f"worse than {boundary:.2f} dB is not excluded with {confidence:.0%} confidence")
    return f"{words}; is not shown to meet {required}: {' and '.join(doubts)}"


def _worst(threshold: Threshold, name: str, figure: Figure, tracks: Tracks) -> Check:
    """Every track against the floor. A track that the mixture has a score on and the model has not misses it."""
    tracks = _open_to_gain(tracks, figure) if threshold.over == "mixture" else tracks
    scores = by_track(tracks, figure)
    judged = ~(np.isnan(scores) & np.isnan(by_track(tracks, figure._replace(method="mixture"))))
    over = ""
    if threshold.over != "absolute":
        rivals = by_track(tracks, figure._replace(method=threshold.over))
        judged &= ~np.isnan(rivals)
        with np.errstate(invalid="ignore"):
            scores = np.where(scores == rivals, 0.0, scores - rivals)
        over = f" over the {RIVALS[threshold.over]}"
    order = [i for i in np.argsort(np.where(np.isnan(scores), -np.inf, scores), kind="stable") if judged[i]]
    if not order:
        return Check(False, f"{name}{over} has no track with a score; a worst one is needed", "worst track")
    missed = [i for i in order if not scores[i] >= threshold.at_least_db]
    required = f"the required {threshold.at_least_db:.2f} dB"
    shown = [f"{tracks[i].track!r} ({_figure(float(scores[i]))})" for i in missed or order[:1]]
    if missed:
        words = f"{name}{over} misses {required} on {len(missed)} of {on_tracks(len(order))}: {some(shown)}"
    else:
        words = f"{name}{over} meets {required} on every one of {on_tracks(len(order))}; the worst is {shown[0]}"
    return Check(not missed, words, "worst track")


def _by_group(threshold: Threshold, name: str, figure: Figure, tracks: Tracks, settings: PairedConfig) -> list[Check]:
    """The aggregate of every group of tracks with the same value of a metadata key; all groups that miss are named."""
    key = threshold.across
    groups: dict[str, list[TrackScores]] = {}
    for track in tracks:
        groups.setdefault(track.metadata.get(key, ""), []).append(track)
    lost = [f"{track.track!r}" for track in groups.pop("", [])]
    checks = []
    if lost:
        words = f"{name} by {key} cannot be judged: {len(lost)} of {on_tracks(len(tracks))} have no {key}: {some(lost)}"
        checks.append(Check(False, words, "group"))
    found = {g: _of_all(threshold, f"{name} of {key} {g!r}", figure, groups[g], settings) for g in sorted(groups)}
    checks += [dataclasses.replace(check, kind="group") for check in found.values() if not check.passed]
    if groups and not checks:
        checks.append(Check(True, f"{name} holds for every {key}: {_lowest(figure, groups, threshold)}", "group"))
    return checks


def _lowest(figure: Figure, groups: Mapping[str, Tracks], threshold: Threshold) -> str:
    """The group that is nearest to the floor."""

    def score(group: str) -> float:
        rival = (
            0.0 if threshold.over == "absolute" else over_tracks(groups[group], figure._replace(method=threshold.over))
        )
        return over_tracks(groups[group], figure) - rival

    lowest = min(groups, key=score)
    over = "" if threshold.over == "absolute" else f" over the {RIVALS[threshold.over]}"
    return (
        f"the lowest of {len(groups)} is {lowest!r} with {score(lowest):.2f} dB{over} on "
        f"{on_tracks(len(groups[lowest]))}; meets the required {threshold.at_least_db:.2f} dB"
    )


# --- budgets ---------------------------------------------------------------------------------------------------------


def _budget_checks(budgets: Budgets, facts: ModelFacts | None) -> Iterator[Check]:
    words: dict[str, tuple[str, Callable[[float], str]]] = {
        "real_time_factor": ("needs {} of computing for a second of audio", lambda value: f"{value:.3g} s"),
        "megabytes": ("takes {} on disk", lambda value: f"{value:.1f} MB"),
        "parameters": ("has {} parameters", lambda value: f"{value:,.0f}"),
    }
    for name, limit in vars(budgets).items():
        if limit is None:
            continue
        value = getattr(facts, name, None)
        sentence, unit = words[name]
        if value is None:
            yield Check(False, f"{name} of the model was not measured; the budget is {unit(limit)}", "budget")
        else:
            kept = "within" if value <= limit else "over"
            words_of = f"the model {sentence.format(unit(value))}; {kept} the budget of {unit(limit)}"
            yield Check(value <= limit, words_of, "budget")


def _compare(words: str, value: float, floor: float) -> Check:
    passed = value >= floor
    return Check(passed, f"{words}; {'meets' if passed else 'misses'} the required {floor:.2f} dB", "")


def _figure(value: float) -> str:
    return "not a number" if math.isnan(value) else f"{value:.2f} dB" if math.isfinite(value) else f"{value}"
