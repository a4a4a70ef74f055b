"""What is missing, too loud or made up by bands of frequency: in the same band of most tracks, or in several of some."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from pipeline.config.gate import BandLimits, OutputLimits
from pipeline.evaluation.gate.outputs.predicates import Facts
from pipeline.evaluation.gate.verdict import on_tracks, some
from pipeline.evaluation.outputs.bands import Band

_SPREADS = 2  # of a band's median error, by which a track's may be larger
_NOTHING_DB = -25.0

Tracks = Mapping[str, Sequence[Band]]


def kept(limits: OutputLimits) -> list[str]:
    """What is true of outputs that pass."""
    if not limits.bands:
        return []
    return ["whole in every band" + (f" up to {limits.bands.up_to_hz:g} Hz" if limits.bands.up_to_hz else "")]


def wrong(target: str, facts: Facts, limits: OutputLimits) -> Iterator[str]:
    """The bands that most tracks lack or have too much of; or else the tracks that are wrong in several bands."""
    if not limits.bands:
        return
    tracks = {
        track: [band for band in each.bands if band.high_hz <= (limits.bands.up_to_hz or np.inf)]
        for track, each in facts.items()
        if each.bands
    }
    found = [*_everywhere(tracks, limits.bands)]
    yield from found or _somewhere(tracks, limits.bands)


def told(facts: Facts, limits: OutputLimits) -> str:
    """What a limit of frequency that the configuration sets takes away; empty where it sets none, or nothing is lost."""
    up_to = limits.bands.up_to_hz if limits.bands else None
    tracks = {track: each.bands for track, each in facts.items()}
    cut = _ending_hz(tracks)
    return f"{_loss(tracks, cut)}; asked for are {up_to:g} Hz" if up_to and np.isfinite(cut) else ""


def _everywhere(tracks: Tracks, limits: BandLimits) -> Iterator[str]:
    """Bands in which the target sounds on at least half of the tracks and the median track is wrong."""
    bands = {low: each for low, each in _by_band(tracks).items() if len(each) >= len(tracks) / 2}
    errors = {low: float(np.median([band.level_error_db for band in each])) for low, each in bands.items()}
    invented = {low: float(np.median([band.invented_db for band in each])) for low, each in bands.items()}
    cut = _ending_hz(tracks)
    for words, kept in (
        ("too quiet", {low: -error for low, error in errors.items() if error < -limits.median_db}),
        ("too loud", {low: error for low, error in errors.items() if error > limits.median_db}),
        ("over the reference and not of the mixture", {k: v for k, v in invented.items() if v > limits.invented_db}),
    ):
        if kept:
            ending = f"; {_loss(tracks, cut)}" if words == "too quiet" and np.isfinite(cut) else ""
            yield (
                f"are up to {max(kept.values()):.0f} dB {words} {_places([bands[low][0] for low in kept])} on the "
                f"median of {on_tracks(len(tracks))}{ending}; legal: up to "
                f"{limits.invented_db if words.startswith('over') else limits.median_db:g} dB in a third of an octave"
            )


def _somewhere(tracks: Tracks, limits: BandLimits) -> Iterator[str]:
    """A track that is wrong in more octaves than any may be, or more tracks that are in two bands than the share."""
    usual = {low: np.median([abs(b.level_error_db) for b in each]) for low, each in _by_band(tracks).items()}
    off = {
        track: [
            band
            for band in bands
            if abs(band.level_error_db) > limits.track_db + _SPREADS * usual[band.low_hz]
            or band.invented_db > limits.invented_db
        ]
        for track, bands in tracks.items()
    }
    most = [track for track, bands in off.items() if _octaves(bands) > limits.octaves]
    many = [track for track, bands in off.items() if len(bands) > 1]
    if not most and len(many) <= max(1, limits.share * len(tracks)):
        return
    named = [
        f"{track!r} (up to {max((b.level_error_db for b in off[track]), key=abs):+.0f} dB {_places(off[track])})"
        for track in most or many
    ]
    legal = (
        f"in up to {limits.octaves:g} octaves of a track"
        if most
        else f"in two bands of {limits.share:.0%} of the tracks"
    )
    yield (
        f"have bands of the wrong level on {len(named)} of {on_tracks(len(tracks))}: {some(named)}; legal: more than "
        f"{limits.track_db:g} dB {legal}"
    )


def _by_band(tracks: Tracks) -> dict[float, list[Band]]:
    """The lower end of each band -> the tracks' bands there, from the lowest."""
    found: dict[float, list[Band]] = {}
    for bands in tracks.values():
        for band in bands:
            found.setdefault(band.low_hz, []).append(band)
    return dict(sorted(found.items()))


def _ending_hz(tracks: Tracks) -> float:
    """Above which frequency nothing comes of most tracks though their targets go on; infinite where all comes."""
    cut = np.inf
    for low, bands in reversed(_by_band(tracks).items()):
        if np.median([band.level_db for band in bands]) > _NOTHING_DB:
            break
        cut = low
    return cut


def _loss(tracks: Tracks, cut: float) -> str:
    """`nothing comes above 7079 Hz: 1.3 of 7.3 octaves in which the reference sounds and 0.2% of its energy`."""
    above = [[band for band in bands if band.low_hz >= cut] for bands in tracks.values()]
    octaves = [_octaves(bands) for bands in tracks.values()]
    energies = [
        sum(band.reference for band in lost) / sum(band.reference for band in bands)
        for lost, bands in zip(above, tracks.values(), strict=True)
        if bands
    ]
    return (
        f"nothing comes above {cut:.0f} Hz, where the median track has {np.median([*map(_octaves, above)]):.1f} of the "
        f"{np.median(octaves):.1f} octaves in which it sounds and {np.median(energies):.2g} of its energy"
    )


def _octaves(bands: Sequence[Band]) -> float:
    return sum(band.octaves for band in bands)


def _places(bands: Sequence[Band]) -> str:
    """`from 89 to 141 Hz and from 4467 to 7079 Hz`."""
    edges: list[list[float]] = []
    for band in sorted(bands, key=lambda band: band.low_hz):
        if edges and np.isclose(edges[-1][1], band.low_hz):
            edges[-1][1] = band.high_hz
        else:
            edges.append([band.low_hz, band.high_hz])
    return " and ".join(f"from {low:.0f} to {high:.0f} Hz" for low, high in edges)
