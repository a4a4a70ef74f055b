"""The Trainer's task of several workers, by itself: the tests play JobSet and the workers."""

from __future__ import annotations

import copy
import dataclasses
import json
import os
import re
import runpy
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tfx.components.trainer.fn_args_utils import FnArgs

from pipeline.components import trainer
from pipeline.config.config import Config, load, to_json
from pipeline.orchestration.cluster import executor
from pipeline.orchestration.cluster.workers import jobset, launcher, worker
from pipeline.orchestration.cluster.workers.job_directory import JobDirectory
from pipeline.orchestration.cluster.workers.jobsets import INSTALL, JobSets


def status(*conditions: tuple[str, str], ready: int = 0) -> dict[str, Any]:
    """As JobSet v0.12.0 has it in `api/jobset/v1alpha2/jobset_types.go`: conditions that hold, and whether all pods are ready."""
    listed = [{"type": kind, "status": "True", "message": message} for kind, message in conditions]
    return {"status": {"conditions": listed, "replicatedJobsStatus": [{"name": "worker", "ready": ready}]}}


RUNNING = status(ready=1)
FAILED = status(("Failed", "jobset failed due to reaching max number of restarts"))
COMPLETED = status(("Completed", "jobset completed successfully"))


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch, cluster: Any) -> Any:
    """The cluster and a launcher that asks often and soon gives up."""
    monkeypatch.setattr(launcher, "_POLL_SECONDS", 0.02)
    monkeypatch.setattr(launcher, "_PATIENCE_SECONDS", 0.5)
    return cluster


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return load("demo", ["cluster.workers=2", f"cluster.workdir={tmp_path}/volume"])


@pytest.fixture
def fn_args(config: Config, tmp_path: Path) -> FnArgs:
    """What TFX hands to a `run_fn`, with files that no training reads."""
    for split, size in (("train", 3), ("dev", 1)):
        for number in range(size):
            file = tmp_path / f"bucket/examples/Split-{split}/data_tfrecord-{number}.gz"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(f"{split} {number}".encode())
    custom = {"config": to_json(config.only("data", "model", "train")), "checkpoint_root": f"{tmp_path}/checkpoints"}
    return FnArgs(
        train_files=[f"{tmp_path}/bucket/examples/Split-train/*"],
        eval_files=[f"{tmp_path}/bucket/examples/Split-dev/*"],
        serving_model_dir=f"{tmp_path}/bucket/model/Format-Serving",
        model_run_dir=f"{tmp_path}/bucket/model_run",
        custom_config={**custom, "serving_directory": f"{tmp_path}/served", **launcher.custom_config(config)},
    )


@pytest.fixture
def job(config: Config, fn_args: FnArgs) -> JobDirectory:
    return JobDirectory(Path(config.cluster.workdir) / "jobs" / launcher._name(fn_args))


@pytest.fixture
def created(config: Config, job: JobDirectory) -> Callable[..., dict[str, Any]]:
    """A job as the launcher makes it, of today's settings or of others: `created(status, image)`."""

    def make(status: dict[str, Any], image: str = config.cluster.image) -> dict[str, Any]:
        settings = dataclasses.replace(config.cluster, image=image)
        command = worker.command(job, jobset.addresses(job.root.name, settings.workers))
        return jobset.manifest(job.root.name, settings, command) | copy.deepcopy(status)

    return make


@pytest.fixture
def soon(quick: Any) -> Iterator[Callable[[Callable[[], object]], None]]:
    """Does something while the launcher waits: a moment after it has begun to ask, however slow the machine is."""
    threads = []

    def begin(action: Callable[[], object]) -> None:
        asked = len(quick.asked)

        def act() -> None:
            while len(quick.asked) == asked:
                time.sleep(0.01)
            time.sleep(0.3)
            action()

        threads.append(threading.Thread(target=act))
        threads[-1].start()

    yield begin
    for thread in threads:
        thread.join()


def leave_a_model(job: JobDirectory) -> None:
    """What the chief does."""
    given = job.fn_args()
    for place, file in ((given.serving_model_dir, "saved_model.pb"), (given.model_run_dir, "events.out")):
        Path(place).mkdir(parents=True, exist_ok=True)
        Path(place, file).write_text(file)
    job.finish()


def succeed(cluster: Any, job: JobDirectory) -> None:
    leave_a_model(job)
    cluster.tell(job.root.name, "Completed", "jobset completed successfully")


def methods(cluster: Any) -> list[str]:
    return [method for method, _ in cluster.asked if method != "GET"]


# --- what goes well --------------------------------------------------------------------------------------------------


def test_what_the_workers_get_and_what_they_leave(quick, fn_args, config, job, soon, tmp_path, capfd) -> None:
    seen = {}

    def workers() -> None:
        seen.update(quick.jobs)
        given = job.fn_args()
        seen["records"] = sorted(Path(file).read_text() for file in given.train_files + given.eval_files)
        seen["key"] = trainer.training_key(load("demo"), given.train_files + given.eval_files)
        succeed(quick, job)

    soon(workers)
    launcher.run_fn(fn_args)
    assert Path(fn_args.serving_model_dir, "saved_model.pb").read_text() == "saved_model.pb"
    assert Path(fn_args.model_run_dir, "events.out").exists()
    assert {path.name for path in (tmp_path / "bucket").iterdir()} == {"examples", "model", "model_run"}
    assert [path.name for path in (tmp_path / "bucket/model").iterdir()] == ["Format-Serving"]
    assert seen["records"] == ["dev 0", "train 0", "train 1", "train 2"]
    files = trainer.files(fn_args.train_files + fn_args.eval_files)
    assert seen["key"] == trainer.training_key(load("demo"), files), (
        "workers name their checkpoints as one process does"
    )
    assert job.root.name == f"stemline-{seen['key']}"
    manifest = seen[job.root.name]
    assert manifest["spec"]["replicatedJobs"][0]["template"]["spec"]["completions"] == 2
    assert not list(Path(config.cluster.workdir, "jobs").iterdir())
    assert list(quick.jobs) == [job.root.name], "its logs are left"
    assert methods(quick) == ["POST"]
    said = capfd.readouterr().err
    assert (
        f"kubectl -n kubeflow logs -f -l jobset.sigs.k8s.io/jobset-name={job.root.name},batch.kubernetes.io/job-comp"
        in said
    )


def test_an_earlier_attempts_job_is_waited_for(quick, fn_args, job, created, soon) -> None:
    quick.jobs[job.root.name] = created(RUNNING)
    soon(lambda: succeed(quick, job))
    launcher.run_fn(fn_args)
    assert methods(quick) == ["POST"]  # answered by 409
    assert Path(fn_args.serving_model_dir, "saved_model.pb").exists()


def test_a_model_that_nobody_took_is_taken(quick, fn_args, job, created) -> None:
    job.stage(fn_args)
    leave_a_model(job)
    quick.jobs[job.root.name] = created(COMPLETED)
    launcher.run_fn(fn_args)
    assert methods(quick) == ["POST"]
    assert Path(fn_args.serving_model_dir, "saved_model.pb").exists()


@pytest.mark.parametrize(("status", "settings"), [(FAILED, ()), (COMPLETED, ()), (RUNNING, ("other",))])
def test_a_job_of_no_use_is_replaced(quick, fn_args, job, created, soon, status, settings) -> None:
    quick.jobs[job.root.name] = created(status, *settings)
    soon(lambda: succeed(quick, job))
    launcher.run_fn(fn_args)
    assert methods(quick) == ["POST", "DELETE", "POST"]
    assert Path(fn_args.serving_model_dir, "saved_model.pb").exists()


def test_a_job_that_failed_after_its_model_was_whole_has_trained(quick, fn_args, job, soon) -> None:
    def fail_late() -> None:
        leave_a_model(job)
        quick.tell(job.root.name, "Failed", "jobset failed due to reaching max number of restarts")

    soon(fail_late)
    launcher.run_fn(fn_args)
    assert Path(fn_args.serving_model_dir, "saved_model.pb").exists()


def test_kubernetes_may_be_away_for_a_while(quick, fn_args, job, soon) -> None:
    def come_back() -> None:
        quick.instead.pop("GET")
        succeed(quick, job)

    quick.instead["GET"] = (503, {"message": "etcd is electing"})
    soon(come_back)
    launcher.run_fn(fn_args)
    assert Path(fn_args.serving_model_dir, "saved_model.pb").exists()


# --- what does not ---------------------------------------------------------------------------------------------------


def test_a_failed_job_is_a_sentence(quick, fn_args, job, soon) -> None:
    message = FAILED["status"]["conditions"][0]["message"]
    soon(lambda: quick.tell(job.root.name, "Failed", message))
    with pytest.raises(
        ValueError,
        match=rf"^JobSet {job.root.name} failed: {message}; .*: kubectl -n kubeflow logs --prefix -l jobset.\S+={job.root.name}$",
    ):
        launcher.run_fn(fn_args)
    assert not job.root.exists()
    assert list(quick.jobs) == [job.root.name], "its logs are left"


def test_what_would_fail_again_is_not_tried_again(quick, fn_args, job, soon) -> None:
    soon(lambda: job.refuse("the training loss became nan at step 7"))
    with pytest.raises(
        ValueError, match=f"^the workers of JobSet {job.root.name} cannot train: the training loss became nan"
    ):
        launcher.run_fn(fn_args)
    assert quick.jobs == {}
    assert not job.root.exists()


def test_workers_that_do_not_all_run_are_given_up(quick, fn_args, config, job, soon, capfd) -> None:
    """The time begins again when they have run: that of a training is not limited."""
    cluster = dataclasses.replace(config.cluster, wait_hours=2 / 3600)
    fn_args.custom_config |= launcher.custom_config(dataclasses.replace(config, cluster=cluster))
    stopped = []

    def run_for_a_while() -> None:
        quick.jobs[job.root.name]["status"] |= RUNNING["status"]
        time.sleep(3)
        quick.jobs[job.root.name]["status"] |= status(("Suspended", "jobset is suspended"))["status"]
        stopped.append(time.monotonic())

    soon(run_for_a_while)
    with pytest.raises(
        ValueError, match=r"^JobSet stemline-demo-\w+: its workers \(2\) did not all run within cluster.wait_hours"
    ):
        launcher.run_fn(fn_args)
    assert time.monotonic() - stopped[0] > 1.5
    assert quick.jobs == {}
    assert not job.root.exists()
    said = [line.partition(": ")[2] for line in capfd.readouterr().err.splitlines()]
    assert said[1:] == ["waits until all workers run", "all workers run", "jobset is suspended"]


def test_a_deleted_job_is_a_sentence(quick, fn_args, job, soon) -> None:
    soon(lambda: quick.delete(job.root.name))
    with pytest.raises(ValueError, match=r"was deleted before it had ended$"):
        launcher.run_fn(fn_args)


def test_workers_with_another_volume_are_a_sentence(quick, fn_args, job, soon) -> None:
    soon(lambda: quick.tell(job.root.name, "Completed", "jobset completed successfully"))
    with pytest.raises(ValueError, match=r"left no model in .*: do they mount the volume of their launcher\?$"):
        launcher.run_fn(fn_args)
    assert not Path(fn_args.serving_model_dir).exists()


def test_a_terminated_run_takes_its_job_with_it(quick, fn_args, job, soon) -> None:
    before = signal.getsignal(signal.SIGTERM)
    soon(lambda: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(SystemExit) as ended:
        launcher.run_fn(fn_args)
    assert ended.value.code == 143
    assert quick.jobs == {}
    assert not job.root.exists()
    assert ("DELETE", "propagationPolicy=Foreground") in [(way, path.partition("?")[2]) for way, path in quick.asked]
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_kubernetes_that_stays_away_leaves_the_job_to_the_next_attempt(quick, fn_args, job, soon) -> None:
    quick.instead["GET"] = (503, {"message": "etcd is electing"})
    with pytest.raises(
        ConnectionError, match=r"^Kubernetes at http://127.0.0.1:\d+ has a fault \(503\): etcd is electing$"
    ):
        launcher.run_fn(fn_args)
    assert list(quick.jobs) == [job.root.name]
    assert job.request.exists()
    del quick.instead["GET"]
    soon(lambda: succeed(quick, job))
    launcher.run_fn(fn_args)
    assert methods(quick) == ["POST", "POST"]


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (404, "404 page not found\n", rf"has no jobsets \(jobset.x-k8s.io/v1alpha2\) in namespace kubeflow \(404 page not found\): `kubectl apply --server-side -f {INSTALL}` brings them$"),
        (403, {"message": 'User "x" cannot create resource "jobsets"'}, r'^this task may not create jobsets in namespace kubeflow \(User "x" cannot .*\): `kubectl kustomize kubeflow/training \| sed .*` gives its'),
        (422, {"message": "JobSet name is too long"}, r"refused to create a JobSet with 422: JobSet name is too long$"),
    ],
)  # fmt: skip
def test_refusals_are_sentences(quick, fn_args, job, status: int, body: Any, words: str) -> None:
    quick.instead["POST"] = (status, body)
    with pytest.raises(ValueError, match=words):
        launcher.run_fn(fn_args)
    assert not job.root.exists()


def test_no_kubernetes_is_a_sentence(cluster, monkeypatch, tmp_path) -> None:
    open_at = Path(os.environ["KUBECONFIG"]).read_text()
    (tmp_path / "closed").write_text(re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1:1", open_at))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    with pytest.raises(ValueError, match=r"^no Kubernetes to train on, neither by KUBECONFIG nor as a pod: "):
        JobSets("kubeflow")
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "closed"))
    with pytest.raises(ConnectionError, match=r"does not answer: "):
        JobSets("kubeflow").get("x")


# --- the two ends ----------------------------------------------------------------------------------------------------


def test_only_a_trainer_with_workers_gets_another_run_fn(config: Config) -> None:
    properties = {}
    for workers in ("null", 1, 2):
        chosen = load("demo", [f"cluster.workers={workers}"])
        for name in ("Trainer", "Pusher"):
            node = executor._node(chosen, name)
            properties[name, workers] = executor._properties(chosen, node), executor.properties(node)
    for key in (("Trainer", "null"), ("Pusher", "null"), ("Pusher", 1)):
        given, own = properties[key]
        assert given == own
    for workers in (1, 2):
        given, own = properties["Trainer", workers]
        assert given["run_fn"] == "pipeline.orchestration.cluster.workers.launcher.run_fn"
        custom = json.loads(given.pop("custom_config"))
        assert json.loads(custom.pop("cluster"))["cluster"]["workers"] == workers
        assert custom == json.loads(own.pop("custom_config"))
        assert {**given, "run_fn": own["run_fn"]} == own


def test_a_worker_trains_what_the_request_says(fn_args, job, monkeypatch) -> None:
    job.stage(fn_args)
    trained = []

    def run_fn(given: FnArgs) -> None:
        assert not Path(given.serving_model_dir).exists(), "what an attempt before left half-done"
        trained.append(given)
        Path(given.serving_model_dir).mkdir(parents=True)

    monkeypatch.setattr(trainer, "run_fn", run_fn)
    Path(job.fn_args().serving_model_dir).mkdir(parents=True)
    worker.train(job)
    assert job.finished
    worker.train(job)  # started again after the model was complete
    [given] = trained
    assert {**given.custom_config} == fn_args.custom_config
    assert given.base_model is None


@pytest.mark.filterwarnings("ignore::RuntimeWarning:runpy")
def test_a_pod_makes_tf_config_of_its_index_and_one_that_is_no_chief_leaves_nothing(fn_args, job, monkeypatch) -> None:
    job.stage(fn_args)
    seen = []
    monkeypatch.setattr(trainer, "run_fn", lambda given: seen.append(json.loads(os.environ["TF_CONFIG"])))
    monkeypatch.setenv("TF_CONFIG", "")
    monkeypatch.setenv("JOB_COMPLETION_INDEX", "1")
    monkeypatch.setattr("sys.argv", worker.command(job, ["127.0.0.1:2222", "localhost:2222"])[3:])
    runpy.run_module(worker.__name__, run_name="__main__")
    addresses = ["127.0.0.1:2222", "localhost:2222"]
    assert seen == [{"cluster": {"worker": addresses}, "task": {"type": "worker", "index": 1}}]
    assert not job.finished


def test_a_worker_tells_what_would_come_again_and_no_more(fn_args, job, monkeypatch) -> None:
    job.stage(fn_args)
    monkeypatch.setattr(trainer, "run_fn", _raising(OSError("the volume is away")))
    with pytest.raises(OSError, match="away"):
        worker.train(job)
    assert job.problem == ""
    monkeypatch.setattr(trainer, "run_fn", _raising(ValueError("train.batch is 3\nand more")))
    with pytest.raises(ValueError, match="3"):
        worker.train(job)
    assert job.problem == "train.batch is 3 and more"
    job.stage(fn_args)
    assert job.problem == "", "another attempt begins"


def _raising(error: Exception) -> Callable[[FnArgs], None]:
    def run_fn(given: FnArgs) -> None:
        raise error

    return run_fn


def test_copies_are_made_once_and_whole(fn_args, job) -> None:
    job.stage(fn_args)
    [first, *_] = files = sorted(path for path in job.root.rglob("*.gz"))
    times = [file.stat().st_mtime_ns for file in files]
    first.write_bytes(b"cut")
    job.stage(fn_args)
    assert first.read_text() == "dev 0"
    assert [file.stat().st_mtime_ns for file in files][1:] == times[1:]
    assert not list(job.root.rglob(".*")), "nothing half-written is left"


def test_a_teacher_goes_along(fn_args, job, tmp_path) -> None:
    (tmp_path / "guide/variables").mkdir(parents=True)
    (tmp_path / "guide/saved_model.pb").write_text("graph")
    (tmp_path / "guide/variables/variables.index").write_text("index")
    fn_args.base_model = str(tmp_path / "guide")
    job.stage(fn_args)
    copy = Path(job.fn_args().base_model)
    assert copy.is_relative_to(job.root)
    assert (copy / "variables/variables.index").read_text() == "index"
