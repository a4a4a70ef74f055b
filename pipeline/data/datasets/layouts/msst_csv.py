"""Type 3 of Music-Source-Separation-Training: lists of recordings, `instrum,path`, that belong to no common track.

As `MSSDataset.get_metadata` of ccc011a (`utils/dataset.py`) reads them: `--data` is a CSV file, or a directory whose CSV files
are read together. Relative paths are relative to the list. Recordings are drawn into splits, and made tracks as by `sourcefolder`.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from models import storage
from models.checked import nearest
from pipeline.data.datasets import pairing, splits, tables
from pipeline.data.datasets.recognition import Glance, WrongLayoutError
from pipeline.data.datasets.track import TrackRef, unique

OPTIONS: dict[str, Any] = {**pairing.OPTIONS, "target": "vocals"}
_STEM, _PATH = "instrum", "path"


def recognise(glance: Glance) -> str | None:
    """A CSV file with the columns instrum and path."""
    names = [name for name in glance.names() if name.lower().endswith(tables.CSV)]
    found = tables.headed(glance, names, (_STEM, _PATH))
    return found and f"{found} has the columns {_STEM} and {_PATH}"


def discover(path: str, options: Mapping[str, Any]) -> list[TrackRef]:
    """Tracks with a recording of every source; a recording that is not there is a bad track of its own.

    Raises:
      WrongLayoutError: there is no such list, or a source has no recording for a split.
      ValueError: no recording is of the target.
    """
    pools: dict[str, list[str]] = defaultdict(list)
    absent: list[TrackRef] = []
    for file in tables.lists(storage.path(path), (tables.CSV,)):
        for number, row in tables.rows(file):
            if not isinstance(row, dict) or not {_STEM, _PATH} <= row.keys():
                reason = row if isinstance(row, str) else f"it has no {_PATH if _STEM in row else _STEM}"
                absent.append(TrackRef(f"line {number} of {file.name}", "train", reason=reason))
                continue
            place = tables.place(file, row[_PATH])
            if storage.is_remote(place) or os.path.exists(place):
                pools[row[_STEM]].append(place)
            else:
                absent.append(TrackRef(row[_PATH], "train", reason=f"{file.name} names it, but it is not there"))
    if not pools:
        raise WrongLayoutError(
            f"{path} is no list of Music-Source-Separation-Training: expected rows of {_STEM},{_PATH}."
        )
    if options["target"] not in pools:
        raise ValueError(
            f"{path} has no recording of {options['target']!r}; {nearest(options['target'], sorted(pools))}"
        )
    found = pairing.drawn(dict(sorted(pools.items())), options, options["target"])
    return unique([*splits.told_apart(found, ".*"), *absent], path)
