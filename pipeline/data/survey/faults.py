"""Why a track would be bad to ingest, as far as the headers of its files tell: in the words of ingest, and in its order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pipeline.data.datasets import audio, loading
from pipeline.data.datasets.track import BadTrackError, Source, TrackRef, grouping
from pipeline.data.survey.headers import Header
from serving.client.decoding.facts import Facts

if TYPE_CHECKING:
    from pipeline.config.config import DataConfig


@dataclass(frozen=True)
class Shape:
    """What a track will be like. seconds: None where nobody knows before it is decoded. sure: that it will be so long."""

    sample_rate_hz: int
    channels: int
    seconds: float | None
    sure: bool


def shape(ref: TrackRef, headers: Mapping[str, Header], data: DataConfig) -> Shape:
    """The shape of a track that ingest would take.

    Raises:
      ValueError: the track is bad; the message is the reason.
    """
    if ref.reason:
        raise BadTrackError(ref.reason)
    found = loading.in_files(ref)
    streams = {loading.key(source): _facts(source, headers) for sources in found.values() for source in sources}
    rate_hz, channels = loading.shape(found, streams)
    grouping(sorted(ref.stems), data.targets)
    audio.to_channels(np.zeros((0, channels), np.float32), data.channels)  # says what it cannot
    lengths = {key: facts.samples for key, facts in streams.items() if facts.samples is not None}
    sure = all(facts.sure for facts in streams.values())
    _check_short_enough(streams, data.most_seconds)
    if ref.lengths == "equal":
        _check_even(found, {key: lengths[key] for key, facts in streams.items() if facts.sure and key in lengths})
    if not lengths:
        return Shape(rate_hz, channels, None, sure=False)
    samples = (min if ref.lengths == "shortest" else max)(lengths.values())
    if sure:
        loading.check_length(samples, rate_hz)
    return Shape(rate_hz, channels, samples / rate_hz, sure)


def _facts(source: Source, headers: Mapping[str, Header]) -> Facts:
    header = headers[source.file]
    if header.reason:
        raise BadTrackError(header.reason)
    if source.stream >= len(header.streams):
        name = source.file.rpartition("/")[2]
        raise BadTrackError(f"{name} has no audio stream {source.stream} (counted from 0)")
    return header.streams[source.stream]


def _check_even(found: Mapping[str, Sequence[Source]], sure: Mapping[loading.Key, int]) -> None:
    """Raises BadTrackError where files of the track differ in length, of those whose length is sure."""
    known = {name: [each for each in sources if loading.key(each) in sure] for name, sources in found.items()}
    if len(set(sure.values())) > 1:
        raise loading.uneven(sure, {name: sources for name, sources in known.items() if sources})


def _check_short_enough(streams: Mapping[loading.Key, Facts], most_seconds: float) -> None:
    for (file, _), facts in streams.items():
        if facts.sure and facts.samples is not None and facts.samples > most_seconds * facts.sample_rate_hz:
            name = file.rpartition("/")[2]
            raise BadTrackError(f"{name} lasts more than {most_seconds:g} s, which is the limit")
