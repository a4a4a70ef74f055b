"""Network: what an architecture in models.networks is, whatever its layers are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import tf_keras as keras


class Network(keras.Model):
    """Features float32 [batch, frames, bins, channels] -> {"masks": float32 [batch, frames, bins, channels, targets]}.

    Any number of frames will do. What a network answers besides `masks`, only a loss looks at. A subclass is made from
    bins, channels, targets and its sizes, which have defaults; it raises ValueError for an illegal one.

    SMALL: sizes that tests can afford. MASKS_SUM_TO_ONE: whether its masks add up to 1 in every bin.
    FILTERS_ITS_INPUT: whether it multiplies the features, so that they must be plain magnitudes up to a level.
    FEATURE_MAPS: how many a loss can look at; above 0 the network has `feature_maps(features)`.
    period_frames: delayed by so many frames, features get the masks that they had. More than 1 where frames are grouped.
    """

    SMALL: ClassVar[Mapping[str, Any]]
    MASKS_SUM_TO_ONE: ClassVar[bool]
    FILTERS_ITS_INPUT: ClassVar[bool] = False
    FEATURE_MAPS: ClassVar[int] = 0

    def __init__(self, name: str, bins: int, channels: int, targets: int) -> None:
        # float32 at the border; the layers follow the global policy, so that bfloat16 stays inside.
        super().__init__(name=name, dtype="float32")
        self.mask_shape = (bins, channels, targets)
        self.period_frames = 1


def check_at_least(least: int, **sizes: int | None) -> None:
    """Raises ValueError for a size below `least`. None, the absence of a limit, is legal."""
    for name, value in sizes.items():
        if value is not None and value < least:
            raise ValueError(f"{name} is {value}; legal: at least {least}.")
