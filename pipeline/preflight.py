"""What can be known to be wrong before anything is written."""

from __future__ import annotations

import dataclasses

from models import losses
from models.separator import Separator
from pipeline import batches, ingest
from pipeline.config import Config

# The smallest STFT: the network's sizes are checked without the memory of its real number of bins.
SMALL_FRAME_LENGTH, SMALL_HOP = 4, 1


def check(config: Config) -> None:
    """Raises ValueError or OSError for data, network, loss or augmentations that a later component would refuse.

    A data path with {SPAN} or {VERSION} is left to ingest, which resolves it.
    """
    if "{" not in (config.data.path or ""):
        ingest.discover(ingest.plain(config.data))
    losses.build(config.train.loss, **config.train.loss_options)
    batches.augmentation_options(config.train)
    Separator(dataclasses.replace(config.model, frame_length=SMALL_FRAME_LENGTH, hop=SMALL_HOP))
