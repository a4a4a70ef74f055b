"""Beam past one process: which runners are refused, and the same bytes from a job service with a pool of workers."""

from __future__ import annotations

import dataclasses
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.config.config import BeamConfig, Config, DataConfig, EvaluateConfig, load
from pipeline.orchestration import beam_runners

RATE_HZ = 8000
FLINK = ("--runner=FlinkRunner", "--flink_master=jobs:8081")
DATAFLOW = ("--runner=DataflowRunner", "--project=p", "--region=r", "--sdk_container_image=i")
CONFIG = dataclasses.replace(
    load("demo", [f"data.sample_rate_hz={RATE_HZ}", f"model.sample_rate_hz={RATE_HZ}", "model.sizes={units: 16}"]),
    name="beam_test",
    data=DataConfig(sample_rate_hz=RATE_HZ, options={"tracks": {"train": 2, "dev": 1, "test": 3}, "seconds": 3.0}),
    evaluate=EvaluateConfig(metrics=("v3",), baselines=("irm",)),
)
IN_PROCESS = ("--runner=FnApiRunner",)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "names no --runner; legal: --runner=FnApiRunner on this machine"),
        (("--runner=DirectRunner",), "names DirectRunner, which hands over to a runner that it downloads"),
        (("--runner", "direct"), "names DirectRunner"),
        (
            ("--runner=apache_beam.runners.dask.dask_runner.DaskRunner",),
            "names DaskRunner, which was seen to write an empty",
        ),
        (("--runner=FlinkRuner",), "did you mean 'FlinkRunner'?"),
        (("--runner=FnApiRunner", "--runner=dask"), "names DaskRunner"),
        (("--runner=PortableRunner",), "has no --job_endpoint, no --environment_type, which PortableRunner needs"),
        (("--runner=spark", "--environment_type=LOOPBACK"), "has no --spark_master_url, which SparkRunner needs"),
        (
            (*FLINK, "--environment_type=DOCKER"),
            "without --environment_config: an image with this project in it is needed",
        ),
        ((*FLINK, "--environment_type=POOL"), "--environment_type of beam.pipeline_args is 'POOL': legal are EXTERNAL"),
        (DATAFLOW, "has no --temp_location, which DataflowRunner needs"),
        (
            (*DATAFLOW, "--temp_location=/tmp"),
            "--temp_location of beam.pipeline_args is '/tmp': Dataflow needs a bucket",
        ),
    ],
)
def test_a_runner_that_would_misbehave_is_refused_in_words(arguments: tuple[str, ...], words: str) -> None:
    with pytest.raises(ValueError, match=r"beam\.pipeline_args") as refused:
        beam_runners.check_arguments(arguments)
    assert words in str(refused.value)


@pytest.mark.parametrize(
    "arguments",
    [
        ("--runner=fnapi", "--direct_num_workers=2", "--direct_running_mode=multi_processing"),
        (*FLINK, "--environment_type", "EXTERNAL", "--environment_config", "workers:50000"),
        (*FLINK, "--environment_type=DOCKER", "--environment_option=docker_container_image=stemline:1"),
        ("--runner=SparkRunner", "--spark_master_url=spark://jobs:7077", "--environment_type=LOOPBACK"),
        (*DATAFLOW, "--temp_location=gs://bucket/tmp"),
    ],
)
def test_a_runner_with_what_it_needs_is_taken(arguments: tuple[str, ...]) -> None:
    beam_runners.check_arguments(arguments)


def test_a_refused_runner_leaves_nothing(stemline, tmp_path: Path) -> None:
    outcome = stemline("ingest", "--workdir", tmp_path / "runs", "--set", "beam.pipeline_args=[--runner=DaskRunner]")
    assert outcome.code == 2
    assert outcome.err.strip().splitlines()[-1].startswith("stemline: beam.pipeline_args names DaskRunner")
    assert not (tmp_path / "runs").exists()


# --- a job service and a pool of workers -----------------------------------------------------------------------------


def wait_for(port: int) -> None:
    for _ in range(600):
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.2)
    raise TimeoutError(f"nothing listens on {port} after two minutes")


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What job service and pool say."""
    return tmp_path_factory.mktemp("beam") / "log"


@pytest.fixture(scope="module")
def portable(log: Path, free_ports) -> Iterator[tuple[str, ...]]:
    """Arguments of a PortableRunner whose job service and workers are processes of their own."""
    jobs, workers = free_ports(2)
    beam = "apache_beam.runners"
    commands = (
        [f"{beam}.portability.local_job_service_main", f"--port={jobs}"],
        [f"{beam}.worker.worker_pool_main", f"--service_port={workers}"],
    )
    # The pool starts a worker as `python`.
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    with log.open("w") as said:
        processes = [
            subprocess.Popen(
                [sys.executable, "-m", *command], stdout=said, stderr=said, env=environment, start_new_session=True
            )
            for command in commands
        ]
    try:
        wait_for(jobs)
        wait_for(workers)
        place = (f"--job_endpoint=localhost:{jobs}", f"--environment_config=localhost:{workers}")
        yield ("--runner=PortableRunner", "--environment_type=EXTERNAL", *place)
    finally:
        for process in processes:
            os.killpg(process.pid, signal.SIGTERM)  # with the workers that the pool has started
            process.wait(30)


def ingest(config: Config, root: Path, arguments: tuple[str, ...]) -> Path:
    """The Examples artifact that StemsExampleGen leaves."""
    from tfx.orchestration import metadata
    from tfx.orchestration.local.local_dag_runner import LocalDagRunner
    from tfx.orchestration.pipeline import Pipeline

    from pipeline.components.stems_example_gen import stems_example_gen

    connection = metadata.sqlite_metadata_connection_config(str(root / "metadata.db"))
    component = stems_example_gen(config.data, str(root / "reports"))
    LocalDagRunner().run(
        Pipeline("ingest", str(root / "artifacts"), connection, [component], beam_pipeline_args=list(arguments))
    )
    [examples] = (root / "artifacts" / "StemsExampleGen" / "examples").iterdir()
    return examples


def judge(examples: Path, model: Path, directory: Path, arguments: tuple[str, ...]) -> dict[str, bytes]:
    """The files of scores of the test tracks."""
    import apache_beam
    from apache_beam.options.pipeline_options import PipelineOptions

    from pipeline.components import judging
    from pipeline.data import catalogue

    tracks = [track for track in catalogue.read(str(examples)) if track.split == "test"]
    directory.mkdir()
    task = judging.JudgingTask(str(examples), tracks, {"model": str(model)}, CONFIG)
    judging.judge_tracks(apache_beam.Pipeline(options=PipelineOptions(list(arguments))), task, directory)
    return contents(directory)


def contents(directory: Path) -> dict[str, bytes]:
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


@pytest.mark.slow
def test_a_pool_of_workers_gives_the_same_bytes(portable: tuple[str, ...], log: Path, tmp_path: Path) -> None:
    from models import exported
    from models.separator import Separator

    beam_runners.check_arguments(portable)
    here, there = ingest(CONFIG, tmp_path / "here", IN_PROCESS), ingest(CONFIG, tmp_path / "there", portable)
    records = contents(here)
    assert sum(name.endswith(".gz") for name in records) == 6
    assert contents(there) == records
    exported.save(Separator(CONFIG.model), str(tmp_path / "model"))
    scores = judge(here, tmp_path / "model", tmp_path / "judged here", IN_PROCESS)
    assert len(scores) == 3
    assert judge(there, tmp_path / "model", tmp_path / "judged there", portable) == scores
    assert log.read_text().count("Starting worker with command") >= 2


def test_tfx_packs_itself_only_for_workers_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would leave 42 MB behind for every component of every run."""
    from tfx.utils import dependency_utils

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    local = beam_runners.arguments(BeamConfig(("--runner=FnApiRunner",)))
    assert dependency_utils.make_beam_dependency_flags(local) == local
    assert list(tmp_path.iterdir()) == []
    flink = (*FLINK, "--environment_type=LOOPBACK")
    assert beam_runners.arguments(BeamConfig(flink)) == list(flink)
