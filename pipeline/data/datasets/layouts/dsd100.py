"""DSD100 (SiSEC 2016) and MSD100 (SiSEC 2015): mixtures and sources of a track in two trees.

    Mixtures/{Dev,Test}/051 - AM Contra - Heart Peripheral/mixture.wav
    Sources/{Dev,Test}/051 - AM Contra - Heart Peripheral/{bass,drums,other,vocals}.wav

Liutkus, Stöter, Rafii, Kitamura, Rivet, Ito, Ono and Fontecave, "The 2016 signal separation evaluation campaign", LVA/ICA
2017; names as in dsdtools (`dsdtools/configs/dsd100.yaml`). Dev is for training, Test for scores. Neither the corpus nor
dsdtools has a validation split (Doire drew 20 songs of 130 at random): it is drawn out of Dev, artists as a whole.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from models import storage
from pipeline.data.datasets import files, splits
from pipeline.data.datasets.recognition import Glance, WrongLayoutError
from pipeline.data.datasets.track import BadTrackError, Source, TrackRef, unique

OPTIONS: dict[str, Any] = splits.OPTIONS
_SUBSETS = {"Dev": "train", "Test": "test"}
_STEMS = ("bass", "drums", "other", "vocals")


def recognise(glance: Glance) -> str | None:
    """Dev or Test in both Mixtures/ and Sources/."""
    subset = next(
        (name for name in _SUBSETS if glance.names(f"Mixtures/{name}") and glance.names(f"Sources/{name}")), ""
    )
    return subset and f"Mixtures/{subset}/ and Sources/{subset}/ hold tracks"


def discover(path: str, options: Mapping[str, Any]) -> list[TrackRef]:
    """All tracks that have a mixture or sources.

    Raises:
      WrongLayoutError: the folder is missing or of another layout.
    """
    root = storage.path(path)
    found = []
    for subset, split in _SUBSETS.items():
        mixtures, sources = (files.directories(root / tree / subset) for tree in ("Mixtures", "Sources"))
        names = {directory.name for directory in (*mixtures, *sources)}
        found += files.refs(_ref, {root / "Sources" / subset / name: split for name in sorted(names)})
    if not any(ref.files for ref in found):
        raise WrongLayoutError(
            f"{path} is not DSD100: expected {path}/Mixtures/{{Dev,Test}}/…/mixture.wav and the stems in {path}/Sources."
        )
    return unique(splits.held_out(found, options, ("dev",)), path)


def is_published(name: str, split: str) -> bool:
    """Dev and Test are as published, which of Dev is held out is not."""
    del name
    return split != "dev"


def _ref(sources: Any, split: str) -> TrackRef:
    """The track whose sources lie in a directory."""
    mixture = sources.parents[2] / "Mixtures" / sources.parent.name / sources.name / "mixture.wav"
    places = [mixture, *(sources / f"{stem}.wav" for stem in _STEMS)]
    there = {file for directory in (mixture.parent, sources) for file in files.children(directory)}
    if missing := [str(place.relative_to(sources.parents[2])) for place in places if place not in there]:
        raise BadTrackError(f"it has no {', '.join(missing)}")
    stems = {stem: (Source(str(place)),) for stem, place in zip(_STEMS, places[1:], strict=True)}
    return TrackRef(sources.name, split, stems, (Source(str(mixture)),), splits.artist(sources.name))
