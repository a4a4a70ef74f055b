"""Where stems go: names by a template, and everything about them that is refused before a sound is read."""

from __future__ import annotations

import os
import string
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

from serving.client.decoding.names import AUDIO
from serving.client.files.inputs import STANDARD, Input
from serving.client.signals import SeparationError
from serving.wire.words import shown

TEMPLATE = "{track}/{stem}.{ext}"
FIELDS = ("track", "trackext", "stem", "ext")
_LEGAL = "legal: " + ", ".join(f"{{{field}}}" for field in FIELDS)
UNKNOWN = ("<stem>",)  # instead of the stems, as long as the model is not known


@dataclass(frozen=True)
class Job:
    """A file, and where each of its stems goes."""

    input: Input
    outputs: Mapping[str, Path]


@dataclass(frozen=True)
class Naming:
    """Names of stems: `template` below `folder`, with the fields FIELDS; `ext` is what the format is called.

    Raises:
      SeparationError: the template has another field.
    """

    folder: Path
    ext: str = "wav"
    template: str = TEMPLATE

    def __post_init__(self) -> None:
        try:
            parts = list(string.Formatter().parse(self.template))
        except ValueError as error:
            raise SeparationError(f"template is {self.template!r} ({error}); {_LEGAL}") from error
        for _, field, spec, conversion in parts:
            if field is not None and (field not in FIELDS or spec or conversion):
                raise SeparationError(f"template is {self.template!r}, with {{{field}}}; {_LEGAL}")

    def path(self, input: Input, stem: str) -> Path:
        """Where a stem goes.

        Raises:
          SeparationError: that is not in the folder, lacks a name, or has that of another format.
        """
        name = self.template.format(track=input.track, trackext=input.suffix, stem=stem, ext=self.ext)
        pure, of = PurePath(name), f"a stem of {shown(input.path)}"
        if not pure.parts:
            raise SeparationError(f"template is {self.template!r}, which gives {of} no name; {_LEGAL}")
        if pure.is_absolute() or ".." in pure.parts:
            raise SeparationError(f"{of} would become {shown(name)}, outside of {shown(self.folder)}")
        if name.split("/").count(".") > self.template.split("/").count("."):  # `..wav`, whose track is a dot
            raise SeparationError(f"{of} would become {shown(name)}, without a name of its track")
        if pure.suffix.lower() in AUDIO - {f".{self.ext}"}:
            legal = f"legal at the end of a name: {{ext}} or .{self.ext}"
            raise SeparationError(f"{of} would become {shown(name)}, but is written as {self.ext}; {legal}")
        return self.folder / name


def plan(inputs: Sequence[Input], stems: Sequence[str], naming: Naming) -> list[Job]:
    """A job for every input.

    Args:
      stems: UNKNOWN, where they are not known yet.

    Raises:
      SeparationError: two stems would become one file, one the folder of another, one the file that an input is, or a
        name is none in the folder, or that of another format.
    """
    jobs = [Job(each, {stem: naming.path(each, stem) for stem in stems}) for each in inputs]
    _check_different(jobs)
    _check_no_input([path for job in jobs for path in job.outputs.values()], inputs)
    return jobs


def missing(jobs: Iterable[Job], overwrite: bool, skip_existing: bool) -> list[Job]:
    """The jobs, of which those outputs are left that are to be written; a job of which all are there has none left.

    Raises:
      SeparationError: an output is there, and nothing was said about it; or it is a folder.
    """
    jobs = list(jobs)
    there = [path for job in jobs for path in job.outputs.values() if os.path.lexists(path)]
    if folders := [path for path in there if path.is_dir()]:
        raise SeparationError(f"{shown(folders[0])} is a folder; a stem would become a file of that name")
    if there and not overwrite and not skip_existing:
        more = f", and {len(there) - 1} more" if len(there) > 1 else ""
        raise SeparationError(f"{shown(there[0])} is there{more}; legal with --overwrite or --skip-existing")
    if not skip_existing:
        return jobs
    known = set(there)
    return [Job(job.input, {stem: path for stem, path in job.outputs.items() if path not in known}) for job in jobs]


def _check_different(jobs: Iterable[Job]) -> None:
    owners: dict[str, tuple[Path, str]] = {}
    for job in jobs:
        for stem, path in job.outputs.items():
            key, own = os.path.abspath(path), (job.input.path, stem)
            other = owners.setdefault(key, own)
            if other is not own:
                raise SeparationError(_both(other, own, path))
    for key, (source, _) in owners.items():
        above = os.path.dirname(key)
        while above != os.path.dirname(above):
            if above in owners:
                raise SeparationError(
                    f"a stem of {shown(source)} would lie in {shown(above)}, which a stem of {shown(owners[above][0])} becomes"
                )
            above = os.path.dirname(above)


def _both(one: tuple[Path, str], other: tuple[Path, str], path: Path) -> str:
    if one[0] == other[0]:
        return (
            f"{one[1]} and {other[1]} of {shown(one[0])} would both become {shown(path)}: give the template a {{stem}}"
        )
    return (
        f"{shown(one[0])} and {shown(other[0])} would both become {shown(path)}: separate one after the other, "
        f"or give the template a {{track}} or {{trackext}}"
    )


def _check_no_input(outputs: Iterable[Path], inputs: Iterable[Input]) -> None:
    """By what the files are, not by their names: links and letter case lead to one file, too."""
    known = {_identity(each.path): each.path for each in inputs if each.path != STANDARD and each.path.exists()}
    for path in outputs:
        if path.exists() and (source := known.get(_identity(path))) is not None:
            raise SeparationError(
                f"{shown(path)} would be written, and is the input {shown(source)}: choose another folder"
            )


def _identity(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino
