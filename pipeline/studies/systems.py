"""Every system that ships, as plain values, which the table of `stemline models` and its `--json` show alike."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from models.directory import DEFAULT, ModelDirectory
from pipeline.config import config
from pipeline.evaluation.scores import headline
from pipeline.runs.workdir import Workdir
from pipeline.studies import network_facts
from pipeline.studies.result import Result


def document(workdir: Workdir) -> dict[str, Any]:
    """Paper, sizes and latency of every system, and its scores with the data that each is on; answers without TensorFlow."""
    facts, scores = network_facts.known(), _scores(workdir)
    systems = []
    for system, recipes in _systems().items():
        told = config.load(recipes[0])
        nothing = {"parameters": None, "latency_ms": None}
        sizes = [{"recipe": name, **facts.get(name, nothing)} for name in recipes]
        of_system = [each for recipe, each in scores if recipe.removesuffix(config.BENCHMARK_SUFFIX) == system]
        paper = {"paper": told.paper, "published": told.published}
        systems.append({"system": system, **paper, "recipes": sizes, "scores": of_system})
    return {"workdir": str(workdir.root), "recipes": config.recipe_names(), "systems": systems, "default": _default()}


def _default() -> dict[str, Any] | None:
    """The model that comes with Stemline; None in a checkout without it."""
    if (model := ModelDirectory.newest(DEFAULT)) is None:
        return None
    told = {key: model.description[key] for key in ("network", "parameters", "sample_rate_hz", "targets")}
    return {"name": DEFAULT.name, "version": model.version, **told, "card": str(DEFAULT / "README.md")}


def _systems() -> dict[str, list[str]]:
    """System -> its recipes, the one at the published settings first; a system has a recipe for MIR-1K."""
    names = config.recipe_names()
    systems = [name.removesuffix(config.BENCHMARK_SUFFIX) for name in names if name.endswith(config.BENCHMARK_SUFFIX)]
    return {
        system: [name for name in (system, system + config.BENCHMARK_SUFFIX) if name in names]
        for system in sorted(systems)
    }


def _scores(workdir: Workdir) -> list[tuple[str, dict[str, Any]]]:
    """(recipe, its score and the data that it is on): of the newest run here on each data, then of the leaderboard that ships."""
    return [*_of_runs(workdir), *_of_leaderboard()]


def _of_runs(workdir: Workdir) -> Iterator[tuple[str, dict[str, Any]]]:
    if not (workdir.metadata.exists() or workdir.metadata_note.exists()):
        return
    from pipeline.runs import documents, history

    seen = set()
    for run in history.runs(workdir):
        data, told = documents.judged_on(run), headline(run.scores)
        place = run.pipeline, *(data or {}).values()
        if data and told and place not in seen:
            seen.add(place)
            yield run.pipeline, _score(*told, data, f"run {run.number}")


def _of_leaderboard() -> Iterator[tuple[str, dict[str, Any]]]:
    shipped = Result.shipped()
    found = re.match(
        r"format (?P<format>\S+?)(?:, folder (?P<folder>.+?))?, \d+ Hz, (?P<tracks>\d+) clips", shipped.data
    )
    assert found, shipped.data
    data = {**found.groupdict(), "tracks": int(found["tracks"])}
    for trial in shipped.finished:
        if told := headline(trial.scores):
            yield trial.variant, _score(*told, data, "the leaderboard")


def _score(metric: str, vocals_db: float, data: dict[str, Any], source: str) -> dict[str, Any]:
    return {"metric": metric, "vocals_db": vocals_db, "data": data, "source": source}
