"""The `stemline` command. Each command imports what it needs when it runs, so that `--help` answers at once."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.metadata
import logging
import os
import shlex
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.answers import EPILOG, AsJson, Exit, answer, typed
from pipeline.cli.commands import (
    WORKDIR,
    Group,
    LocalPaths,
    PipelineCommand,
    UsageError,
    Work,
    alone,
    continued,
    need,
)
from pipeline.cli.data import app as data_app
from pipeline.cli.gate import app as gate_app
from pipeline.cli.kubeflow import app as kubeflow_app
from pipeline.cli.recipes import Recipe, configured, named, recorded
from pipeline.cli.runs import app as runs_app
from pipeline.common import stopping
from pipeline.common.process import quiet, sentence, shortened
from pipeline.common.terminal import plain_streams

if TYPE_CHECKING:
    from pipeline.components.graph import Stage
    from pipeline.config.config import Config
    from serving.client import Client

# TFX's own imports must see the Keras that the models are built with; no process that is started here may run what lies in
# the current directory; the rest keeps native start-up noise off the screen.
ENVIRONMENT = {
    "TF_USE_LEGACY_KERAS": "1",
    "PYTHONSAFEPATH": "1",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "GRPC_VERBOSITY": "NONE",
    "GLOG_minloglevel": "3",
    "PYTHONWARNINGS": "ignore",
}
app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    epilog=EPILOG,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Data = Annotated[
    str | None,
    typer.Option("--data", "-d", help="Directory of the stems, or s3://… or gs://…; may hold {SPAN} and {VERSION}."),
]
Format = Annotated[str | None, typer.Option("--format", "-f", help="Its layout (docs/data.md); auto recognises it.")]
Set = Annotated[list[str] | None, typer.Option("--set", "-s", help="Override a key of the recipe: train.steps=2000.")]
BadTracks = Annotated[int | None, typer.Option("--max-bad-tracks", min=0, help="Bad tracks that a run does without.")]
ModelName = Annotated[str, typer.Option("--model-name", help="Name of the model on the server.")]
Server = Annotated[str | None, typer.Option("--server", help="host:port of a model server; else in this process.")]
Ca = Annotated[Path | None, typer.Option("--ca", help="PEM of who signed the server's certificate; turns TLS on.")]
Cert = Annotated[Path | None, typer.Option("--cert", help="PEM of this client's certificate, for a server that asks.")]
Key = Annotated[Path | None, typer.Option("--key", help="PEM of its key.")]
Model = Annotated[
    str | None,
    typer.Option(
        "--model", "-m", metavar="PATH", help="A SavedModel instead of the last pushed one, also s3://…, gs://…"
    ),
]
Pushed = Annotated[
    str | None, typer.Option("--recipe", "-r", help="The last pushed model of this recipe.", autocompletion=named)
]

# Options of `separate` in its help: what is written, and which model separates.
_WRITTEN = "What is written"
Audio = Annotated[
    list[Path], typer.Argument(help="Files of any format that ffmpeg decodes, folders, globs; - is standard input.")
]
Separations = Annotated[
    Path, typer.Option("--output", "-o", help="A folder; - is standard output, for one stem.", rich_help_panel=_WRITTEN)
]
StemFormat = Annotated[str, typer.Option(help="wav, flac, mp3, ogg or m4a.", rich_help_panel=_WRITTEN)]
BitDepth = Annotated[
    int | None,
    typer.Option(help="wav: 32 (float, the default), 24, 16; flac: 24 (the default), 16.", rich_help_panel=_WRITTEN),
]
Template = Annotated[
    str | None,
    typer.Option(
        help="Names below the folder, of {track}, {trackext}, {stem} and {ext}; else {track}/{stem}.{ext}.",
        rich_help_panel=_WRITTEN,
    ),
]
Stems = Annotated[str | None, typer.Option(help="Which to write, as a,b; else all.", rich_help_panel=_WRITTEN)]
TwoStems = Annotated[
    str | None,
    typer.Option(metavar="STEM", help="Write STEM and no_STEM, all the rest.", rich_help_panel=_WRITTEN),
]
Residual = Annotated[
    bool,
    typer.Option(
        help="Add what no stem holds to the accompaniment: stems sum to the mixture.", rich_help_panel=_WRITTEN
    ),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace files that are there.", rich_help_panel=_WRITTEN)]
SkipExisting = Annotated[
    bool,
    typer.Option("--skip-existing", help="Leave files that are there, and make the others.", rich_help_panel=_WRITTEN),
]
Streamed = Annotated[
    bool, typer.Option("--stream", help="Block by block without looking ahead, as an online model works live.")
]

# Options of `evaluate` in its help: what is about files, and what about the run of a pipeline.
_FILES, _RUN = "Separated files", "A pipeline run"
References = Annotated[
    Path | None,
    typer.Option(help="The true stems: <track>/<stem>.wav or MUSDB18's <track>.stem.mp4.", rich_help_panel=_FILES),
]
Estimates = Annotated[
    Path | None, typer.Option(help="What any system separated, as it wrote it.", rich_help_panel=_FILES)
]
JudgedModel = Annotated[
    Path | None,
    typer.Option("--model", "-m", help="Or a SavedModel that separates the mixtures.", rich_help_panel=_FILES),
]
BaselineEstimates = Annotated[
    Path | None, typer.Option(help="Files of another system, to compare with.", rich_help_panel=_FILES)
]
BaselineModel = Annotated[Path | None, typer.Option(help="Or a SavedModel to compare with.", rich_help_panel=_FILES)]
Targets = Annotated[
    str | None, typer.Option(help="Which to judge, as a,b; else all that were separated.", rich_help_panel=_FILES)
]
Metrics = Annotated[
    str | None, typer.Option(help="BSS Eval versions; else v3,v4 or those of --recipe.", rich_help_panel=_FILES)
]
Window = Annotated[
    float | None, typer.Option(help="Seconds of v4's frames; else 1 or those of --recipe.", rich_help_panel=_FILES)
]
ByReference = Annotated[
    bool, typer.Option("--reference", help="Let museval and mir_eval compute: slow.", rich_help_panel=_FILES)
]
Jobs = Annotated[int, typer.Option(help="Processes; 0 is one for every core.", min=0, rich_help_panel=_FILES)]
Results = Annotated[
    Path | None,
    typer.Option("--output", "-o", help="For report.html, scores.csv, museval's JSON.", rich_help_panel=_FILES),
]
KeepAudio = Annotated[
    int | None,
    typer.Option(help="Whole audio beside the report, of so many tracks.", min=0, rich_help_panel=_FILES),
]
RunData = Annotated[
    str | None, typer.Option("--data", "-d", help="Directory of the stems; may hold {SPAN}.", rich_help_panel=_RUN)
]
RunFormat = Annotated[
    str | None,
    typer.Option("--format", "-f", help="Its layout (docs/data.md); auto recognises it.", rich_help_panel=_RUN),
]
RunWork = Annotated[
    Path, typer.Option("--workdir", "-w", help="Metadata, artifacts and checkpoints.", rich_help_panel=_RUN)
]

# Options of `study` and `leaderboard`.
CpuMinutes = Annotated[
    float | None, typer.Option("--cpu-minutes", help="Budget of every training; else that of the study.")
]
Outcome = Annotated[
    Path | None,
    typer.Option("--output", "-o", help="For page, tables and plots; else <workdir>/studies/<its name>."),
]
RUN_OPTIONS = frozenset({"data", "format", "workdir"})
SHARED_OPTIONS = frozenset({"recipe", "set", "max_bad_tracks", "as_json"})
MODEL_NAME = "stemline"
# The port of TensorFlow Serving's image, and the client's patience with a chunk.
PAGE_FLAGS = ("--stemline_page", "--rest_api_port=8501", "--rest_api_timeout_in_ms=60000")
WATCH_SECONDS = 1.0
OF_MODELS = ("--model_config_file", "--model_base_path")  # flags of a model server that say what it serves


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"stemline {importlib.metadata.version('stemline')}")
        raise typer.Exit()


@app.callback()
def stemline(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say the version and exit.")
    ] = False,
) -> None:
    """Singing-voice separation as a pipeline: ingest stems, train, judge, refuse a worse model, serve the better one."""


@app.command()
def demo(workdir: Work = WORKDIR, set: Set = None) -> None:
    """Everything once, small, on songs that we render ourselves: ends with scores and separated audio over gRPC."""
    from pipeline.config.config import load
    from pipeline.runs.workdir import Workdir

    config, place = load("demo", set or ()), Workdir(workdir)
    with alone(config, place, trains=True), continued(place):
        from pipeline.cli import demo

        raise typer.Exit(demo.main(config, place))


def _stage(name: str, until: Stage, words: str) -> None:
    """Adds the command that runs the graph up to a stage."""

    @app.command(name, help=words)
    def stage(
        recipe: Recipe = "demo",
        data: Data = None,
        format: Format = None,
        set: Set = None,
        workdir: Work = WORKDIR,
        max_bad_tracks: BadTracks = None,
        as_json: AsJson = False,
    ) -> None:
        _pipeline(configured(recipe, data, format, set, max_bad_tracks), workdir, until, as_json)


_stage(
    "run",
    "push",
    "The whole pipeline: ingest, validate, train, judge, check serving, push. Exit code 3 when the model is refused.",
)
_stage("ingest", "ingest", "Turn stems into TFRecords and validate them.")
_stage("train", "train", "Ingest, validate and train, without judging.")


@app.command()
def evaluate(
    ctx: typer.Context,
    references: References = None,
    estimates: Estimates = None,
    model: JudgedModel = None,
    baseline_estimates: BaselineEstimates = None,
    baseline_model: BaselineModel = None,
    targets: Targets = None,
    metrics: Metrics = None,
    window: Window = None,
    reference: ByReference = False,
    jobs: Jobs = 0,
    output: Results = None,
    keep_audio: KeepAudio = None,
    recipe: Recipe = "demo",
    set: Set = None,
    max_bad_tracks: BadTracks = None,
    data: RunData = None,
    format: RunFormat = None,
    workdir: RunWork = WORKDIR,
    as_json: AsJson = False,
) -> None:
    """Judge separated files against the true stems; or ingest, validate, train and judge a recipe, without pushing.

    With --references (<track>/<stem>.wav, perhaps in train/ and test/): the files of any system (--estimates), as Demucs,
    Spleeter, Open-Unmix, UVR and others write them, or a SavedModel (--model). No pipeline runs; with --recipe its gate judges.

    Exit code 3 when the gate refuses.
    """
    given = {name for name in ctx.params if (source := ctx.get_parameter_source(name)) and source.name == "COMMANDLINE"}
    if not given - RUN_OPTIONS - SHARED_OPTIONS:
        _pipeline(configured(recipe, data, format, set, max_bad_tracks), workdir, "evaluate", as_json)
        return
    if references is None:
        raise ValueError("--references is needed: the folder of the true stems that estimates are judged by")
    if mixed := sorted(given & RUN_OPTIONS):
        raise ValueError(f"--{mixed[0]} is of a pipeline run and cannot stand beside --references")
    if "recipe" not in given and set:
        raise ValueError("--set changes a recipe: beside --references it needs --recipe, whose gate then judges")
    if "recipe" in given and targets:
        raise ValueError("--targets cannot stand beside --recipe, whose targets are judged")
    from pipeline.config.config import load
    from pipeline.evaluation import standalone

    request = standalone.Request(
        references=references,
        estimates=estimates,
        model=model,
        baseline_estimates=baseline_estimates,
        baseline_model=baseline_model,
        targets=_listed(targets),
        metrics=_listed(metrics),
        window_seconds=window,
        max_bad_tracks=max_bad_tracks or 0,
        jobs=jobs,
        gate=load(recipe, set or ()) if "recipe" in given else None,
        engine="reference" if reference else "stemline",
        keep_audio=keep_audio,
    )
    if output:
        standalone.check_output(output, (references, estimates, baseline_estimates))
    elif keep_audio:
        raise ValueError("--keep-audio lays audio beside the report, which --output asks for")
    from pipeline.cli import matches, tables

    judged = standalone.evaluate(request, *([] if as_json else [partial(matches.print_found, tables.console)]))
    written = standalone.write(judged, output) if output else []
    shown = partial(tables.print_judged, fitted=matches.fitted(judged), written=written)
    answer(standalone.document(judged), as_json, shown)
    if not judged.accepted:
        raise typer.Exit(Exit.REFUSED)


@app.command()
def separate(
    audio: Audio,
    output: Separations = Path("separated"),
    format: StemFormat = "wav",
    bit_depth: BitDepth = None,
    template: Template = None,
    stems: Stems = None,
    two_stems: TwoStems = None,
    residual: Residual = True,
    overwrite: Overwrite = False,
    skip_existing: SkipExisting = False,
    as_json: AsJson = False,
    stream: Streamed = False,
    server: Server = None,
    ca: Ca = None,
    cert: Cert = None,
    key: Key = None,
    model: Model = None,
    recipe: Pushed = None,
    model_name: ModelName = MODEL_NAME,
    workdir: Work = WORKDIR,
) -> None:
    """Separate files into stems that add up to them, with the last pushed model, in this process or over gRPC.

    While none but the demo's was pushed in the work directory, with the model that comes with Stemline.

    One bad file does not stop the others: exit code 4 when some failed, 2 when nothing was begun.
    """
    from pipeline.cli import separate as command
    from serving.client.files.encodings import Encoding
    from serving.client.selection import Selection

    names = () if stems is None else tuple(dict.fromkeys(name.strip() for name in stems.split(",")))
    request = command.Request(
        audio=audio,
        output=output,
        template=template,
        encoding=Encoding(format, bit_depth),
        selection=Selection(names, two_stems, residual),
        overwrite=overwrite,
        skip_existing=skip_existing,
        stream=stream,
        json=as_json,
    )
    if not command.run(request, lambda: _separation(server, (ca, cert, key), model, recipe, model_name, workdir)):
        raise typer.Exit(Exit.FAILED)


@app.command()
def live(
    target: Annotated[str, typer.Option("--target", "-t", help="The stem to write.")] = "vocals",
    channels: Annotated[int, typer.Option("--channels", "-c", help="Channels of the PCM, in and out.")] = 1,
    hops: Annotated[int, typer.Option("--hops", help="Hops in a block: more cost less and come later.")] = 1,
    server: Server = None,
    ca: Ca = None,
    cert: Cert = None,
    key: Key = None,
    model: Model = None,
    recipe: Pushed = None,
    model_name: ModelName = MODEL_NAME,
    workdir: Work = WORKDIR,
) -> None:
    """Separate while it plays: raw PCM (s16le, at the model's rate) from standard input, one stem to standard output.

    ffmpeg -i song.mp3 -f s16le -ar 16000 -ac 1 - | stemline live | ffplay -f s16le -ar 16000 -
    """
    from serving.client import live

    live.check_pipes()
    for name, value in (("channels", channels), ("hops", hops)):
        if value < 1:
            raise ValueError(f"{name} is {value}; legal is 1 or more")
    with _separation(server, (ca, cert, key), model, recipe, model_name, workdir) as source:
        live.run(source, target, channels, hops)


@app.command()
def serve(
    recipe: Annotated[
        str | None,
        typer.Option("--recipe", "-r", help="Whose models; else those of the last push.", autocompletion=named),
    ] = None,
    port: Annotated[
        int, typer.Option("--port", "-p", help="gRPC port; 0 chooses a free one.", min=0, max=65535)
    ] = 8500,
    page: Annotated[bool, typer.Option("--page", help="Also a page to try it, at http://localhost:8501/.")] = False,
    model_name: ModelName = MODEL_NAME,
    workdir: Work = WORKDIR,
    flags: Annotated[
        list[str] | None, typer.Argument(help="After --: flags of tensorflow_model_server, as --rest_api_port=8501.")
    ] = None,
) -> None:
    """Serve the pushed models over TF Serving's gRPC protocol; new versions are picked up as they are pushed.

    Until one but the demo's is pushed in the work directory, the model that comes with Stemline.


    stemline serve --page
    stemline serve --recipe demo -- --rest_api_port=8501 --enable_batching
    stemline serve -- --model_name=mine --model_base_path=/models/mine
    """
    need("server", "stemline serve")
    from serving import process

    own = [f"--port={port}", *(PAGE_FLAGS if page else ())]
    named = next((name for name in OF_MODELS for flag in flags or () if flag.partition("=")[0] == name), None)
    if named is None:
        from models.directory import DEFAULT

        directory, words = _newest(workdir, recipe)
        typer.echo(f"serving {words}", err=True)
        base = directory.parent.resolve()
        if directory.parent == DEFAULT:
            base = _until_pushed(base, lambda: _newest(workdir, recipe)[0].parent.resolve())
        own.append(f"--model_base_path={base}")
    elif recipe is not None:
        raise ValueError(f"--recipe and {named} both say what to serve; legal is one of them")
    if named != "--model_config_file":
        own.append(f"--model_name={model_name}")
    command = process.command(*own, *(flags or ()))
    os.execve(command[0], command, process.environment())


@app.command()
def study(
    file: Annotated[str, typer.Argument(help="A YAML file, or the name of a study that ships, such as leaderboard.")],
    data: Data = None,
    format: Format = None,
    cpu_minutes: CpuMinutes = None,
    output: Outcome = None,
    as_json: AsJson = False,
    set: Set = None,
    workdir: Work = WORKDIR,
    max_bad_tracks: BadTracks = None,
) -> None:
    """Recipes x overrides x seeds with one budget and one judge: tables, plots and a page (docs/studies.md).

    A stopped study goes on where it was. Exit code 4 when a training failed.
    """
    _study(file, None, data, format, cpu_minutes, output, set, workdir, max_bad_tracks, as_json)


@app.command()
def leaderboard(
    data: Data = None,
    format: Format = None,
    cpu_minutes: CpuMinutes = None,
    systems: Annotated[
        str | None, typer.Option("--systems", help="Which, as a,b,c; also YAML files of your own. Else all.")
    ] = None,
    output: Outcome = None,
    as_json: AsJson = False,
    set: Set = None,
    workdir: Work = WORKDIR,
    max_bad_tracks: BadTracks = None,
) -> None:
    """The study that ships by this name: every system on the same data. Exit code 4 when one failed."""
    _study("leaderboard", systems, data, format, cpu_minutes, output, set, workdir, max_bad_tracks, as_json)


@app.command()
def models(workdir: Work = WORKDIR, as_json: AsJson = False) -> None:
    """Every system: paper, parameters, online or not, latency, published score, our scores and on which data each is."""
    from pipeline.cli import tables
    from pipeline.runs.workdir import Workdir
    from pipeline.studies import systems

    answer(systems.document(Workdir(workdir)), as_json, tables.print_models)


app.add_typer(kubeflow_app, name="kubeflow")
app.add_typer(gate_app, name="gate")
app.add_typer(runs_app, name="runs")
app.add_typer(data_app, name="data")


for each in (app, kubeflow_app, gate_app, runs_app, data_app):
    each.info.cls = Group
    for command in each.registered_commands:
        command.cls = LocalPaths if command.callback in (separate, live, serve) else PipelineCommand


def main() -> None:
    """Entry point: bad input is one sentence on standard error and exit code 2."""
    os.environ.update({key: value for key, value in ENVIRONMENT.items() if key not in os.environ})
    quiet()
    plain_streams()
    try:
        with stopping.heard(f"stopped; this begins again: {typed()}", raising=True):
            sys.exit(app(prog_name="stemline", standalone_mode=False))
    except UsageError:  # of no arguments at all: the help was shown
        sys.exit(Exit.BAD_INPUT)
    except (ValueError, OSError) as error:
        typer.echo(f"stemline: {shortened(sentence(error))}", err=True)
        sys.exit(Exit.BAD_INPUT)


def _listed(names: str | None) -> tuple[str, ...]:
    """`a, b` as ("a", "b")."""
    return tuple(name.strip() for name in names.split(",")) if names else ()


def _study(
    file: str,
    systems: str | None,
    data: str | None,
    format: str | None,
    cpu_minutes: float | None,
    output: Path | None,
    overrides: list[str] | None,
    workdir: Path,
    bad: int | None,
    as_json: bool,
) -> None:
    """Runs a study, tells of it, and exits with Exit.FAILED where a training did; file: as `pipeline.studies.study.read`."""
    from models.checked import ConfigError
    from pipeline.config.config import parsed
    from pipeline.studies.study import plan, read, systems_of

    told = read(file, systems_of(_listed(systems)))
    values = {**told.set, **dict(map(parsed, overrides or ()))}
    asked = dataclasses.replace(told, set=values, cpu_minutes=told.cpu_minutes if cpu_minutes is None else cpu_minutes)
    try:
        planned = plan(asked, lambda recipe, given: configured(recipe, data, format, given, bad))
    except ConfigError as error:
        raise ConfigError(f"{file}: {error}") from error
    from pipeline.common import files
    from pipeline.data import corpus
    from pipeline.runs.workdir import Workdir

    place = Workdir(workdir)
    corpus.usable(planned[0].config.data)
    target = output or place.root / "studies" / asked.name
    files.refuse_unwritable(target, "--output")
    for each in planned:
        with alone(each.config, place):
            pass
    # As others would type it: names of folders and files, not where they lie.
    options = {
        "--data": data and Path(data).name,
        "--format": format,
        "--cpu-minutes": cpu_minutes and f"{cpu_minutes:g}",
        "--max-bad-tracks": bad and str(bad),
        "--systems": systems and ",".join(Path(name).name for name in _listed(systems)),
    }
    words = [word for option, value in options.items() if value for word in (option, value)]
    words += [word for each in overrides or () for word in ("--set", each)]
    words = ["study", Path(file).name, *words] if systems is None else ["leaderboard", *words]
    with continued(place):
        from pipeline.cli import tables
        from pipeline.studies import run

        result = run.run(asked, planned, place, target, shlex.join(["stemline", *words]))
    if as_json:
        typer.echo((target / f"{asked.name}.json").read_text(), nl=False)
    else:
        tables.print_study(result, target)
    if result.failed:
        raise typer.Exit(Exit.FAILED)


def _separation(
    server: str | None,
    pems: tuple[Path | None, Path | None, Path | None],
    model: str | None,
    recipe: str | None,
    model_name: str,
    workdir: Path,
) -> Client:
    """The model of a server (`pems`: authority, certificate, key), or one in this process; closed by its `with` block."""
    ca, certificate, key = pems
    if server is not None and (model, recipe) != (None, None):
        raise ValueError("--model and --recipe are of a model in this process; legal only without --server")
    if model is not None and recipe is not None:
        raise ValueError("--model and --recipe both say which model; legal is one of them")
    if server is not None:
        from serving.client import Client

        client = Client(server, model_name=model_name, ca=ca, certificate=certificate, key=key)
        logging.getLogger("serving.client").setLevel(logging.WARNING)  # says that it waits for a server
        typer.echo(f"asking {client.label}", err=True)
        return client
    if any(pems):
        raise ValueError("--ca, --cert and --key are of a connection to a server; legal only with --server")
    need("server", "separating without --server")
    from models import storage
    from models.directory import refuse_no_model
    from pipeline.common import reachable
    from serving.local import local_client

    if model is None:
        directory, words = _newest(workdir, recipe)
    else:
        reachable.refuse_absent(model)
        directory = storage.path(model)
        words = str(directory)
    refuse_no_model(directory)
    typer.echo(f"loading {words}", err=True)
    return local_client(directory, alone=True)


def _newest(workdir: Path, recipe: str | None) -> tuple[Path, str]:
    """The newest pushed version of one recipe, or of any but the demo's, else the model that comes with Stemline; and which it is, in words.

    Raises FileNotFoundError where there is neither, ValueError as `recorded`.
    """
    from models.directory import DEFAULT, ModelDirectory
    from pipeline.runs.workdir import Workdir

    place = Workdir(workdir)
    if recipe is not None and find_spec("pydantic"):  # without the pipeline's packages, what was pushed is known alone
        recipe = recorded(recipe, (path.name for path in (place.root / "serving").glob("*")))
    try:
        pushed = place.latest_version(recipe)
    except FileNotFoundError as nothing:
        default = ModelDirectory.newest(DEFAULT) if recipe in (None, DEFAULT.name) else None
        if default is None:
            raise
        return default.path, f"{DEFAULT.name} version {default.version}, which comes with Stemline: {nothing}"
    return pushed, f"{pushed.parent.name} version {pushed.name}, pushed in {place.root}"


def _until_pushed(base: Path, newest: Callable[[], Path]) -> Path:
    """A link to a base path, and from the first push on to the base path of that, which a model server takes for new versions.

    A child turns it. It removes it when this process, which becomes the server, is gone, and so outlives every signal.
    """
    folder, server = Path(tempfile.mkdtemp(prefix="stemline-serve-")), os.getpid()
    link = folder / "models"
    link.symlink_to(base)
    if os.fork():
        return link
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    while os.getppid() == server:
        with contextlib.suppress(OSError, ValueError):
            if link.resolve() == base and (pushed := newest()) != base:
                (folder / "next").symlink_to(pushed)
                (folder / "next").replace(link)
        time.sleep(WATCH_SECONDS)
    shutil.rmtree(folder)
    os._exit(0)


def _pipeline(config: Config, workdir: Path, until: Stage, as_json: bool) -> None:
    from pipeline.data import corpus
    from pipeline.runs.workdir import Workdir

    place, refs = Workdir(workdir), corpus.usable(config.data)
    trains = until != "ingest"
    with alone(config, place, trains), continued(place):
        from pipeline.cli import tables
        from pipeline.orchestration import preflight

        preflight.check_run(config, refs, place if trains else None)
        from pipeline.orchestration.local_runner import run_local
        from pipeline.runs import documents

        result = run_local(config, place, until)
    answer(documents.of_run(result, place), as_json, tables.print_run)
    if until in ("evaluate", "push") and not result.accepted:
        raise typer.Exit(Exit.REFUSED)


if __name__ == "__main__":
    main()
