"""References and estimates of one track read, and the estimates fitted to the references, each fit told."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pipeline.data.datasets import audio, loading
from pipeline.data.datasets.layouts import musdb18
from pipeline.data.datasets.track import ACCOMPANIMENT, BadTrackError, Track, mix
from pipeline.evaluation.separated_files.finding import Files, short
from pipeline.evaluation.separated_files.matching import METHOD_WORDS, Pair
from pipeline.evaluation.separated_files.names import MIXTURE
from pipeline.evaluation.separated_files.targets import VOCALS, available, source
from serving.client import decoding

TOLERATED_SECONDS = 0.1


class Format(NamedTuple):
    """What a file's header says."""

    sample_rate_hz: int
    channels: int
    samples: int


class Fit(NamedTuple):
    """An estimate that was not of its reference's format, and what was done about it.

    padded: by how many samples at the reference's rate it was too short (too long, and cut: below 0).
    """

    path: Path
    given: Format
    wanted: Format
    padded: int

    @property
    def file(self) -> str:
        return short(self.path)

    @property
    def words(self) -> list[str]:
        """All that was done."""
        how = "padded by" if self.padded > 0 else "cut by"
        return [*self.rules, *([f"{how} {abs(self.padded)} samples"] if self.padded else [])]

    @property
    def rules(self) -> list[str]:
        """In words, without the length."""
        rules = []
        if self.given.sample_rate_hz != self.wanted.sample_rate_hz:
            rules.append(f"resampled from {self.given.sample_rate_hz} to {self.wanted.sample_rate_hz} Hz")
        if self.given.channels < self.wanted.channels:
            rules.append(f"copied from mono to {self.wanted.channels} channels")
        if self.given.channels > self.wanted.channels:
            rules.append(f"averaged from {self.given.channels} channels to mono")
        return rules


@dataclass(frozen=True)
class Loaded:
    """A track, the estimates of every method as target -> [samples, channels], and which of them had to be fitted."""

    track: Track
    estimates: Mapping[str, Mapping[str, np.ndarray]]
    fits: tuple[Fit, ...]


def check_pair(files: Pair, targets: Sequence[str]) -> None:
    """Finds out from names and headers alone whether a pair can be judged.

    Raises:
        BadTrackError: the reason it cannot, in words that name the file.
    """
    references = files.references
    for each in (references, *files.estimates.values()):
        if each.problem:
            raise BadTrackError(each.problem)
    if missing := [target for target in targets if target not in available(references)]:
        raise BadTrackError(f"its reference has no {missing[0]} (it has {', '.join(sorted(references.names))})")
    judged = [path for method in files.estimates for path in chosen(files, method, targets).values()]
    estimates = _formats(judged)
    true = {} if references.native else _formats(references.stems.values())
    if true:
        first, wanted = next(iter(true.items()))
        for path, given in true.items():
            _check_reference(path, given, first, wanted)
        for path, given in estimates.items():
            _check_estimate(path, given, first, wanted)


def chosen(files: Pair, method: str, targets: Sequence[str]) -> dict[str, Path]:
    """Target -> the file of a method's estimates that is judged as it.

    Raises:
        BadTrackError: a target has none, or more than one.
    """
    estimates = files.estimates[method]
    return {target: estimates.stems[source(estimates, target, METHOD_WORDS[method])] for target in targets}


def load(files: Pair, targets: Sequence[str]) -> Loaded:
    """Reads a pair: references summed into `accompaniment` where that is a target, estimates fitted to their format.

    An estimate of another rate is resampled; a mono one is copied to the reference's channels, and several channels are
    averaged for a mono reference; then it is padded with zeros or cut to the reference's length, as by museval.

    Raises:
        BadTrackError: see `check_pair`; or a file cannot be read.
    """
    check_pair(files, targets)
    track = _references(files.references, targets)
    wanted = Format(track.sample_rate_hz, track.mixture.shape[1], len(track.mixture))
    estimates, fits = {}, []
    for method in files.estimates:
        estimates[method] = {}
        for target, path in chosen(files, method, targets).items():
            signal, sample_rate_hz = audio.read(path)
            given = Format(sample_rate_hz, signal.shape[1], len(signal))
            _check_estimate(path, given, files.references.where, wanted)
            signal = audio.to_channels(signal, wanted.channels)
            signal = audio.resample(signal, sample_rate_hz, wanted.sample_rate_hz)
            fit = Fit(path, given, wanted, padded=wanted.samples - len(signal))
            if fit.rules or fit.padded:
                fits.append(fit)
            estimates[method][target] = np.pad(signal[: wanted.samples], ((0, max(0, fit.padded)), (0, 0)))
    return Loaded(track, estimates, tuple(fits))


def _references(files: Files, targets: Sequence[str]) -> Track:
    if files.native:
        track = loading.load(musdb18.ref(files.name, "test", str(files.where)))
        sample_rate_hz, mixture, stems = track.sample_rate_hz, track.mixture, dict(track.stems)
    else:
        read = {name: audio.read(path) for name, path in files.stems.items()}
        first, (reference, sample_rate_hz) = next(iter(read.items()))
        wanted = Format(sample_rate_hz, reference.shape[1], len(reference))
        for name, (signal, rate_hz) in read.items():
            given = Format(rate_hz, signal.shape[1], len(signal))
            _check_reference(files.stems[name], given, files.stems[first], wanted)
        stems = {name: signal for name, (signal, _) in read.items()}
        mixture = stems.pop(MIXTURE, None)
    if mixture is None:
        mixture = _sum(stems)
    chosen = {}
    for target in targets:  # a stem, or for the accompaniment all stems but the vocals
        parts = [target] if target in stems else [name for name in stems if name != VOCALS]
        chosen[target] = mix([stems[name] for name in parts])
    for name, signal in {**chosen, MIXTURE: mixture}.items():
        if not np.isfinite(signal).all():
            raise BadTrackError(f"its reference {name} holds samples that are NaN or infinite")
    return Track(files.name, "test", sample_rate_hz, mixture, chosen)


def _sum(stems: Mapping[str, np.ndarray]) -> np.ndarray:
    parts = [name for name in stems if name not in (VOCALS, ACCOMPANIMENT)]
    if ACCOMPANIMENT in stems and parts:
        raise BadTrackError(f"its reference has an accompaniment and also {', '.join(parts)}: it needs a mixture.wav")
    return mix(list(stems.values()))


def _formats(paths: Iterable[Path]) -> dict[Path, Format]:
    """Of files that tell their length without being decoded; the others are only opened."""
    formats = {}
    for path in paths:
        try:
            with decoding.opened(path) as file:
                if file.samples_told is not None:
                    formats[path] = Format(file.sample_rate_hz, file.channels, file.samples_told)
        except decoding.BadFileError as error:
            raise BadTrackError(f"{path.parent.name}/{error}") from error
    return formats


def _check_reference(path: Path, given: Format, first: Path, wanted: Format) -> None:
    """References must agree with each other to the sample."""
    if not given.samples:
        raise BadTrackError(f"{short(path)} holds 0 samples")
    against = f"the reference {short(first)} has"
    if given.sample_rate_hz != wanted.sample_rate_hz:
        raise BadTrackError(f"{short(path)} has {given.sample_rate_hz} Hz, {against} {wanted.sample_rate_hz} Hz")
    if given.channels != wanted.channels:
        raise BadTrackError(f"{short(path)} has {given.channels} channel(s), {against} {wanted.channels}")
    if given.samples != wanted.samples:
        raise BadTrackError(f"{short(path)} has {given.samples} samples, {against} {wanted.samples}: legal is no other")


def _check_estimate(path: Path, given: Format, first: Path, wanted: Format) -> None:
    """Estimates may differ by what `load` fits: rate, mono or not, and a little of their length."""
    against = f"the reference {short(first)} has"
    if given.channels != wanted.channels and 1 not in (given.channels, wanted.channels):
        raise BadTrackError(
            f"{short(path)} has {given.channels} channels, {against} {wanted.channels}: legal is mono too"
        )
    samples = round(given.samples * wanted.sample_rate_hz / given.sample_rate_hz)
    tolerated_samples = round(TOLERATED_SECONDS * wanted.sample_rate_hz)
    if abs(samples - wanted.samples) > tolerated_samples:
        at = f" at {wanted.sample_rate_hz} Hz" if given.sample_rate_hz != wanted.sample_rate_hz else ""
        raise BadTrackError(
            f"{short(path)} has {samples} samples{at}, {against} {wanted.samples}: "
            f"legal is a difference of {tolerated_samples}"
        )
