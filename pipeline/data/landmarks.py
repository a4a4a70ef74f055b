"""Landmarks: where a signal's spectrogram has its peaks, the part of a recording that copies of it keep.

Peaks over time and logarithmic frequency, as in Wang, "An industrial-strength audio search algorithm", ISMIR 2003, and,
so that speed and pitch only move them, Six and Leman, "Panako", ISMIR 2014. A copy keeps 80 to 98 % of them at another
level or polarity, late, through an equaliser, MP3 or Ogg Vorbis, with noise at -20 dB, some percent faster or a tone
higher; two different recordings have 4 % in common. A signal has about 13 a second, a voice about 5.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy import fft

from pipeline.data.datasets.loading import Signals
from pipeline.data.datasets.track import ACCOMPANIMENT, Track, mix
from serving.client.signals import Resampler

MIXTURE, VOCALS = "mixture", "vocals"
DIRECTORY = "landmarks"  # in the root of an Examples artifact
FRAMES_PER_SECOND = 62.5
BANDS_PER_OCTAVE = 36

_RATE_HZ, _FRAME, _HOP = 8000, 1024, 128
_LOWEST_HZ, _BANDS = 110.0, 180  # up to 3.5 kHz
_REACH_FRAMES, _REACH_BANDS = 15, 9  # a peak is the largest within a quarter of a second and a quarter of an octave
_RANGE_DB = 60.0  # what lies deeper under the loudest point is as likely noise as music
_CLEAR_DB = 3.5  # above that floor, which is flat
_BLOCK_FRAMES, _FEW_FRAMES = 2048, 256  # that are decided, and transformed, at a time


@dataclass(frozen=True)
class Landmarks:
    """Peaks in the order of time and band: `times` in frames of 16 ms and `bands`, 36 an octave, both int32 [peaks]."""

    times: np.ndarray
    bands: np.ndarray

    def __len__(self) -> int:
        return len(self.times)

    def between(self, start: float, end: float) -> int:
        """How many there are from one second to another."""
        return int(
            np.count_nonzero((self.times >= start * FRAMES_PER_SECOND) & (self.times <= end * FRAMES_PER_SECOND))
        )


NONE = Landmarks(*np.zeros((2, 0), np.int32))
Prints = Mapping[str, Landmarks]  # signal -> its landmarks


def of_track(track: Track) -> Prints:
    """Landmarks of a track in memory, as `of_blocks`."""
    return of_blocks(lambda: [{**track.stems, MIXTURE: track.mixture}], track.sample_rate_hz)


def of_blocks(blocks: Callable[[], Iterable[Signals]], sample_rate_hz: int) -> Prints:
    """Landmarks of what a track may share with another: the recording as a whole, its voice, and its backing.

    Those are the mixture, vocals and all that is not vocals; without vocals among the stems, the mixture and every stem.
    None of silence.

    Args:
      blocks: mixture and stems, from the beginning at every call.
    """
    ways = _signs(map(_compared, blocks()))
    listeners = {name: _Listener(sample_rate_hz) for name in ways}
    for block in map(_compared, blocks()):
        for name, listener in listeners.items():
            listener.hear(_one_channel(block[name], ways[name]))
    return {name: listener.landmarks() for name, listener in listeners.items()}


def of_signal(signal: np.ndarray, sample_rate_hz: int) -> Landmarks:
    """Landmarks of [samples, channels]; none of silence."""
    return of_blocks(lambda: [{MIXTURE: signal}], sample_rate_hz)[MIXTURE]


def _compared(block: Signals) -> Signals:
    if VOCALS not in block:
        return {MIXTURE: block[MIXTURE], **block}
    others = [stem for name, stem in block.items() if name not in (VOCALS, MIXTURE)]
    backing = mix(others) if others else block[MIXTURE] - block[VOCALS]
    return {MIXTURE: block[MIXTURE], VOCALS: block[VOCALS], ACCOMPANIMENT: backing}


def _signs(blocks: Iterable[Signals]) -> dict[str, int]:
    """Signal -> 1 where its middle is at least as loud as its side, -1 where it is not: |l + r|^2 - |l - r|^2 = 4 l r."""
    together: dict[str, float] = {}
    for block in blocks:
        for name, signal in block.items():
            product = float(np.vdot(signal[:, 0], signal[:, 1])) if signal.shape[1] == 2 else 0.0
            together[name] = together.get(name, 0.0) + product
        if all(signal.shape[1] != 2 for signal in block.values()):
            break
    return {name: 1 if product >= 0 else -1 for name, product in together.items()}


def _one_channel(signal: np.ndarray, sign: int) -> np.ndarray:
    """float32 [samples]: the louder of middle and side, so that the polarity of a channel makes no difference."""
    if signal.shape[1] != 2:
        return signal[:, 0] if signal.shape[1] == 1 else signal.mean(axis=1, dtype=np.float32)
    left, right = np.ascontiguousarray(signal.T, np.float32)
    return left + right if sign > 0 else left - right


class _Listener:
    """Finds the peaks of one signal block by block: of its spectrogram it keeps what is in reach of the next frames."""

    def __init__(self, sample_rate_hz: int) -> None:
        self._slow = Resampler(sample_rate_hz, _RATE_HZ, 1, "LQ")
        self._samples = np.zeros(_FRAME // 2, np.float32)  # from where the next frame begins
        self._powers = np.zeros((0, _BANDS), np.float32)  # of frames in reach of those that are not decided
        self._begin = self._decided = 0  # the first frame of `powers`, and the first that is not decided
        self._peaks: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []  # frames, bands and powers

    def hear(self, samples: np.ndarray) -> None:
        """The next samples, at their own rate."""
        self._frames(self._slow(samples[:, None])[:, 0])
        if len(self._powers) >= _BLOCK_FRAMES:
            self._decide(self._begin + len(self._powers) - _REACH_FRAMES)

    def landmarks(self) -> Landmarks:
        """Of all that was heard."""
        rest = self._slow(np.zeros((0, 1), np.float32), last=True)[:, 0]
        self._frames(np.concatenate([rest, np.zeros(_FRAME // 2, np.float32)]))
        self._decide(self._begin + len(self._powers))
        frames, bands, powers = (np.concatenate(parts) for parts in zip(*self._peaks, strict=True))
        if not len(powers):
            return NONE
        levels = 10 * np.log10(powers / powers.max() + np.float32(10 ** (-_RANGE_DB / 10)))
        clear = levels > _CLEAR_DB - _RANGE_DB
        return Landmarks(frames[clear].astype(np.int32), bands[clear].astype(np.int32))

    def _frames(self, slow: np.ndarray) -> None:
        held = np.concatenate([self._samples, slow])
        count = max(0, (len(held) - _FRAME) // _HOP + 1)
        self._samples = held[count * _HOP :]
        if count:
            frames = np.lib.stride_tricks.sliding_window_view(held, _FRAME)[::_HOP]
            parts = [_band_powers(frames[start : start + _FEW_FRAMES]) for start in range(0, count, _FEW_FRAMES)]
            self._powers = np.concatenate([self._powers, *parts])

    def _decide(self, end: int) -> None:
        """Which of the frames before `end` hold peaks: those that are the largest around, and not of silence."""
        around = _largest_around(_largest_around(self._powers, _REACH_FRAMES).T, _REACH_BANDS).T
        new = slice(self._decided - self._begin, end - self._begin)
        powers = self._powers[new]
        places = np.flatnonzero((powers == around[new]) & (powers > 0))  # a third of the time of `nonzero`
        self._peaks.append((places // _BANDS + self._decided, places % _BANDS, powers.ravel()[places]))
        self._decided = end
        begin = max(self._begin, end - _REACH_FRAMES)
        self._powers, self._begin = self._powers[begin - self._begin :], begin


def _band_powers(frames: np.ndarray) -> np.ndarray:
    """[frames, samples] -> float32 [frames, bands]: the power in bands of equal width in octaves, but at least of one bin."""
    powers = np.empty((len(frames), _BANDS), np.float32)
    parts = np.asarray(fft.rfft(frames * _window(), axis=1)).view(np.float32)  # real and imaginary by turns
    np.square(parts, out=parts)
    for bands, columns, weights in _bank():
        np.matmul(parts[:, columns], weights, out=powers[:, bands])
    return powers


def _largest_around(levels: np.ndarray, reach: int) -> np.ndarray:
    """Along the first axis, the largest within `reach` of each: of twice as many in each pass."""
    beyond = np.full((reach, levels.shape[1]), -np.inf, levels.dtype)
    largest, width = np.concatenate([beyond, levels, beyond]), 1
    while 2 * width <= 2 * reach + 1:
        largest, width = np.maximum(largest[:-width], largest[width:]), 2 * width
    rest = 2 * reach + 1 - width
    return np.maximum(largest[: len(levels)], largest[rest : rest + len(levels)])


@cache
def _window() -> np.ndarray:
    return np.hanning(_FRAME).astype(np.float32)


@cache
def _bank() -> list[tuple[slice, slice, np.ndarray]]:
    """For each octave: its bands, the parts of bins that they are made of, and triangles [parts, bands]."""
    centres = _LOWEST_HZ * 2 ** (np.arange(_BANDS) / BANDS_PER_OCTAVE)
    widths = np.maximum(centres * (2 ** (1 / BANDS_PER_OCTAVE) - 1), _RATE_HZ / _FRAME)
    frequencies = np.arange(_FRAME // 2 + 1) * _RATE_HZ / _FRAME
    triangles = np.maximum(0, 1 - np.abs(frequencies[:, None] - centres) / widths).astype(np.float32)
    octaves = []
    for first in range(0, _BANDS, BANDS_PER_OCTAVE):
        bands = slice(first, first + BANDS_PER_OCTAVE)
        used = np.flatnonzero(triangles[:, bands].any(axis=1))
        first_bin, end_bin = int(used[0]), int(used[-1]) + 1
        weights = np.repeat(triangles[first_bin:end_bin, bands], 2, axis=0)
        octaves.append((bands, slice(2 * first_bin, 2 * end_bin), weights))
    return octaves


# --- files -----------------------------------------------------------------------------------------------------------


def write(prints: Mapping[str, Prints], path: str) -> None:
    """Writes the landmarks of tracks, by name, as NumPy's .npz: 8 kB for a signal of four minutes; same input, same bytes.

    Raises:
      OSError: the file cannot be written.
    """
    kept = [(track, signal, found) for track, signals in prints.items() for signal, found in signals.items()]
    arrays = {
        "tracks": np.array([track for track, _, _ in kept], dtype=np.str_),
        "signals": np.array([signal for _, signal, _ in kept], dtype=np.str_),
        "counts": np.array([len(found) for _, _, found in kept], np.int64),
        "times": np.concatenate([np.zeros(0, np.int32), *(found.times for _, _, found in kept)]),
        "bands": np.concatenate([np.zeros(0, np.uint8), *(found.bands.astype(np.uint8) for _, _, found in kept)]),
    }
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    import tensorflow as tf

    try:
        tf.io.gfile.makedirs(path.rpartition("/")[0])
        with tf.io.gfile.GFile(f"{path}.partial", "wb") as file:
            file.write(buffer.getvalue())
        tf.io.gfile.rename(f"{path}.partial", path, overwrite=True)
    except tf.errors.OpError as error:
        raise OSError(f"Cannot write {path}: {error.message}") from error


def read_all(artifact_uri: str) -> dict[str, dict[str, Landmarks]]:
    """Track -> signal -> landmarks, of an Examples artifact; of nothing where nothing has written any."""
    import tensorflow as tf

    prints: dict[str, dict[str, Landmarks]] = {}
    for path in sorted(tf.io.gfile.glob(f"{artifact_uri}/{DIRECTORY}/*.npz")):
        with tf.io.gfile.GFile(path, "rb") as file, np.load(io.BytesIO(file.read()), allow_pickle=False) as kept:
            ends = np.cumsum(kept["counts"])[:-1]
            times, bands = (np.split(kept[name].astype(np.int32), ends) for name in ("times", "bands"))
            for track, signal, *found in zip(kept["tracks"], kept["signals"], times, bands, strict=False):
                prints.setdefault(str(track), {})[str(signal)] = Landmarks(*found)
    return prints
