"""From a track at its own rate, width and stems to the targets, rate and channels that are asked for, in blocks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from pipeline.data.datasets import audio
from pipeline.data.datasets.loading import MIXTURE, Signals, Stream
from pipeline.data.datasets.track import BadTrackError, grouping, mix
from serving.client.signals import Resampler

LOWEST_RATE_HZ = 1000  # a block of a lower one would be resampled to gigabytes


def converted(stream: Stream, targets: Sequence[str], sample_rate_hz: int, channels: int) -> Stream:
    """A stream with exactly `targets` as its stems, at another rate (soxr HQ) and number of channels (mono = mean, stereo of
    mono = twice the same).

    Raises:
      ValueError: a target has no stem, a stem has no target that could take it, or the channels cannot be made that many.
    """
    if stream.sample_rate_hz < LOWEST_RATE_HZ:
        raise BadTrackError(f"its sample rate is {stream.sample_rate_hz} Hz; legal is {LOWEST_RATE_HZ} Hz and more")
    parts = {**grouping(stream.stems, targets), MIXTURE: (MIXTURE,)}
    audio.to_channels(np.zeros((0, stream.channels), np.float32), channels)  # says what it cannot

    def blocks() -> Iterator[Signals]:
        ways = {name: Resampler(stream.sample_rate_hz, sample_rate_hz, channels) for name in parts}
        for block in stream.blocks():
            summed = {name: mix([block[stem] for stem in stems]) for name, stems in parts.items()}
            yield {name: ways[name](audio.to_channels(signal, channels)) for name, signal in summed.items()}
        yield {name: way(np.zeros((0, channels), np.float32), True) for name, way in ways.items()}

    return replace(stream, sample_rate_hz=sample_rate_hz, channels=channels, stems=tuple(targets), blocks=blocks)
