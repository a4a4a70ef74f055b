"""`stemline gate`: what the gate of a recipe can decide."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from pipeline.cli.answers import AsJson, answer
from pipeline.cli.recipes import named

if TYPE_CHECKING:
    from pipeline.config.gate import PairedConfig
    from pipeline.runs.history import Run
    from pipeline.runs.power import Decision

app = typer.Typer(
    help="What the gate of a recipe can decide.",
    no_args_is_help=True,
    add_completion=False,
)

SIMULATED: Mapping[str, tuple[Literal["mean", "median"], float]] = {"v3": ("mean", 0.85), "v4": ("median", 0.5)}
"""Version -> what its figure is of the paired differences, and their standard deviation in dB as `--simulate` assumes it."""
MARGIN_DB, TRACKS, SEEDS_DB, DRAWS = -0.3, (10, 50, 124), (0.1, 0.2), 10_000


@app.callback()
def gate() -> None:
    """What the gate of a recipe can decide."""


@app.command()
def power(
    recipe: Annotated[
        str,
        typer.Option("--recipe", "-r", help="Whose last run and gate; a name or a YAML file.", autocompletion=named),
    ] = "demo",
    set: Annotated[
        list[str] | None, typer.Option("--set", "-s", help="Ask about another gate: gate.paired.boundary=1.")
    ] = None,
    workdir: Annotated[Path, typer.Option("--workdir", "-w", help="Where the runs are.")] = Path("runs"),
    simulate: Annotated[bool, typer.Option("--simulate", help="A table by simulation, of no run.")] = False,
    as_json: AsJson = False,
) -> None:
    """How often equal and worse models pass over the last blessed one, how many tracks it takes, what margin is allowed."""
    from pipeline.config.config import load

    config = load(recipe, set or ())
    if simulate:
        rows = _table(config.gate.paired)
        answer({"rows": rows}, as_json, lambda told: typer.echo(_markdown(told["rows"])))
        return
    from pipeline.evaluation.gate import outlook
    from pipeline.runs import power as runs_power
    from pipeline.runs.workdir import Workdir

    place = Workdir(workdir)
    found = runs_power.last_pairs(place, config.name)
    if found is None:
        raise ValueError(
            f"no run of {config.name!r} in {place.root} has judged a model against a last blessed one yet, so nothing is known "
            f"of how two models differ from track to track; run it twice, or look at --simulate"
        )
    run, pairs = found
    judged = [pairs.metadata.get(name, {}) for name in next(iter(pairs.scores.values()))]
    for problem in outlook.ungrouped(config.gate, judged):
        typer.echo(f"the gate: {problem}", err=True)
    decisions = runs_power.decisions(pairs, config.gate)
    if not decisions:
        raise ValueError(
            f"the gate of {config.name!r} has no paired test over the last blessed model of what run {run.number} judged: "
            f"legal is a threshold with over: baseline or anchor and an across other than worst"
        )
    told = {"run": run.number, "started": run.run_id, "thresholds": [_plain(each) for each in decisions]}
    answer(told, as_json, lambda _: typer.echo("\n".join(_words(run, decisions))))


def _plain(decision: Decision) -> dict[str, Any]:
    asked = {name: getattr(decision.threshold, name) for name in ("target", "metric", "over", "across")}
    return {**asked, "group": decision.group, **dataclasses.asdict(decision.power)}


def _words(run: Run, decisions: list[Decision]) -> list[str]:
    lines = [f"By the differences of the two models of run {run.number} ({run.started:%Y-%m-%d %H:%M}):"]
    for each in decisions:
        told = each.power
        groups = f" in {told.clusters} groups" if told.clusters < told.tracks else ""
        between = f", of which {told.between_db:.2f} dB by group" if groups else ""
        chances = ", ".join(f"{name} {chance:.0%}" for name, chance in told.chances.items())
        lines += [
            f"{each.name}, margin {told.margin_db:.2f} dB, {told.tracks} tracks{groups}; a track's difference spreads by "
            f"{told.spread_db:.2f} dB{between}",
            f"  models that are truly … pass: {chances}",
            f"  {_needed(each)}",
        ]
    return lines


def _needed(decision: Decision) -> str:
    from pipeline.evaluation.gate.power import MOST_TRACKS, TARGET

    told = decision.power
    if told.margin_db >= 0:
        return (
            f"equal models pass in {TARGET:.0%} on no number of tracks: the margin demands a gain, or proof of no loss"
        )
    tracks = f"{told.tracks_needed} tracks" if told.tracks_needed else f"more than {MOST_TRACKS:,} tracks"
    allowed = (
        f"these {told.tracks} allow a margin of {told.margin_allowed_db:.2f} dB"
        if told.margin_allowed_db is not None
        else f"these {told.tracks} allow no margin"
    )
    return f"equal models pass in {TARGET:.0%} on {tracks} at this margin; {allowed}"


def _table(settings: PairedConfig) -> list[dict[str, Any]]:
    """Chances to pass by simulation: a row for each version and truth, a column for each number of tracks."""
    from pipeline.evaluation.gate.power import acceptance, normal

    rows = []
    for version, (how, deviation_db) in SIMULATED.items():
        for seeds_db in (0.0, *SEEDS_DB):
            found = {
                count: acceptance(normal(deviation_db), how, MARGIN_DB, count, settings, seeds_db, DRAWS)
                for count in TRACKS
            }
            for truth in found[TRACKS[0]] if not seeds_db else ("equal",):
                chances = {str(count): chance[truth] for count, chance in found.items()}
                spread = {"deviation_db": deviation_db, "seeds_db": seeds_db}
                rows.append({"version": version, "figure": how, **spread, "truth": truth, "tracks": chances})
    return rows


def _markdown(rows: list[dict[str, Any]]) -> str:
    lines = [
        f"| margin {MARGIN_DB:g} dB, truth | " + " | ".join(f"{count} tracks" for count in TRACKS) + " |",
        "|---" * (1 + len(TRACKS)) + "|",
    ]
    for row in rows:
        seeds = f", trainings deviate by {row['seeds_db']:g} dB" if row["seeds_db"] else ""
        chances = " | ".join(f"{100 * chance:.1f} %" for chance in row["tracks"].values())
        lines.append(f"| {row['version']} {row['figure']}, {row['truth']}{seeds} | {chances} |")
    return "\n".join(lines)
