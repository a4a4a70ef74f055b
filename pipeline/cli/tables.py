"""Tables for the terminal: runs, models and scores."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich import box
from rich.table import Column, Table
from rich.text import Text

from pipeline.common.terminal import Terminal
from pipeline.config import config
from pipeline.evaluation.scores import headline

if TYPE_CHECKING:
    from pipeline.studies.result import Result

console = Terminal(highlight=False)

# Of `print_runs`, each with the width of its longest word.
_COLUMNS = {
    **{"run": 3, "started": 10, "recipe": 8, "states": 7, "training": 8},
    **{"blessed": 7, "version": 10, "vocals": 8},
}
VERDICTS = {True: "[green]yes[/green]", False: "[red]no[/red]", None: "–"}


def print_run(run: Mapping[str, Any]) -> None:
    """What one run decided, with the reasons, and where everything lies; run: as `pipeline.runs.documents.of_run`."""
    paths, training = run["paths"], run["training"]
    for each in run["components"]:
        if each["problem"]:
            console.say(f"{each['name']} failed: {each['problem']}", "red")
    if before := run["trained_by"]:
        console.say(f"no new data since run {before['number']} of {_second(before['started'])}: nothing to train")
    for line in run["reasons"]:
        console.say(line, None if line.startswith("ok") else "red")
    if training and (len(training["stages"]) > 1 or training["warm_start"]):
        console.say(f"trained: {_trained(run)}")
    for name in ("teacher", "report", "model", "serving"):
        if paths[name]:
            console.say(f"{name}: {paths[name]}")
    if not paths["serving"] and not run["accepted"] and run["blessed"] is not None:
        console.print("[red]not pushed:[/red] the model was refused; what is served does not change")


def print_whole_run(run: Mapping[str, Any]) -> None:
    """What every component came to and how long it took, the data and the scores, and then as `print_run`."""
    console.say(f"run {run['number']} of {run['recipe']}, started {_second(run['started'])}")
    table = Table("component", "state", Column("seconds", justify="right"), box=box.SIMPLE, pad_edge=False)
    for each in run["components"]:
        seconds = "–" if each["seconds"] is None else f"{each['seconds']:.1f}"
        table.add_row(each["name"], each["state"], seconds)
    took = sum(each["seconds"] or 0.0 for each in run["components"] if each["state"] == "done")
    cpu = f", training {run['training']['cpu_minutes']:.1f} CPU min" if run["training"] else ""
    console.print(table)
    console.say(f"cost: {took:.1f} s{cpu}")
    if run["stopped_in_stage"]:
        console.say(
            f"the training stopped in stage {run['stopped_in_stage']}: the same command goes on there", "yellow"
        )
    if run["data"]:
        console.say(f"judged on {_judged_on(run['data'])}: {_headline(run['scores_db'])}")
    print_run(run)


def print_runs(found: Mapping[str, Any]) -> None:
    """Every run, newest first, and the anchor of every recipe; found: as `pipeline.runs.documents.of_runs`."""
    if not found["runs"]:
        console.say(f"no runs in {found['workdir']} yet; `stemline demo` makes one")
        return
    table = Table(title=f"Runs in {found['workdir']}", box=box.SIMPLE, pad_edge=False, padding=(0, 1, 0, 0))
    for name, widest in _COLUMNS.items():  # a narrow terminal takes more lines, and nothing away
        table.add_column(name, overflow="fold", min_width=widest)
    for run in found["runs"]:
        counts = Counter(each["state"] for each in run["components"])
        states = ", ".join(f"{count} {state}" for state, count in counts.items())
        row = (str(run["number"]), _second(run["started"]), run["recipe"], states, _trained(run))
        table.add_row(*row, _verdicts(run), str(run["version"] or "–"), _headline(run["scores_db"]))
    console.print(table)
    for recipe, anchor in found["anchors"].items():
        made = f"run {anchor['run']}" if anchor["run"] else "a model"
        why = "the model that was pinned" if anchor["pinned"] else "the best one, blessed"
        console.say(f"anchor of {recipe}: {made}, {why} on {anchor['since'][:10]}, in {anchor['model']}")


def print_diff(found: Mapping[str, Any]) -> None:
    """Two runs side by side; found: as `pipeline.runs.compare.document`."""
    for section in found["sections"]:
        table = Table(
            Column(section["title"], overflow="fold"), Column("A", overflow="fold"), Column("B", overflow="fold")
        )
        changes = any(row["change_db"] is not None for row in section["rows"])
        if changes:
            table.add_column("B - A", justify="right", no_wrap=True)
        for row in section["rows"]:
            style = "yellow" if row["a"] != row["b"] and row["change_db"] is None else ""
            cells = (Text(row["name"]), Text(row["a"], style), Text(row["b"], style))
            table.add_row(*cells, *([_change(row["change_db"])] if changes else []))
        if section["rows"]:
            console.print(table)
        for note in section["notes"]:
            console.say(note)


def _change(difference_db: float | None) -> Text:
    """Green for better, red for worse, in two decimals; what rounds to nothing has no colour."""
    if difference_db is None:
        return Text("–")
    told = f"{difference_db:+.2f}"
    return Text(told, "" if float(told) == 0 else "green" if difference_db > 0 else "red")


def print_study(result: Result, directory: Path) -> None:
    """A study in short, what failed, and where the long form lies."""
    from pipeline.studies import page

    shown = page.table(result)
    short = ("variant", "parameters", "CPU min", f"{result.target} ", "real-time")
    narrow = [place for place, head in enumerate(shown.head) if head.startswith(short) or "−" in head]
    table = Table(*(Column(Text(shown.head[place]), overflow="fold") for place in narrow))
    for row in shown.rows:
        table.add_row(*(Text(row[place].strip("*")) for place in narrow))
    console.print(table)
    for trial in result.failed:
        console.say(f"{trial.variant} failed: {trial.problem}", style="red")
    for path in sorted(directory.glob(f"{result.name}[.-]*")):
        console.say(f"wrote {path}")


def print_judged(judged: Mapping[str, Any], fitted: Iterable[str], written: Iterable[Path]) -> None:
    """Scores of separated files, one table for each version, what was left out or fitted, and the gate's reasons.

    judged: as `pipeline.evaluation.standalone.document`.
    """
    from pipeline.evaluation.scores import VERSIONS, score_name

    for version, words in judged["versions"].items():
        console.say(f"{words}; {judged['tracks']} track(s), in dB")
        table = Table("target", "method")
        names = [score_name("", f"{version}/{metric}") for metric in VERSIONS[version]]
        for name in names:
            table.add_column(name.rpartition("/")[2], justify="right", no_wrap=True)
        for target in judged["targets"]:
            for method, label in judged["methods"].items():
                values = [judged["scores_db"][method].get(f"{target}{name}") for name in names]
                table.add_row(target, label, *("–" if value is None else f"{value:.2f}" for value in values))
            table.add_section()
        console.print(table)
    for each in judged["left_out"]:
        console.say(f"left out: {each['track']}: {each['reason']}", "yellow")
    for line in fitted:
        console.say(line)
    for line in judged["reasons"]:
        console.say(line, None if line.startswith("ok") else "red")
    for path in written:
        console.say(f"wrote {path}")


def print_models(found: Mapping[str, Any]) -> None:
    """Every system with its paper, sizes, latency, published score and ours; found: as `pipeline.studies.systems.document`."""
    from pipeline.studies.result import short

    table = Table("system", "paper", title="Systems", show_lines=True, box=box.SIMPLE, pad_edge=False)
    table.add_column("parameters", justify="right", no_wrap=True)
    table.add_column("online", no_wrap=True)
    table.columns[0].no_wrap = True
    published = Table.grid("system", "published", padding=(0, 2))
    ours = Table.grid("system", "score", "data", "from", padding=(0, 2))
    published.columns[1].overflow = ours.columns[2].overflow = "fold"  # never an ellipsis in a figure
    for system in found["systems"]:
        sizes = [each for each in system["recipes"] if each["parameters"] is not None]
        counts = "\n".join(f"{each['parameters']:,}" for each in sizes)
        online = "\n".join("no" if (ms := each["latency_ms"]) is None else f"{ms:.0f} ms" for each in sizes)
        table.add_row(system["system"], short(system["paper"]), counts, online)
        published.add_row(system["system"], system["published"])
        for each in system["scores"]:
            told = f"{each['metric']} {each['vocals_db']:.2f} dB"
            ours.add_row(system["system"], told, Text(_judged_on(each["data"])), each["source"])
    console.print(table)
    console.print("published:")
    console.print(published)
    console.print("ours, vocals; only figures on the same tracks can be compared:")
    console.print(ours)
    notes = (
        f"recipes: {', '.join(found['recipes'])}",
        f"parameters, online: of the recipe at the published settings, then of the one for MIR-1K ({config.BENCHMARK_SUFFIX})",
        "online: with its algorithmic latency; no: it needs the whole file",
        f"ours: of the newest runs in {found['workdir']} on each data, and of the leaderboard that ships with the project",
    )
    for note in notes:
        console.say(note)
    if told := found["default"]:
        kind = f"{told['network']}, {told['parameters']:,} parameters, {told['sample_rate_hz']} Hz, {', '.join(told['targets'])}"
        console.say(f"comes with Stemline: {told['name']} version {told['version']} ({kind}); its card: {told['card']}")


def _judged_on(data: Mapping[str, Any]) -> str:
    """`mir1k MIR-1K, 124 tracks`."""
    where = " ".join(filter(None, (data["format"], data["folder"])))
    return f"{where}, {data['tracks']} tracks"


def _second(started: str) -> str:
    return started[:19].replace("T", " ")


def _verdicts(run: Mapping[str, Any]) -> str:
    """The judge's verdict, and that of the serving check where it is another."""
    differs = run["infra_blessed"] is not None and run["infra_blessed"] != run["blessed"]
    return VERDICTS[run["blessed"]] + (f", infra {VERDICTS[run['infra_blessed']]}" if differs else "")


def _trained(run: Mapping[str, Any]) -> str:
    """`fcn 110 + blstm 180 + own 310 steps, 4.0 CPU min` of what a run trained; of one stage the number of steps only."""
    told = run["training"]
    if run["stopped_in_stage"]:
        return f"stopped in stage {run['stopped_in_stage']}"
    if told is None:
        return "–"
    stages = told["stages"]
    steps = " + ".join(
        f"{stage['name']} {stage['steps']}" if len(stages) > 1 else f"{stage['steps']}" for stage in stages
    )
    return f"{steps} steps, {told['cpu_minutes']:.1f} CPU min{_started(told['warm_start'])}"


def _started(start: Mapping[str, Any] | None) -> str:
    """`, from demo version 17` of a warm start; `, from scratch` where one was wanted and could not be."""
    if start is None:
        return ""
    if start["reason"]:
        return ", from scratch"
    model = Path(start["model"])
    return f", from {model.parent.name} version {model.name}"


def _headline(scores_db: Mapping[str, float]) -> str:
    """The first of the usual figures that the run has."""
    told = headline(scores_db)
    return f"{told[0]} {told[1]:.2f} dB" if told else "–"
