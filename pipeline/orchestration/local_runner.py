"""Runs the graph on this machine: one process, no server, one writer of the metadata at a time."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterator
from functools import partial

import absl.logging
from rich.text import Text
from tfx.orchestration.local.local_dag_runner import LocalDagRunner
from tfx.orchestration.pipeline import Pipeline
from tfx.proto.orchestration import pipeline_pb2

from pipeline.common import stopping
from pipeline.common.process import sentence
from pipeline.common.progress import console, line
from pipeline.components import graph
from pipeline.config.config import Config
from pipeline.orchestration import beam_runners, preflight
from pipeline.runs import abandoned, history, lock, metadata
from pipeline.runs.workdir import Workdir


def run_local(
    config: Config, workdir: Workdir, until: graph.Stage = "push", ingested: str | None = None
) -> history.Run:
    """Runs the pipeline, saying which component is at work, and returns what MLMD recorded of this run.

    Finished components of an earlier run with equal inputs come from the cache; a killed run continues that way.
    until, ingested: see `graph.components`.

    Raises:
      ValueError: bad data or configuration, from any component, or a teacher that `workdir` does not have.
      OSError: the workdir cannot be written, another run holds it, or the metadata server does not let us in; the message
        says which.
    """
    metadata.check_store(config.metadata, workdir)
    workdir.root.mkdir(parents=True, exist_ok=True)
    runner = _Runner()
    with lock.held(workdir, config), _narrated():
        metadata.note(config.metadata, workdir)
        if store := metadata.store(workdir, config.metadata):
            if config.metadata.backend != "mysql":
                history.relocate(store, workdir)
            for name in abandoned.clear(store, workdir, config.name):
                line(f"{name} of an earlier run was stopped before its end: what it had begun is removed")
        if until not in ("ingest", "baselines"):
            preflight.check_teacher(config, workdir)
        pipeline = Pipeline(
            pipeline_name=config.name,
            pipeline_root=str(workdir.artifacts(config.name)),
            metadata_connection_config=metadata.connection(config.metadata, workdir),
            components=graph.components(config, workdir, until, ingested),
            enable_cache=True,
            beam_pipeline_args=[*beam_runners.arguments(config.beam)],
        )
        try:
            with stopping.first(partial(_clear, config, workdir)):
                runner.run(pipeline)
        except Exception as error:
            expected = isinstance(error, ValueError | OSError)
            words = sentence(error) if expected else f"{type(error).__name__}: {sentence(error)}"
            with contextlib.suppress(Exception):  # what failed is worth more than that it is noted
                if store := metadata.store(workdir, config.metadata):
                    history.record_problem(store, runner.run_id, words)
            if any(said in words for said in FULL):
                raise OSError(
                    f"the disk of {workdir.root} is full, or that of the temporary files: finished steps are kept, and the "
                    "same command goes on where there is room again"
                ) from error
            raise
    return next(run for run in history.runs(workdir, config.name) if run.run_id == runner.run_id)


FULL = "No space left on device", "disk is full", "Disk quota exceeded"
"""What a full disk is called by Linux, sqlite and Linux again, in errors of every kind."""

DOES = {
    "StemsExampleGen": "stems to TFRecords",
    "SharedExamples": "TFRecords of another run",
    "StatisticsGen": "statistics of the tracks' metadata",
    "ImportSchemaGen": "the schema that they are held against",
    "ExampleValidator": "anomalies in the statistics",
    "AnomalyGate": "stops at an anomaly",
    "Teacher": "the model that the loss looks through",
    "Trainer": "trains, and writes the SavedModel",
    "LatestBlessedModel": "looks for the model to compare with",
    "BaselinesEvaluator": "scores of mixture and baselines on the test tracks",
    "BssEvaluator": "scores of the candidate on the test tracks, and the gate",
    "ServingValidator": "asks the candidate over gRPC, as clients will",
    "Pusher": "publishes the candidate, if it was blessed",
}
"""What the nodes of the graph do, for people who wait for them."""


def _clear(config: Config, workdir: Workdir) -> None:
    if store := metadata.store(workdir, config.metadata):
        abandoned.clear(store, workdir, config.name)


class _Runner(LocalDagRunner):
    """Keeps the id of its run: of several at a time, the newest on a server may be another's."""

    run_id = ""

    def run_with_ir(self, pipeline: pipeline_pb2.Pipeline, run_options: pipeline_pb2.RunOptions | None = None) -> None:
        try:
            super().run_with_ir(pipeline, run_options)
        finally:
            self.run_id = pipeline.runtime_spec.pipeline_run_id.field_value.string_value


@contextlib.contextmanager
def _narrated() -> Iterator[None]:
    """Turns the runner's log records into one line a component, with its time and whether it came from the cache."""
    logger = logging.getLogger("absl")
    narrator, verbosity = _Narrator(), absl.logging.get_verbosity()
    logger.addHandler(narrator)
    # By absl's own verbosity: TensorFlow's SavedModel writer resets the logger's level to it.
    absl.logging.set_verbosity(absl.logging.INFO)
    logger.propagate = False
    try:
        yield
    finally:
        logger.propagate = True
        absl.logging.set_verbosity(verbosity)
        logger.removeHandler(narrator)


class _Narrator(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.started, self.cached = time.monotonic(), False

    def emit(self, record: logging.LogRecord) -> None:
        if record.msg == "Component %s is running.":
            self.started, self.cached = time.monotonic(), False
            name = record.getMessage().split()[1]
            console.print(Text(f"{name} … {DOES.get(name, '')}".rstrip(), style="dim"))
        elif record.msg == "A cached execution %d is used.":
            self.cached = True
        elif record.msg == "Component %s is finished.":
            seconds = time.monotonic() - self.started
            how = "unchanged, from the cache" if self.cached else f"done in {seconds:.1f} s"
            console.print(f"[green]{record.getMessage().split()[1]}[/green]: {how}")
