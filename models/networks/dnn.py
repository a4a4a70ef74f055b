"""Deep network with a joint masking layer and no recurrence: the DNN of Huang et al. 2014, "Singing-voice separation".

Every frame is masked from itself and its neighbours alone.
"""

from __future__ import annotations

from typing import ClassVar

from models.networks.drnn import DeepRecurrentNetwork


class DeepNetwork(DeepRecurrentNetwork):
    """4,569,026 parameters at 513 bins, 1 channel, 2 targets and the published sizes.

    units: width of a hidden layer. layers: how many. context: neighbouring frames concatenated as input, odd.
    """

    SMALL: ClassVar = {"units": 24, "layers": 2, "context": 3}

    def __init__(
        self, bins: int, channels: int, targets: int, units: int = 1000, layers: int = 3, context: int = 3
    ) -> None:
        super().__init__(bins, channels, targets, units, layers, recurrent=(), context=context)
