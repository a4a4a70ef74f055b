"""Artefacts in time, on the median track and on more tracks than chance explains."""

from collections.abc import Callable, Iterator

import numpy as np

from pipeline.config.gate import OutputLimits
from pipeline.evaluation.gate.outputs.predicates import Facts, strays
from pipeline.evaluation.gate.verdict import on_tracks
from pipeline.evaluation.outputs.artefacts import Artefacts


def kept(limits: OutputLimits) -> list[str]:
    """What is true of outputs that pass."""
    return (
        ["even", "holding their notes", "without clicks", "without foreign sounds", "of fine steps"]
        if limits.artefacts
        else []
    )


def wrong(target: str, facts: Facts, limits: OutputLimits) -> Iterator[str]:
    """What is wrong with the estimates of one target: predicates of a sentence."""
    del target
    if (most := limits.artefacts) is None:
        return
    yield from _above(
        facts,
        limits.stray_share,
        lambda a: a.unevenness_db,
        (most.unevenness_db, most.track_unevenness_db),
        "rise and fall in level against their references by {:.1f} dB",
        lambda a: a.kept_unevenness_db,
    )
    yield from strays(
        facts,
        limits.stray_share,
        lambda f: f.artefacts.lost_share > most.lost_share,
        "lose notes",
        lambda f: f"{f.artefacts.lost_share:.0%} of their energy",
        f"up to {most.lost_share:.0%}",
    )
    yield from strays(
        facts,
        limits.stray_share,
        lambda f: f.artefacts.clicks_per_minute > most.clicks_per_minute,
        "click",
        lambda f: f"{f.artefacts.clicks_per_minute:.0f} a minute",
        f"up to {most.clicks_per_minute:g} a minute",
    )
    yield from _above(
        facts,
        limits.stray_share,
        lambda a: a.foreign_db,
        (most.foreign_db, most.track_foreign_db),
        "hold sounds of {:.1f} dB of their references' energy where the mixture has none",
    )
    yield from strays(
        facts,
        limits.stray_share,
        lambda f: f.artefacts.resolution_db < most.resolution_db,
        "are quantised coarsely",
        lambda f: f"{f.artefacts.resolution_db:.0f} dB above the noise of their steps",
        f"at least {most.resolution_db:g} dB",
    )


def _above(
    facts: Facts,
    share: float,
    value: Callable[[Artefacts], float],
    limits: tuple[float, float],
    words: str,
    of_track: Callable[[Artefacts], float] | None = None,
) -> Iterator[str]:
    """Above the first limit on the median track, or (by `of_track`, if that differs) above the second one on tracks that stray."""
    of_track = of_track or value
    figures = [figure for each in facts.values() if not np.isnan(figure := value(each.artefacts))]
    median = float(np.median(figures)) if figures else -np.inf
    if median > limits[0]:
        yield f"{words.format(median)} on the median of {on_tracks(len(figures))}; legal: up to {limits[0]:g} dB"
        return
    least = f"more than {limits[1]:g}"
    yield from strays(
        facts,
        share,
        lambda f: of_track(f.artefacts) > limits[1],
        words.replace("{:.1f}", least),
        lambda f: f"{of_track(f.artefacts):.1f} dB",
    )
