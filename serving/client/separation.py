"""Separation of any length by fixed chunks: array to arrays, or file to files in bounded memory.

What runs a chunk is left open (`Transport`): a server (serving.client.remote) or a model in this process (serving.local).
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar

import numpy as np

from serving.client import chunking, decoding
from serving.client.chunking import OverlapAdder
from serving.client.connection import Connection
from serving.client.files import writing
from serving.client.files.encodings import Encoding
from serving.client.remote import Remote
from serving.client.signals import Resampler, SeparationError, Stems, check_stems, fit, fold, level, resampled, unfold
from serving.wire import tensors

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
LARGEST_FACT = 2**24  # of what a model tells of itself: rate, period, hop, latency


class Transport(Protocol):
    """The way to one model; every method raises SeparationError in one sentence.

    Attributes:
      label: names the model, and where it is, in errors.
    """

    label: str

    @property
    def version(self) -> int | None:
        """The version that is asked; None is the latest with every request."""
        ...

    @property
    def signatures(self) -> Mapping:
        """The model's SignatureDefs by name."""
        ...

    def run(self, inputs: Mapping[str, np.ndarray], signature_name: str) -> Stems:
        """One request to any signature: arrays by input alias -> arrays by output alias."""
        ...

    def pinned(self) -> Transport:
        """The same, kept to one version: state from one means nothing to another."""
        ...

    def on_one_version(self, work: Callable[[Transport], T]) -> T:
        """What `work` makes with one version from its beginning to its end."""
        ...

    def close(self) -> None: ...


@dataclass(frozen=True)
class Separated:
    """A file that is being separated.

    Attributes:
      version: of the model.
      stems: in order, together as long as the file: target -> [samples, channels] at the file's rate.
      mixture: blocks of the file itself, from its beginning at every call.
    """

    targets: tuple[str, ...]
    sample_rate_hz: int
    channels: int
    version: int | None
    stems: Iterator[Stems]
    mixture: Source


class Client:
    """Separates signals of any length with a model that takes chunks, knowing nothing of it but its signatures.

    A signal is separated by one version from its beginning to its end: the latest when it begins. If the server unloads
    that version before the end, the signal is begun again with the newest, and with `progress` at 0.

    Args:
      server: "host:port", or any other way to a model.
      model_rate_hz: the model's sample rate; not needed when the model has the signature `describe`.
      in_flight: chunks asked for at the same time.
      connection: the fields of serving.client.connection.Connection, for "host:port".

    Raises (all methods):
      SeparationError: in one sentence, naming the model and where it is.
    """

    must_be_finite: ClassVar[bool] = True  # what a model answers

    def __init__(
        self, server: str | Transport, *, model_rate_hz: int | None = None, in_flight: int = 2, **connection: Any
    ) -> None:
        if in_flight < 1:
            raise SeparationError(f"in_flight is {in_flight}; legal is 1 or more")
        if connection and not isinstance(server, str):
            raise TypeError(f"{', '.join(connection)} given for {server.label}; legal with a server's address alone")
        self._transport = Remote(server, Connection(**connection)) if isinstance(server, str) else server
        self._given_rate_hz = model_rate_hz
        self._in_flight = in_flight

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._transport.close()

    @property
    def label(self) -> str:
        """Names the model, and where it is."""
        return self._transport.label

    @property
    def signatures(self) -> Mapping:
        """The model's SignatureDefs by name."""
        return self._transport.signatures

    def run(self, inputs: Mapping[str, np.ndarray], signature_name: str = DEFAULT_SIGNATURE) -> Stems:
        """One request to any signature: arrays by input alias -> arrays by output alias."""
        return self._transport.run(inputs, signature_name)

    def pinned(self) -> Client:
        """This client, kept to the version that is the latest now."""
        return self._over(self._transport.pinned())

    def _over(self, transport: Transport) -> Client:
        if transport is self._transport:
            return self
        return Client(transport, model_rate_hz=self._given_rate_hz, in_flight=self._in_flight)

    def predict(self, mixture: np.ndarray, level: np.ndarray | None = None) -> Stems:
        """Separates one batch: float32 [batch, samples] or [batch, samples, channels] -> target -> the same shape.

        Args:
          level: float32 [batch], RMS of the signals that the mixtures are chunks of; for the signature `levelled`.
        """
        mixture = np.asarray(mixture, np.float32)
        if level is None:
            stems = self.run({self._mixture[0]: mixture})
        else:
            stems = self.run({"mixture": mixture, "level": level}, LEVELLED_SIGNATURE)
        return check_stems(self.label, stems, self.targets, mixture.shape, self.must_be_finite)

    @property
    def targets(self) -> tuple[str, ...]:
        """Names of the stems, sorted."""
        targets = tuple(sorted(self.signature(DEFAULT_SIGNATURE).outputs))
        if not targets:
            raise SeparationError(f"{self.label} has no outputs; legal is one for every stem")
        return targets

    @property
    def mixture_shape(self) -> tuple[int | None, ...]:
        """The model's input shape; None where any size goes."""
        return self._mixture[1]

    @property
    def _mixture(self) -> tuple[str, tuple[int | None, ...]]:
        """Alias and shape of the model's input."""
        inputs = {alias: shape(info) for alias, info in self.signature(DEFAULT_SIGNATURE).inputs.items()}
        return only_mixture(self.label, inputs)

    @cached_property
    def model_rate_hz(self) -> int:
        """The sample rate the model works at: the one given, else what its signature `describe` answers."""
        if self._given_rate_hz is not None:
            return self._given_rate_hz
        if DESCRIBE_SIGNATURE not in self.signatures or "sample_rate_hz" not in self.facts:
            raise SeparationError(
                f"{self.label} does not tell its sample rate (by a signature {DESCRIBE_SIGNATURE!r}); give model_rate_hz"
            )
        return self.facts["sample_rate_hz"]

    @property
    def period_samples(self) -> int | None:
        """Delayed by a multiple of it, a signal is separated as it was; None when the model does not tell."""
        return self.facts.get("period_samples") if DESCRIBE_SIGNATURE in self.signatures else None

    @cached_property
    def facts(self) -> dict[str, int]:
        """What the signature `describe` answers for one item, by output; its inputs only carry the batch."""
        inputs = self.zeros(self.signature(DESCRIBE_SIGNATURE).inputs)
        answers = self.run(inputs, DESCRIBE_SIGNATURE)
        for name, values in answers.items():
            if not (values.size and values.dtype.kind in "iuf" and values.flat[0] in range(1, LARGEST_FACT + 1)):
                told = f"{name} as {np.array2string(values, threshold=4)}"
                raise SeparationError(f"{self.label} tells {told}; legal is a whole number from 1 to {LARGEST_FACT}")
        return {name: int(values.flat[0]) for name, values in answers.items()}

    def zeros(self, inputs: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """The smallest values of a signature's inputs, as `placeholder` makes them."""
        try:
            return {alias: placeholder(info) for alias, info in inputs.items()}
        except ValueError as error:
            raise SeparationError(f"{self.label} has an input of which no value can be made: {error}") from error

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

        def work(transport: Transport) -> Stems:
            model = self._over(transport)
            method = partial(model._by_chunks, chunk_seconds, overlap_seconds)
            parts: dict[str, list[np.ndarray]] = {target: [wide[:0]] for target in model.targets}
            for stems in model._separate(blocks, len(wide), wide.shape[1], sample_rate_hz, method, progress):
                for target, block in stems.items():
                    parts[target].append(block)
            return {target: np.concatenate(blocks).reshape(signal.shape) for target, blocks in parts.items()}

        return self._transport.on_one_version(work)

    def separate_file(
        self,
        path: Path,
        out_dir: Path,
        chunk_seconds: float = CHUNK_SECONDS,
        overlap_seconds: float = OVERLAP_SECONDS,
        progress: Progress | None = None,
        encoding: Encoding = Encoding(),  # noqa: B008
    ) -> dict[str, Path]:
        """Writes `out_dir/<target>.wav` for every target, with the rate, length and channels of `path`.

        Memory does not grow with the length. The files appear together when all is done; on failure there are none. A WAV
        over 4 GB (3.4 hours of stereo at 44.1 kHz) is RF64: WAV with 64-bit sizes.

        Args:
          path: any file that serving.client.decoding reads.
          encoding: of the output; 32-bit float WAV by default, which clips nothing.

        Raises:
          SeparationError: the file cannot be decoded, holds no finite numbers, or see `separate`.
          ValueError: the encoding does not hold the file's rate or channels.
          OSError: a file cannot be written.
        """
        return self.separate_file_by(
            lambda model: partial(model._by_chunks, chunk_seconds, overlap_seconds), path, out_dir, progress, encoding
        )

    def separate_file_by(
        self,
        method: Callable[[Client], Method],
        path: Path,
        out_dir: Path,
        progress: Progress | None = None,
        encoding: Encoding = Encoding(),  # noqa: B008
    ) -> dict[str, Path]:
        """Like `separate_file`, by any method, made for this client kept to one version."""
        check_file(path)
        writing.check_folder(out_dir)

        def write(separated: Separated) -> dict[str, Path]:
            paths = {target: out_dir / f"{target}.{encoding.format}" for target in separated.targets}
            with writing.written(paths, separated.sample_rate_hz, separated.channels, encoding) as files:
                for stems in separated.stems:
                    files.write(stems)
            return paths

        return self.separated_file(path, write, method, progress)

    def separated_file(
        self,
        path: Path,
        use: Callable[[Separated], T],
        method: Callable[[Client], Method] | None = None,
        progress: Progress | None = None,
    ) -> T:
        """What `use` makes of a file's stems, which come block by block; called again if the file is begun again.

        Args:
          method: by chunks where none is given.
        """
        with _read(path) as song:
            channels, rate_hz, told = song.channels, song.sample_rate_hz, song.samples_told

        def work(transport: Transport) -> T:
            model = self._over(transport)
            way = partial(model._by_chunks, CHUNK_SECONDS, OVERLAP_SECONDS) if method is None else method(model)
            blocks = partial(_blocks, path)
            stems = model._separate(blocks, told, channels, rate_hz, way, progress)
            return use(Separated(model.targets, rate_hz, channels, transport.version, stems, blocks))

        return self._transport.on_one_version(work)

    def _separate(
        self,
        source: Source,
        told: int | None,
        channels: int,
        sample_rate_hz: int,
        method: Method,
        progress: Progress | None,
    ) -> Iterator[Stems]:
        """Separates a signal; what it yields adds up to the samples of the source per target.

        Args:
          told: samples that the source is said to have, for the progress alone.
        """
        rate_hz = self.model_rate_hz
        back = {target: Resampler(rate_hz, sample_rate_hz, channels) for target in self.targets}
        done = samples = 0

        def counted() -> Iterator[np.ndarray]:
            nonlocal samples
            samples = 0
            for block in source():
                samples += len(block)
                yield block

        for finished, last in method(lambda: resampled(counted(), sample_rate_hz, rate_hz, channels), channels):
            stems = {target: back[target](block, last) for target, block in finished.items()}
            stems = {target: fit(block, samples - done, last) for target, block in stems.items()}
            done += len(next(iter(stems.values())))
            yield stems
            if progress is not None and not last and told:
                progress(min(done / told, 1.0))
        if done < samples:  # so short that nothing is left of it at the model's rate
            yield {target: np.zeros((samples - done, channels), np.float32) for target in self.targets}
        if progress is not None:
            progress(1.0)

    def _by_chunks(
        self, chunk_seconds: float, overlap_seconds: float, source: Source, channels: int
    ) -> Iterator[tuple[Stems, bool]]:
        """A `Method`: chunks, overlap-added in order, with up to `in_flight` of them asked for ahead."""
        plan = chunking.plan_seconds(chunk_seconds, overlap_seconds, self.model_rate_hz, self.period_samples)
        told = level(source(), self.mixture_shape) if LEVELLED_SIGNATURE in self.signatures else None
        adders = {target: OverlapAdder(plan) for target in self.targets}

        def ask(chunk: np.ndarray) -> Stems:
            outputs = self.predict(fold(chunking.pad(chunk, plan.chunk_samples), self.mixture_shape), told)
            return {target: unfold(output, channels) for target, output in outputs.items()}

        waiting: deque[tuple[Future[Stems], int, bool]] = deque()
        pool = ThreadPoolExecutor(self._in_flight)
        try:
            for chunk, last in chunking.split(source(), plan):
                waiting.append((pool.submit(ask, chunk), len(chunk), last))
                while waiting and (last or len(waiting) >= self._in_flight):
                    future, samples, final = waiting.popleft()
                    stems = future.result()
                    yield (
                        {target: adder.push(stems[target][:samples], final) for target, adder in adders.items()},
                        final,
                    )
        finally:
            pool.shutdown(cancel_futures=True)


def shape(info: Any) -> tuple[int | None, ...]:
    """Of a signature's input; None where any size goes."""
    return tuple(None if dim.size < 0 else dim.size for dim in info.tensor_shape.dim)


def only_mixture(label: str, inputs: Mapping[str, tuple[int | None, ...]]) -> tuple[str, tuple[int | None, ...]]:
    """The one input, which has the shape of a mixture.

    Raises:
      SeparationError: there are more or none, or it has another number of dimensions; `label` names the model.
    """
    if len(inputs) == 1 and all(len(dims) in (2, 3) for dims in inputs.values()):
        return next(iter(inputs.items()))
    given = ", ".join(f"{alias} {['any' if size is None else size for size in dims]}" for alias, dims in inputs.items())
    legal = "one mixture [batch, samples] or [batch, samples, channels]"
    raise SeparationError(f"{label} takes {given or 'no input'}; legal is {legal}")


def placeholder(info: Any) -> np.ndarray:
    """The smallest value of a signature's input: 1 for every open dimension; zeros or an empty string.

    Raises:
      ValueError: a type that no request carries, or a value of more than serving.wire.tensors.FILL_BYTES.
    """
    shape = [max(dim.size, 1) for dim in info.tensor_shape.dim]
    dtype = tensors.dtype_of(info.dtype)
    if math.prod(shape) * dtype.itemsize > tensors.FILL_BYTES:
        raise ValueError(f"{dtype} {shape} is over {tensors.FILL_BYTES} bytes")
    return np.full(shape, b"", object) if dtype.kind == "O" else np.zeros(shape, dtype)


# ---- files


def check_file(path: Path) -> None:
    """Raises what `separate_file` would for a file that cannot be opened, before a model is loaded or asked."""
    with _read(path):
        pass


@contextmanager
def _read(path: Path) -> Iterator[decoding.Decoding]:
    try:
        with decoding.opened(path) as song:
            yield song
    except decoding.BadFileError as error:
        raise SeparationError(str(error)) from error


def _blocks(path: Path) -> Iterator[np.ndarray]:
    """The file's samples, float32 [samples, channels], all of them finite."""
    position = 0
    with _read(path) as song:
        for block in song.blocks():
            finite = np.isfinite(block).all(axis=1)
            if not finite.all():
                sample = position + int(np.argmin(finite))
                raise SeparationError(f"{path.name} holds NaN or infinity at sample {sample}; legal are finite numbers")
            position += len(block)
            yield block
