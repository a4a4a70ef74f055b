"""Which sources of a corpus make up which target of a recipe: by the recipe, by the corpus' own words, or by name.

A source is named in any case, or by a pattern such as `*guitar*`; whoever names it to the letter comes before a pattern.
Sources that no target takes are left as they are: the accompaniment takes them, if it is a target.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from models.checked import nearest
from pipeline.data.datasets.track import ACCOMPANIMENT, Track, TrackRef, mix

Takes = Mapping[str, Sequence[str]]


def takes(targets: Sequence[str], recipe: Takes, layout: Takes) -> dict[str, tuple[str, ...]]:
    """Target -> the names and patterns of its sources."""
    return {target: tuple(recipe.get(target) or layout.get(target) or (target,)) for target in targets}


def grouped(names: Iterable[str], wanted: Takes) -> dict[str, list[str]]:
    """Target -> those of `names` that it takes; a name that no target takes stands for itself."""
    found: dict[str, list[str]] = {}
    for name in names:
        found.setdefault(_taker(name, wanted) or name, []).append(name)
    return found


def ref(ref: TrackRef, wanted: Takes, missing: str = "bad") -> TrackRef:
    """The track with the stems of the targets, and with sources that no target takes.

    missing: a track without any source for a target is "bad" (which shows where it is read), left out ("skip"), or that
      stem is "silence".
    """
    if ref.reason:
        return ref
    stems = {name: sum((ref.stems[each] for each in names), ()) for name, names in grouped(ref.stems, wanted).items()}
    left = [name for name in stems if name not in wanted]
    absent = [name for name in wanted if name not in stems and not (name == ACCOMPANIMENT and left)]
    if absent and missing == "skip":
        return replace(ref, reason=_lacking(absent, ref.stems), skipped=True)
    return replace(ref, stems={**stems, **(dict.fromkeys(absent, ()) if missing == "silence" else {})})


def track(track: Track, wanted: Takes) -> Track:
    """A track that is rendered, with its stems as `ref` has them."""
    stems = {name: mix([track.stems[each] for each in names]) for name, names in grouped(track.stems, wanted).items()}
    return replace(track, stems=stems)


def check(refs: Sequence[TrackRef], recipe: Takes) -> None:
    """Raises ValueError if a target's sources are named by the recipe, and no track has any of them."""
    names = sorted({name for ref in refs for name in ref.stems})
    for target, wanted in recipe.items():
        if names and not any(_taker(name, {target: wanted}) for name in names):
            close = [nearest(each, names).partition("legal: ")[0] for each in wanted]
            raise ValueError(
                f"data.sources.{target} is {', '.join(wanted)}, of which no track has any; "
                f"{next(filter(None, close), '')}legal: {', '.join(names)}"
            )


def _taker(name: str, wanted: Takes) -> str | None:
    lower = name.casefold()
    for match in (str.__eq__, fnmatch.fnmatchcase):
        for target, sources in wanted.items():
            if any(match(lower, source.casefold()) for source in sources):
                return target
    return None


def _lacking(absent: Sequence[str], stems: Iterable[str]) -> str:
    return f"it has no stem for {', '.join(absent)} (stems: {', '.join(sorted(stems))})"
