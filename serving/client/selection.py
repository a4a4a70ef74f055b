"""Which stems are written of those that a model has, so that they add up to the mixture where that is asked for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from serving.client.signals import SeparationError, Stems

RESIDUAL = "residual"
# Gets what no stem holds: the first that a model has, else a stem of its own.
_HOMES = ("accompaniment", "other", RESIDUAL)


@dataclass(frozen=True)
class Selection:
    """The stems to write.

    Args:
      stems: their names; empty for all.
      two_stems: this one and `no_<name>`, the sum of all others, as Demucs names it.
      residual: what no stem holds, as all above half the model's sample rate, goes to the accompaniment, else to `other`, else
        to a stem `residual`.
    """

    stems: tuple[str, ...] = ()
    two_stems: str | None = None
    residual: bool = True

    def __post_init__(self) -> None:
        if "" in (*self.stems, self.two_stems):
            raise ValueError("the name of a stem is empty; legal are names, with a comma between two of them")
        if self.stems and self.two_stems is not None:
            raise ValueError("stems and two stems both say what to write; legal is one of them")

    @property
    def known(self) -> tuple[str, ...]:
        """The names, as far as they are known before the model is."""
        return self.stems or (() if self.two_stems is None else (self.two_stems, f"no_{self.two_stems}"))

    def names(self, targets: tuple[str, ...]) -> tuple[str, ...]:
        """The names with a model of these targets.

        Raises:
          SeparationError: it has no such stem.
        """
        there = self._targets(targets)
        asked = self.stems or (() if self.two_stems is None else (self.two_stems,))
        for name in asked:
            if name not in there:
                raise SeparationError(f"the model has no stem {name!r}; it has {', '.join(there)}")
        if self.two_stems is not None and len(there) == 1:
            raise SeparationError(f"the model has the stem {self.two_stems!r} alone: no others add up to a second one")
        return self.known or there

    def chosen(
        self, targets: tuple[str, ...], separated: Iterable[Stems], mixture: Iterable[np.ndarray]
    ) -> Iterator[Stems]:
        """The stems to write, block by block: name -> float32 [samples, channels].

        Args:
          separated: target -> [samples, channels]. mixture: as many samples, in blocks of its own.
        """
        names, home = self.names(targets), self._home(targets)
        whole = _Reader(mixture)
        for stems in separated:
            if self.residual and (self.two_stems is not None or home in names):
                block = whole.take(len(next(iter(stems.values()))))
                stems = {**stems, home: _sum([block], [stem for name, stem in stems.items() if name != home])}
            if self.two_stems is not None:
                others = _sum([stem for name, stem in stems.items() if name != self.two_stems])
                stems = {self.two_stems: stems[self.two_stems], f"no_{self.two_stems}": others}
            yield {name: stems[name] for name in names}

    def _targets(self, targets: tuple[str, ...]) -> tuple[str, ...]:
        home = self._home(targets)
        return targets if not self.residual or home in targets else (*targets, home)

    def _home(self, targets: tuple[str, ...]) -> str:
        return next((name for name in _HOMES if name in targets), RESIDUAL)


def _sum(plus: list[np.ndarray], minus: list[np.ndarray] | None = None) -> np.ndarray:
    """In float64, so that float32 stems add up to the float32 mixture but for the last bit."""
    total = np.zeros(plus[0].shape)
    for block in plus:
        total += block
    for block in minus or ():
        total -= block
    return total.astype(np.float32)


class _Reader:
    """Blocks of a signal in other lengths."""

    def __init__(self, blocks: Iterable[np.ndarray]) -> None:
        self._blocks = iter(blocks)
        self._held: np.ndarray | None = None

    def take(self, samples: int) -> np.ndarray:
        """The next samples [samples, channels]."""
        parts, missing = ([], samples) if self._held is None else ([self._held], samples - len(self._held))
        while missing > 0 or not parts:
            block = next(self._blocks, None)
            if block is None:
                raise SeparationError("the file has fewer samples than when it was first read: has it changed since?")
            parts.append(block)
            missing -= len(block)
        held = np.concatenate(parts)
        self._held = held[samples:].copy()
        return held[:samples]
