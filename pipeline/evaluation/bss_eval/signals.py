"""What is judged on one track: references and sets of estimates, checked, never copied whole, and their projections."""

from collections.abc import Iterator, Sequence
from functools import cached_property

import numpy as np

from pipeline.evaluation.bss_eval.projection import Space

FILTER_LENGTH = 512

Audio = np.ndarray | Sequence[np.ndarray]
"""[targets, samples(, channels)], or [samples(, channels)] for each target."""

_FIRST_PIECE, _LARGEST_PIECE = 2**10, 2**18


class Material:
    """References and sets of estimates of one track with what all versions share: correlations and factorisations.

    Only references that sound and estimates that are finite and sound are projected. An array that stands for several
    estimates (the mixture, say) is projected once.
    """

    def __init__(self, references: Audio, sets: Sequence[Audio] | np.ndarray, window_samples: int | None) -> None:
        """window_samples: of the frames, which do not overlap; a shorter track is one frame, and a rest is dropped. None:
        the whole track is the only one.

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
        self.shape = len(self.sets), len(self.references)
        samples = len(self.references[0])
        self.window_samples = min(window_samples or samples, samples)
        starts = range(0, samples - self.window_samples + 1, self.window_samples)
        self.frames = [slice(start, start + self.window_samples) for start in starts]
        self.projected = [
            (number, target)
            for number, estimates in enumerate(self.sets)
            for target in self.sounding
            if is_finite(estimates[target]) and sounds(estimates[target])
        ]
        """(set, target) of the estimates that have a projection, in the order of `space.pairs`."""

    @property
    def places(self) -> tuple[list[int], list[int]]:
        """Indices of those that are `projected` in an array [sets, targets, ...]."""
        return [number for number, _ in self.projected], [target for _, target in self.projected]

    @cached_property
    def space(self) -> Space:
        """The references that sound and the estimates that are `projected`."""
        estimates: list[np.ndarray] = []
        pairs: list[tuple[int, int]] = []
        places: dict[tuple, int] = {}
        for number, target in self.projected:
            signal = self.sets[number][target]
            memory = signal.__array_interface__["data"][0]
            key = memory, signal.strides, signal.shape, signal.dtype.str  # equal for two views of the same samples
            if key not in places:
                places[key] = len(estimates)
                estimates.append(signal)
            pairs.append((places[key], self.sounding.index(target)))
        references = [self.references[target] for target in self.sounding]
        return Space(references, estimates, pairs, FILTER_LENGTH, self.frames)


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
