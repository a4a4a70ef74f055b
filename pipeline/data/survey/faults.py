"""Why ingest would skip a track, as far as the headers of its files tell: in the words of ingest, and in its order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pipeline.data.datasets import audio
from pipeline.data.datasets.track import MINIMUM_SECONDS, BadTrackError, Source, Track, TrackRef, group
from pipeline.data.survey.headers import Header
from serving.client.decoding.facts import Facts

if TYPE_CHECKING:
    from pipeline.config.config import DataConfig

MIXTURE = "mixture"


@dataclass(frozen=True)
class Shape:
    """What a track will be like. seconds: NaN where nobody knows before it is decoded. sure: that it will be so."""

    sample_rate_hz: int
    channels: int
    seconds: float
    sure: bool


def shape(ref: TrackRef, headers: Mapping[str, Header], data: DataConfig) -> Shape:
    """The shape of a track that ingest would take.

    Raises:
      BadTrackError: it would skip the track; the message is the reason.
    """
    if ref.reason:
        raise BadTrackError(ref.reason)
    signals = {name: ref.stems[name] for name in sorted(ref.stems)} | ({MIXTURE: ref.mixture} if ref.mixture else {})
    found = {source: _facts(source, headers) for sources in signals.values() for source in sources}
    if not found:
        raise BadTrackError("it has no signal")
    rates = {name: found[source].sample_rate_hz for name, sources in signals.items() for source in sources}
    if len(set(rates.values())) > 1:
        raise BadTrackError(f"its files differ in sample rate ({_listing(rates)} Hz)")
    rate_hz, channels = next(iter(rates.values())), max(_width(source, facts) for source, facts in found.items())
    nothing = np.zeros((0, channels), np.float32)
    group(Track(ref.name, ref.split, rate_hz, nothing, dict.fromkeys(ref.stems, nothing)), data.targets)
    audio.to_channels(nothing, data.channels)
    sure = {source: facts.samples for source, facts in found.items() if facts.sure and facts.samples is not None}
    if ref.lengths == "equal":
        _check_lengths(signals, sure, channels)
    known = [facts.samples for facts in found.values() if facts.samples is not None]
    samples = None if not known else min(known) if ref.lengths == "shortest" else max(known)
    if len(sure) == len(found) and samples is not None:
        _check_long_enough(samples, rate_hz)
    return Shape(rate_hz, channels, float("nan") if samples is None else samples / rate_hz, len(sure) == len(found))


def _check_long_enough(samples: int, rate_hz: int) -> None:
    if samples == 0:
        raise BadTrackError("it has 0 samples")
    if samples < MINIMUM_SECONDS * rate_hz:
        raise BadTrackError(f"it has {samples} samples, less than the {MINIMUM_SECONDS:g} s a track must last")


def _facts(source: Source, headers: Mapping[str, Header]) -> Facts:
    header = headers[source.file]
    if header.reason:
        raise BadTrackError(header.reason)
    if source.stream >= len(header.streams):
        name = source.file.rpartition("/")[2]
        raise BadTrackError(f"{name} has no audio stream {source.stream} (counted from 0)")
    return header.streams[source.stream]


def _width(source: Source, facts: Facts) -> int:
    if source.channel is None:
        return facts.channels
    if facts.channels <= source.channel:
        raise BadTrackError(f"it has {facts.channels} channel{'s' if facts.channels > 1 else ''}, expected 2")
    return 1


def _check_lengths(signals: Mapping[str, tuple[Source, ...]], sure: Mapping[Source, int], channels: int) -> None:
    """Raises BadTrackError where files of the track differ in length; knows of those whose length is sure."""
    for sources in signals.values():
        files = {source.file.rpartition("/")[2]: sure[source] for source in sources if source in sure}
        if len(set(files.values())) > 1:
            raise BadTrackError(f"the files of one stem differ in length ({_listing(files)} samples)")
    lengths = {name: sure[sources[0]] for name, sources in signals.items() if sources and sources[0] in sure}
    if len(set(lengths.values())) < 2:
        return
    if MIXTURE not in lengths:
        raise BadTrackError(f"its stems differ in length ({_listing(lengths)} samples)")
    whole = lengths.pop(MIXTURE)
    name, samples = next((name, samples) for name, samples in lengths.items() if samples != whole)
    width = f"samples of {channels} channel{'s' if channels > 1 else ''}"
    raise BadTrackError(f"{name} is {samples} {width} but the mixture is {whole} {width}")


def _listing(numbers: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {number}" for name, number in numbers.items())
