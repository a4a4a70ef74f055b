"""MUSDB18 in its native layout: `train/*.stem.mp4` and `test/*.stem.mp4`, read by the musdb package.

Rafii, Liutkus, Stöter, Mimilakis and Bittner, "The MUSDB18 corpus for music separation", 2017. The development split
is the package's validation list. Its mixtures were encoded apart from the stems, so they are not exactly their sum.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from models import storage
from pipeline.data.datasets import files
from pipeline.data.datasets.track import BadTrackError, Track, TrackRef, unique

OPTIONS: dict[str, Any] = {}
_SUFFIX = ".stem.mp4"


def discover(path: str, options: Mapping[str, Any]) -> list[TrackRef]:
    """All tracks; those of `train` that musdb lists for validation are the development split.

    Raises:
      ValueError: the folder is missing or of another layout.
    """
    del options
    subsets = {subset: files.matching(storage.path(path) / subset, "*" + _SUFFIX) for subset in ("train", "test")}
    refs = [_ref(file, subset) for subset, found in subsets.items() for file in found]
    if not refs:
        raise ValueError(f"{path} is not MUSDB18: expected {path}/train/*{_SUFFIX} and {path}/test/*{_SUFFIX}.")
    return unique(refs, path)


def load(ref: TrackRef, options: Mapping[str, Any]) -> Track:
    """Mixture and the four stems drums, bass, other and vocals, in stereo.

    Raises:
      ValueError: ffmpeg cannot read the file, or it has not five streams.
    """
    del options
    streams, sample_rate_hz = _read(Path(ref.files[0]))
    names = sorted(_setup()["stem_ids"], key=_setup()["stem_ids"].get)
    if streams.ndim != 3 or len(streams) != len(names):
        raise BadTrackError(f"it has {len(streams) if streams.ndim == 3 else 1} streams, expected {len(names)}")
    signals = dict(zip(names, streams.astype(np.float32), strict=True))
    return Track(ref.name, ref.split, sample_rate_hz, signals.pop("mixture"), signals, ref.metadata)


def is_published(name: str, split: str) -> bool:
    """Every track is where MUSDB18 and the musdb package have it."""
    del name, split
    return True


def _ref(file: Any, subset: str) -> TrackRef:
    name = file.name.removesuffix(_SUFFIX)
    split = "dev" if subset == "train" and name in _setup()["validation_tracks"] else subset
    return TrackRef(name, split, (str(file),), {"artist": name.split(" - ")[0]})


def _read(file: Path) -> tuple[np.ndarray, int]:
    """All streams [streams, samples, channels] and their rate; whatever ffmpeg says about a bad file is its reason."""
    import musdb

    try:
        track = musdb.MultiTrack(path=str(file), name=file.name.removesuffix(_SUFFIX), stem_id=0, is_wav=False)
        return np.asarray(track.stems), int(track.rate or 0)
    except Exception as error:  # stempeg and ffmpeg-python raise what they like
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise BadTrackError(f"{file.name} is no readable stem file ({reason})") from error


@cache
def _setup() -> dict[str, Any]:
    """musdb's own description of the corpus: stream numbers and validation tracks."""
    import musdb
    import yaml

    return yaml.safe_load((Path(musdb.__path__[0]) / "configs" / "mus.yaml").read_text())
