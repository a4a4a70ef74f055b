"""Which tracks a corpus has, and whether they are enough: what is known before anything is read. Imports no TensorFlow."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from models import storage
from pipeline.data import datasets, spans
from pipeline.data.datasets import sources, splits
from pipeline.data.datasets.recognition import WrongLayoutError
from pipeline.data.datasets.track import SPLITS, Track, TrackRef, printable

if TYPE_CHECKING:
    from pipeline.config.config import DataConfig

REPORT = "ingest_report.json"
"""Lists what was ingested and what was not, in the root of an Examples artifact."""
_REASONS_IN_MESSAGE = 3
_ALLOW_EMPTY = "allow_empty_splits"  # an option of every format


class BadTracksError(ValueError):
    """More tracks are bad than `data.max_bad_tracks` allows, or a split is left without any."""


def resolved(data: DataConfig) -> tuple[DataConfig, str]:
    """The section with the format that the newest span has, where that is `auto`, and by what it was recognised.

    Raises:
      ValueError: no layout is recognised, or several are.
    """
    if data.format != datasets.AUTO:
        return data, ""
    format, reason = datasets.recognise(str(spans.of(data)[-1].path))
    return replace(data, format=format), printable(reason)


def published(artifact_uri: str) -> Callable[[str, str], bool]:
    """Whether a track (name, split) of an Examples artifact is where its corpus was published with it, by the format that it had.

    Raises:
      OSError: the report cannot be read.
    """
    report = json.loads(storage.read(f"{artifact_uri}/{REPORT}"))
    return functools.partial(datasets.is_published, report["data"]["format"])


def listed(data: DataConfig, found: Sequence[spans.Span] = ()) -> list[TrackRef]:
    """As `discover`, whatever splits are without tracks."""
    data, _ = resolved(data)
    return with_targets(data, as_they_lie(data, found))


def as_they_lie(data: DataConfig, found: Sequence[spans.Span] = ()) -> list[TrackRef]:
    """As `listed`, with the stems that the corpus has; `data` is resolved."""
    refs = [ref for span in found or spans.of(data) for ref in _tracks_of(span, data)]
    _refuse_repeats(refs)
    refs = splits.chosen_on(refs, data.choose_on)
    return sorted(refs, key=lambda ref: (SPLITS.index(ref.split), ref.name))


def with_targets(data: DataConfig, refs: Sequence[TrackRef]) -> list[TrackRef]:
    """The tracks with the stems that `data.sources` asks for. Raises ValueError where no track has any of a target's sources."""
    sources.check(refs, data.sources)
    wanted = takes(data)
    return [sources.ref(ref, wanted, data.missing_stem) for ref in refs]


def rendered(ref: TrackRef, data: DataConfig) -> Track | None:
    """The track as its reader renders it, with the stems that `data.sources` asks for; None where it lies in files."""
    load = getattr(datasets.reader(data.format), "load", None) if data.format != datasets.AUTO else None
    return sources.track(load(ref, options(data)), takes(data)) if load else None


def takes(data: DataConfig) -> dict[str, tuple[str, ...]]:
    """Target -> the names and patterns of the sources that it takes."""
    layout = getattr(datasets.reader(data.format), "SOURCES", {})
    return sources.takes(data.targets, data.sources, layout)


def discover(data: DataConfig, found: Sequence[spans.Span] = ()) -> list[TrackRef]:
    """The tracks of a corpus, sorted by split and name; reads no audio.

    found: the spans to take; those that `data` asks for, if none are given.

    Raises:
      ValueError: unknown format or option, a folder that is missing or of another layout, a span that is missing, not
        complete or without any track, a name that two spans have, or a split without tracks in all of the spans that
        `data.options.allow_empty_splits` does not name.
    """
    data, _ = resolved(data)
    refs = with_targets(data, as_they_lie(data, found))
    refuse_empty_splits(data, refs)
    return refs


def usable(data: DataConfig) -> list[TrackRef]:
    """As `discover`. Raises BadTracksError, too, for more bad tracks than are allowed, as far as they show before any is read."""
    refs = discover(data)
    wanted = [{"track": ref.name, "split": ref.split, "reason": ref.reason} for ref in refs if not ref.skipped]
    known = {
        "bad_tracks": [entry for entry in wanted if entry["reason"]],
        "tracks": [entry for entry in wanted if not entry["reason"]],
    }
    refuse_bad_tracks(data, known, f"what `stemline data check {data.path}` prints")
    return refs


def refuse_empty_splits(data: DataConfig, refs: Sequence[TrackRef]) -> None:
    """Raises BadTracksError if a split has no track, and may not be empty."""
    _require_all_splits(data, {ref.split for ref in refs if not ref.skipped}, "has no track", _why_few(data, refs))


def refuse_bad_tracks(data: DataConfig, result: Mapping[str, Any], where: str) -> None:
    """Raises BadTracksError, in one sentence, if a report shows more bad tracks than are allowed, or an empty split.

    where: the path of the report's file, for the message.
    """
    bad = result["bad_tracks"]
    if len(bad) > data.max_bad_tracks:
        first = "; ".join(f"{entry['track']}: {entry['reason']}" for entry in bad[:_REASONS_IN_MESSAGE])
        more = f"; and {len(bad) - _REASONS_IN_MESSAGE} more" if len(bad) > _REASONS_IN_MESSAGE else ""
        raise BadTracksError(
            f"{len(bad)} of {len(bad) + len(result['tracks'])} tracks cannot be used, but data.max_bad_tracks allows "
            f"{data.max_bad_tracks} ({first}{more}); all are listed in {where}."
        )
    _require_all_splits(data, {entry["split"] for entry in result["tracks"]}, "has no usable track")


def _looks_like(path: str | None, format: str) -> str:
    """What else a directory may be, for the end of a message."""
    found = [name for name in datasets.recognised(path) if name != format] if path else []
    return f" It looks like {found[0]}: --format {found[0]}" if len(found) == 1 else ""


def options(data: DataConfig, defaults: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The options of the reader; those that are fields of DataConfig (rate, channels, fractions) default to these."""
    own = (_ALLOW_EMPTY, spans.SUCCESS_MARKER)
    given = {name: value for name, value in data.options.items() if name not in own}
    return datasets.resolve_options(data.format, given, {**vars(data), **(defaults or {})})


def _tracks_of(span: spans.Span, data: DataConfig) -> list[TrackRef]:
    """The tracks of a span, which their metadata names."""
    reader, of_span = datasets.reader(data.format), {"fill_splits": span.number is None}
    if span.path is None and not hasattr(reader, "load"):
        raise ValueError(f"data.format is {data.format}, a layout of files: --data says where they are")
    try:
        refs = reader.discover(span.path, options(data, of_span))
    except WrongLayoutError as error:
        raise WrongLayoutError(f"{error}{_looks_like(span.path, data.format)}") from error
    if span.number is None:
        return refs
    if not refs:
        raise BadTracksError(f"Span {span.number} in {span.path} holds no track.")
    return [replace(ref, metadata={**ref.metadata, spans.KEY: str(span.number)}) for ref in refs]


def _refuse_repeats(refs: Sequence[TrackRef]) -> None:
    """Two spans with a name in common: one's training track could be the other's test track, or count twice."""
    seen: dict[str, TrackRef] = {}
    for ref in refs:
        other = seen.setdefault(ref.name, ref)
        if other is not ref:
            raise ValueError(
                f"Track {ref.name!r} is in span {other.metadata[spans.KEY]} ({other.split}) and in span {ref.metadata[spans.KEY]} "
                f"({ref.split}): a track needs a name that no other in the last data.spans spans has; a span that is "
                "delivered again is a new {VERSION} of it."
            )


def _require_all_splits(data: DataConfig, present: set[str], what: str, why: str = "") -> None:
    allowed = data.options.get(_ALLOW_EMPTY, ())
    empty = [split for split in SPLITS if split not in present and split not in allowed]
    if not empty:
        return
    format = resolved(data)[0].format
    held = ""
    if empty[0] != "train" and "hold_out" in datasets.reader(format).OPTIONS:
        held = f", or draw it out of the folder train by data.options.hold_out=[{empty[0]}]"
    raise BadTracksError(
        f"The {empty[0]} split of {data.path or format} {what}{why}; put tracks in a folder {empty[0]!r}, or raise "
        f"data.dev_fraction and data.test_fraction{held}; if it is to be empty, add {empty[0]!r} to data.options.{_ALLOW_EMPTY}."
        f"{_looks_like(data.path, format) if not spans.is_pattern(data.path) else ''}"
    )


def _why_few(data: DataConfig, refs: Sequence[TrackRef]) -> str:
    """What leaves few tracks for splits: bad ones, and groups that stay together."""
    bad = [ref for ref in refs if ref.reason and not ref.skipped]
    told = f" ({len(bad)} tracks are bad, the first: {bad[0].name}: {bad[0].reason})" if bad else ""
    keys = [key for key in data.group_by if any(key in ref.metadata for ref in refs)]
    together = f" (tracks of one {' or '.join(keys)} are in one split, see data.group_by)" if keys else ""
    return told or together
