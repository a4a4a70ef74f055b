"""What is judged on one track: references and sets of estimates, checked, never copied whole, and their projections."""

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np

from pipeline.evaluation.bss_eval.frames import framing
from pipeline.evaluation.bss_eval.projection import Filters, Space

FILTER_LENGTH = 512

Audio = np.ndarray | Sequence[np.ndarray]
"""[targets, samples(, channels)], or [samples(, channels)] for each target."""

_FIRST_PIECE, _LARGEST_PIECE = 2**10, 2**18


class Judged(NamedTuple):
    """An estimate that has a projection: its set and target, its place among the estimates and its reference's."""

    set: int
    target: int
    estimate: int
    reference: int


class Material:
    """References and sets of estimates of one track with what all versions share: correlations and factorisations.

    Only references that sound and estimates that are finite and sound have projections. An array that stands for
    several estimates (the mixture, say) is projected once.
    """

    def __init__(
        self,
        references: Audio,
        sets: Sequence[Audio],
        window_samples: int | None = None,
        hop_samples: int | None = None,
        filter_length: int = FILTER_LENGTH,
    ) -> None:
        """window_samples, hop_samples: of the frames; without them the whole track is the only one.

        Raises:
            ValueError: the shapes do not fit each other, there are no samples, or a reference is not finite.
        """
        self.references = _signals(references, "references")
        self.sets = [_signals(estimates, "estimates") for estimates in sets]
        for estimates in self.sets:
            _check_fit(self.references, estimates)
        if not all(is_finite(reference) for reference in self.references):
            raise ValueError("the references hold NaN or infinite samples; legal: finite samples")
        self.sounding = [target for target, reference in enumerate(self.references) if sounds(reference)]
        self.samples = len(self.references[0])
        self.frames = framing(self.samples, window_samples or self.samples, hop_samples or self.samples)
        self.filter_length = filter_length
        self.estimates, self.judged = self._judged()

    @property
    def shape(self) -> tuple[int, int]:
        """(sets, targets)."""
        return len(self.sets), len(self.references)

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """(estimate, reference among those that sound) in the order of `judged` and of `filters.own`."""
        return [(each.estimate, each.reference) for each in self.judged]

    @cached_property
    def space(self) -> Space:
        """The references that sound and the estimates judged."""
        references = [self.references[target] for target in self.sounding]
        return Space(references, self.estimates, self.filter_length, self.frames)

    @cached_property
    def filters(self) -> Filters:
        """Distortion filters over the whole track."""
        return self.space.filters(self.pairs)

    def _judged(self) -> tuple[list[np.ndarray], list[Judged]]:
        estimates: list[np.ndarray] = []
        judged: list[Judged] = []
        places: dict[tuple, int] = {}
        for number, signals in enumerate(self.sets):
            for reference, target in enumerate(self.sounding):
                signal = signals[target]
                key = _identity(signal)
                if key not in places and is_finite(signal) and sounds(signal):
                    places[key] = len(estimates)
                    estimates.append(signal)
                if key in places:
                    judged.append(Judged(number, target, places[key], reference))
        return estimates, judged


def is_finite(signal: np.ndarray) -> bool:
    return all(np.isfinite(piece).all() for piece in _in_pieces(signal))


def sounds(signal: np.ndarray) -> bool:
    """Whether any sample is not zero."""
    return any(piece.any() for piece in _in_pieces(signal))


def adds_up_to_nothing(signal: np.ndarray) -> bool:
    """museval's idea of silence: the channels add up to nothing throughout."""
    return not any(piece.sum(axis=1).any() for piece in _in_pieces(signal))


def decibels(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """10 log10 of the ratio; +inf over nothing, NaN for nothing over nothing."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return 10 * np.log10(np.asarray(numerator, float) / denominator)


def _in_pieces(signal: np.ndarray) -> Iterator[np.ndarray]:
    """A short piece first: it mostly tells that a signal sounds."""
    start, length = 0, _FIRST_PIECE
    while start < len(signal):
        yield signal[start : start + length]
        start, length = start + length, _LARGEST_PIECE


def _signals(audio: Audio, what: str) -> list[np.ndarray]:
    """[samples, channels] for each target."""
    signals = [np.asarray(signal) for signal in audio]
    shapes = {signal.shape for signal in signals}
    if len(shapes) != 1 or signals[0].ndim not in (1, 2) or not signals[0].size:
        shape = (len(signals), *shapes.pop()) if len(shapes) == 1 else sorted(shapes) or (0,)
        raise ValueError(f"{what} have the shape {shape}; legal: [targets, samples(, channels)], none of them 0")
    return [signal.reshape(len(signal), -1) for signal in signals]


def _check_fit(references: list[np.ndarray], estimates: list[np.ndarray]) -> None:
    shape, got = ((len(signals), *signals[0].shape) for signals in (references, estimates))
    if got != shape:
        raise ValueError(f"estimates have the shape {got}; legal: that of the references, {shape}")


def _identity(signal: np.ndarray) -> tuple:
    """Equal for two views of the same samples."""
    return signal.__array_interface__["data"][0], signal.strides, signal.shape, signal.dtype.str
