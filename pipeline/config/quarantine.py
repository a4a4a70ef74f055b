"""The section `data.quarantine` of a configuration: what is wrong with a track, and what of it makes a bad track."""

from __future__ import annotations

from typing import Literal

from models.checked import DecibelsUnder, Positive, Share, checked

Kind = Literal[
    "clipped", "silent", "level", "sum", "inverted", "delayed", "swapped",
    "gain", "apart", "offset", "dead_channel", "silent_stem", "copy", "mislabelled",
]  # fmt: skip


@checked("data.quarantine")
class QuarantineConfig:
    """What is looked for in every track (see docs/data.md).

    refuse: the kinds that make a bad track; what is found of any other kind is noted in the report.
    clipping_ratio: of the samples of a signal, how many may lie at its own ceiling.
    gain_db: how far a track may have to be turned down to lie below full scale.
    residual_db: what the stems leave of the mixture, over the mixture; above it they are no stems of this mixture.
    examined_db: above it, it is examined why: whether they would sum at another gain, later, or with channels swapped.
    offset: the mean of a signal, as a share of full scale.
    low_share: of the energy of the vocals, how much may lie below 80 Hz.
    """

    refuse: tuple[Kind, ...] = ("clipped", "silent", "level", "sum", "inverted", "delayed", "swapped")
    clipping_ratio: Share = 0.05
    gain_db: DecibelsUnder = -20.0
    residual_db: DecibelsUnder = -3.0
    examined_db: DecibelsUnder = -20.0
    offset: Positive = 0.02
    low_share: Share = 0.3

    def __post_init__(self) -> None:
        if self.examined_db > self.residual_db:
            raise ValueError(
                f"examined_db is {self.examined_db:g}: legal is up to data.quarantine.residual_db ({self.residual_db:g})"
            )
