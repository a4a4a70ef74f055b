"""What ran, what was blessed and pushed, with which scores: read from MLMD, never from files of our own."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property

import ml_metadata as mlmd
from ml_metadata.proto import metadata_store_pb2 as pb

from pipeline.workdir import Workdir

STATES = {
    pb.Execution.COMPLETE: "done",
    pb.Execution.CACHED: "cached",
    pb.Execution.FAILED: "failed",
    pb.Execution.RUNNING: "stopped",
}


@dataclass(frozen=True)
class Output:
    """An artifact that a component put out: its type, where it lies, and its custom properties as plain values."""

    type_name: str
    uri: str
    properties: dict[str, int | float | str]


@dataclass(frozen=True)
class Run:
    """One pipeline run: the state of every component and what each put out, in order of execution."""

    pipeline: str
    run_id: str
    states: dict[str, str]
    outputs: dict[str, Output] = field(default_factory=dict)

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
        return str(output.properties["pushed_destination"]) if output and output.properties.get("pushed") else None

    @property
    def accepted(self) -> bool:
        """Both verdicts were given and both are good."""
        return bool(self.blessed) and self.infra_blessed is not False

    @property
    def report(self) -> str | None:
        """The HTML report of the evaluation."""
        evaluation = self.outputs.get("ModelEvaluation")
        return f"{evaluation.uri}/report.html" if evaluation else None

    @property
    def model(self) -> str | None:
        """The SavedModel that was trained."""
        model = self.outputs.get("Model")
        return f"{model.uri}/Format-Serving" if model else None

    @property
    def reasons(self) -> list[str]:
        """Every threshold with its verdict in words, then the serving check's reason where it refused."""
        blessing = self.outputs.get("ModelBlessing")
        words = json.loads(str(blessing.properties.get("reasons", "[]"))) if blessing else []
        infra = self.outputs.get("InfraBlessing")
        return [*words, str(infra.properties.get("reason", ""))] if infra and not self.infra_blessed else words


def runs(workdir: Workdir, pipeline: str | None = None) -> list[Run]:
    """All runs that the metadata of `workdir` knows, newest first; of one pipeline when it is named."""
    if not workdir.metadata.exists():
        return []
    config = pb.ConnectionConfig()
    config.sqlite.filename_uri = str(workdir.metadata)
    store = mlmd.MetadataStore(config)
    found = [_run(store, context) for context in store.get_contexts_by_type("pipeline_run")]
    wanted = [run for run in found if pipeline in (None, run.pipeline)]
    return sorted(wanted, key=lambda run: run.run_id, reverse=True)


def _run(store: mlmd.MetadataStore, context: pb.Context) -> Run:
    executions = sorted(store.get_executions_by_context(context.id), key=lambda execution: execution.id)
    states, outputs, pipeline = {}, {}, ""
    for execution in executions:
        contexts = {c.type: c.name for c in store.get_contexts_by_execution(execution.id)}
        pipeline = contexts.get("pipeline", pipeline)
        node = contexts.get("node", "").removeprefix(f"{pipeline}.")
        states[node] = STATES.get(execution.last_known_state, "unknown")
        outputs.update(_outputs(store, execution))
    return Run(pipeline, context.name, states, outputs)


def _outputs(store: mlmd.MetadataStore, execution: pb.Execution) -> dict[str, Output]:
    events = store.get_events_by_execution_ids([execution.id])
    ids = [event.artifact_id for event in events if event.type == pb.Event.OUTPUT]
    artifacts = store.get_artifacts_by_id(ids) if ids else []
    return {
        artifact.type: Output(
            artifact.type,
            artifact.uri,
            {key: getattr(value, value.WhichOneof("value")) for key, value in artifact.custom_properties.items()},
        )
        for artifact in artifacts
        if artifact.state == pb.Artifact.LIVE
    }


def _flag(output: Output | None, key: str) -> bool | None:
    return None if output is None else bool(output.properties.get(key))
