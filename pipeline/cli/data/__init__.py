"""`stemline data`: what a corpus holds before any work, and what was ingested."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.answers import AsJson, Exit, answer
from pipeline.cli.commands import WORKDIR, Work
from pipeline.cli.recipes import asked, named, recorded
from pipeline.common import files

app = typer.Typer(
    help="What a corpus holds before any work, and what was ingested.",
    no_args_is_help=True,
    add_completion=False,
)


@app.callback()
def data() -> None:
    """What a corpus holds before any work, and what was ingested."""


@app.command()
def check(
    path: Annotated[
        str, typer.Argument(metavar="PATH", help="Directory of the stems, or s3://… or gs://…; may hold {SPAN}.")
    ],
    format: Annotated[str | None, typer.Option("--format", "-f", help="Its layout; auto recognises it.")] = None,
    recipe: Annotated[
        str,
        typer.Option(
            "--recipe",
            "-r",
            help="Whose targets, rate, channels and fractions: a name or a YAML file.",
            autocompletion=named,
        ),
    ] = "demo",
    set: Annotated[
        list[str] | None, typer.Option("--set", "-s", help="Override a key of the recipe: data.dev_fraction=0.2.")
    ] = None,
    max_bad_tracks: Annotated[
        int | None, typer.Option("--max-bad-tracks", min=0, help="Bad tracks that a run does without.")
    ] = None,
    as_json: AsJson = False,
    page: Annotated[Path | None, typer.Option("--page", help="Write a page with plots there, too.")] = None,
) -> None:
    """What ingest would make of a corpus, by names and headers, in seconds: splits, hours, stems, and what is wrong.

    Exit code 3 when ingest would refuse it.
    """
    if page:
        files.refuse_no_file(page, "--page")
    from pipeline.cli.data import tables
    from pipeline.common import reachable
    from pipeline.common.progress import counting
    from pipeline.data.survey.survey import survey

    config = asked(recipe, path, format, set, max_bad_tracks)
    reachable.refuse_absent(path)
    with counting("reading headers of", "read the headers of", "files") as show:
        found = survey(config.data, show)
    if page:
        from pipeline.cli.data import page as corpus_page

        corpus_page.write(found, page)
    answer(found, as_json, tables.print_survey)
    if page:
        typer.echo(f"wrote {page}", err=True)
    if not found["usable"]:
        raise typer.Exit(Exit.REFUSED)


@app.command()
def describe(
    recipe: Annotated[
        str | None, typer.Option("--recipe", "-r", help="By which recipe; else by any.", autocompletion=named)
    ] = None,
    workdir: Work = WORKDIR,
    as_json: AsJson = False,
) -> None:
    """What was ingested last: tracks, hours, levels, silence, leaks, which tracks were bad and why."""
    from pipeline.cli.data import tables
    from pipeline.data.survey import ingested
    from pipeline.runs import history
    from pipeline.runs.workdir import Workdir

    place = Workdir(workdir)
    runs = history.runs(place)
    name = recorded(recipe, (run.pipeline for run in runs)) if recipe else None
    run = next((run for run in runs if name in (None, run.pipeline) and "Examples" in run.outputs), None)
    if run is None:
        of = f" by the recipe {recipe}" if recipe else ""
        raise ValueError(f"nothing was ingested{of} in {place.root} yet: `stemline ingest` does it")
    found = {"recipe": run.pipeline, "run": run.number, "started": run.run_id}
    found |= ingested.description(run.outputs["Examples"].uri)
    answer(found, as_json, tables.print_ingested)
