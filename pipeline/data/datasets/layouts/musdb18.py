"""MUSDB18 in its native layout: `train/*.stem.mp4` and `test/*.stem.mp4`, read by the musdb package.

Rafii, Liutkus, Stöter, Mimilakis and Bittner, "The MUSDB18 corpus for music separation", 2017. The development split
is the package's validation list. Its mixtures were encoded apart from the stems, so they are not exactly their sum.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from models import storage
from pipeline.data.datasets import files
from pipeline.data.datasets.recognition import Glance, WrongLayoutError
from pipeline.data.datasets.track import Source, TrackRef, unique

OPTIONS: dict[str, Any] = {}
_SUFFIX = ".stem.mp4"


def recognise(glance: Glance) -> str | None:
    """Files `*.stem.mp4` in train/ or test/."""
    found = [f"{subset}/{name}" for subset in ("train", "test") for name in glance.audio(subset)]
    return next((name for name in found if name.endswith(_SUFFIX)), None)


def discover(path: str, options: Mapping[str, Any]) -> list[TrackRef]:
    """All tracks; those of `train` that musdb lists for validation are the development split.

    Raises:
      ValueError: the folder is missing or of another layout.
    """
    del options
    subsets = {subset: files.matching(storage.path(path) / subset, "*" + _SUFFIX) for subset in ("train", "test")}
    refs = [_ref(file, subset) for subset, found in subsets.items() for file in found]
    if not refs:
        raise WrongLayoutError(f"{path} is not MUSDB18: expected {path}/train/*{_SUFFIX} and {path}/test/*{_SUFFIX}.")
    return unique(refs, path)


def is_published(name: str, split: str) -> bool:
    """Every track is where MUSDB18 and the musdb package have it."""
    del name, split
    return True


def ref(name: str, split: str, file: str) -> TrackRef:
    """A track of the corpus: mixture and the four stems drums, bass, other and vocals, in stereo."""
    streams = {stem: (Source(file, stream),) for stem, stream in _setup()["stem_ids"].items()}
    mixture = streams.pop("mixture")
    return TrackRef(name, split, streams, mixture, {"artist": name.split(" - ")[0]})


def _ref(file: Any, subset: str) -> TrackRef:
    name = file.name.removesuffix(_SUFFIX)
    return ref(name, "dev" if subset == "train" and name in validation_tracks() else subset, str(file))


def validation_tracks() -> list[str]:
    """Names of the tracks of `train` that the musdb package calls its validation split."""
    return _setup()["validation_tracks"]


@cache
def _setup() -> dict[str, Any]:
    """musdb's own description of the corpus: stream numbers and validation tracks."""
    import musdb
    import yaml

    return yaml.safe_load((Path(musdb.__path__[0]) / "configs" / "mus.yaml").read_text())
