"""`stemline kubeflow`: the graph on a cluster."""

from __future__ import annotations

import contextlib
import dataclasses
import re
import sys
import tempfile
from collections.abc import Iterator
from enum import StrEnum
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.answers import AsJson, answer
from pipeline.cli.recipes import Recipe
from pipeline.common import files

if TYPE_CHECKING:
    from pipeline.config.config import Config
    from pipeline.orchestration.cluster.client import Cluster, Submission

app = typer.Typer(
    help="The same graph on Kubeflow Pipelines: compile it, run it, schedule it.",
    no_args_is_help=True,
    add_completion=False,
)


class Platform(StrEnum):
    """What runs the pipeline."""

    kfp = "kfp"
    vertex = "vertex"


Set = Annotated[
    list[str] | None, typer.Option("--set", "-s", help="Override a key: train.steps=2000, cluster.image=...")
]
Host = Annotated[str | None, typer.Option("--host", help="Kubeflow Pipelines' API; else that of cluster.host.")]
Compiled = Annotated[
    Path | None, typer.Option("--pipeline", "-p", help="What `compile` wrote; else compiled for this run.")
]


@app.command()
def compile(
    recipe: Recipe = "demo",
    set: Set = None,
    platform: Annotated[Platform, typer.Option(help="Open-source Kubeflow Pipelines v2, or Vertex AI.")] = Platform.kfp,
    output: Annotated[Path, typer.Option("--output", "-o", help="Where the YAML goes.")] = Path("pipeline.yaml"),
) -> None:
    """Write the graph as Kubeflow's pipeline specification; the configuration is its one parameter."""
    files.refuse_no_file(output, "--output")
    config = _checked(_asked(recipe, set))
    from pipeline.orchestration.cluster import compiler, package

    compiler.write(compiler.compile(package.sent(config), platform.value), output)
    typer.echo(f"wrote {output}")


@app.command()
def emulate(
    recipe: Recipe = "demo",
    set: Set = None,
    pipeline: Compiled = None,
    workdir: Annotated[
        Path, typer.Option("--workdir", "-w", help="In the place of volumes and buckets: pipeline/, stemline/, runs/.")
    ] = Path("emulation"),
    kfp: Annotated[str, typer.Option(help="As which version of Kubeflow Pipelines: 2.3 to 2.17.")] = "2.17",
) -> None:
    """Run every task of the pipeline file on this machine by its own command line. Exit codes as of `submit --wait`."""
    from pipeline.orchestration.cluster import kfp_versions

    version = kfp_versions.version(kfp)
    config = _checked(_asked(recipe, set))
    from pipeline.cli import kubeflow_tables
    from pipeline.orchestration.cluster import emulate, watch

    placed = emulate.placed(config, workdir.resolve())
    with _submission(placed, pipeline) as submission:
        try:
            run = emulate.run(
                submission.file, placed, workdir, Path(sys.executable), kubeflow_tables.print_task, version
            )
        except emulate.TaskError as error:
            end = watch.end_of("FAILED", {error.task})
        else:
            end = watch.End.SUCCEEDED
            typer.echo(f"artifacts: {run.directory}")
    kubeflow_tables.print_end(end)
    raise typer.Exit(end)


@app.command()
def submit(
    recipe: Recipe = "demo",
    set: Set = None,
    pipeline: Compiled = None,
    host: Host = None,
    wait: Annotated[
        bool, typer.Option("--wait", help="Until it ends; exit code 3 if the gate refuses, 1 if it fails otherwise.")
    ] = False,
) -> None:
    """Run the pipeline once."""
    config, cluster = _placed(recipe, set, pipeline, host)
    _note_unserved(config)
    with _submission(config, pipeline) as submission:
        run = cluster.submit(submission)
        typer.echo(f"submitted {submission.name!r}: {cluster.host.rstrip('/')}/#/runs/details/{run}")
        if wait:
            from pipeline.cli import kubeflow_tables
            from pipeline.orchestration.cluster import package, watch

            tasks = package.tasks(submission.documents)
            end = watch.until_end(cluster, run, tasks, kubeflow_tables.print_task, config.cluster.wait_hours)
            kubeflow_tables.print_end(end)
            raise typer.Exit(end)


@app.command()
def schedule(
    recipe: Recipe = "demo",
    set: Set = None,
    pipeline: Compiled = None,
    host: Host = None,
    pause: Annotated[
        bool | None, typer.Option("--pause/--resume", help="Let it rest, or run again; else as it is.")
    ] = None,
) -> None:
    """Run the pipeline by `cluster.cron`: creates or changes the one schedule of the recipe, and says what changed."""
    config, cluster = _placed(recipe, set, pipeline, host)
    from pipeline.orchestration.cluster import schedule

    _note_unserved(config)
    with _submission(config, pipeline) as submission:
        outcome = schedule.apply(cluster, submission, pause)
    for change in outcome.changes or ("nothing changed",):
        typer.echo(f"{outcome.name}: {change}")
    typer.echo(f"cron {config.cluster.cron!r}" + (", paused: --resume starts it again" if outcome.paused else ""))


@app.command()
def status(
    recipe: Recipe = "demo",
    set: Set = None,
    host: Host = None,
    number: Annotated[int, typer.Option("--number", "-n", help="How many of the last runs.", min=1)] = 10,
    as_json: AsJson = False,
) -> None:
    """The last runs and the schedules of the experiment."""
    from pipeline.config.config import load

    config = load(recipe, set or ())
    cluster = _cluster(host, config)
    from pipeline.cli import kubeflow_tables

    document = kubeflow_tables.status(cluster, config.cluster.experiment, number)
    answer(document, as_json, kubeflow_tables.print_status)


def _asked(recipe: str, set: list[str] | None) -> Config:
    """The configuration, checked as far as it can be at once, where the data are not."""
    from pipeline.config.config import load
    from pipeline.orchestration import at_once

    config = load(recipe, set or ())
    at_once.check(config)
    if config.data.format == "auto":
        raise ValueError(
            "data.format is auto, but where the data are is where tasks run: name their layout for a cluster"
        )
    return config


def _checked(config: Config) -> Config:
    """The same, after what takes TensorFlow."""
    typer.echo("loading TensorFlow and TFX", err=True)
    from pipeline.orchestration import preflight

    preflight.check_recipe(config)
    preflight.check_workers(config)
    return config


def _placed(recipe: str, set: list[str] | None, compiled: Path | None, host: str | None) -> tuple[Config, Cluster]:
    """The configuration of a run, whose tasks see what they need, and which fits what was compiled; and where it will run."""
    from pipeline.orchestration import at_once
    from pipeline.orchestration.cluster import package

    config = _asked(recipe, set)
    at_once.check_mounts(config)
    if compiled:
        package.check_compiled(package.read(compiled), config)
    cluster = _cluster(host, config)
    return _checked(config), cluster


def _cluster(host: str | None, config: Config) -> Cluster:
    """What answers at `--host`, or else where the configuration says, to whom that says we are."""
    from pipeline.orchestration.cluster.client import Cluster

    place = dataclasses.replace(config.cluster, host=host) if host else config.cluster
    return Cluster(place.host, place.namespace, place.login())


def _note_unserved(config: Config) -> None:
    """Says so where versions go to a volume and the servers of kubeflow/base look elsewhere, as is right for a teacher's."""
    text = resources.files("serving").joinpath("config/model.config").read_text()
    [read] = re.findall(r'base_path: "(.*)"', text)
    if config.cluster.serving.startswith("/") and config.cluster.serving.rstrip("/") != read:
        typer.echo(
            f"note: the servers of kubeflow/base read {read}; versions in cluster.serving, {config.cluster.serving}, are "
            "served only where a model.config names that",
            err=True,
        )


@contextlib.contextmanager
def _submission(config: Config, compiled: Path | None) -> Iterator[Submission]:
    """The pipeline file with the configuration that was checked against it."""
    from pipeline.orchestration.cluster import package
    from pipeline.orchestration.cluster.client import Submission

    with tempfile.TemporaryDirectory() as directory:
        file = compiled or Path(directory, "pipeline.yaml")
        if not compiled:
            from pipeline.orchestration.cluster import compiler

            compiler.write(compiler.compile(package.sent(config)), file)
        submission = Submission(file, config)
        package.check_compiled(submission.documents, config)
        yield submission
