"""From where the signals of a track lie to the signals, whatever the layout of the corpus."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from pipeline.data.datasets import audio
from pipeline.data.datasets.track import BadTrackError, Source, Track, TrackRef, mix

Signals = Mapping[str, np.ndarray]


def load(ref: TrackRef) -> Track:
    """All stems of a track, in the alphabetic order of their names, and the mixture.

    Raises:
      ValueError: the track cannot be used, a file cannot be read, or its files differ in rate, its stems in length.
    """
    if ref.reason:
        raise BadTrackError(ref.reason)
    found = {name: ref.stems[name] for name in sorted(ref.stems)} | ({"mixture": ref.mixture} if ref.mixture else {})
    streams = {key: audio.read(*key) for key in {(s.file, s.stream) for sources in found.values() for s in sources}}
    rates = {name: streams[source.file, source.stream][1] for name, sources in found.items() for source in sources}
    if len(set(rates.values())) > 1:
        raise BadTrackError(f"its files differ in sample rate ({_listing(rates)} Hz)")
    if not rates:
        raise BadTrackError("it has no signal")
    read = _of_lengths({key: signal for key, (signal, _) in streams.items()}, ref.lengths)
    signals = _of_one_width({name: _sum(sources, read) for name, sources in found.items() if sources})
    if ref.equal_energy:
        signals = at_equal_energy(signals)
    stems = {name: signal for name, signal in signals.items() if name != "mixture"}
    mixture = signals["mixture"] if "mixture" in signals else _sum_of_stems(stems)
    stems |= {name: np.zeros_like(mixture) for name, sources in found.items() if not sources}
    return Track(ref.name, ref.split, next(iter(rates.values())), mixture, stems, ref.metadata)


def at_equal_energy(signals: Signals) -> Signals:
    """Signals of unit L2 norm, times the geometric mean of the norms they had: clips that are at 0 dB stay as they are.

    What would clip is turned down at encoding.

    Raises:
      BadTrackError: one of them is silent.
    """
    norms = {name: float(np.linalg.norm(signal.astype(np.float64))) for name, signal in signals.items()}
    if not np.isfinite(list(norms.values())).all() or not all(len(signal) for signal in signals.values()):
        return signals  # check_track finds the words for it
    if silent := [name for name, norm in norms.items() if norm == 0.0]:
        raise BadTrackError(f"its {silent[0]} is silent, so 0 dB mixing is not defined")
    level = float(np.exp(np.mean(np.log(list(norms.values())))))
    return {name: signal * np.float32(level / norms[name]) for name, signal in signals.items()}


def _sum(sources: Sequence[Source], read: Mapping[tuple[str, int], np.ndarray]) -> np.ndarray:
    signals = list(_of_one_width({str(index): _channel(source, read) for index, source in enumerate(sources)}).values())
    if len({len(signal) for signal in signals}) > 1:
        lengths = {source.file.rpartition("/")[2]: len(s) for source, s in zip(sources, signals, strict=True)}
        raise BadTrackError(f"the files of one stem differ in length ({_listing(lengths)} samples)")
    return mix(signals)


def _channel(source: Source, read: Mapping[tuple[str, int], np.ndarray]) -> np.ndarray:
    signal = read[source.file, source.stream]
    if source.gain != 1:
        signal = signal * np.float32(source.gain)
    if source.channel is None:
        return signal
    if signal.shape[1] <= source.channel:
        raise BadTrackError(f"it has {signal.shape[1]} channel{'s' if signal.shape[1] > 1 else ''}, expected 2")
    return signal[:, source.channel : source.channel + 1]


def _of_lengths(read: Mapping[tuple[str, int], np.ndarray], lengths: str) -> Mapping[tuple[str, int], np.ndarray]:
    """Signals of one length, unless they are to have that already."""
    if lengths == "equal":
        return read
    samples = (min if lengths == "shortest" else max)(map(len, read.values()))
    return {key: np.pad(signal[:samples], ((0, max(0, samples - len(signal))), (0, 0))) for key, signal in read.items()}


def _of_one_width(signals: Signals) -> dict[str, np.ndarray]:
    channels = max(signal.shape[1] for signal in signals.values())
    return {name: audio.to_channels(signal, channels) for name, signal in signals.items()}


def _sum_of_stems(stems: Signals) -> np.ndarray:
    lengths = {name: len(stem) for name, stem in stems.items()}
    if len(set(lengths.values())) > 1:
        raise BadTrackError(f"its stems differ in length ({_listing(lengths)} samples)")
    return mix(list(stems.values()))


def _listing(numbers: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {number}" for name, number in numbers.items())
