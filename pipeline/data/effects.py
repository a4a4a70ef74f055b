"""Augmentations that sound like a studio, by the package pedalboard, which the extra `augment` installs (it is GPLv3).

A signal is float32 `[samples, channels]` in and out, of the same length and where it was in time.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.config import augment

if TYPE_CHECKING:
    import pedalboard

LOWEST_HZ = 80.0
QUALITIES = (0.5, 2.0)  # of a peak filter: its frequency over its width


def require(names: Iterable[str]) -> None:
    """Raises ValueError where an augmentation is asked for whose package is not installed."""
    wanted = [name for name in names if name in augment.BY_PEDALBOARD]
    if wanted and importlib.util.find_spec("pedalboard") is None:
        raise ValueError(
            f"train.augment names {wanted[0]!r}, which needs the package pedalboard (GPLv3): "
            "pip install 'stemline[augment]'"
        )


def equalised(signal: np.ndarray, rate_hz: int, options: augment.Equaliser, rng: np.random.Generator) -> np.ndarray:
    """Through `options.bands` peak filters between 80 Hz and 0.9 of the highest frequency."""
    import pedalboard

    bands, after = options.bands, signal
    hz = np.exp(rng.uniform(np.log(LOWEST_HZ), np.log(0.45 * rate_hz), bands))
    gains_db = rng.uniform(-options.most_db, options.most_db, bands)
    for peak in zip(hz, gains_db, rng.uniform(*QUALITIES, bands), strict=True):
        after = through(pedalboard.PeakFilter(*map(float, peak)), after, rate_hz)
    return at_level_of(signal, after)


def reverberated(signal: np.ndarray, rate_hz: int, options: augment.Reverb, rng: np.random.Generator) -> np.ndarray:
    """In a room of a size and with a share of its sound up to those of `options`; what rings on after the end is cut."""
    import pedalboard

    wet = options.most_wet * rng.random()
    room = pedalboard.Reverb(room_size=options.most_room * rng.random(), wet_level=wet, dry_level=1 - wet)
    return at_level_of(signal, through(room, signal, rate_hz))


def pitch_shifted(signal: np.ndarray, rate_hz: int, semitones: float) -> np.ndarray:
    """At another pitch and the same speed (Rubber Band)."""
    import pedalboard

    return through(pedalboard.PitchShift(semitones), signal, rate_hz)


def as_mp3(signal: np.ndarray, rate_hz: int, quality: float) -> np.ndarray:
    """What MP3 of a variable rate leaves (LAME's -V): 0 is the best, 9 the worst."""
    import pedalboard

    return through(pedalboard.MP3Compressor(quality), signal, rate_hz)


def through(effect: pedalboard.Plugin, signal: np.ndarray, rate_hz: int) -> np.ndarray:
    """What an effect makes of a signal. Many channels go through one after another: effects know mono and stereo."""
    pairs = [
        effect(np.ascontiguousarray(pair.T), rate_hz).T for pair in np.split(signal, range(2, signal.shape[1], 2), 1)
    ]
    return np.concatenate(pairs, axis=1)


def at_level_of(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """`after` at the power of `before`: what changes levels is the augmentation `gain`."""
    power: Any = np.mean(np.square(after, dtype=np.float64))
    scale = np.sqrt(np.mean(np.square(before, dtype=np.float64)) / power) if power else 0.0
    return after * np.float32(scale)
