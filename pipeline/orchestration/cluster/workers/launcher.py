"""The Trainer of several workers: its task trains nothing, it has a TFJob train and hands on the model of that.

An attempt of the task that dies leaves the job; the next one finds it by its name and goes on waiting. A training that
did not end well continues, in a new job, from its checkpoints.
"""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from tfx.components.trainer.fn_args_utils import FnArgs

from pipeline.common import progress
from pipeline.components import trainer
from pipeline.config.config import Config, from_json, to_json
from pipeline.orchestration.cluster.workers import tfjob, worker
from pipeline.orchestration.cluster.workers.job_directory import JobDirectory
from pipeline.orchestration.cluster.workers.training_operator import TrainingOperator

CLUSTER = "cluster"  # in the custom_config, beside what `trainer.run_fn` has there
_POLL_SECONDS = 10.0
_PATIENCE_SECONDS = 600.0  # with a Kubernetes that does not answer, and with a job that is to go


def custom_config(config: Config) -> dict[str, str]:
    """What `run_fn` reads of a configuration, beyond what the Trainer reads."""
    return {CLUSTER: to_json(config.only("cluster"))}


def run_fn(fn_args: FnArgs) -> None:
    """Has the workers train, and copies the model and the logs of the chief to the Trainer's artifacts.

    Raises:
      ValueError: Kubernetes refuses, or the training cannot succeed; the job and its directory are gone.
      ConnectionError: Kubernetes does not answer; the job may go on without this process.
    """
    cluster = from_json(fn_args.custom_config[CLUSTER]).cluster
    name = _name(fn_args)
    job = JobDirectory(Path(cluster.workdir) / "jobs" / name)
    operator = TrainingOperator(cluster.namespace)
    try:
        with _sigterm_raises():
            job.stage(fn_args)
            _begin(operator, tfjob.manifest(name, cluster, worker.command(job)), job)
            _wait(operator, name, job)
            job.hand_on(fn_args)
    except ConnectionError:
        raise
    except SystemExit:
        operator.delete(name)
        job.remove()
        raise
    except Exception:
        job.remove()
        raise
    job.remove()


def _name(fn_args: FnArgs) -> str:
    """Of the job; the workers find the same fingerprint, in the copies that they train from."""
    config = from_json(fn_args.custom_config["config"])
    files = trainer.files(fn_args.train_files) + trainer.files(fn_args.eval_files)
    key = trainer.training_key(config, files, trainer.teacher_of(config, fn_args.base_model))
    return tfjob.name(key)


def _begin(operator: TrainingOperator, manifest: tfjob.Manifest, job: JobDirectory) -> None:
    """Creates the job, unless one is there that trains the same in the same way."""
    name, namespace = manifest["metadata"]["name"], manifest["metadata"]["namespace"]
    if not operator.create(manifest):
        found = operator.get(name)
        if found and _is_of_use(found, manifest, job):
            _say(f"goes on waiting for TFJob {name}, which an earlier attempt has begun")
            return
        operator.delete(name)
        _wait_until_gone(operator, name)
        if not operator.create(manifest):
            raise ValueError(f"TFJob {name} is being made by another run in this moment; it trains the same data")
    _say(f"TFJob {name} created; its log: kubectl -n {namespace} logs -f {name}-worker-0")


def _is_of_use(found: tfjob.Manifest, manifest: tfjob.Manifest, job: JobDirectory) -> bool:
    """Whether a job of this name trains with the same settings, and is at it or has left its model."""
    ours, theirs = (each["metadata"].get("annotations", {}).get(tfjob.DIGEST) for each in (manifest, found))
    kind, _ = tfjob.state(found)
    over = kind == "Failed" or (kind == "Succeeded" and not job.finished)
    return ours == theirs and not over and "deletionTimestamp" not in found["metadata"]


def _wait(operator: TrainingOperator, name: str, job: JobDirectory) -> None:
    """Returns when the job has succeeded. Raises ValueError when it will not any more."""
    said = ""
    while True:
        found = _get(operator, name)
        if problem := job.problem:
            operator.delete(name)
            raise ValueError(f"the workers of TFJob {name} cannot train: {problem}")
        if found is None:
            raise ValueError(f"TFJob {name} was deleted before it had ended")
        kind, message = tfjob.state(found)
        if kind == "Succeeded":
            return
        if kind == "Failed":
            raise ValueError(f"TFJob {name} failed: {message}")
        if kind and kind != said:
            _say(f"TFJob {name}: {kind.lower()}")
            said = kind
        time.sleep(_POLL_SECONDS)


def _wait_until_gone(operator: TrainingOperator, name: str) -> None:
    """So that its workers write no checkpoints any more."""
    end = time.monotonic() + _PATIENCE_SECONDS
    while _get(operator, name) is not None:
        if time.monotonic() > end:
            raise ValueError(f"TFJob {name}, which is of no use any more, was deleted but does not go: see its pods")
        time.sleep(_POLL_SECONDS)


def _get(operator: TrainingOperator, name: str) -> tfjob.Manifest | None:
    """The job, asked for again while Kubernetes does not answer: the workers do not need it."""
    end = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            return operator.get(name)
        except ConnectionError:
            if time.monotonic() > end:
                raise
            time.sleep(_POLL_SECONDS)


def _say(words: str) -> None:
    progress.console.print(f"  {words}", markup=False, soft_wrap=True)


@contextlib.contextmanager
def _sigterm_raises() -> Iterator[None]:
    """A run that is terminated ends as by `sys.exit`, so that what it has begun can be undone."""

    def stop(number: int, _: object) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
