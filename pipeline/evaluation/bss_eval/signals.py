"""What is judged on one track: references and sets of estimates, checked, never copied whole, and their projections."""

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np

from pipeline.evaluation.bss_eval.projection import Filters, Space

FILTER_LENGTH = 512

Audio = np.ndarray | Sequence[np.ndarray]
"""[targets, samples(, channels)], or [samples(, channels)] for each target."""

_FIRST_PIECE, _LARGEST_PIECE = 2**10, 2**18


class Projected(NamedTuple):
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

    def __init__(self, references: Audio, sets: Sequence[Audio], window_samples: int | None) -> None:
        """window_samples: of the frames, which do not overlap; a shorter track is one, a shorter rest is dropped. None: the
        whole track is the only frame.

        Raises:
            ValueError: the shapes do not fit each other, there are no samples, or a reference is not finite.
        """
        self.references = _signals(references, "references")
        self.sets = [_signals(estimates, "estimates") for estimates in sets]
        shape = len(self.references), *self.references[0].shape
        for estimates in self.sets:
            if (got := (len(estimates), *estimates[0].shape)) != shape:
                raise ValueError(f"estimates have the shape {got}; legal: that of the references, {shape}")
        if not all(is_finite(reference) for reference in self.references):
            raise ValueError("the references hold NaN or infinite samples; legal: finite samples")
        self.sounding = [target for target, reference in enumerate(self.references) if sounds(reference)]
        self.samples = len(self.references[0])
        window = min(window_samples or self.samples, self.samples)
        self.frames = [slice(start, start + window) for start in range(0, self.samples - window + 1, window)]
        self.estimates, self.projected = self._projected()

    @property
    def shape(self) -> tuple[int, int]:
        """(sets, targets)."""
        return len(self.sets), len(self.references)

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """(estimate, reference among those that sound) in the order of `projected` and of `filters.own`."""
        return [(each.estimate, each.reference) for each in self.projected]

    @cached_property
    def space(self) -> Space:
        """The references that sound and the estimates that have a projection."""
        references = [self.references[target] for target in self.sounding]
        return Space(references, self.estimates, FILTER_LENGTH, self.frames)

    @cached_property
    def filters(self) -> Filters:
        """Distortion filters over the whole track."""
        return self.space.filters(self.pairs)

    def _projected(self) -> tuple[list[np.ndarray], list[Projected]]:
        estimates: list[np.ndarray] = []
        projected: list[Projected] = []
        places: dict[tuple, int] = {}
        for number, signals in enumerate(self.sets):
            for reference, target in enumerate(self.sounding):
                signal = signals[target]
                memory = signal.__array_interface__["data"][0]
                key = memory, signal.strides, signal.shape, signal.dtype.str  # equal for views of the same samples
                if key not in places and is_finite(signal) and sounds(signal):
                    places[key] = len(estimates)
                    estimates.append(signal)
                if key in places:
                    projected.append(Projected(number, target, places[key], reference))
        return estimates, projected


def is_finite(signal: np.ndarray) -> bool:
    return all(np.isfinite(piece).all() for piece in _in_pieces(signal))


def sounds(signal: np.ndarray) -> bool:
    """Whether any sample is not zero."""
    return any(piece.any() for piece in _in_pieces(signal))


def adds_up_to_nothing(signal: np.ndarray) -> bool:
    """museval's idea of silence: the channels add up to nothing throughout."""
    return not any(piece.sum(axis=1).any() for piece in _in_pieces(signal))


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
