"""`stemline separate`: what is refused before anything runs, then one file after the other, then what came of them."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import asdict, dataclass, field, replace
from datetime import timedelta
from functools import partial
from pathlib import Path

import typer

from pipeline.cli.answers import typed
from pipeline.common import stopping
from pipeline.common.process import sentence, shown
from pipeline.common.progress import separating
from serving.client import Client
from serving.client.files import inputs, outputs, tagging, writing
from serving.client.files.encodings import Encoding
from serving.client.files.inputs import STANDARD
from serving.client.remote import NoServerError
from serving.client.selection import Selection
from serving.client.separation import Separated, check_file
from serving.client.signals import SeparationError
from serving.client.stream import by_blocks, check_streams

Model = Callable[[], AbstractContextManager[Client]]


@dataclass(frozen=True)
class Request:
    """What the command line asks for; `output` may be STANDARD, for standard output."""

    audio: Sequence[Path]
    output: Path
    template: str | None
    encoding: Encoding
    selection: Selection
    overwrite: bool
    skip_existing: bool
    stream: bool
    json: bool

    def __post_init__(self) -> None:
        if self.overwrite and self.skip_existing:
            raise ValueError("--overwrite and --skip-existing contradict each other; legal is one of them")
        for path, pipe, name in ((STANDARD in self.audio, sys.stdin, "input"), (self.piped, sys.stdout, "output")):
            if path and (pipe is None or pipe.isatty()):
                kind = "closed" if pipe is None else "a terminal"
                raise ValueError(f"standard {name} is {kind}; legal is a pipe or a file")
        if self.piped and self.json:
            raise ValueError("--json and -o - both go to standard output; legal is one of them")
        if self.piped and self.template is not None:
            raise ValueError("--template names files, and -o - writes none; legal is one of them")

    @property
    def piped(self) -> bool:
        """Whether the stem goes to standard output."""
        return self.output == STANDARD

    def naming(self, folder: Path) -> outputs.Naming:
        """How the stems are named in a folder."""
        template = "{stem}" if self.piped else self.template
        return outputs.Naming(folder, self.encoding.format, outputs.TEMPLATE if template is None else template)


@dataclass(frozen=True)
class Outcome:
    """What came of one file.

    Attributes:
      status: done, skipped or failed. reason: why, or what is missing in one that is done.
      clipped: samples by stem.
    """

    input: str
    status: str
    reason: str | None = None
    outputs: Mapping[str, str] = field(default_factory=dict)
    clipped: Mapping[str, int] = field(default_factory=dict)
    model: str | None = None
    version: int | None = None
    seconds: float = 0.0


def run(request: Request, model: Model) -> bool:
    """Separates everything; whether no file failed.

    Raises:
      ValueError: the request is refused, before a file is separated.
      OSError: nothing can be written to the output.
    """
    with ExitStack() as stack:
        folder = request.output
        if request.piped:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        else:
            whole = f"stopped: what was written to {shown(folder)} is whole"
            stack.enter_context(stopping.says(f"{whole}, and this makes the others: {typed('--skip-existing')}", True))
        files = inputs.found(request.audio, without=None if request.piped else folder)
        jobs = _planned(request, files, request.selection.known, folder)
        places = {each.path: stack.enter_context(inputs.on_disk(each.path)) for each in files.files}
        bad = _unreadable(places)
        if len(bad) == len(places):
            raise SeparationError(_none(bad))
        client = stack.enter_context(model())
        if request.stream:
            check_streams(client)
        jobs = _planned(request, files, request.selection.names(client.targets), folder)
        outcomes = list(_separated(request, client, jobs, places, bad))
        _tell(request, outcomes, files.ignored, folder)
        if request.piped and outcomes[0].status == "done":
            [path] = outcomes[0].outputs.values()
            with open(path, "rb") as sound:
                shutil.copyfileobj(sound, sys.stdout.buffer)
    return all(outcome.status != "failed" for outcome in outcomes)


def _planned(request: Request, files: inputs.Inputs, stems: Sequence[str], folder: Path) -> list[outputs.Job]:
    """The jobs, with stems that may not be known yet; refuses what can be refused by then."""
    if request.piped and len(files.files) > 1:
        raise SeparationError(
            f"-o - writes one stem of one file, and not of {len(files.files)} files; legal is one file"
        )
    if request.piped and len(stems) > 1:
        raise SeparationError(f"-o - writes one stem of one file, and not {', '.join(stems)}; name one with --stems")
    jobs = outputs.plan(files.files, stems or outputs.UNKNOWN, request.naming(folder))
    writing.check_folder(folder)
    return outputs.missing(jobs, request.overwrite, request.skip_existing) if stems else jobs


def _unreadable(places: Mapping[Path, Path]) -> dict[Path, str]:
    """What is wrong with the files before the first that can be opened: only then a model is worth loading."""
    bad = {}
    for path, place in places.items():
        try:
            check_file(place)
            break
        except (ValueError, OSError) as error:
            bad[path] = sentence(error)
    return bad


def _none(bad: Mapping[Path, str]) -> str:
    reasons = [_placed(path, reason) for path, reason in bad.items()]
    return reasons[0] if len(bad) == 1 else f"none of {len(bad)} files can be separated: {'; '.join(reasons)}"


def _placed(path: Path, reason: str) -> str:
    """A reason with the file's path; many begin with its name without one."""
    if path == STANDARD:
        return reason
    name = shown(path.name)
    return f"{shown(path)}{reason.removeprefix(name)}" if reason.startswith(name) else f"{shown(path)}: {reason}"


def _separated(
    request: Request,
    client: Client,
    jobs: Sequence[outputs.Job],
    places: Mapping[Path, Path],
    bad: Mapping[Path, str],
) -> Iterator[Outcome]:
    """One file after the other; after the server is gone none is tried any more."""
    gone = ""
    tried = {job.input.path for job in jobs if job.outputs} - bad.keys()
    sizes = {shown(path): place.stat().st_size if path in tried else 0 for path, place in places.items()}
    with separating(sizes) as progress:
        for job in jobs:
            name, began = shown(job.input.path), time.monotonic()
            outcome = Outcome(str(job.input.path), "failed")
            progress(name, 0.0)
            try:
                if reason := gone or bad.get(job.input.path, ""):
                    outcome = replace(outcome, reason=reason)
                elif not job.outputs:
                    outcome = replace(outcome, status="skipped", reason="all its stems are there")
                else:
                    outcome = _one(request, client, job, places[job.input.path], partial(progress, name))
            except (ValueError, OSError) as error:
                outcome = replace(outcome, reason=sentence(error))
                gone = sentence(error) if isinstance(error, NoServerError) else ""
            outcome = replace(outcome, seconds=round(time.monotonic() - began, 3))
            _say(request, outcome)
            yield outcome
            progress(name, 1.0)


def _one(request: Request, client: Client, job: outputs.Job, place: Path, progress: Callable[[float], None]) -> Outcome:
    tags = tagging.read(place)

    def write(separated: Separated) -> Outcome:
        with writing.written(
            job.outputs, separated.sample_rate_hz, separated.channels, request.encoding, tags
        ) as files:
            for stems in request.selection.chosen(separated.targets, separated.stems, separated.mixture()):
                files.write(stems)
        return Outcome(
            str(job.input.path),
            "done",
            files.lost,
            outputs={stem: str(path) for stem, path in job.outputs.items()},
            clipped={stem: count for stem, count in files.beyond.items() if count},
            model=client.label,
            version=separated.version,
        )

    return client.separated_file(place, write, by_blocks if request.stream else None, progress)


def _say(request: Request, outcome: Outcome) -> None:
    """What came of a file, when it is known; standard output is for names of files that were written."""
    for path in outcome.outputs.values() if not (request.json or request.piped) else ():
        typer.echo(f"wrote {shown(path)}")
    if outcome.reason is not None:
        typer.echo(f"{outcome.status}: {_placed(Path(outcome.input), outcome.reason or '')}", err=True)
    for stem, count in outcome.clipped.items():
        path = "standard output" if request.piped else shown(outcome.outputs[stem])
        beyond = f"{count} sample{'s'[: count != 1]} of {path} are beyond full scale"
        typer.echo(f"{beyond}, and are clipped; wav of 32 bits holds them", err=True)


def _tell(request: Request, outcomes: Sequence[Outcome], ignored: Mapping[str, Sequence[Path]], folder: Path) -> None:
    """What came of all."""
    counts = {status: sum(each.status == status for each in outcomes) for status in ("done", "failed", "skipped")}
    if request.json:
        left = [{"path": str(path), "reason": reason} for reason, paths in ignored.items() for path in paths]
        document = {**counts, "files": [asdict(outcome) for outcome in outcomes], "ignored": left}
        typer.echo(json.dumps(document, indent=2))
    if len(outcomes) > 1 or ignored:
        told = ", ".join(f"{count} {status}" for status, count in counts.items() if count)
        beside = f" ({inputs.counted(ignored)} ignored)" if ignored else ""
        lasted = timedelta(seconds=round(sum(outcome.seconds for outcome in outcomes)))
        typer.echo(f"{len(outcomes)} files in {lasted}: {told}{beside}; stems in {shown(folder)}", err=True)
    if counts["done"] and not tagging.available():
        typer.echo("tags and cover art were not kept: ffmpeg is not installed", err=True)
