"""What the report's listening room holds of a track: every signal with its pictures, and where it is how good."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import soundfile

from pipeline.data.datasets.track import Track
from pipeline.evaluation.report import figures, timeline
from pipeline.evaluation.report.timeline import Energies, Stretch
from pipeline.evaluation.scores import Estimates

MOST_SECONDS = 10.0
AUDIO_BUDGET_BYTES = 9_500_000  # of all excerpts, as they stand in the page
MOST_CLIPS = 51  # three tracks of four targets; each has a picture of at most 45 kB besides its audio
MIXTURE = "mixture"
SIGNALS = ("reference", "estimate", "baseline", "residual")
"""Of every target; `residual` is the reference minus the estimate: what is wrong."""

_METHODS = {"estimate": "model", "baseline": "baseline"}
_FLAC_SHARE = 0.8  # of the PCM bytes, an upper estimate
_MP3_LEVELS = {
    **dict.fromkeys((32000, 44100, 48000), 0.65),  # 128 kbit/s
    **dict.fromkeys((16000, 22050, 24000), 0.2),  # 128 kbit/s
    **dict.fromkeys((8000, 11025, 12000), 0.0),  # 64 kbit/s
}
_MP3_BYTES_PER_SECOND = 16_600
_BASE64 = 4 / 3
_WAVE_COLUMNS = 600

Room = dict[str, Any]
"""A track as the page's script reads it: see `_room`."""


@dataclass(frozen=True)
class Heard:
    """A track, and the estimates of `model` and, where there is one, `baseline`."""

    track: Track
    estimates: Mapping[str, Estimates]


@dataclass(frozen=True)
class Shown:
    """A track that the report shows: why (`best`, `median`, ...), and how to have it, as all of them are too much at once."""

    rank: str
    name: str
    load: Callable[[], Heard]


def excerpts(shown: Sequence[Shown], targets: Sequence[str]) -> list[Room]:
    """Rooms with audio inside: up to 10 s with the worst stretch of the track, at its liveliest otherwise.

    Lossless where the budget allows, MP3 where not, and shorter when even that is too much, or there is no MP3 of such a
    rate or of so many channels. FLAC and MP3 play in every browser of today; OGG does not in older Safaris. Of too many tracks some are left out, evenly, but neither the
    first nor the last.
    """
    shown = _spread(shown, max(1, MOST_CLIPS // (1 + len(SIGNALS) * len(targets))))
    return [_excerpt(each, targets, AUDIO_BUDGET_BYTES / len(shown)) for each in shown]


def signals(heard: Heard, targets: Sequence[str]) -> dict[str, np.ndarray]:
    """`mixture` and `<target>/<signal>` -> [samples, channels], finite; without what the track has not."""
    found = {MIXTURE: heard.track.mixture}
    for target in targets:
        found[f"{target}/reference"] = heard.track.stems[target]
        for signal, method in _METHODS.items():
            if (estimate := heard.estimates.get(method, {}).get(target)) is not None:
                found[f"{target}/{signal}"] = np.nan_to_num(estimate, posinf=1.0, neginf=-1.0)
        if f"{target}/estimate" in found:
            found[f"{target}/residual"] = found[f"{target}/reference"] - found[f"{target}/estimate"]
    return found


def measure(found: Mapping[str, np.ndarray], targets: Sequence[str], block: int) -> dict[str, Energies]:
    """Target -> energies of what `signals` found."""
    return {
        target: timeline.measure(
            found[f"{target}/reference"],
            {method: found[key] for signal, method in _METHODS.items() if (key := f"{target}/{signal}") in found},
            found[MIXTURE],
            block,
        )
        for target in targets
    }


def worst(measured: Mapping[str, Energies]) -> list[Stretch]:
    """The worst stretches of all targets, the worst first."""
    found = [s for target, each in measured.items() if "model" in each.errors for s in timeline.worst(target, each)]
    return sorted(found, key=lambda stretch: stretch.badness_db)


def whole(heard: Heard, rank: str, targets: Sequence[str]) -> Room:
    """The room of a whole track, without audio."""
    found = signals(heard, targets)
    measured = measure(found, targets, timeline.block_samples(heard.track.sample_rate_hz))
    return _room(heard.track, rank, found, measured)


def _excerpt(shown: Shown, targets: Sequence[str], budget: float) -> Room:
    heard = shown.load()
    rate, channels, found = heard.track.sample_rate_hz, heard.track.mixture.shape[1], signals(heard, targets)
    flac = 2 * rate * channels * _FLAC_SHARE * _BASE64 * len(found)
    lossless = MOST_SECONDS * flac <= budget or rate not in _MP3_LEVELS or channels > 2
    seconds = min(MOST_SECONDS, budget / (flac if lossless else _MP3_BYTES_PER_SECOND * _BASE64 * len(found)))
    block = timeline.block_samples(rate)
    blocks = max(1, int(seconds * rate / block))
    measured = measure(found, targets, block)
    bad = worst(measured)
    first = timeline.liveliest([each.reference for each in measured.values()], blocks, bad[0] if bad else None)
    room = _room(heard.track, shown.rank, found, measured, first, blocks)
    for key, signal in found.items():
        cut = np.clip(signal[first * block : (first + blocks) * block], -1, 1)
        room["signals"][key]["audio"] = _audio_uri(cut, rate, lossless)
    return room


def _room(
    track: Track,
    rank: str,
    found: Mapping[str, np.ndarray],
    measured: Mapping[str, Energies],
    first: int = 0,
    blocks: int | None = None,
) -> Room:
    """The room of `blocks` blocks from `first` on.

    name, rank; rate: Hz; start, seconds: of the part, duration: of the track; hop: seconds between frames; signals: key ->
    `wave` (600 peaks, 0 to 100) and `picture` (a spectrogram as data URI); frames: target -> method -> `sdr` and
    `false`, a value or null for each frame of the part; stretches: see `_told`.
    """
    rate, block = track.sample_rate_hz, timeline.block_samples(track.sample_rate_hz)
    part = slice(first * block, None if blocks is None else (first + blocks) * block)
    cut = {key: np.clip(signal[part], -1, 1) for key, signal in found.items()}
    length, hop = len(cut[MIXTURE]), block / rate
    full_scale_db = figures.peak_db(cut[MIXTURE], rate)
    last = first + max(1, -(-length // block) - timeline.BLOCKS_OF_FRAME + 1)
    return {
        "name": track.name,
        "rank": rank,
        "rate": rate,
        "start": first * hop,
        "seconds": length / rate,
        "duration": len(track.mixture) / rate,
        "hop": hop,
        "signals": {
            key: {"wave": _wave(signal), "picture": figures.spectrogram(signal, rate, full_scale_db)}
            for key, signal in cut.items()
        },
        "frames": {
            target: {
                method: {
                    "sdr": _rounded(timeline.sdr_db(each, method)[first:last]),
                    "false": _rounded(timeline.false_level_db(each, method)[first:last]),
                }
                for method in each.errors
            }
            for target, each in measured.items()
        },
        "stretches": [
            _told(stretch, hop, first * hop, first * hop + length / rate, len(track.mixture) / rate)
            for stretch in worst(measured)
        ],
    }


def _told(stretch: Stretch, hop: float, start: float, end: float, duration: float) -> dict[str, Any]:
    """A stretch for the page: its place in seconds of the track, and whether it begins in the part from `start` to `end`.

    Then it ends with the part at the latest.
    """
    begin = stretch.start * hop
    inside = start <= begin < end
    return {
        "target": stretch.target,
        "begin": begin,
        "end": min((stretch.start + stretch.blocks) * hop, end if inside else duration),
        "inside": inside,
        "silent": stretch.silent,
        "figures": {method: round(value, 2) for method, value in stretch.figures_db.items()},
        "badness": round(stretch.badness_db, 2),
    }


def _spread(shown: Sequence[Shown], most: int) -> Sequence[Shown]:
    if len(shown) <= most:
        return shown
    return [shown[round(place * (len(shown) - 1) / max(1, most - 1))] for place in range(most)]


def _wave(signal: np.ndarray) -> list[int]:
    peaks = np.abs(signal).max(axis=1)
    starts = np.unique(np.linspace(0, len(peaks), min(_WAVE_COLUMNS, len(peaks)), endpoint=False).astype(int))
    return [round(100 * float(peak)) for peak in np.maximum.reduceat(peaks, starts)]


def _rounded(values: np.ndarray) -> list[float | None]:
    return [None if np.isnan(value) else round(float(value), 1) for value in values]


def _audio_uri(signal: np.ndarray, sample_rate_hz: int, lossless: bool) -> str:
    file = io.BytesIO()
    if lossless:
        soundfile.write(file, signal, sample_rate_hz, format="FLAC")
    else:
        level = _MP3_LEVELS[sample_rate_hz]
        soundfile.write(file, signal, sample_rate_hz, format="MP3", bitrate_mode="CONSTANT", compression_level=level)
    return f"data:audio/{'flac' if lossless else 'mpeg'};base64,{base64.b64encode(file.getvalue()).decode()}"
