"""What the tables say of stages."""

from __future__ import annotations

import json
import os
from pathlib import Path

from pipeline.cli import tables
from pipeline.runs import documents
from pipeline.runs.history import Output, Run
from pipeline.runs.workdir import Workdir


def trained(run: Run, workdir: Path) -> str:
    return tables._trained(documents.of_run(run, Workdir(workdir)))


def run_with(directory: Path, training: dict) -> Run:
    model = Output("Model", str(directory), {})
    beside = Path(model.saved_model) / "assets.extra"
    beside.mkdir(parents=True)
    (beside / "training.json").write_text(json.dumps(training))
    return Run("staged", "2026-11-20T12:00:00", {"Trainer": "done"}, {"Model": model})


def stages(**steps: int) -> list[dict]:
    return [{"name": name, "steps": count} for name, count in steps.items()]


def test_a_staged_training_is_told_by_stage(tmp_path: Path) -> None:
    staged = run_with(tmp_path, {"cpu_minutes": 4.02, "stages": stages(fcn=110, blstm=180, own=310)})
    assert trained(staged, tmp_path) == "fcn 110 + blstm 180 + own 310 steps, 4.0 CPU min"


def test_a_plain_training_is_told_in_short_and_none_as_none(tmp_path: Path) -> None:
    plain = run_with(tmp_path, {"cpu_minutes": 0.25, "stages": stages(own=12)})
    assert trained(plain, tmp_path) == "12 steps, 0.2 CPU min"
    assert trained(Run("staged", "2026-11-20T12:00:00", {}), tmp_path) == "–"


def test_a_halted_training_names_the_stage_that_saved_last(tmp_path: Path) -> None:
    workdir = Workdir(tmp_path)
    halted = Run("staged", "2026-11-20T12:00:00", {"Trainer": "stopped"})
    assert trained(halted, tmp_path) == "–"
    for seconds, stage in enumerate(("own", "fcn", "blstm")):
        checkpoint = workdir.checkpoints("staged") / "staged-0123456789abcdef" / stage / "latest" / "checkpoint"
        checkpoint.parent.mkdir(parents=True)
        checkpoint.touch()
        os.utime(checkpoint, (seconds, seconds))
    assert trained(halted, tmp_path) == "stopped in stage blstm"


def test_the_serving_check_is_told_where_it_differs(tmp_path: Path) -> None:
    def verdicts(**flags: int) -> str:
        outputs = {name: Output(name, "/somewhere", {"blessed": flag}) for name, flag in flags.items()}
        run = Run("any", "2026-11-20T12:00:00", {}, outputs)
        return tables._verdicts(documents.of_run(run, Workdir(tmp_path)))

    assert verdicts() == "–"
    assert verdicts(ModelBlessing=1) == verdicts(ModelBlessing=1, InfraBlessing=1) == "[green]yes[/green]"
    assert verdicts(ModelBlessing=1, InfraBlessing=0) == "[green]yes[/green], infra [red]no[/red]"
    assert verdicts(ModelBlessing=0, InfraBlessing=1) == "[red]no[/red], infra [green]yes[/green]"
