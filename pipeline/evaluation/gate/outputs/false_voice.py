"""What estimates sound where their references are silent: a false voice, told from what a weak model leaks anyway."""

from collections.abc import Iterator

import numpy as np

from pipeline.config.gate import FalseVoiceLimits, OutputLimits
from pipeline.evaluation.gate.outputs.predicates import Facts
from pipeline.evaluation.gate.verdict import on_tracks, some
from pipeline.evaluation.outputs.false_voice import FalseVoice, Stretch

_WHOLE_MIXTURE_DB = -0.5  # above it nothing was taken away
_TAKES_AWAY_DB = -2.0  # what leaks of a model that takes anything away where the target sounds
_SYLLABLE_SECONDS = 0.5  # up to which a track whose silence is short tells nothing: all tracks together do
_AUDIBLE_DBFS = -70.0  # where no reference tells how loud the target is


def kept(limits: OutputLimits) -> list[str]:
    """What is true of outputs that pass."""
    return ["silent where the references are"] if limits.false_voice else []


def wrong(target: str, facts: Facts, limits: OutputLimits) -> Iterator[str]:
    """The tracks whose silent time is false beyond the limit, or that of all tracks together."""
    found = {track: each.false_voice for track, each in facts.items() if each.false_voice.stretches}
    if not (limits.false_voice and found):
        return
    most, all_tracks = limits.false_voice, [each.false_voice for each in facts.values()]
    limit_db = _limit_db(all_tracks, most)
    own_db = _median([each.own_db for each in all_tracks])
    false = {
        track: sum(s.seconds for s in each.stretches if _false(s, each, own_db, limit_db, most))
        for track, each in found.items()
    }
    bad = [
        track
        for track, seconds in false.items()
        if seconds > max(most.share_of_track * found[track].seconds, _SYLLABLE_SECONDS)
    ]
    legal = f"{limit_db:.1f} dB over the mixture, what it leaks elsewhere and {most.excess_db:g} dB"
    if bad:
        named = [f"{track!r} ({_words(found[track], false[track])})" for track in bad]
        yield (
            f"sound where their references are silent on {len(bad)} of {on_tracks(len(found))}: {some(named)}; "
            f"legal: up to {most.share_of_track:.0%} of a track's silent time, or half a second, above {legal}"
        )
    elif (seconds := sum(false.values())) > most.share * (silent := sum(each.seconds for each in found.values())):
        yield (
            f"sound where their references are silent for {seconds:.1f} of {silent:.1f} s on {on_tracks(len(found))}; "
            f"legal: up to {most.share:.0%} of all silent time above {legal}"
        )


def _limit_db(facts: list[FalseVoice], limits: FalseVoiceLimits) -> float:
    """Over the mixture's level: as far above what the model leaks where the target sounds as the limits allow."""
    usual_db = _median([each.leakage_db for each in facts])
    most_db = -_WHOLE_MIXTURE_DB if usual_db > _TAKES_AWAY_DB else _WHOLE_MIXTURE_DB
    return min(most_db, float(np.nanmax([limits.leakage_db, usual_db + limits.excess_db])))


def _false(stretch: Stretch, track: FalseVoice, own_db: float, limit_db: float, limits: FalseVoiceLimits) -> bool:
    """Audible beside the target where that sounds, and too loud beside the mixture or not of the mixture's making."""
    own_db = own_db if np.isnan(track.own_db) else track.own_db
    audible_db = _AUDIBLE_DBFS if np.isnan(own_db) else own_db + limits.audible_db
    return stretch.level_db > audible_db and (
        stretch.level_db > stretch.mixture_db + limit_db
        or stretch.invented_db > stretch.mixture_db + limits.invented_db
    )


def _words(track: FalseVoice, false_seconds: float) -> str:
    over = "" if np.isinf(track.over_mixture_db) else f"{track.over_mixture_db:+.1f} dB over the mixture, "
    return f"{over}false for {false_seconds:.1f} of {track.seconds:.1f} s"


def _median(values: list[float]) -> float:
    kept = [value for value in values if not np.isnan(value)]
    return float(np.median(kept)) if kept else np.nan
