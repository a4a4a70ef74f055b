"""Separation of any length by fixed chunks: array to arrays, or file to files in bounded memory.

What separates a chunk is left open (`Separation.run`): a server (serving.client) or a model in this process
(serving.local).
"""

from __future__ import annotations

import math
import os
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import cached_property, partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import soundfile
import tensorflow as tf

from serving.client import chunking
from serving.client.chunking import ChunkPlan, OverlapAdder
from serving.client.signals import Resampler, SeparationError, Stems, check_stems, fit, fold, level, resampled, unfold
from serving.client.stream import Stream

Progress = Callable[[float], None]  # takes the finished fraction, up to 1.0
Source = Callable[[], Iterable[np.ndarray]]  # blocks [samples, channels] of a signal, from its beginning at every call
# Separates a signal at the model's rate: (source, channels) -> stems in order, are they the last ones.
Method = Callable[[Source, int], Iterator[tuple[Stems, bool]]]
T = TypeVar("T")

DEFAULT_SIGNATURE = "serving_default"
LEVELLED_SIGNATURE = "levelled"  # the same, told the level of the whole signal: inputs `mixture` and `level` [batch]
DESCRIBE_SIGNATURE = "describe"
CHUNK_SECONDS = 10.0
OVERLAP_SECONDS = 1.0
BLOCK_SAMPLES = 2**16
WAV_BYTES = 2**32 - 2**20  # what a WAV file can hold; beyond it, RF64 (EBU Tech 3306), which differs in the header only
FILE_HOPS = 16  # of a request where nobody waits for it


class Separation(ABC):
    """Separates signals of any length with a model that takes chunks, knowing nothing of it but its signatures.

    Args:
      label: names the model, and where it is, in errors.
      model_rate_hz: the model's sample rate; None asks its signature `describe`.
      in_flight: chunks asked for at the same time.
    """

    def __init__(self, label: str, model_rate_hz: int | None = None, in_flight: int = 1) -> None:
        if in_flight < 1:
            raise SeparationError(f"in_flight is {in_flight}; legal is 1 or more")
        self.label = label
        self._given_rate_hz = model_rate_hz
        self._in_flight = in_flight

    @property
    @abstractmethod
    def signatures(self) -> Mapping:
        """The model's SignatureDefs by name."""

    @abstractmethod
    def run(self, inputs: Mapping[str, np.ndarray], signature_name: str = DEFAULT_SIGNATURE) -> Stems:
        """One request to any signature: arrays by input alias -> arrays by output alias."""

    def pinned(self) -> Separation:
        """This model, kept to one version: state from one means nothing to another."""
        return self

    def on_one_version(self, work: Callable[[Separation], T]) -> T:
        """What `work` makes with this model, kept to one version from its beginning to its end."""
        return work(self.pinned())

    def predict(self, mixture: np.ndarray, level: np.ndarray | None = None) -> Stems:
        """Separates one batch: float32 [batch, samples] or [batch, samples, channels] -> target -> the same shape.

        Args:
          level: float32 [batch], RMS of the signals that the mixtures are chunks of; for the signature `levelled`.
        """
        mixture = np.asarray(mixture, np.float32)
        if level is None:
            stems = self.run({next(iter(self.signature(DEFAULT_SIGNATURE).inputs)): mixture})
        else:
            stems = self.run({"mixture": mixture, "level": level}, LEVELLED_SIGNATURE)
        return check_stems(self.label, stems, self.targets, mixture.shape)

    @property
    def targets(self) -> tuple[str, ...]:
        """Names of the stems, sorted."""
        return tuple(sorted(self.signature(DEFAULT_SIGNATURE).outputs))

    @property
    def mixture_shape(self) -> tuple[int | None, ...]:
        """The model's input shape; None where any size goes."""
        info = next(iter(self.signature(DEFAULT_SIGNATURE).inputs.values()))
        return tuple(tf.TensorShape(info.tensor_shape).as_list())

    @cached_property
    def model_rate_hz(self) -> int:
        """The sample rate the model works at: the one given, else what its signature `describe` answers."""
        if self._given_rate_hz is not None:
            return self._given_rate_hz
        if DESCRIBE_SIGNATURE not in self.signatures:
            raise SeparationError(
                f"{self.label} does not tell its sample rate (no signature {DESCRIBE_SIGNATURE!r}); give model_rate_hz"
            )
        return self.facts["sample_rate_hz"]

    @property
    def period_samples(self) -> int | None:
        """Delayed by a multiple of it, a signal is separated as it was; None when the model does not tell."""
        return self.facts.get("period_samples") if DESCRIBE_SIGNATURE in self.signatures else None

    @cached_property
    def facts(self) -> dict[str, int]:
        """What the signature `describe` answers for one item, by output; its inputs only carry the batch."""
        inputs = {alias: placeholder(info) for alias, info in self.signature(DESCRIBE_SIGNATURE).inputs.items()}
        return {name: int(values.flat[0]) for name, values in self.run(inputs, DESCRIBE_SIGNATURE).items()}

    def signature(self, name: str):
        """The SignatureDef of a name, or SeparationError with those that there are."""
        if name not in self.signatures:
            raise SeparationError(
                f"{self.label} has no signature {name!r}; it has {', '.join(sorted(self.signatures))}"
            )
        return self.signatures[name]

    def separate(
        self,
        waveform: np.ndarray,
        sample_rate_hz: int,
        chunk_seconds: float = CHUNK_SECONDS,
        overlap_seconds: float = OVERLAP_SECONDS,
        progress: Progress | None = None,
    ) -> Stems:
        """Separates `waveform` [samples] or [samples, channels] of any length, 0 included; target -> the same shape.

        Raises:
          SeparationError: the waveform, the server or the model does not allow it.
        """
        signal = np.asarray(waveform, np.float32)
        if signal.ndim not in (1, 2) or 0 in signal.shape[1:]:
            raise SeparationError(f"waveform has shape {signal.shape}; legal is [samples] or [samples, channels]")
        if sample_rate_hz < 1:
            raise SeparationError(f"sample_rate_hz is {sample_rate_hz}; legal is 1 or more")
        wide = signal.reshape(len(signal), math.prod(signal.shape[1:]))

        def blocks() -> Iterator[np.ndarray]:
            return (wide[start : start + BLOCK_SAMPLES] for start in range(0, len(wide), BLOCK_SAMPLES))

        def work(model: Separation) -> Stems:
            method = partial(model._by_chunks, chunk_seconds, overlap_seconds)
            parts: dict[str, list[np.ndarray]] = {target: [wide[:0]] for target in model.targets}
            for stems in model._separate(blocks, len(wide), wide.shape[1], sample_rate_hz, method, progress):
                for target, block in stems.items():
                    parts[target].append(block)
            return {target: np.concatenate(blocks).reshape(signal.shape) for target, blocks in parts.items()}

        return self.on_one_version(work)

    def separate_file(
        self,
        path: Path,
        out_dir: Path,
        chunk_seconds: float = CHUNK_SECONDS,
        overlap_seconds: float = OVERLAP_SECONDS,
        progress: Progress | None = None,
        subtype: str = "FLOAT",
    ) -> dict[str, Path]:
        """Writes `out_dir/<target>.wav` for every target, with the rate, length and channels of `path`.

        Memory does not grow with the length. The files appear together when all is done; on failure there are none. One
        over 4 GB (3.4 hours of stereo at 44.1 kHz) is RF64: WAV with 64-bit sizes.

        Args:
          path: any file that libsndfile reads: WAV, FLAC, OGG, MP3 and others.
          subtype: sample format of the output; 32-bit float by default, which clips nothing.

        Raises:
          SeparationError: the file is no audio, holds no finite numbers, or see `separate`.
          OSError: a file cannot be read or written.
        """

        def method(model: Separation) -> Method:
            return partial(model._by_chunks, chunk_seconds, overlap_seconds)

        return self._separate_file(path, out_dir, method, progress, subtype)

    def stream_file(
        self,
        path: Path,
        out_dir: Path,
        hops: int = FILE_HOPS,
        progress: Progress | None = None,
        subtype: str = "FLOAT",
    ) -> dict[str, Path]:
        """Like `separate_file`, through a `Stream` of `hops` hops a request: no sample depends on those after its frames.

        Raises:
          SeparationError: the model cannot stream, or see `separate_file`.
          OSError: a file cannot be read or written.
        """

        def method(model: Separation) -> Method:
            return partial(model._by_hops, hops)

        return self._separate_file(path, out_dir, method, progress, subtype)

    def _separate_file(
        self,
        path: Path,
        out_dir: Path,
        method: Callable[[Separation], Method],
        progress: Progress | None,
        subtype: str,
    ) -> dict[str, Path]:
        with _open(path) as source:  # a file that is no audio is said to be none before a server is asked
            channels, rate_hz, samples = source.channels, source.samplerate, source.frames

        def work(model: Separation) -> dict[str, Path]:
            paths = {target: out_dir / f"{target}.wav" for target in model.targets}
            blocks = partial(_blocks, path)
            stems = model._separate(blocks, samples, channels, rate_hz, method(model), progress)
            with _folder(out_dir):
                _write(stems, paths, rate_hz, channels, subtype, _container(samples, channels, subtype))
            return paths

        return self.on_one_version(work)

    def _separate(
        self,
        source: Source,
        samples: int,
        channels: int,
        sample_rate_hz: int,
        method: Method,
        progress: Progress | None,
    ) -> Iterator[Stems]:
        """Separates a signal; what it yields adds up to `samples` samples per target."""
        rate_hz = self.model_rate_hz
        back = {target: Resampler(rate_hz, sample_rate_hz, channels) for target in self.targets}
        done = 0
        for finished, last in method(lambda: resampled(source(), sample_rate_hz, rate_hz, channels), channels):
            stems = {target: back[target](block, last) for target, block in finished.items()}
            stems = {target: fit(block, samples - done, last) for target, block in stems.items()}
            done += len(next(iter(stems.values())))
            yield stems
            if progress is not None:
                progress(done / samples)
        if done < samples:  # so short that nothing is left of it at the model's rate
            yield {target: np.zeros((samples - done, channels), np.float32) for target in self.targets}
        if progress is not None and done < max(samples, 1):
            progress(1.0)

    def _by_hops(self, hops: int, source: Source, channels: int) -> Iterator[tuple[Stems, bool]]:
        """A `Method`: what a stream has finished, as the blocks come."""
        stream = Stream(self, channels, hops)
        for stems in map(stream.push, source()):
            if len(stems[stream.targets[0]]):
                yield stems, False
        rest = stream.finish()
        if len(rest[stream.targets[0]]):
            yield rest, True

    def _by_chunks(
        self, chunk_seconds: float, overlap_seconds: float, source: Source, channels: int
    ) -> Iterator[tuple[Stems, bool]]:
        """A `Method`: chunks, overlap-added in order, with up to `in_flight` of them asked for ahead."""
        plan = chunking.plan_seconds(chunk_seconds, overlap_seconds, self.model_rate_hz, self.period_samples)
        told = level(source(), self.mixture_shape) if LEVELLED_SIGNATURE in self.signatures else None
        adders = {target: OverlapAdder(plan) for target in self.targets}
        waiting: deque[tuple[Future[Stems], int, bool]] = deque()
        pool = ThreadPoolExecutor(self._in_flight)
        try:
            for chunk, last in chunking.split(source(), plan):
                waiting.append((pool.submit(self._predict_chunk, chunk, plan, channels, told), len(chunk), last))
                if len(waiting) >= self._in_flight or last:
                    yield from _join(waiting, adders, 0 if last else self._in_flight - 1)
        finally:
            pool.shutdown(cancel_futures=True)

    def _predict_chunk(self, chunk: np.ndarray, plan: ChunkPlan, channels: int, told: np.ndarray | None) -> Stems:
        """One chunk [samples, channels] of the file, padded; target -> [chunk_samples, channels]."""
        mixture = fold(chunking.pad(chunk, plan.chunk_samples), self.mixture_shape)
        outputs = self.predict(mixture, told)
        return {target: unfold(output, channels) for target, output in outputs.items()}


def _join(waiting: deque, adders: Mapping[str, OverlapAdder], leave: int) -> Iterator[tuple[Stems, bool]]:
    while len(waiting) > leave:
        future, samples, last = waiting.popleft()
        stems = future.result()
        yield {target: adder.push(stems[target][:samples], last) for target, adder in adders.items()}, last


def placeholder(info) -> np.ndarray:
    """The smallest value of a signature's input: 1 for every open dimension; zeros or an empty string."""
    shape = [max(dim.size, 1) for dim in info.tensor_shape.dim]
    dtype = tf.as_dtype(info.dtype)
    return np.full(shape, b"", object) if dtype == tf.string else np.zeros(shape, dtype.as_numpy_dtype)


# ---- files


def _open(path: Path) -> soundfile.SoundFile:
    if not path.is_file():
        raise FileNotFoundError(f"audio file {path} is not there")
    try:
        return soundfile.SoundFile(path)
    except soundfile.LibsndfileError as error:
        reason = error.error_string.rstrip(".")
        raise SeparationError(f"{path} is no audio file ({reason}); legal are WAV, FLAC, OGG and MP3") from error


def _blocks(path: Path) -> Iterator[np.ndarray]:
    """The file's samples, float32 [BLOCK_SAMPLES or less at the end, channels], all of them finite."""
    position = 0
    with _open(path) as source:
        for block in source.blocks(BLOCK_SAMPLES, dtype="float32", always_2d=True):
            finite = np.isfinite(block).all(axis=1)
            if not finite.all():
                sample = position + int(np.argmin(finite))
                raise SeparationError(f"{path} holds NaN or infinity at sample {sample}; legal are finite numbers")
            position += len(block)
            yield block


@contextmanager
def _folder(path: Path) -> Iterator[None]:
    """The folder, made with its parents where it is missing; on failure those made here that are empty go again."""
    made = [folder for folder in (path, *path.parents) if not folder.exists()]
    path.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        for folder in made:
            if not any(folder.iterdir()):
                folder.rmdir()
        raise


def _container(samples: int, channels: int, subtype: str) -> str:
    return "WAV" if samples * channels * (8 if subtype == "DOUBLE" else 4) <= WAV_BYTES else "RF64"


def _write(
    stream: Iterable[Stems], paths: Mapping[str, Path], rate_hz: int, channels: int, subtype: str, container: str
) -> None:
    """Writes under temporary names in the same folder, then renames all."""
    parts = {target: path.with_name(f".{path.name}.{os.getpid()}.part") for target, path in paths.items()}
    try:
        with ExitStack() as stack:
            files = {
                target: stack.enter_context(
                    soundfile.SoundFile(part, "w", rate_hz, channels, subtype, format=container)
                )
                for target, part in parts.items()
            }
            for stems in stream:
                for target, block in stems.items():
                    files[target].write(block)
        for target, part in parts.items():
            os.replace(part, paths[target])
    except (soundfile.LibsndfileError, AssertionError) as error:  # soundfile asserts that all samples were written
        raise OSError(f"cannot write {', '.join(map(str, paths.values()))}: {error or 'disk full?'}") from error
    finally:
        for part in parts.values():
            part.unlink(missing_ok=True)
