"""What ran, what was blessed and pushed, with which scores: read from MLMD and from what its artifacts hold."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from typing import Any

import ml_metadata as mlmd
from ml_metadata.proto import metadata_store_pb2 as pb

from models.directory import PLAIN_WORDS, ModelDirectory
from pipeline.common.progress import line
from pipeline.config.metadata import MetadataConfig
from pipeline.runs import metadata
from pipeline.runs.workdir import Workdir, is_plain

STATES = {
    pb.Execution.COMPLETE: "done",
    pb.Execution.CACHED: "cached",
    pb.Execution.FAILED: "failed",
    pb.Execution.RUNNING: "stopped",
    pb.Execution.CANCELED: "stopped",
}
_ENDED = pb.Execution.COMPLETE, pb.Execution.FAILED
_PROBLEM = "problem"  # property of an execution that failed
_PUSHED = "pushed_destination"  # property of what a Pusher put out


@dataclass(frozen=True)
class Output:
    """An artifact that a component put out: its type, where it lies, and its custom properties as plain values."""

    type_name: str
    uri: str
    properties: dict[str, int | float | str]

    @property
    def saved_model(self) -> str:
        """The directory of the SavedModel, for an artifact of type Model."""
        return f"{self.uri}/Format-Serving"


@dataclass(frozen=True)
class Run:
    """One pipeline run: the state of every component and what each put out, in order of execution.

    teacher: the model that the training looked through, None without one. judged_by: the configuration that the judge
    was given, as JSON; empty when the run did not get there. number: counts the runs of a workdir from 1. trained_by: the
    earlier run whose model this one took from the cache, because neither data nor configuration had changed. seconds,
    problems: by component, how long it took and why it failed, as far as that was recorded.
    """

    pipeline: str
    run_id: str
    states: dict[str, str]
    outputs: dict[str, Output] = field(default_factory=dict)
    teacher: Output | None = None
    judged_by: str = ""
    number: int = 0
    trained_by: Run | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)

    @property
    def started(self) -> datetime:
        """Start in local time: TFX names a run by it."""
        return datetime.fromisoformat(self.run_id)

    @property
    def scores(self) -> dict[str, float]:
        """Scores of the candidate, such as `vocals/v3/GNSDR`, in dB."""
        evaluation = self.outputs.get("ModelEvaluation")
        properties = evaluation.properties if evaluation else {}
        return {key: float(value) for key, value in properties.items() if key.count("/") == 2}

    @cached_property
    def blessed(self) -> bool | None:
        """The judge's verdict; None when the run did not get there."""
        return _flag(self.outputs.get("ModelBlessing"), "blessed")

    @cached_property
    def infra_blessed(self) -> bool | None:
        """The serving check's verdict; None when the run did not get there."""
        return _flag(self.outputs.get("InfraBlessing"), "blessed")

    @cached_property
    def pushed(self) -> str | None:
        """The directory of the version that this run pushed or had pushed before."""
        output = self.outputs.get("PushedModel")
        return str(output.properties[_PUSHED]) if output and output.properties.get("pushed") else None

    @property
    def overtaken(self) -> str:
        """Why the Pusher left alone a version that is newer than the one judged against; empty when it did not."""
        output = self.outputs.get("PushedModel")
        return str(output.properties.get("reason", "")) if output else ""

    @property
    def accepted(self) -> bool:
        """Both verdicts were given and both are good, and no other run has pushed in the meantime."""
        return bool(self.blessed) and self.infra_blessed is not False and not self.overtaken

    @property
    def report(self) -> str | None:
        """The HTML report of the evaluation."""
        evaluation = self.outputs.get("ModelEvaluation")
        return f"{evaluation.uri}/report.html" if evaluation else None

    @property
    def model(self) -> str | None:
        """The SavedModel that was trained."""
        model = self.outputs.get("Model")
        return model.saved_model if model else None

    @cached_property
    def training(self) -> dict[str, Any]:
        """The figures of `training.json` beside the model: `steps`, `dev_loss`, `cpu_minutes`, `stopped_early` and, for
        each of `stages`, these with its `name` and `network`. Empty when the run trained nothing.

        Raises ValueError where the file holds something else.
        """
        file = ModelDirectory(self.model).training_file if self.model else None
        try:
            return json.loads(file.read_text()) if file and file.is_file() else {}
        except json.JSONDecodeError as error:
            raise ValueError(f"{file} is no JSON: {error}") from error

    @property
    def reasons(self) -> list[str]:
        """Every check with its verdict in words, then the reason of the serving check or the Pusher where it refused."""
        blessing = self.outputs.get("ModelBlessing")
        words = json.loads(str(blessing.properties.get("reasons", "[]"))) if blessing else []
        infra = self.outputs.get("InfraBlessing")
        words += [str(infra.properties.get("reason", ""))] if infra and not self.infra_blessed else []
        return [*words, self.overtaken] if self.overtaken else words


def runs(workdir: Workdir, pipeline: str | None = None) -> list[Run]:
    """All runs that the metadata of `workdir` knows, newest first; of one pipeline when it is named.

    One whose recipe has a name that leads elsewhere, as older versions took it, is told and left out.
    """
    store = metadata.store(workdir)
    if store is None:
        return []
    found = (_run(store, context, workdir) for context in store.get_contexts_by_type("pipeline_run"))
    trained: dict[str, Run] = {}
    numbered: list[Run] = []
    for number, run in enumerate(sorted(found, key=lambda run: run.run_id), 1):
        cached = run.model if run.states.get("Trainer") == "cached" else None
        numbered.append(replace(run, number=number, trained_by=trained.get(cached) if cached else None))
        if run.model and not cached:
            trained[run.model] = numbered[-1]
    for run in numbered:
        if not is_plain(run.pipeline):
            _tell(f"run {run.number} is left out: its recipe is called {run.pipeline!r}; legal are {PLAIN_WORDS}")
    return [run for run in reversed(numbered) if pipeline in (None, run.pipeline) and is_plain(run.pipeline)]


@functools.cache
def _tell(words: str) -> None:
    """Once, however often they are asked for."""
    line(words, "yellow")


def relocate(store: mlmd.MetadataStore, workdir: Workdir) -> None:
    """Writes down where the artifacts lie of a working directory that was moved or copied, so that TFX finds them."""
    moved = [each for each in store.get_artifacts() if workdir.here(each.uri) != each.uri]
    for each in moved:
        each.uri = workdir.here(each.uri)
        if _PUSHED in each.custom_properties:
            each.custom_properties[_PUSHED].string_value = workdir.here(each.custom_properties[_PUSHED].string_value)
    if moved:
        store.put_artifacts(moved)


def record_problem(store: mlmd.MetadataStore, run_id: str, problem: str) -> None:
    """Writes why a run failed to what has failed in it, in words."""
    context = store.get_context_by_type_and_name("pipeline_run", run_id)
    executions = store.get_executions_by_context(context.id) if context else []
    failed = [each for each in executions if each.last_known_state == pb.Execution.FAILED]
    for each in failed:
        each.custom_properties[_PROBLEM].string_value = problem
    if failed:
        store.put_executions(failed)


def trained_model(workdir: Workdir, pipeline: str, recorded: MetadataConfig | None = None) -> Output | None:
    """`newest_model` of a pipeline as the metadata of `workdir` knows it, or a store that need not have been used here."""
    store = metadata.store(workdir, recorded)
    model = newest_model(store, pipeline) if store else None
    return _output(model, workdir) if model else None


def newest_model(store: mlmd.MetadataStore, pipeline: str) -> pb.Artifact | None:
    """The model to build on: the newest blessed one that the pipeline's Trainer put out, else the newest one, else None.

    The newest is what the latest run put out, also when that run took it from the cache.
    """
    models = _put_out(store, pipeline, "Trainer", "Model")
    verdicts = _put_out(store, pipeline, "BssEvaluator", "ModelBlessing")
    properties = [verdict.custom_properties for verdict in verdicts]
    blessed = {each["current_model_id"].int_value for each in properties if each["blessed"].int_value == 1}
    return next((model for model in models if model.id in blessed), next(iter(models), None))


def _put_out(store: mlmd.MetadataStore, pipeline: str, node: str, type_name: str) -> list[pb.Artifact]:
    """The artifacts of a type that a component of a pipeline put out in any run, those of its latest execution first."""
    context = store.get_context_by_type_and_name("node", f"{pipeline}.{node}")
    executions = store.get_executions_by_context(context.id) if context else []
    events = store.get_events_by_execution_ids([execution.id for execution in executions]) if executions else []
    latest: dict[int, int] = {}
    for event in events:
        if event.type == pb.Event.OUTPUT:
            latest[event.artifact_id] = max(event.execution_id, latest.get(event.artifact_id, 0))
    found = store.get_artifacts_by_id(list(latest)) if latest else []
    live = [each for each in found if each.type == type_name and each.state == pb.Artifact.LIVE]
    return sorted(live, key=lambda artifact: latest[artifact.id], reverse=True)


def _run(store: mlmd.MetadataStore, context: pb.Context, workdir: Workdir) -> Run:
    executions = sorted(store.get_executions_by_context(context.id), key=lambda execution: execution.id)
    states, outputs, pipeline, teacher, judged_by = {}, {}, "", None, ""
    seconds, problems = {}, {}
    for execution in executions:
        contexts = {c.type: c.name for c in store.get_contexts_by_execution(execution.id)}
        pipeline = contexts.get("pipeline", pipeline)
        node = contexts.get("node", "").removeprefix(f"{pipeline}.")
        states[node] = STATES.get(execution.last_known_state, "unknown")
        if execution.last_known_state in _ENDED:
            seconds[node] = (execution.last_update_time_since_epoch - execution.create_time_since_epoch) / 1000
        if problem := execution.custom_properties[_PROBLEM].string_value:
            problems[node] = problem
        artifacts = _artifacts(store, execution, pb.Event.OUTPUT)
        outputs.update({each.type: _output(each, workdir) for each in artifacts if each.state == pb.Artifact.LIVE})
        if node == "Trainer":
            inputs = _artifacts(store, execution, pb.Event.INPUT)
            teacher = next((_output(each, workdir) for each in inputs if each.type == "Model"), None)
        if node == "BssEvaluator":
            judged_by = execution.custom_properties["config"].string_value
    return Run(pipeline, context.name, states, outputs, teacher, judged_by, seconds=seconds, problems=problems)


def _artifacts(store: mlmd.MetadataStore, execution: pb.Execution, kind: pb.Event.Type) -> list[pb.Artifact]:
    """What the execution took in or put out."""
    events = store.get_events_by_execution_ids([execution.id])
    ids = [event.artifact_id for event in events if event.type == kind]
    return store.get_artifacts_by_id(ids) if ids else []


def _output(artifact: pb.Artifact, workdir: Workdir) -> Output:
    values = artifact.custom_properties.items()
    properties = {key: getattr(value, value.WhichOneof("value")) for key, value in values}
    if place := properties.get(_PUSHED):
        properties[_PUSHED] = workdir.here(place)
    return Output(artifact.type, workdir.here(artifact.uri), properties)


def _flag(output: Output | None, key: str) -> bool | None:
    return None if output is None else bool(output.properties.get(key))
