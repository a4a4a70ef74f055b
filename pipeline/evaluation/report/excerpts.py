"""What the report plays and shows of a track: a few seconds of mixture, references and estimates, as data URIs."""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import soundfile

from pipeline.data.datasets.track import Track
from pipeline.evaluation.report import figures
from pipeline.evaluation.scores import Estimates

MOST_SECONDS = 10.0
AUDIO_BUDGET_BYTES = 8_000_000
MOST_CLIPS = 48  # with a spectrogram of at most 80 kB each, besides the audio

_FLAC_SHARE = 0.8  # of the PCM bytes, an upper estimate
_MP3_BYTES_PER_SECOND = 24_000
_BASE64 = 4 / 3


@dataclass(frozen=True)
class Shown:
    """A track that the report shows: why (`best`, `median`, ...), its audio and the model's estimates."""

    rank: str
    track: Track
    estimates: Estimates


@dataclass(frozen=True)
class Clip:
    """One player with its spectrogram."""

    label: str
    audio: str
    spectrogram: str


@dataclass(frozen=True)
class Excerpt:
    """All clips of one track, from `start_seconds` on."""

    rank: str
    name: str
    start_seconds: float
    seconds: float
    rows: tuple[tuple[Clip, ...], ...]


def excerpts(shown: Sequence[Shown], targets: Sequence[str]) -> list[Excerpt]:
    """Excerpts of up to 10 s; lossless when all of them fit the budget, MP3 when not, and shorter when even that is too much.

    FLAC and MP3 play in every browser of today; OGG does not in older Safaris. Of too many tracks some are left out,
    evenly, but neither the first nor the last.
    """
    if not shown:
        return []
    each = 1 + 2 * len(targets)
    shown = _spread(shown, max(1, MOST_CLIPS // each))
    clips = len(shown) * each
    rate = shown[0].track.sample_rate_hz
    flac = 2 * rate * shown[0].track.mixture.shape[1] * _FLAC_SHARE
    lossless = clips * MOST_SECONDS * flac * _BASE64 <= AUDIO_BUDGET_BYTES
    seconds = min(MOST_SECONDS, AUDIO_BUDGET_BYTES / (clips * _BASE64 * (flac if lossless else _MP3_BYTES_PER_SECOND)))
    return [_excerpt(track, targets, seconds, "FLAC" if lossless else "MP3") for track in shown]


def _excerpt(shown: Shown, targets: Sequence[str], seconds: float, encoding: str) -> Excerpt:
    track, rate = shown.track, shown.track.sample_rate_hz
    length = max(1, min(len(track.mixture), round(seconds * rate)))
    start = liveliest(track.stems, targets, length)
    part = slice(start, start + length)
    full_scale_db = figures.peak_db(track.mixture[part], rate)

    def clip(label: str, signal: np.ndarray) -> Clip:
        cut = np.clip(np.nan_to_num(signal[part]), -1, 1)
        return Clip(label, _audio_uri(cut, rate, encoding), figures.spectrogram(cut, rate, full_scale_db))

    mixture = (clip("mixture", track.mixture),)
    rows = [
        (clip(f"{target}: reference", track.stems[target]), clip(f"{target}: estimate", shown.estimates[target]))
        for target in targets
    ]
    return Excerpt(shown.rank, track.name, start / rate, length / rate, (mixture, *rows))


def _spread(shown: Sequence[Shown], most: int) -> Sequence[Shown]:
    if len(shown) <= most:
        return shown
    return [shown[round(place * (len(shown) - 1) / max(1, most - 1))] for place in range(most)]


def liveliest(stems: Mapping[str, np.ndarray], targets: Sequence[str], length: int) -> int:
    """Start, in samples, of the stretch that holds most of all targets: the largest product of their shares of energy."""
    energies = [np.cumsum(np.pad((stems[target].astype(float) ** 2).sum(axis=1), (1, 0))) for target in targets]
    shares = [(total[length:] - total[:-length]) / max(total[-1], 1e-12) for total in energies]
    return int(np.argmax(np.prod(shares, axis=0)))


def _audio_uri(signal: np.ndarray, sample_rate_hz: int, encoding: str) -> str:
    file = io.BytesIO()
    soundfile.write(file, signal, sample_rate_hz, format=encoding)
    kind = {"FLAC": "audio/flac", "MP3": "audio/mpeg"}[encoding]
    return f"data:{kind};base64,{base64.b64encode(file.getvalue()).decode()}"
