"""Separation of a signal while it comes, with a model that has the signature `stream`.

from serving.client.stream import Stream

stream = Stream(Client("localhost:8500"))
while playing:
    play(stream.push(record())["vocals"])  # blocks of any length
play(stream.finish()["vocals"])

The server keeps nothing between requests: the model's state goes with every request and comes back with its answer.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from serving.client import chunking
from serving.client.files.encodings import Encoding
from serving.client.separation import Client, Method, Progress, Source, only_mixture, shape
from serving.client.signals import SeparationError, Stems, check_stems, fold, unfold

STREAM_SIGNATURE = "stream"
FILE_HOPS = 16  # of a request where nobody waits for it


class Stream:
    """One signal; for one thread.

    The stems are aligned with the signal: sample n of a stem belongs to sample n of the signal and is answered with the
    block that holds sample n + latency_samples - block_samples. All of `push` and `finish` together are as long as the
    signal.

    Args:
      model: with the signature `stream`. A server's newest version is taken for the whole signal, whatever it loads later.
      channels: blocks are [samples, channels]; None for [samples].
      hops: how many hops of the model go in a request. More cost less, and come later.

    Attributes:
      block_samples: of a request. latency_samples: the most samples that are pushed before the first of them is answered.
      delay_samples: what of the latency is the model's own.

    Raises (all methods):
      SeparationError: the model cannot stream, does not run, or the block is not legal. After a request that failed,
        `push` of an empty block tries it again.
    """

    def __init__(self, model: Client, channels: int | None = None, hops: int = 1) -> None:
        for name, value in (("channels", channels), ("hops", hops)):
            if value is not None and value < 1:
                raise SeparationError(f"{name} is {value}; legal is 1 or more")
        check_streams(model)
        self._model = model.pinned()
        self._channels = channels
        self._read_signature()
        facts = self._model.facts
        if missing := [name for name in ("hop", "latency_samples") if name not in facts]:
            raise SeparationError(f"{model.label} does not tell its {missing[0]} (an output of 'describe')")
        self.block_samples = hops * facts["hop"]
        self.delay_samples = facts["latency_samples"] - facts["hop"]
        self.latency_samples = self.delay_samples + self.block_samples
        self._begin()

    @property
    def targets(self) -> tuple[str, ...]:
        """Names of the stems, sorted."""
        return tuple(sorted(self._targets))

    @property
    def sample_rate_hz(self) -> int:
        """The model's, and what the signal must have."""
        return self._model.model_rate_hz

    def push(self, block: np.ndarray) -> Stems:
        """The next samples, any number of them -> target -> the samples finished by now, possibly none."""
        wide = self._checked(block)
        self._heard += len(wide)
        self._waiting = np.concatenate([self._waiting, wide])
        self._ask()
        return self._take()

    def finish(self) -> Stems:
        """Ends the signal: target -> the samples that are left. What is pushed then begins another signal."""
        requests = math.ceil((self._heard + self.delay_samples) / self.block_samples) if self._heard else 0
        self._waiting = chunking.pad(self._waiting, requests * self.block_samples - self._sent)
        self._ask()
        left = self._heard - self._given
        stems = {target: stem[:left] for target, stem in self._take().items()}
        self._begin()
        return stems

    def _read_signature(self) -> None:
        """The state is what comes back under the name that it is sent by; the one input left is the mixture."""
        signature = self._model.signature(STREAM_SIGNATURE)
        carried = set(signature.inputs) & set(signature.outputs)
        self._targets = set(signature.outputs) - carried
        if not self._targets:
            raise SeparationError(f"{self._model.label} has no stems in {STREAM_SIGNATURE!r}; legal is one or more")
        own = {alias: shape(info) for alias, info in signature.inputs.items() if alias not in carried}
        self._alias, self._shape = only_mixture(self._model.label, own)
        batch = (self._channels or 1) if len(self._shape) == 2 else 1
        zeros = self._model.zeros({name: signature.inputs[name] for name in sorted(carried)})
        self._zeros = {name: value.repeat(batch, axis=0) for name, value in zeros.items()}

    def _begin(self) -> None:
        self._state = self._zeros
        self._waiting = np.zeros((0, self._channels or 1), np.float32)
        self._finished: dict[str, list[np.ndarray]] = {target: [self._waiting] for target in self._targets}
        self._heard = self._sent = self._given = 0

    def _checked(self, block: np.ndarray) -> np.ndarray:
        """[samples, channels]. One NaN would stay in the state for good."""
        signal = np.asarray(block, np.float32)
        legal = () if self._channels is None else (self._channels,)
        if signal.ndim < 1 or signal.shape[1:] != legal:
            words = ", ".join(map(str, ("samples", *legal)))
            raise SeparationError(f"block has shape {signal.shape}; legal is [{words}]")
        wide = signal.reshape(len(signal), self._channels or 1)
        finite = np.isfinite(wide).all(axis=1)
        if not finite.all():
            sample = self._heard + int(np.argmin(finite))
            raise SeparationError(f"the signal holds NaN or infinity at sample {sample}; legal are finite numbers")
        return wide

    def _ask(self) -> None:
        """Sends what is waiting, in requests of one length."""
        while len(self._waiting) >= self.block_samples:
            mixture = fold(self._waiting[: self.block_samples], self._shape)
            answer = self._model.run({self._alias: mixture, **self._state}, STREAM_SIGNATURE)
            stems = {name: value for name, value in answer.items() if name not in self._state}
            check_stems(self._model.label, stems, self._targets, mixture.shape)
            self._state = {name: answer[name] for name in self._state}
            early = max(0, self.delay_samples - self._sent)  # belongs to before the signal
            for target in self._targets:
                self._finished[target].append(unfold(answer[target], self._channels or 1)[early:])
            self._sent += self.block_samples
            self._waiting = self._waiting[self.block_samples :]

    def _take(self) -> Stems:
        stems = {target: np.concatenate(self._finished[target]) for target in self.targets}
        self._finished = {target: [stem[:0]] for target, stem in stems.items()}
        self._given += len(next(iter(stems.values())))
        return stems if self._channels is not None else {target: stem[:, 0] for target, stem in stems.items()}


def check_streams(model: Client) -> None:
    """Raises SeparationError where a model cannot stream."""
    if STREAM_SIGNATURE not in model.signatures:
        raise SeparationError(
            f"{model.label} cannot stream (no signature {STREAM_SIGNATURE!r}); legal is a model of an online network"
        )


def stream_file(
    client: Client,
    path: Path,
    out_dir: Path,
    hops: int = FILE_HOPS,
    progress: Progress | None = None,
    encoding: Encoding = Encoding(),  # noqa: B008
) -> dict[str, Path]:
    """Like `Client.separate_file`, through a `Stream` of `hops` hops a request: no sample depends on those after its frames.

    Raises:
      SeparationError: the model cannot stream, or see `Client.separate_file`.
      OSError: a file cannot be read or written.
    """

    return client.separate_file_by(partial(by_blocks, hops=hops), path, out_dir, progress, encoding)


def by_blocks(model: Client, hops: int = FILE_HOPS) -> Method:
    """The way of `stream_file`, for `Client.separated_file`."""

    def stems(source: Source, channels: int) -> Iterator[tuple[Stems, bool]]:
        stream = Stream(model, channels, hops)
        for finished in map(stream.push, source()):
            if len(finished[stream.targets[0]]):
                yield finished, False
        rest = stream.finish()
        if len(rest[stream.targets[0]]):
            yield rest, True

    return stems
