"""The section `gate` of a configuration: what a model has to keep before it is blessed (see docs/gates.md)."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True)
class Threshold:
    """`score >= at_least_db`, where the score is absolute or its difference to the mixture's or the baseline's score.

    across: of what the score is: `all` tracks' aggregate, that of the `worst` track, or a key of the tracks' metadata
        such as `singer`: then every group's aggregate must hold. Over the baseline, `all` and groups are decided by a
        paired test over tracks (`PairedConfig`).
    """

    target: str
    metric: str
    at_least_db: float
    over: Literal["absolute", "mixture", "baseline"] = "absolute"
    across: str = "all"

    def __post_init__(self) -> None:
        """Raises ValueError for a floor that nothing can be compared with, or an empty name of groups."""
        if not math.isfinite(self.at_least_db):
            raise ValueError(f"at_least_db of a threshold is {self.at_least_db}: it must be finite")
        if not self.across:
            raise ValueError("across of a threshold is empty: legal are all, worst, or a key of the tracks' metadata")


@dataclass(frozen=True)
class PairedConfig:
    """How a model is compared with the last blessed one, track by track (see pipeline/evaluation/gate/paired.py).

    confidence: of the one-sided bound and of Wilcoxon's test. min_tracks: with fewer usable pairs nothing is decided.
    """

    confidence: float = 0.95
    min_tracks: int = 6
    resamples: int = 10_000

    def __post_init__(self) -> None:
        """Raises ValueError for settings that make no test."""
        if not 0.5 <= self.confidence < 1:
            raise ValueError(f"gate.paired.confidence is {self.confidence}: legal are 0.5 up to 1, 1 excluded")
        for name, least in (("min_tracks", 1), ("resamples", 100)):
            if getattr(self, name) < least:
                raise ValueError(f"gate.paired.{name} is {getattr(self, name)}: legal are {least} and more")


@dataclass(frozen=True)
class OutputLimits:
    """What a model's estimates must keep, whatever they score; null switches a check off (see pipeline/evaluation/gate/output_facts.py).

    silence_db: an estimate this far under its reference is silent. dropped_share: of the reference's energy where the
        estimate drops out. clipped_share: of samples at or beyond full scale or stuck at the estimate's own ceiling,
        above the share that mixture or reference have. offset: of the mean sample, full scale being 1.
    level_db, delay_samples: of the median track.
    misplaced_share: of tracks whose estimates are of the wrong target or of the wrong polarity.
    """

    silence_db: float | None = -60.0
    dropped_share: float | None = 0.1
    clipped_share: float | None = 0.001
    offset: float | None = 0.01
    level_db: float | None = 6.0
    delay_samples: int | None = 8
    misplaced_share: float | None = 0.5


@dataclass(frozen=True)
class Budgets:
    """What a model may cost; null is no limit. real_time_factor: seconds of computing for a second of audio."""

    real_time_factor: float | None = None
    megabytes: float | None = None
    parameters: int | None = None

    def __post_init__(self) -> None:
        """Raises ValueError for a budget that no model meets."""
        for name, value in vars(self).items():
            if value is not None and not value > 0:
                raise ValueError(f"gate.budgets.{name} is {value}: it must be above 0, or null for no limit")


@dataclass(frozen=True)
class DriftLimits:
    """How far the newest span of data may be from the one before it (see pipeline/data/drift.py).

    divergence: Jensen-Shannon, 0 to 1, above which a feature is flagged. min_values: of a feature in a span, below which
    nothing is said. refuse: whether a flagged feature refuses the model, or is only told.
    """

    divergence: float = 0.25
    min_values: int = 30
    refuse: bool = False

    def __post_init__(self) -> None:
        """Raises ValueError for limits that nothing or everything keeps."""
        if not 0 < self.divergence <= 1:
            raise ValueError(f"gate.drift.divergence is {self.divergence}: legal are 0 to 1, 0 excluded")
        if self.min_values < 1:
            raise ValueError(f"gate.drift.min_values is {self.min_values}: it must be 1 or more")


@dataclass(frozen=True)
class GateConfig:
    """A model is blessed only if every threshold and every other check holds (see docs/gates.md).

    better_than_mixture: every target's SDR must be above the mixture's, over all tracks and on `better_on_share` of them.
    """

    thresholds: tuple[Threshold, ...] = ()
    better_than_mixture: bool = True
    better_on_share: float = 0.75
    paired: PairedConfig = field(default_factory=PairedConfig)
    outputs: OutputLimits = field(default_factory=OutputLimits)
    budgets: Budgets = field(default_factory=Budgets)
    drift: DriftLimits = field(default_factory=DriftLimits)

    def __post_init__(self) -> None:
        """Raises ValueError for a share that is none."""
        if not 0 <= self.better_on_share <= 1:
            raise ValueError(f"gate.better_on_share is {self.better_on_share}: legal are 0 to 1")
