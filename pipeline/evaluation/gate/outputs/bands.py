"""What is missing, too loud or made up by bands of frequency: in the same band of most tracks, or in several of some."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from pipeline.config.gate import BandLimits, OutputLimits
from pipeline.evaluation.gate.outputs.predicates import Facts
from pipeline.evaluation.gate.verdict import on_tracks, some
from pipeline.evaluation.outputs.bands import Band

_USUAL = 40  # percentile of a band's errors: what is wrong on half of the tracks is not usual
_SPREADS = 2  # of what is usual in a band, by which a track's error may be larger
_NOTHING_DB = -25.0
_CUT_OUT_DB = 30.0
_LOUD = 0.01  # of a target's loudness: a third of an octave that is heard alone


@dataclass(frozen=True)
class _Error:
    """A band of a track and how much too loud it is beside the track's other bands."""

    band: Band
    db: float


Tracks = Mapping[str, Sequence[_Error]]


def kept(limits: OutputLimits) -> list[str]:
    """What is true of outputs that pass."""
    if not limits.bands:
        return []
    return ["whole in every band" + (f" up to {limits.bands.up_to_hz:g} Hz" if limits.bands.up_to_hz else "")]


def wrong(target: str, facts: Facts, limits: OutputLimits) -> Iterator[str]:
    """The bands that most tracks lack or have too much of; or else the tracks that are wrong in several bands."""
    if not limits.bands:
        return
    tracks = _errors(facts, limits.bands.up_to_hz or np.inf)
    found = [*_everywhere(tracks, limits.bands)]
    yield from found or _somewhere(tracks, limits.bands)


def told(facts: Facts, limits: OutputLimits) -> str:
    """What is lost above the frequency that the configuration asks for; empty where it asks for all or nothing is lost."""
    if not limits.bands or not limits.bands.up_to_hz:
        return ""
    words = _loss(_errors(facts))
    return f"{words}; asked for are {limits.bands.up_to_hz:g} Hz" if words else ""


def _errors(facts: Facts, up_to_hz: float = np.inf) -> dict[str, list[_Error]]:
    """The errors of each track's bands, but for that of its level as a whole, which is another check's."""
    return {
        track: [
            _Error(band, band.level_error_db - float(np.nan_to_num(each.level_error_db)))
            for band in each.bands
            if band.high_hz <= up_to_hz
        ]
        for track, each in facts.items()
        if each.bands
    }


def _everywhere(tracks: Tracks, limits: BandLimits) -> Iterator[str]:
    """Bands in which the target sounds on at least half of the tracks and the median track is wrong.

    A single third that is too quiet and matters little for the loudness is not heard; a weak network has such.
    """
    common = [errors for errors in _by_band(tracks).values() if len(errors) >= len(tracks) / 2]
    loudness = [float(np.median([each.band.loudness for each in errors])) for errors in common]
    levels = [float(np.median([each.db for each in errors])) for errors in common]
    invented = [float(np.median([each.band.invented_db for each in errors])) for errors in common]
    for words, values, legal, audible in (
        ("too quiet", [-level for level in levels], limits.median_db, _LOUD),
        ("too loud", levels, limits.median_db, 0.0),
        ("over the reference and not of the mixture", invented, limits.invented_db, 0.0),
    ):
        usual = [
            _Error(replace(errors[0].band, loudness=share), value)
            for errors, share, value in zip(common, loudness, values, strict=True)
        ]
        runs = _runs([each for each in usual if each.db > legal])
        off = [each for run in runs for each in run if len(run) > 1 or each.band.loudness >= audible]
        if off:
            loss = _loss(tracks) if words == "too quiet" else ""
            yield (
                f"are up to {max(each.db for each in off):.0f} dB {words} {_places(off)} on the median of "
                f"{on_tracks(len(tracks))}{'; ' if loss else ''}{loss}; legal: up to {legal:g} dB in a third of an octave"
            )


def _somewhere(tracks: Tracks, limits: BandLimits) -> Iterator[str]:
    """Tracks that are wrong in more octaves on end than any may be, or more of them wrong in two bands, or without one, than the share."""
    usual = {
        low: np.percentile([abs(each.db) for each in errors], _USUAL, method="lower")
        for low, errors in _by_band(tracks).items()
    }
    off = {
        track: [
            each
            for each in errors
            if abs(each.db) > limits.track_db + _SPREADS * usual[each.band.low_hz]
            or each.band.invented_db > limits.invented_db
        ]
        for track, errors in tracks.items()
    }
    most = [track for track, errors in off.items() if max(map(_octaves, _runs(errors)), default=0) > limits.octaves]
    many = [track for track, errors in off.items() if len(errors) > 1 or any(abs(e.db) > _CUT_OUT_DB for e in errors)]
    if not most and len(many) <= max(1, limits.share * len(tracks)):
        return
    named = [
        f"{track!r} (up to {max((each.db for each in off[track]), key=abs):+.0f} dB {_places(off[track])})"
        for track in most or many
    ]
    where = (
        f"{limits.octaves:g} octaves on end of any" if most else f"one band of all but {limits.share:.0%} of the tracks"
    )
    yield (
        f"have bands of the wrong level on {len(named)} of {on_tracks(len(tracks))}: {some(named)}; legal: more than "
        f"{limits.track_db:g} dB in up to {where}"
    )


def _by_band(tracks: Tracks) -> dict[float, list[_Error]]:
    """The lower end of each band -> the tracks' errors there, from the lowest."""
    found: dict[float, list[_Error]] = {}
    for errors in tracks.values():
        for each in errors:
            found.setdefault(each.band.low_hz, []).append(each)
    return dict(sorted(found.items()))


def _loss(tracks: Tracks) -> str:
    """`nothing comes above 7079 Hz, where ...`: of most tracks though their targets go on; empty where all comes."""
    cut = np.inf
    for low, errors in reversed(_by_band(tracks).items()):
        if np.median([each.band.level_db for each in errors]) > _NOTHING_DB:
            break
        cut = low
    if np.isinf(cut):
        return ""
    lost = [[each for each in errors if each.band.low_hz >= cut] for errors in tracks.values()]
    octaves, of = (np.median([_octaves(errors) for errors in each]) for each in (lost, tracks.values()))
    share = np.median([_energy(above) / _energy(errors) for above, errors in zip(lost, tracks.values(), strict=True)])
    return (
        f"nothing comes above {cut:.0f} Hz, where the median track has {octaves:.1f} of the {of:.1f} octaves in which it "
        f"sounds and {share:.1%} of its energy"
    )


def _energy(errors: Sequence[_Error]) -> float:
    return sum(each.band.reference for each in errors)


def _octaves(errors: Sequence[_Error]) -> float:
    return sum(each.band.octaves for each in errors)


def _runs(errors: Sequence[_Error]) -> list[list[_Error]]:
    """Neighbouring bands together, from the lowest."""
    runs: list[list[_Error]] = []
    for each in sorted(errors, key=lambda each: each.band.low_hz):
        if runs and np.isclose(runs[-1][-1].band.high_hz, each.band.low_hz):
            runs[-1].append(each)
        else:
            runs.append([each])
    return runs


def _places(errors: Sequence[_Error]) -> str:
    """`from 89 to 141 Hz and from 4467 to 7079 Hz`."""
    return " and ".join(f"from {run[0].band.low_hz:.0f} to {run[-1].band.high_hz:.0f} Hz" for run in _runs(errors))
