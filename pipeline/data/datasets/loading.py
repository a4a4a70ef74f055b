"""From where the signals of a track lie to the signals, whatever the layout of the corpus: in blocks, or in memory."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np

from pipeline.data.datasets import audio
from pipeline.data.datasets.track import BadTrackError, Source, Track, TrackRef, mix
from serving.client import decoding

Signals = Mapping[str, np.ndarray]  # name -> float32 [samples, channels], all of one shape
MIXTURE = "mixture"
BLOCK_SAMPLES = 2**16
MINIMUM_SECONDS = 0.1
Key = tuple[str, int]  # a file and an audio stream of it


class HasShape(Protocol):
    """What is known of a stream before it is decoded."""

    @property
    def sample_rate_hz(self) -> int: ...

    @property
    def channels(self) -> int: ...


@dataclass(frozen=True)
class Stream:
    """A track that is being read: every stem by its name and the mixture, at their own rate and in one width.

    metadata: what only reading could tell of it. blocks: reads from the beginning, once; Signals of at most 2**16 samples.
    """

    sample_rate_hz: int
    channels: int
    stems: tuple[str, ...]
    blocks: Callable[[], Iterator[Signals]]
    metadata: Mapping[str, str] = field(default_factory=dict)


@contextlib.contextmanager
def opened(ref: TrackRef, most_seconds: float | None = None) -> Iterator[Stream]:
    """All stems of a track, in the alphabetic order of their names, and the mixture; a file is decoded once.

    most_seconds: a file that lasts longer cannot be used; memory and time are not spent on it.

    Raises (here and in `blocks`):
      ValueError: the track cannot be used, a file cannot be read, or its files differ in rate, its stems in length.
    """
    if ref.reason:
        raise BadTrackError(ref.reason)
    scales: Mapping[str, np.float32] = {}
    if ref.equal_energy:  # the energy of a whole signal: decoded twice
        with _as_they_lie(ref, most_seconds) as stream:
            scales = _to_equal_energy(stream.blocks())
    with _as_they_lie(ref, most_seconds) as stream:
        silent = tuple(name for name in sorted(ref.stems) if not ref.stems[name])

        def blocks() -> Iterator[Signals]:
            for block in stream.blocks():
                mixed = _mixed(_scaled(block, scales))
                yield {**mixed, **{name: np.zeros_like(mixed[MIXTURE]) for name in silent}}

        yield replace(stream, stems=(*stream.stems, *silent), blocks=blocks)


def of_track(track: Track) -> Stream:
    """A track in memory, as if it was being read."""

    def blocks() -> Iterator[Signals]:
        signals = {**track.stems, MIXTURE: track.mixture}
        for start in range(0, len(track.mixture), BLOCK_SAMPLES):
            yield {name: signal[start : start + BLOCK_SAMPLES] for name, signal in signals.items()}

    return Stream(track.sample_rate_hz, track.mixture.shape[1], tuple(track.stems), blocks, track.metadata)


def load(ref: TrackRef) -> Track:
    """The whole track in memory. Raises as `opened` does."""
    with opened(ref) as stream:
        blocks = list(stream.blocks())
        names = (*stream.stems, MIXTURE)
        nothing = np.zeros((0, stream.channels), np.float32)
        whole = {name: np.concatenate([nothing, *(block[name] for block in blocks)]) for name in names}
        return Track(ref.name, ref.split, stream.sample_rate_hz, whole.pop(MIXTURE), whole, ref.metadata)


@contextlib.contextmanager
def _as_they_lie(ref: TrackRef, most_seconds: float | None) -> Iterator[Stream]:
    """The signals that lie in files, without the mixture where that is none of them."""
    found = in_files(ref)
    with contextlib.ExitStack() as stack:
        keys = dict.fromkeys(key(source) for sources in found.values() for source in sources)
        files = {
            (file, stream): stack.enter_context(decoding.opened(file, stream=stream, most_seconds=most_seconds))
            for file, stream in keys
        }
        sample_rate_hz, channels = shape(found, files)

        def blocks() -> Iterator[Signals]:
            running = {key: file.blocks() for key, file in files.items()}
            nothing = {key: np.zeros((0, file.channels), np.float32) for key, file in files.items()}
            even = ref.lengths == "equal"
            for read in _in_step(running, found) if even else _fitted(running, ref.lengths, nothing):
                yield {name: _sum(sources, read, channels) for name, sources in found.items()}

        stems = tuple(name for name in found if name != MIXTURE)
        yield Stream(sample_rate_hz, channels, stems, blocks)


def in_files(ref: TrackRef) -> dict[str, tuple[Source, ...]]:
    """Signal -> where it lies, the stems by name and then the mixture. Raises BadTrackError where none lies anywhere."""
    found = {name: ref.stems[name] for name in sorted(ref.stems) if ref.stems[name]}
    found |= {MIXTURE: ref.mixture} if ref.mixture else {}
    if not found:
        raise BadTrackError("it has no signal")
    return found


def shape(found: Mapping[str, Sequence[Source]], files: Mapping[Key, HasShape]) -> tuple[int, int]:
    """The rate in Hz that the signals of a track have, and their channels.

    Raises:
      BadTrackError: its files differ in rate, or one has not the channel that is asked for.
    """
    rates = {name: files[key(source)].sample_rate_hz for name, sources in found.items() for source in sources}
    if len(set(rates.values())) > 1:
        raise BadTrackError(f"its files differ in sample rate ({_listing(rates)} Hz)")
    return next(iter(rates.values())), max(_width(source, files) for sources in found.values() for source in sources)


def _in_step(
    running: Mapping[Key, Iterator[np.ndarray]], found: Mapping[str, Sequence[Source]]
) -> Iterator[dict[Key, np.ndarray]]:
    """Blocks of one length from every file. Raises BadTrackError where one ends before another."""
    even = {key: _in_blocks(blocks) for key, blocks in running.items()}
    lengths = dict.fromkeys(running, 0)
    for blocks in itertools.zip_longest(*even.values()):
        read = dict(zip(even, blocks, strict=True))
        lengths = {key: lengths[key] + (0 if block is None else len(block)) for key, block in read.items()}
        if len(set(lengths.values())) > 1:
            rest = {key: sum(map(len, blocks)) for key, blocks in even.items()}
            raise uneven({key: lengths[key] + rest[key] for key in lengths}, found)
        yield read


def _fitted(
    running: Mapping[Key, Iterator[np.ndarray]], lengths: str, nothing: Mapping[Key, np.ndarray]
) -> Iterator[dict[Key, np.ndarray]]:
    """Blocks of one length from every file, up to the end of the shortest, or with silence up to that of the longest."""
    even = {key: _in_blocks(blocks) for key, blocks in running.items()}
    for blocks in itertools.zip_longest(*even.values()):
        read = {key: nothing[key] if block is None else block for key, block in zip(even, blocks, strict=True)}
        samples = (min if lengths == "shortest" else max)(map(len, read.values()))
        if samples:
            yield {key: _of_length(block, samples) for key, block in read.items()}
        if lengths == "shortest" and samples < BLOCK_SAMPLES:
            return


def _of_length(block: np.ndarray, samples: int) -> np.ndarray:
    return np.pad(block[:samples], ((0, max(0, samples - len(block))), (0, 0)))


def _in_blocks(blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """The same samples in blocks of BLOCK_SAMPLES, the last one shorter."""
    held: list[np.ndarray] = []
    missing = BLOCK_SAMPLES
    for block in blocks:
        while len(block) >= missing:
            yield np.concatenate([*held, block[:missing]]) if held else block[:missing]
            block, held, missing = block[missing:], [], BLOCK_SAMPLES
        if len(block):
            held.append(block)
            missing -= len(block)
    if held:
        yield np.concatenate(held)


def check_length(samples: int, sample_rate_hz: int) -> None:
    """Raises BadTrackError if a track is empty or too short."""
    if samples == 0:
        raise BadTrackError("it has 0 samples")
    if samples < MINIMUM_SECONDS * sample_rate_hz:
        raise BadTrackError(f"it has {samples} samples, less than the {MINIMUM_SECONDS:g} s a track must last")


def uneven(lengths: Mapping[Key, int], found: Mapping[str, Sequence[Source]]) -> BadTrackError:
    """Which files are longer than others, where some are: those of one stem, or stems, or a stem and the mixture."""
    for sources in found.values():
        if len({lengths[key(source)] for source in sources}) > 1:
            of_files = {source.file.rpartition("/")[2]: lengths[key(source)] for source in sources}
            return BadTrackError(f"the files of one stem differ in length ({_listing(of_files)} samples)")
    of_signals = {name: lengths[key(sources[0])] for name, sources in found.items()}
    if MIXTURE not in of_signals:
        return BadTrackError(f"its stems differ in length ({_listing(of_signals)} samples)")
    whole = of_signals.pop(MIXTURE)
    name, samples = next((name, samples) for name, samples in of_signals.items() if samples != whole)
    return BadTrackError(f"{name} has {samples} samples but the mixture has {whole}")


def _sum(sources: Sequence[Source], read: Mapping[Key, np.ndarray], channels: int) -> np.ndarray:
    signals = []
    for source in sources:
        signal = read[key(source)]
        if source.gain != 1:
            signal = signal * np.float32(source.gain)
        signals.append(signal if source.channel is None else signal[:, source.channel : source.channel + 1])
    width = max(signal.shape[1] for signal in signals)
    return audio.to_channels(mix([audio.to_channels(signal, width) for signal in signals]), channels)


def _width(source: Source, files: Mapping[Key, HasShape]) -> int:
    channels = files[key(source)].channels
    if source.channel is None:
        return channels
    if channels <= source.channel:
        raise BadTrackError(f"it has {channels} channel{'s' if channels > 1 else ''}, expected 2")
    return 1


def key(source: Source) -> Key:
    """Which stream it takes from which file."""
    return source.file, source.stream


def _mixed(block: Signals) -> Signals:
    return block if MIXTURE in block else {**block, MIXTURE: mix(list(block.values()))}


# --- one energy ------------------------------------------------------------------------------------------------------


def _to_equal_energy(blocks: Iterable[Signals]) -> dict[str, np.float32]:
    """Factors that bring signals to unit L2 norm times the geometric mean of their norms: clips at 0 dB stay as they are.

    What would clip is turned down at encoding. None where there are no samples, or some that are not finite, for which
    others find the words.

    Raises:
      BadTrackError: a signal is silent.
    """
    energies: dict[str, float] = {}
    for block in blocks:
        for name, signal in block.items():
            exact = signal.astype(np.float64).ravel()
            energies[name] = energies.get(name, 0.0) + float(np.dot(exact, exact))
    if not energies or not np.isfinite(list(energies.values())).all():
        return {}
    if silent := [name for name, energy in energies.items() if energy == 0.0]:
        raise BadTrackError(f"its {silent[0]} is silent, so 0 dB mixing is not defined")
    norms = {name: float(np.sqrt(energy)) for name, energy in energies.items()}
    level = float(np.exp(np.mean(np.log(list(norms.values())))))
    return {name: np.float32(level / norm) for name, norm in norms.items()}


def _scaled(block: Signals, scales: Mapping[str, np.float32]) -> Signals:
    return {name: signal * scales[name] for name, signal in block.items()} if scales else block


def _listing(numbers: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {number}" for name, number in numbers.items())
