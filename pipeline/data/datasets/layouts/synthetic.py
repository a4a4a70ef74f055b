"""Small multitrack songs rendered from a seed: no files, the same samples on every run.

The voice is a source-filter model (a band-limited saw for the glottis, formants that move between vowels, noise bursts
for consonants) that sings phrases with vibrato and portamento over chords, bass and drums in one key and tempo.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy import signal

from pipeline.data.datasets.track import SPLITS, Track, TrackRef, mix, unique

OPTIONS: dict[str, Any] = {
    "tracks": {"train": 12, "dev": 2, "test": 2},
    "seconds": 10.0,
    "sample_rate_hz": 16000,
    "channels": 1,
    "seed": 0,
}
_PEAK = 0.8
_MAJOR = np.array([0, 2, 4, 5, 7, 9, 11])
_PROGRESSIONS = ((0, 4, 5, 3), (5, 3, 0, 4), (0, 5, 3, 4), (1, 4, 0, 0), (0, 3, 4, 3))  # degrees of the scale
_VOWELS_HZ = np.array([[730, 1090, 2440], [270, 2290, 3010], [300, 870, 2240], [530, 1840, 2480], [570, 840, 2410]])
_TRACT_SCALES = (0.88, 1.18)  # of the formants: from long to short vocal tracts
_BANDWIDTHS_HZ = np.array([90.0, 110.0, 170.0])
_CONTROL_HZ = 200  # rate of pitch, vowel and loudness contours
_TIMBRES = {
    "organ": ((1.0, 0.6, 0.2, 0.3, 0.0, 0.1, 0.0, 0.05), 0.0),
    "strings": ((1.0, 0.5, 0.25, 0.15, 0.1, 0.06, 0.04, 0.02), 0.0),
    "pluck": ((1.0, 0.6, 0.4, 0.2, 0.1, 0.05, 0.0, 0.0), 3.0),
    "piano": ((1.0, 0.4, 0.15, 0.1, 0.06, 0.03, 0.0, 0.0), 1.2),
}


@dataclass(frozen=True)
class _Song:
    """What the instruments of one song agree on; `metadata` is what they tell about themselves."""

    rng: np.random.Generator
    rate_hz: int
    samples: int
    beat_seconds: float
    tonic: int  # MIDI note
    progression: tuple[int, ...]  # one chord per bar of four beats
    metadata: dict[str, str] = field(default_factory=dict)

    def contour_times(self) -> np.ndarray:
        return np.arange(int(np.ceil(self.samples / self.rate_hz * _CONTROL_HZ)) + 1) / _CONTROL_HZ

    def beats(self) -> int:
        return int(np.ceil(self.samples / self.rate_hz / self.beat_seconds))

    def upsample(self, contour: np.ndarray) -> np.ndarray:
        return np.interp(np.arange(self.samples) / self.rate_hz, self.contour_times(), contour)


def discover(path: str | None, options: Mapping[str, Any]) -> list[TrackRef]:
    """The songs that `options["tracks"]` asks for; a song is the same however many others there are.

    Raises:
      ValueError: an option is out of range, or a path is given.
    """
    if path:
        raise ValueError(f"Data format synthetic reads no files, so data.path must be empty; it is {path!r}.")
    _check(options)
    counts = options["tracks"]
    refs = [TrackRef(f"{split}-{index:04d}", split) for split in SPLITS for index in range(counts.get(split, 0))]
    return unique(refs, "data.options.tracks")


def load(ref: TrackRef, options: Mapping[str, Any]) -> Track:
    """Renders one song: stems vocals, drums, bass and other; the voice is as loud as all others (within 1 dB).

    Metadata: `singer`, a high or a low voice, and `genre`, which here is the timbre of the chords.
    """
    rng = np.random.default_rng([options["seed"], SPLITS.index(ref.split), int(ref.name.rpartition("-")[2])])
    beat_seconds = 60.0 / rng.uniform(80, 140)
    progression = _PROGRESSIONS[rng.integers(len(_PROGRESSIONS))]
    rate_hz = options["sample_rate_hz"]
    samples = round(options["seconds"] * rate_hz)
    song = _Song(rng, rate_hz, samples, beat_seconds, int(rng.integers(48, 60)), progression)
    mono = {"vocals": _voice(song), "drums": _drums(song), "bass": _bass(song), "other": _chords(song)}
    stems = _balance({name: _pan(stem, name, song, options["channels"]) for name, stem in mono.items()}, rng)
    return Track(ref.name, ref.split, song.rate_hz, mix(list(stems.values())), stems, song.metadata)


def _check(options: Mapping[str, Any]) -> None:
    tracks = options["tracks"]
    if (
        not isinstance(tracks, Mapping)
        or set(tracks) - set(SPLITS)
        or any(int(n) != n or n < 0 for n in tracks.values())
    ):
        raise ValueError(f"data.options.tracks must map {', '.join(SPLITS)} to numbers of songs, but it is {tracks!r}.")
    if not options["seconds"] >= 1.0:
        raise ValueError(f"data.options.seconds must be at least 1, but it is {options['seconds']!r}.")
    if options["channels"] not in (1, 2):
        raise ValueError(
            f"data.options.channels of a synthetic song must be 1 or 2, but it is {options['channels']!r}."
        )
    if not options["sample_rate_hz"] >= 8000:
        raise ValueError(f"data.options.sample_rate_hz must be at least 8000, but it is {options['sample_rate_hz']!r}.")


def _degree(song: _Song, degree: int | np.ndarray) -> Any:
    """MIDI note of a degree of the song's major scale, counted from the tonic over octaves."""
    return song.tonic + 12 * (degree // 7) + _MAJOR[degree % 7]


def _hz(midi: Any) -> Any:
    return 440.0 * 2.0 ** ((np.asarray(midi) - 69.0) / 12.0)


# --- voice -----------------------------------------------------------------------------------------------------------


def _voice(song: _Song) -> np.ndarray:
    """Glottal saw and breath through moving formants, plus consonants [samples]."""
    rng = song.rng
    starts, lengths, degrees = _melody(song)
    octave = 0 if song.tonic >= 54 else rng.choice([0, 7])  # low and high voices, none above 800 Hz
    pitch = _pitch_contour(song, starts, _degree(song, degrees + octave))
    loudness = song.upsample(_loudness_contour(song, starts, lengths))
    source = _saw(song.upsample(_hz(pitch)), song.rate_hz) + rng.uniform(0.01, 0.05) * rng.standard_normal(song.samples)
    scale = rng.uniform(*_TRACT_SCALES)
    song.metadata["singer"] = "high voice" if scale > np.mean(_TRACT_SCALES) else "low voice"
    formants = _formant_contour(song, starts, scale)
    return _filter(source * loudness, formants, song.rate_hz) + _consonants(song, starts)


def _melody(song: _Song) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Starts and lengths in seconds and scale degrees of the sung notes: phrases of a random walk, then a breath."""
    rng, seconds, time, degree = song.rng, song.samples / song.rate_hz, 0.0, int(song.rng.integers(0, 5))
    notes: list[tuple[float, float, int]] = []
    while time < seconds:
        for _ in range(rng.integers(4, 9)):
            length = song.beat_seconds * rng.choice([0.5, 1.0, 1.0, 1.5, 2.0])
            notes.append((time, length * rng.uniform(0.85, 1.0), degree))
            time += length
            degree = int(np.clip(degree + rng.integers(-2, 3), -3, 8))
        time += song.beat_seconds * rng.choice([0.5, 1.0, 1.5])
    kept = [note for note in notes if note[0] < seconds]
    starts, lengths, degrees = (np.array(column) for column in zip(*kept, strict=True))
    return starts, lengths, degrees


def _held(song: _Song, starts: np.ndarray) -> np.ndarray:
    """Index of the note that sounds (or last sounded) at each point of a contour."""
    return np.clip(np.searchsorted(starts, song.contour_times(), side="right") - 1, 0, len(starts) - 1)


def _smooth(contour: np.ndarray, seconds: float) -> np.ndarray:
    window = np.hanning(max(3, 2 * round(seconds * _CONTROL_HZ) + 1))
    padded = np.pad(contour, (len(window) // 2, len(window) // 2), mode="edge")
    return np.convolve(padded, window / window.sum(), mode="valid")


def _pitch_contour(song: _Song, starts: np.ndarray, midi: np.ndarray) -> np.ndarray:
    """MIDI pitch with portamento between notes, a vibrato that grows within each note, and a slow drift."""
    rng, times = song.rng, song.contour_times()
    held = _held(song, starts)
    depth = rng.uniform(0.2, 0.6) * np.clip((times - starts[held]) / 0.4, 0, 1)
    vibrato = depth * np.sin(2 * np.pi * rng.uniform(4.8, 6.5) * times + rng.uniform(0, 2 * np.pi))
    drift = _smooth(rng.standard_normal(len(times)), 0.3) * 0.5
    return _smooth(midi[held].astype(float), rng.uniform(0.03, 0.08)) + vibrato + drift


def _loudness_contour(song: _Song, starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    held, times = _held(song, starts), song.contour_times()
    sounding = (times >= starts[held]) & (times < starts[held] + lengths[held])
    accents = song.rng.uniform(0.6, 1.0, len(starts))
    return np.maximum(_smooth(sounding * accents[held], 0.03), 0.0)


def _formant_contour(song: _Song, starts: np.ndarray, scale: float) -> np.ndarray:
    """Formant frequencies [points, 3] in Hz gliding from vowel to vowel; `scale` is the length of the singer's tract."""
    vowels = _VOWELS_HZ[song.rng.integers(len(_VOWELS_HZ), size=len(starts))] * scale
    return np.stack([_smooth(vowels[_held(song, starts), index], 0.06) for index in range(3)], axis=1)


def _saw(frequency_hz: np.ndarray, rate_hz: int) -> np.ndarray:
    """Sawtooth of a varying frequency whose jumps are rounded by PolyBLEP (Välimäki and Huovilainen 2007)."""
    step = frequency_hz / rate_hz
    phase = np.cumsum(step) % 1.0
    after, before = phase / step, (phase - 1.0) / step
    blep = np.where(after < 1, 2 * after - after**2 - 1, np.where(before > -1, before**2 + 2 * before + 1, 0.0))
    return 2 * phase - 1 - blep


def _filter(source: np.ndarray, formants_hz: np.ndarray, rate_hz: int) -> np.ndarray:
    """The source through three resonances that follow [points, 3], as gains on a short-time spectrum."""
    frame = 2 ** round(np.log2(0.032 * rate_hz))
    overlap = frame // 2
    frequencies, times, spectrum = signal.stft(source.astype(np.float32), rate_hz, "hann", frame, overlap)
    points = np.clip((times * _CONTROL_HZ).astype(int), 0, len(formants_hz) - 1)
    centres = formants_hz[points].T[:, None, :].astype(np.float32)
    gains = np.zeros(spectrum.shape, np.float32)
    for centre, bandwidth, weight in zip(centres, _BANDWIDTHS_HZ, (1.0, 0.9, 0.6), strict=True):
        offset = (frequencies[:, None].astype(np.float32) - centre) * np.float32(2 / bandwidth)
        gains += np.float32(weight) / np.sqrt(1 + offset**2)
    return signal.istft(spectrum * gains, rate_hz, "hann", frame, overlap)[1][: len(source)]


def _consonants(song: _Song, starts: np.ndarray) -> np.ndarray:
    """Bursts of high noise just before about two thirds of the notes."""
    rng, rate = song.rng, song.rate_hz
    envelope = np.zeros(song.samples)
    for start in starts[rng.random(len(starts)) < 0.65]:
        length = int(rate * rng.uniform(0.03, 0.09))
        begin = max(0, int(start * rate) - length // 2)
        piece = envelope[begin : begin + length]
        piece += rng.uniform(0.3, 1.0) * np.hanning(length)[: len(piece)]
    coefficients: Any = signal.butter(2, rng.uniform(2500, 3500), "high", fs=rate)
    noise = signal.lfilter(coefficients[0], coefficients[1], rng.standard_normal(song.samples))
    return 0.04 * envelope * noise


# --- accompaniment ---------------------------------------------------------------------------------------------------


def _chords(song: _Song) -> np.ndarray:
    """Triads [samples, 3 notes] in one of the timbres, struck once or twice a bar."""
    rng = song.rng
    timbre = str(rng.choice(sorted(_TIMBRES)))
    song.metadata["genre"] = timbre
    harmonics, decay = _TIMBRES[timbre]
    beats_each = int(rng.choice([2, 4]))
    struck = np.arange(0, song.beats() + beats_each, beats_each)
    root = np.array([song.progression[beat // 4 % 4] for beat in struck])
    notes = _degree(song, root[:, None] + np.array([0, 2, 4]))
    notes = np.where(notes > song.tonic + 12, notes - 12, notes)  # inversions keep the hand in place
    held, age = _struck(song, beats_each * song.beat_seconds, len(struck))
    envelope = np.minimum(age / rng.uniform(0.01, 0.08), 1.0) * np.exp(-decay * age)
    detune = rng.uniform(-0.04, 0.04, 3)
    return np.stack(
        [_tone(_hz(notes[:, i] + detune[i])[held], harmonics, song.rate_hz) * envelope for i in range(3)], axis=1
    )


def _bass(song: _Song) -> np.ndarray:
    """Roots, with some fifths, on every beat or half beat [samples]."""
    rng = song.rng
    beats_each = float(rng.choice([0.5, 1.0]))
    count = int(song.beats() / beats_each) + 1
    root = np.array([song.progression[int(index * beats_each) // 4 % 4] for index in range(count)])
    notes = _degree(song, root + np.where(rng.random(count) < 0.2, 4, 0)) - 24
    notes = np.where(notes < 30, notes + 12, notes)
    held, age = _struck(song, beats_each * song.beat_seconds, count)
    envelope = np.minimum(age / 0.008, 1.0) * np.exp(-rng.uniform(1.5, 4.0) * age)
    return _tone(_hz(notes)[held], (1.0, 0.5, 0.25, 0.12), song.rate_hz) * envelope


def _drums(song: _Song) -> np.ndarray:
    """Kick, snare and hi-hat on a grid of half beats [samples]."""
    rng, rate = song.rng, song.rate_hz
    age = np.arange(int(0.25 * rate)) / rate
    kick = np.sin(2 * np.pi * (50 * age + 6 * (1 - np.exp(-30 * age)))) * np.exp(-14 * age)
    tail = rng.standard_normal(len(age))
    snare = 0.6 * tail * np.exp(-22 * age) + 0.4 * np.sin(2 * np.pi * 190 * age) * np.exp(-25 * age)
    hat = np.diff(tail, prepend=0.0, append=0.0)[: len(age)] * np.exp(-70 * age) * 0.3
    out = np.zeros(song.samples + len(age))
    for half in range(2 * song.beats()):
        begin = int(half * song.beat_seconds / 2 * rate)
        if begin >= song.samples:
            break
        hits = [hat * rng.uniform(0.6, 1.0)]
        hits += [kick] if half % 4 == 0 or rng.random() < 0.1 else []
        hits += [snare * rng.uniform(0.8, 1.0)] if half % 4 == 2 else []
        out[begin : begin + len(age)] += mix(hits)
    return out[: song.samples]


def _struck(song: _Song, every_seconds: float, count: int) -> tuple[np.ndarray, np.ndarray]:
    """For each sample the index of the last stroke and the seconds since it."""
    times = np.arange(song.samples) / song.rate_hz
    index = np.minimum((times / every_seconds).astype(int), count - 1)
    return index, times - index * every_seconds


def _tone(frequency_hz: np.ndarray, harmonics: tuple[float, ...], rate_hz: int) -> np.ndarray:
    """A tone of varying frequency from a table of one period (harmonics stay far below half the rate)."""
    size = 4096
    numbers = np.arange(1, len(harmonics) + 1)
    table = np.sin(2 * np.pi * np.outer(np.arange(size) / size, numbers)) @ np.array(harmonics)
    return table[(np.cumsum(frequency_hz / rate_hz) * size).astype(np.int64) % size]


# --- mixing ----------------------------------------------------------------------------------------------------------


def _pan(stem: np.ndarray, name: str, song: _Song, channels: int) -> np.ndarray:
    """[samples] or [samples, notes] -> [samples, channels] with constant power; the voice stays near the centre."""
    notes = stem if stem.ndim == 2 else stem[:, None]
    if channels == 1:
        return notes.sum(axis=1, keepdims=True)
    width = {"vocals": 0.15, "bass": 0.1, "drums": 0.4}.get(name, 0.9)
    angles = np.pi / 4 * (1 + song.rng.uniform(-width, width, notes.shape[1]))
    return notes @ np.stack([np.cos(angles), np.sin(angles)], axis=1)


def _balance(stems: Mapping[str, np.ndarray], rng: np.random.Generator) -> dict[str, np.ndarray]:
    """The stems at the levels of a mix: the instruments against each other, the voice against their sum, then a peak."""
    levels_db = {"drums": 0.0, "bass": 0.0, "other": 0.0}
    played = {n: _at_rms(stems[n], level + rng.uniform(-2, 2)) for n, level in levels_db.items()}
    backing = mix(list(played.values()))
    vocals = _at_rms(stems["vocals"], 10 * np.log10(np.mean(backing**2)) + rng.uniform(-1, 1))
    gain = _PEAK / np.abs(backing + vocals).max()
    return {name: (stem * gain).astype(np.float32) for name, stem in {"vocals": vocals, **played}.items()}


def _at_rms(stem: np.ndarray, level_db: float) -> np.ndarray:
    return stem * (10 ** (level_db / 20) / np.sqrt(np.mean(stem**2)))
