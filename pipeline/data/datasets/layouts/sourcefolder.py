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
    folders = [(root / name, split) for name, split in splits.FOLDERS.items() if files.directories(root / name)]
    target = options["target_dir"]
    if not folders:
        return unique(pairing.drawn(_pools(root, options), options, target), path)
    found = [ref for folder, split in folders for ref in pairing.paired(_pools(folder, options), split, target)]
    return unique(splits.told_apart(found, ".*"), path)


def _pools(root: Any, options: Mapping[str, Any]) -> dict[str, list[str]]:
    """Source -> its files."""
    target, suffix = options["target_dir"], options["ext"].lower()
    names = [directory.name for directory in files.directories(root)]
    wanted = [target, *options["interferer_dirs"]] if options["interferer_dirs"] else names
    if len(names) < 2:
        raise WrongLayoutError(
            f"{root} holds no folders of sources: expected {root}/vocals/*.wav, {root}/drums/*.wav, …."
        )
    for name in (target, *wanted):
        if name not in names:
            raise ValueError(
                f"{root} has no folder {name!r}; {nearest(name, names)} (data.options.target_dir, interferer_dirs)"
            )
    found = {name: [file for file in files.audio(root / name) if file.name.lower().endswith(suffix)] for name in wanted}
    return {name: [str(file) for file in each] for name, each in found.items()}
