"""The Trainer of several workers: its task trains nothing, it has a JobSet train and hands on the model of that.

An attempt of the task that dies leaves the job; the next one finds it by its name and goes on waiting. A training that
did not end well continues, in a new job, from its checkpoints.
"""

from __future__ import annotations

import time
from pathlib import Path

from tfx.components.trainer.fn_args_utils import FnArgs

from pipeline.common import process, progress
from pipeline.components import trainer
from pipeline.config.cluster import ClusterConfig
from pipeline.config.config import Config, from_json, to_json
from pipeline.orchestration.cluster.workers import jobset, worker
from pipeline.orchestration.cluster.workers.job_directory import JobDirectory
from pipeline.orchestration.cluster.workers.jobsets import JobSets

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
    jobsets = JobSets(cluster.namespace)
    try:
        with process.sigterm_exits():
            job.stage(fn_args)
            command = worker.command(job, jobset.addresses(name, cluster.workers or 1))
            _begin(jobsets, jobset.manifest(name, cluster, command), job)
            _wait(jobsets, name, cluster, job)
            job.hand_on(fn_args)
    except ConnectionError:
        raise
    except SystemExit:
        jobsets.delete(name)
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
    return jobset.name(key)


def _begin(jobsets: JobSets, manifest: jobset.Manifest, job: JobDirectory) -> None:
    """Creates the job, unless one is there that trains the same in the same way; one of no use goes first, with its pods."""
    name, namespace = manifest["metadata"]["name"], manifest["metadata"]["namespace"]
    end = time.monotonic() + _PATIENCE_SECONDS
    while not jobsets.create(manifest):
        found = jobsets.get(name)
        if found and _is_of_use(found, manifest, job):
            _say(f"goes on waiting for JobSet {name}, which an earlier attempt has begun")
            return
        if time.monotonic() > end:
            raise ValueError(f"JobSet {name}, which is of no use any more, was deleted but does not go: see its pods")
        jobsets.delete(name)
        time.sleep(_POLL_SECONDS)
    chief = f"jobset.sigs.k8s.io/jobset-name={name},batch.kubernetes.io/job-completion-index=0"
    _say(f"JobSet {name} created; the log of its chief: kubectl -n {namespace} logs -f -l {chief}")


def _is_of_use(found: jobset.Manifest, manifest: jobset.Manifest, job: JobDirectory) -> bool:
    """Whether a job of this name trains with the same settings, and is at it or has left its model."""
    ours, theirs = (each["metadata"].get("annotations", {}).get(jobset.DIGEST) for each in (manifest, found))
    kind, _ = jobset.state(found)
    over = kind in ("Failed", "Completed") and not job.finished
    return ours == theirs and not over and "deletionTimestamp" not in found["metadata"]


def _wait(jobsets: JobSets, name: str, cluster: ClusterConfig, job: JobDirectory) -> None:
    """Returns when the job has left its model. Raises ValueError when it will not any more."""
    said, last_seen = "", time.monotonic()
    while True:
        found = _get(jobsets, name)
        if problem := job.problem:
            jobsets.delete(name)
            raise ValueError(f"the workers of JobSet {name} cannot train: {problem}")
        if found is None:
            raise ValueError(f"JobSet {name} was deleted before it had ended")
        kind, message = jobset.state(found)
        if kind == "Completed" or (kind == "Failed" and job.finished):
            return
        if kind == "Failed":
            logs = f"kubectl -n {cluster.namespace} logs --prefix -l jobset.sigs.k8s.io/jobset-name={name}"
            raise ValueError(f"JobSet {name} failed: {message}; what its workers said last: {logs}")
        if running := jobset.all_run(found):
            last_seen = time.monotonic()
        elif cluster.wait_hours and time.monotonic() - last_seen > cluster.wait_hours * 3600:
            jobsets.delete(name)
            raise ValueError(
                f"JobSet {name}: its workers ({cluster.workers}) did not all run within cluster.wait_hours, {cluster.wait_hours:g}"
            )
        words = "all workers run" if running else message or "waits until all workers run"
        if words != said:
            _say(f"JobSet {name}: {words}")
            said = words
        time.sleep(_POLL_SECONDS)


def _get(jobsets: JobSets, name: str) -> jobset.Manifest | None:
    """The job, asked for again while Kubernetes does not answer: the workers do not need it."""
    end = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            return jobsets.get(name)
        except ConnectionError:
            if time.monotonic() > end:
                raise
            time.sleep(_POLL_SECONDS)


def _say(words: str) -> None:
    progress.console.print(f"  {words}", markup=False, soft_wrap=True)
