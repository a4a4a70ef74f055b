"""`stemline runs`: what ran and what came of it, and which model stays the anchor."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.answers import AsJson, answer
from pipeline.cli.commands import WORKDIR, Work, need
from pipeline.cli.recipes import named
from pipeline.common import files
from pipeline.common.process import shown

if TYPE_CHECKING:
    from pipeline.runs.history import Run
    from pipeline.runs.workdir import Workdir

OfRuns = Annotated[Path | None, typer.Option("--workdir", "-w", help="Else that of `stemline runs`.")]

app = typer.Typer(add_completion=False)


@app.callback(invoke_without_command=True)
def runs(ctx: typer.Context, workdir: Work = WORKDIR, as_json: AsJson = False) -> None:
    """What ran, what was blessed and pushed, with scores: read from the metadata."""
    if ctx.invoked_subcommand is not None:
        if as_json:
            raise ValueError(f"--json stands before {ctx.invoked_subcommand}; legal is behind it")
        return
    need("pipeline", "stemline runs")
    typer.echo(f"reading what is in {shown(str(workdir))}", err=True)
    from pipeline.cli import tables
    from pipeline.runs import documents
    from pipeline.runs.workdir import Workdir

    answer(documents.of_runs(Workdir(workdir)), as_json, tables.print_runs)


@app.command()
def show(
    ctx: typer.Context,
    which: Annotated[str, typer.Argument(metavar="RUN", help="Its number, `latest`, `previous`, or its start.")],
    as_json: AsJson = False,
    workdir: OfRuns = None,
) -> None:
    """One run: what failed and why, what was refused and why, what it cost, and where its report lies."""
    from pipeline.cli import tables
    from pipeline.runs import compare, documents

    place = _of_runs(ctx, workdir)
    run = compare.find(_found(place), which)
    answer(documents.of_run(run, place), as_json, tables.print_whole_run)


@app.command()
def diff(
    ctx: typer.Context,
    a: Annotated[str, typer.Argument(metavar="A", help="A run: its number, `latest`, `previous`, or its start.")],
    b: Annotated[str, typer.Argument(metavar="B", help="The run to compare it with.")],
    as_json: AsJson = False,
    workdir: OfRuns = None,
) -> None:
    """Two runs side by side: configuration, data, training, scores, tracks and verdict."""
    from pipeline.cli import tables
    from pipeline.runs import compare

    found = _found(_of_runs(ctx, workdir))
    answer(compare.document(compare.find(found, a), compare.find(found, b)), as_json, tables.print_diff)


@app.command()
def pin(
    ctx: typer.Context,
    which: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="A run: its number, `latest`, `previous`, its start; or the path of a SavedModel, with a slash.",
        ),
    ],
    recipe: Annotated[
        str | None, typer.Option("--recipe", "-r", help="Whose anchor a directory becomes.", autocompletion=named)
    ] = None,
    workdir: OfRuns = None,
) -> None:
    """Pin a model as the anchor: thresholds over the anchor hold candidates against it, until `unpin`."""
    from pipeline.runs import anchors

    whose, words = anchors.pin(_of_runs(ctx, workdir), which, recipe)
    typer.echo(f"pinned {words}: from the next run of {whose} on it is the anchor")


@app.command()
def unpin(
    ctx: typer.Context,
    recipe: Annotated[
        str | None, typer.Option("--recipe", "-r", help="Whose; needed where several are pinned.", autocompletion=named)
    ] = None,
    workdir: OfRuns = None,
) -> None:
    """Take the pinned model away: the best one that was blessed is the anchor again."""
    from pipeline.runs import anchors

    whose = anchors.unpin(_of_runs(ctx, workdir), recipe)
    typer.echo(f"unpinned: the anchor of {whose} is the best model that was blessed")


@app.command()
def page(
    ctx: typer.Context,
    output: Annotated[Path, typer.Option("--output", "-o", help="Where the page goes.")] = Path("runs.html"),
    recipe: Annotated[
        str | None, typer.Option("--recipe", "-r", help="Whose life; else that of all.", autocompletion=named)
    ] = None,
    artifacts: Annotated[
        str | None,
        typer.Option(
            help="A folder of artifacts, also s3://… or gs://…, as a cluster's pipeline root; else the metadata."
        ),
    ] = None,
    workdir: OfRuns = None,
) -> None:
    """Write one page of every recipe's life: scores with intervals over runs, verdicts, data, drift, training and speed."""
    from models import storage
    from pipeline.common import reachable
    from pipeline.runs import life
    from pipeline.runs import page as life_page

    files.refuse_no_file(output, "--output")
    if artifacts is None:
        place = _of_runs(ctx, workdir)
        lives, source = life.of_workdir(place, recipe), f"What ran in {place.root}"
    else:
        reachable.refuse_absent(artifacts)
        lives, source = life.of_artifacts(storage.absolute(artifacts), recipe), f"Evaluations in {artifacts}"
    if not lives:
        of = f" of {recipe}" if recipe else ""
        raise ValueError(f"no model{of} was judged in {artifacts or place.root} yet: there is nothing to show")
    life_page.write(lives, source, output)
    typer.echo(f"wrote {output}")


def _found(workdir: Workdir) -> list[Run]:
    """The runs of a working directory, newest first. Raises ValueError where there are none."""
    from pipeline.runs import history

    if not (found := history.runs(workdir)):
        raise ValueError(f"there are no runs in {workdir.root} yet")
    return found


def _of_runs(ctx: typer.Context, workdir: Path | None) -> Workdir:
    """The working directory of a command below `stemline runs`: its own, else that of `runs`."""
    from pipeline.runs.workdir import Workdir

    return Workdir(workdir or (ctx.parent.params["workdir"] if ctx.parent else WORKDIR))
