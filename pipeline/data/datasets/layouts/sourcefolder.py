"""Folders of sources without common tracks: `[train|valid|test/]<source>/*.wav`, to be mixed at random.

Open-Unmix's `sourcefolder` (`SourceFolderDataset` of open-unmix-pytorch fb672c9, `openunmix/data.py`), and without folders of
splits type 2 of Music-Source-Separation-Training ccc011a (`docs/dataset_types.md`), whose files are then drawn into splits.
Tracks are made of files in their order: the n-th of every source. They are no songs, and trained on with
`train.augment: [remix]`, which mixes them anew all the time; a recipe without is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from models import storage
from models.checked import nearest
from pipeline.data.datasets import files, pairing, splits
from pipeline.data.datasets.recognition import SOURCE_NAMES, Glance, WrongLayoutError
from pipeline.data.datasets.track import TrackRef, unique

OPTIONS: dict[str, Any] = {**pairing.OPTIONS, "target_dir": "vocals", "interferer_dirs": (), "ext": ""}


def recognise(glance: Glance) -> str | None:
    """Two folders or more of audio, all named as sources, in train/ or at the top."""
    for root in ("train", ""):
        found = [folder for folder in glance.folders(root) if glance.audio(folder)]
        if len(found) > 1 and all(folder.rpartition("/")[2].lower() in SOURCE_NAMES for folder in found):
            return f"{', '.join(f'{folder}/' for folder in found)} hold audio"
    return None


def discover(path: str, options: Mapping[str, Any]) -> list[TrackRef]:
    """Tracks with a file of every source.

    Raises:
      WrongLayoutError: the folder is missing or of another layout, or a source has no file for a split.
      ValueError: there is no folder of the target.
    """
    root = storage.path(path)
    folders = {root / name: split for name, split in splits.FOLDERS.items() if files.directories(root / name)}
    target = options["target_dir"]
    found = {folder: _listed(folder, options["ext"].lower()) for folder in folders or (root,)}
    names = sorted({name for pools in found.values() for name, pool in pools.items() if pool})
    if len(names) < 2:
        raise WrongLayoutError(
            f"{path} holds no folders of sources: expected {path}/vocals/*.wav, {path}/drums/*.wav, …."
        )
    wanted = [target, *options["interferer_dirs"]] if options["interferer_dirs"] else names
    if absent := [name for name in (target, *wanted) if name not in names]:
        words = f"{nearest(absent[0], names)} (data.options.target_dir, interferer_dirs)"
        raise ValueError(f"{path} has no folder {absent[0]!r} of audio; {words}")
    pools = {folder: {name: each.get(name, []) for name in wanted} for folder, each in found.items()}
    if not folders:
        return unique(pairing.drawn(pools[root], options, target), path)
    refs = [ref for folder, split in folders.items() for ref in pairing.paired(pools[folder], split, target)]
    return unique(splits.told_apart(refs, ".*"), path)


def _listed(root: Any, suffix: str) -> dict[str, list[str]]:
    """Folder -> its audio files."""
    found = {directory.name: files.audio(directory) for directory in files.directories(root)}
    return {name: [str(file) for file in each if file.name.lower().endswith(suffix)] for name, each in found.items()}
