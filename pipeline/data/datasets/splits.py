"""Splits of corpora that were published without: drawn by a hash, groups as a whole, none of them empty by chance."""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from models.checked import nearest
from pipeline.data.datasets.track import SPLITS, TrackRef

OPTIONS: dict[str, Any] = {
    "dev_fraction": 0.1,
    "test_fraction": 0.1,
    "group_by": ("artist", "singer", "album", "song"),
    "fill_splits": True,
    "hold_out": (),
}
"""Those of a reader that draws splits. Of spans, each of which may have none of a split, none is filled. hold_out: splits
that are drawn out of the training split where there is no folder of them."""
FOLDERS = {"train": "train", "valid": "dev", "validation": "dev", "dev": "dev", "test": "test"}
"""Names of folders -> the split that lies there: those of Open-Unmix, of Slakh2100 and ours."""


@dataclass(frozen=True)
class _Group:
    """Tracks that stay together, by their indices, and the place in [0, 1) that a hash gives them."""

    label: str
    position: float
    indices: tuple[int, ...]


def by_hash(name: str, dev_fraction: float, test_fraction: float) -> str:
    """The split of a name by its hash: the same on every machine, whatever else is in the corpus."""
    position = _position(name)
    if position < test_fraction:
        return "test"
    return "dev" if position < test_fraction + dev_fraction else "train"


def drawn(refs: Sequence[TrackRef], options: Mapping[str, Any], splits: Sequence[str] = SPLITS) -> list[TrackRef]:
    """The refs in splits by a hash of what they have in common, or of their names.

    Tracks that share a value of one of `options["group_by"]` in their metadata are in one split. Where a split with a
    share would have no group, though there are as many groups as splits, that one moves there whose hash is nearest
    (`options["fill_splits"]`).

    splits: which of them are drawn; the others get nothing.
    """
    usable = [index for index, ref in enumerate(refs) if not ref.reason]
    groups = _groups(refs, usable, options["group_by"])
    bounds = _bounds(options, splits)
    places = [_place(group.position, bounds) for group in groups]
    if options["fill_splits"]:
        _fill(places, groups, bounds)
    found = dict(zip((index for group in groups for index in group.indices), _repeated(places, groups), strict=True))
    return [replace(ref, split=found.get(i) or _place(_position(ref.name), bounds)) for i, ref in enumerate(refs)]


def held_out(refs: Sequence[TrackRef], options: Mapping[str, Any], splits: Sequence[str]) -> list[TrackRef]:
    """The refs, with `splits` drawn out of those of the training split."""
    train = [ref for ref in refs if ref.split == "train"]
    return [ref for ref in refs if ref.split != "train"] + drawn(train, options, ("train", *splits))


def completed(refs: Sequence[TrackRef], options: Mapping[str, Any]) -> list[TrackRef]:
    """The refs, with those splits of `options["hold_out"]` drawn out of the training split that have no track.

    Raises:
      ValueError: one of them cannot be drawn.
    """
    if wrong := [split for split in options["hold_out"] if split not in ("dev", "test")]:
        raise ValueError(f"data.options.hold_out has {wrong[0]!r}; legal: dev, test")
    absent = [split for split in options["hold_out"] if split not in {ref.split for ref in refs if not ref.skipped}]
    return held_out(refs, options, absent) if absent else list(refs)


def chosen_on(refs: Sequence[TrackRef], held_out: Mapping[str, str]) -> list[TrackRef]:
    """The refs, with the training and dev tracks of `held_out`, such as {"singer": "amy"}, for the test split in place of its own.

    Raises:
      ValueError: no training track is of it.
    """
    found = list(refs)
    for key, value in held_out.items():
        told = {ref.metadata[key] for ref in refs if ref.split == "train" and key in ref.metadata}
        if value not in told:
            raise ValueError(f"data.choose_on.{key} is {value!r}; of training tracks, {nearest(value, sorted(told))}")
        reason = f"it is a test track, and choices are made on {key} {value} (data.choose_on)"
        found = [
            replace(ref, skipped=True, reason=reason)
            if ref.split == "test"
            else replace(ref, split="test" if ref.metadata.get(key) == value else ref.split)
            for ref in found
        ]
    return found


def told_apart(refs: Sequence[TrackRef], named: str = r"(track)?[\W_]*\d+") -> list[TrackRef]:
    """The refs; names that are mere numbers (or match `named`) have their split beside them where two splits have them."""
    splits: dict[str, set[str]] = defaultdict(set)
    for ref in refs:
        splits[ref.name].add(ref.split)
    return [
        replace(ref, name=f"{ref.name} ({ref.split})")
        if len(splits[ref.name]) > 1 and re.fullmatch(named, ref.name, re.IGNORECASE | re.DOTALL)
        else ref
        for ref in refs
    ]


def artist(name: str) -> dict[str, str]:
    """{"artist": …} of a name such as `Artist - Title` or `012 - Artist - Title`; empty for any other."""
    parts = re.sub(r"^\d+\s+-\s+(?=.*\s-\s)", "", name).split(" - ")
    return {"artist": parts[0].strip()} if len(parts) > 1 and not parts[0].strip().isdecimal() else {}


def _position(name: str) -> float:
    return int.from_bytes(hashlib.sha256(name.encode(errors="surrogatepass")).digest()[:8], "big") / 2**64


def _bounds(options: Mapping[str, Any], splits: Sequence[str]) -> dict[str, tuple[float, float]]:
    """Split -> its part of [0, 1)."""
    test = float(options["test_fraction"]) if "test" in splits else 0.0
    dev = float(options["dev_fraction"]) if "dev" in splits else 0.0
    return {"test": (0.0, test), "dev": (test, min(1.0, test + dev)), "train": (min(1.0, test + dev), 1.0)}


def _place(position: float, bounds: Mapping[str, tuple[float, float]]) -> str:
    return next(split for split, (start, end) in bounds.items() if start <= position < end)


def _fill(places: list[str], groups: Sequence[_Group], bounds: Mapping[str, tuple[float, float]]) -> None:
    """Moves groups into splits that have a share and no group, while there are enough of them."""
    wanted = [split for split, (start, end) in bounds.items() if end > start]
    for split in wanted if len(groups) >= len(wanted) else ():
        if split in places:
            continue
        start, end = bounds[split]
        _, _, nearest = min(
            (max(start - group.position, group.position - end), group.label, index)
            for index, group in enumerate(groups)
            if places.count(places[index]) > 1
        )
        places[nearest] = split


def _repeated(places: Sequence[str], groups: Sequence[_Group]) -> list[str]:
    return [place for place, group in zip(places, groups, strict=True) for _ in group.indices]


def _groups(refs: Sequence[TrackRef], usable: Sequence[int], keys: Sequence[str]) -> list[_Group]:
    """The usable tracks, joined where they share a value of a key, directly or by way of others."""
    owners: dict[tuple[str, str], int] = {}
    parents = {index: index for index in usable}

    def root(index: int) -> int:
        while parents[index] != index:
            parents[index] = index = parents[parents[index]]
        return index

    for index in usable:
        for shared in _shared(refs[index], keys):
            parents[root(index)] = root(owners.setdefault(shared, index))
    members: dict[int, list[int]] = defaultdict(list)
    for index in usable:
        members[root(index)].append(index)
    return [_group([refs[index] for index in indices], tuple(indices), keys) for indices in members.values()]


def _group(refs: Sequence[TrackRef], indices: tuple[int, ...], keys: Sequence[str]) -> _Group:
    label = min((value for ref in refs for _, value in _shared(ref, keys)), default=refs[0].name)
    return _Group(label, _position(label), indices)


def _shared(ref: TrackRef, keys: Sequence[str]) -> list[tuple[str, str]]:
    return [(key, ref.metadata[key].strip().casefold()) for key in keys if ref.metadata.get(key, "").strip()]
