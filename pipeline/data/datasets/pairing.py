"""Tracks out of pools of recordings, one pool a source, that have nothing to do with each other."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.data.datasets import splits
from pipeline.data.datasets.recognition import WrongLayoutError
from pipeline.data.datasets.track import Source, TrackRef

OPTIONS: dict[str, Any] = {
    name: value for name, value in splits.OPTIONS.items() if name not in ("group_by", "hold_out")
}
"""Those of a reader that draws recordings into splits."""
METADATA = {"mix": "random"}
"""Tells of a track that its sources belong to different recordings."""


def paired(pools: Mapping[str, Sequence[str]], split: str, target: str) -> list[TrackRef]:
    """As many tracks as the largest pool has files; the smaller pools begin again, so that every file is in a track.

    A track has the name of its file of `target`, which from the second round on is numbered, and ends with its shortest file.

    Raises:
      WrongLayoutError: a pool is empty.
    """
    if empty := [name for name, pool in pools.items() if not pool]:
        raise WrongLayoutError(f"No file of {empty[0]} is there for the {split} split, to be mixed with the others.")
    refs = []
    for index in range(max(map(len, pools.values()))):
        stems = {name: (Source(pool[index % len(pool)]),) for name, pool in pools.items()}
        name = os.path.basename(stems[target][0].file).rpartition(".")[0]
        if again := index // len(pools[target]):
            name = f"{name} ({again + 1})"
        refs.append(TrackRef(name, split, stems, metadata=METADATA, lengths="shortest"))
    return refs


def drawn(pools: Mapping[str, Sequence[str]], options: Mapping[str, Any], target: str) -> list[TrackRef]:
    """`paired`, after a hash has put every file in a split of its own: so that no recording is in two.

    Raises:
      WrongLayoutError: a pool has no file for a split that another has files for.
    """
    alone = {**options, "group_by": ()}
    placed: dict[str, list[tuple[str, str]]] = {}
    for name, pool in pools.items():  # by names, which are the same wherever the corpus lies
        refs = splits.drawn([TrackRef(f"{name}/{os.path.basename(file)}", "train") for file in pool], alone)
        placed[name] = [(file, ref.split) for file, ref in zip(pool, refs, strict=True)]
    found = []
    for split in dict.fromkeys(split for files in placed.values() for _, split in files):
        own = {name: [file for file, its in files if its == split] for name, files in placed.items()}
        found += paired(own, split, target)
    return found
