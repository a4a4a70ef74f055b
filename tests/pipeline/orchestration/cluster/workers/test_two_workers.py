"""A Trainer's task that has a JobSet train: two processes, which the job's own command line starts, train what one does."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tfx.types import artifact_utils

from pipeline.config.config import Config, load
from pipeline.data import corpus, ingest
from pipeline.orchestration.cluster import emulate
from pipeline.orchestration.cluster.workers import launcher

SMALL = (
    "data.sample_rate_hz=8000",
    "data.segment_seconds=2",
    "data.options={tracks: {train: 4, dev: 1, test: 1}, seconds: 3}",
    "model.sample_rate_hz=8000",
    "model.frame_length=256",
    "model.hop=128",
    "model.sizes={units: 8}",
    "train.steps=12",
    "train.batch=8",
    "train.segment_frames=20",
    "train.evaluate_every_steps=3",
    "train.cpu_minutes=null",
    "train.patience=null",
)


@dataclasses.dataclass(frozen=True)
class Trained:
    """What the Trainer has put out."""

    model: Path
    logs: Path

    @property
    def saved_model(self) -> Path:
        return self.model / "Format-Serving"

    @property
    def figures(self) -> dict[str, Any]:
        return json.loads((self.saved_model / "assets.extra/training.json").read_text())

    def curve(self, tag: str) -> dict[int, float]:
        """Step -> value, of what TensorBoard shows."""
        events = [
            event for file in self.logs.glob("events.*") for event in tf.compat.v1.train.summary_iterator(str(file))
        ]
        return {
            event.step: float(tf.make_ndarray(value.tensor))
            for event in events
            for value in event.summary.value
            if value.tag == tag
        }


@pytest.fixture
def train(tmp_path: Path, run_node, monkeypatch: pytest.MonkeyPatch) -> Callable[[Config], Trained]:
    """Runs the task Trainer of a compiled graph on four rendered songs."""
    monkeypatch.setattr(launcher, "_POLL_SECONDS", 0.2)
    records = tmp_path / "bucket" / "examples"
    data = load("demo", SMALL).data
    for shard in ingest.plan(corpus.discover(data)):
        Path(shard.path(str(records))).parent.mkdir(parents=True, exist_ok=True)
        ingest.write_shard(shard, data, str(records))
    splits = {"examples": {"split_names": artifact_utils.encode_split_names(["train", "dev"])}}

    def run(config: Config) -> Trained:
        place = tmp_path / "bucket" / f"{config.cluster.workers}"
        trained = Trained(place / "model", place / "model_run")
        run_node(config, "Trainer", {"examples": records}, {"model": trained.model, "model_run": trained.logs}, splits)
        return trained

    return run


def configured(root: Path, *overrides: str) -> Config:
    return emulate.placed(load("demo", [*SMALL, *overrides]), root)


@pytest.mark.slow
def test_two_workers_train_what_one_process_trains(nodes, train, tmp_path: Path) -> None:
    """With a rate that warms up; Adam's full first step makes rounding visible: the sign of gradients that are none."""
    alone = train(configured(tmp_path / "alone"))
    together = train(configured(tmp_path / "together", "cluster.workers=2"))
    for tag, points in (("loss/train", 12), ("loss/dev", 10)):
        one, two = alone.curve(tag), together.curve(tag)
        assert one.keys() == two.keys()
        assert len(one) == points
        np.testing.assert_allclose([two[step] for step in one], list(one.values()), rtol=1e-4)
    assert together.figures["steps"] == 12
    assert together.figures["dev_loss"] == pytest.approx(alone.figures["dev_loss"], rel=1e-4)
    [job] = nodes.jobs.values()
    assert job["status"]["restarts"] == 0


@pytest.mark.slow
def test_two_workers_begin_with_the_version_that_is_served(nodes, train, tmp_path: Path) -> None:
    served = train(configured(tmp_path, "train.steps=3"))
    shutil.copytree(served.saved_model, tmp_path / "stemline/7")
    together = train(configured(tmp_path, "cluster.workers=2", "train.steps=2", "train.warm_start=true"))
    begun = together.figures["warm_start"]
    assert (begun["model"], begun["reason"]) == (str(tmp_path / "stemline/7"), "")
    assert begun["dev_loss"] == pytest.approx(served.figures["dev_loss"], rel=1e-4)
    assert together.figures["steps"] == 2


@pytest.mark.slow
def test_workers_that_are_lost_while_they_train(nodes, train, tmp_path: Path) -> None:
    """A worker is killed, then the chief, then the node of a worker drained: all begin again at the last checkpoint."""
    config = configured(tmp_path, "cluster.workers=2", "train.steps=40", "train.checkpoint_minutes=0.00001")
    ends = [(lambda: pods(1).process.kill(), 8), (lambda: pods(0).process.kill(), 16), (lambda: pods(1).drain(), 24)]
    lost = []

    def pods(worker: int) -> Any:
        [found] = nodes.pods.values()
        return found[worker]

    def lose() -> None:
        for restarts, (end, step) in enumerate(ends, 1):
            while saved(config) < step:
                time.sleep(0.05)
            lost.append(saved(config))
            end()
            print(f"lost a worker at step {lost[-1]}, {time.monotonic() - begun:.0f} s")
            [job] = nodes.jobs.values()
            while job["status"]["restarts"] < restarts:
                time.sleep(0.05)

    begun = time.monotonic()
    threading.Thread(target=lose, daemon=True).start()
    trained = train(config)
    print(f"trained in {time.monotonic() - begun:.0f} s")
    assert trained.figures["steps"] == 40
    assert trained.curve("loss/train").keys() >= set(range(max(lost) + 1, 41))  # what a killed one wrote may be lost
    [job] = nodes.jobs.values()
    assert len(lost) == 3
    assert (job["status"]["restarts"], job["status"]["restartsCountTowardsMax"]) == (3, 2)
    said = steps_said(pods(0).log)
    assert said == sorted(set(said)), "no attempt began anew"
    assert said[0] == 1


@pytest.mark.slow
def test_half_of_the_workers_give_up(nodes, train, tmp_path: Path) -> None:
    nodes.nodes = 1
    config = configured(tmp_path, "cluster.workers=2", "cluster.wait_hours=0.01")
    with pytest.raises(
        ValueError,
        match=r"JobSet stemline-demo-\w+: its workers \(2\) did not all run within cluster.wait_hours, 0.01$",
    ):
        train(config)
    assert nodes.jobs == {}
    [[pod]] = nodes.pods.values()
    assert pod.process.poll()
    assert re.search(r"\nlooks for stemline-demo-\w+-worker-0-1\.stemline-demo-\w+\n$", pod.log.read_text())
    assert not list(Path(config.cluster.workdir, "jobs").iterdir())


def saved(config: Config) -> int:
    """The number of the last checkpoint, one a step."""
    found = Path(config.cluster.workdir).glob("checkpoints/demo/*/latest/ckpt-*.index")
    return max((int(path.stem.partition("-")[2]) for path in found), default=0)


def steps_said(log: Path) -> list[int]:
    """The steps that a worker has told of: of every attempt the first, and then one every 15 seconds."""
    return [int(step) for step in re.findall(r"training demo: .*step (\d+)", log.read_text())]
