"""Runs as plain values, which tables and `--json` show alike: docs/scripting.md says what each key means."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pipeline.runs import anchors, history
from pipeline.runs.history import Run
from pipeline.runs.workdir import Workdir


def of_runs(workdir: Workdir) -> dict[str, Any]:
    """All that ran, newest first, and the anchor of every recipe."""
    found = history.runs(workdir)
    kept = {}
    for recipe, anchor in anchors.listed(workdir).items():
        made = next((run.number for run in found if _trained_there(run, workdir.here(anchor.model.origin))), None)
        since = anchor.since.isoformat(timespec="seconds")
        kept[recipe] = {"run": made, "pinned": anchor.pinned, "since": since, "model": str(anchor.model.path)}
    return {"workdir": str(workdir.root), "runs": [of_run(run, workdir) for run in found], "anchors": kept}


def of_run(run: Run, workdir: Workdir) -> dict[str, Any]:
    """One run: what came of it and why, what it cost, and where everything lies."""
    evaluation, examples = run.outputs.get("ModelEvaluation"), run.outputs.get("Examples")
    halted = run.states.get("Trainer") in ("failed", "stopped")
    return {
        "number": run.number,
        "started": run.run_id,
        "recipe": run.pipeline,
        "components": [
            {"name": name, "state": state, "seconds": run.seconds.get(name), "problem": run.problems.get(name)}
            for name, state in run.states.items()
        ],
        "trained_by": {"number": before.number, "started": before.run_id} if (before := run.trained_by) else None,
        "training": _training(run),
        "stopped_in_stage": _unfinished(workdir, run.pipeline) if halted else None,
        "blessed": run.blessed,
        "infra_blessed": run.infra_blessed,
        "accepted": run.accepted,
        "reasons": run.reasons,
        "version": int(run.pushed.rsplit("/", 1)[-1]) if run.pushed else None,
        "scores_db": run.scores,
        "data": judged_on(run),
        "paths": {
            "examples": examples.uri if examples else None,
            "model": run.model,
            "teacher": run.teacher.saved_model if run.teacher else None,
            "evaluation": evaluation.uri if evaluation else None,
            "report": run.report,
            "serving": run.pushed,
        },
    }


def judged_on(run: Run) -> dict[str, Any] | None:
    """On what it was judged: the layout, the folder's name and how many tracks; None when the run did not get there."""
    evaluation = run.outputs.get("ModelEvaluation")
    if evaluation is None:
        return None
    asked = (json.loads(run.judged_by) if run.judged_by else {}).get("data", {})
    path = asked.get("path")
    folder = Path(path).name if path else None
    return {"format": asked.get("format"), "folder": folder, "tracks": evaluation.properties.get("tracks")}


def _training(run: Run) -> dict[str, Any] | None:
    """What `training.json` tells, but for curves; before there were stages, the whole training was one."""
    told = run.training
    if not told:
        return None
    stages = told.get("stages") or [{"name": "own", "steps": told["steps"]}]
    kept = {key: told.get(key) for key in ("steps", "cpu_minutes", "dev_loss", "stopped_early", "warm_start")}
    return {**kept, "stages": [{"name": stage["name"], "steps": stage["steps"]} for stage in stages]}


def _trained_there(run: Run, model_uri: str) -> bool:
    """Whether the run itself trained the model at a URI."""
    return run.trained_by is None and "Model" in run.outputs and run.outputs["Model"].uri == model_uri


def _unfinished(workdir: Workdir, recipe: str) -> str | None:
    """The stage whose checkpoint is the newest of a training that no run has finished."""
    saved = workdir.checkpoints(recipe).glob("*/*/latest/checkpoint")
    stages = [path.parent.parent.name for path in sorted(saved, key=lambda path: path.stat().st_mtime)]
    return stages[-1] if stages else None
