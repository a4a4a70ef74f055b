"""tf.distribute: two replicas, in one process or in two, learn what one learns from the same batches."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from models.checked import ConfigError
from pipeline.config.config import load
from pipeline.data import corpus, ingest
from pipeline.orchestration import preflight
from pipeline.training import devices

# Two logical CPUs stand for two GPUs; devices have to be set up before TensorFlow starts, hence a process of its own.
SCRIPT = """
import dataclasses, sys
from pathlib import Path
import numpy as np
import tensorflow as tf

cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)

from models.spec import ModelSpec
from pipeline.config.train import Recipe, TrainSpec
from pipeline.data import corpus, ingest, tfrecords
from pipeline.training import devices, loop
from pipeline.config.config import load

root = sys.argv[1]
options = {"tracks": {"train": 2, "dev": 1, "test": 1}, "seconds": 2}
data = dataclasses.replace(load("demo").data, sample_rate_hz=8000, segment_seconds=2, options=options)
for shard in ingest.plan(corpus.discover(data)):
    Path(shard.path(root)).parent.mkdir(exist_ok=True)
    ingest.write_shard(shard, data, root)
files = {split: tfrecords.shards(f"{root}/Split-{split}") for split in ("train", "dev")}
recipe = Recipe(
    "small",
    model=ModelSpec(sizes={"units": 8}, frame_length=256, hop=128, sample_rate_hz=8000),
    train=TrainSpec(steps=6, batch=4, segment_frames=20, evaluate_every_steps=3, clip_norm=None, ema=0.9),
)

def losses(name, strategy):
    devices.strategy = lambda: strategy
    seen = []
    loop.train(recipe, files["train"], files["dev"], f"{root}/{name}", f"{root}/{name}/log", lambda p: seen.append((p.loss, p.dev_loss)))
    return np.nan_to_num(np.array(seen))

one = losses("one", tf.distribute.get_strategy())
two = losses("two", tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]))
np.testing.assert_allclose(two, one, rtol=1e-3, atol=1e-6)
print("equal", len(one))
"""


@pytest.mark.slow
def test_two_replicas_give_the_losses_of_one(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT, str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.strip().endswith("equal 6")


# Two processes stand for two machines; they find each other by the addresses in TF_CONFIG.
WORKER = """
import json, os, sys
from pathlib import Path
from models.spec import ModelSpec
from pipeline.config.train import Recipe, TrainSpec
from pipeline.data import tfrecords
from pipeline.training import devices, loop

strategy = devices.strategy()
root, name, batch = sys.argv[1], sys.argv[2], int(sys.argv[3])
recipe = Recipe(
    "small",
    model=ModelSpec(sizes={"units": 8}, frame_length=256, hop=128, sample_rate_hz=8000),
    train=TrainSpec(steps=6, batch=batch, segment_frames=20, evaluate_every_steps=3, clip_norm=None, ema=0.9),
)
files = [tfrecords.shards(f"{root}/Split-{split}") for split in ("train", "dev")]
seen = []
loop.train(recipe, *files, f"{root}/{name}", f"{root}/{name}/log", lambda p: seen.append((p.loss, p.dev_loss)))
place = f"{root}/{name}-{json.loads(os.environ.get('TF_CONFIG', '{}')).get('task', {}).get('index', 'alone')}.json"
Path(place).write_text(json.dumps({"replicas": strategy.num_replicas_in_sync, "losses": seen}))
"""


def start(root: Path, name: str, batch: int, config: dict | None = None) -> subprocess.Popen:
    """A training process; its losses go to a file, see WORKER."""
    environment = {name: value for name, value in os.environ.items() if name != "TF_CONFIG"}
    told = {"TF_CONFIG": json.dumps(config)} if config else {}
    command = [sys.executable, "-c", WORKER, str(root), name, str(batch)]
    return subprocess.Popen(command, env={**environment, **told}, stderr=subprocess.PIPE, text=True)


def finished(process: subprocess.Popen) -> None:
    _, said = process.communicate(timeout=600)
    assert process.returncode == 0, said[-3000:]


@pytest.mark.slow
def test_two_workers_give_the_losses_of_one_with_twice_the_batch_of_each(free_ports, tmp_path: Path) -> None:
    """The batch of the recipe is that of all workers: 8 are 4 for each of two, and 8 for one alone."""
    options = {"tracks": {"train": 2, "dev": 1, "test": 1}, "seconds": 2}
    data = dataclasses.replace(load("demo").data, sample_rate_hz=8000, segment_seconds=2, options=options)
    for shard in ingest.plan(corpus.discover(data)):
        Path(shard.path(str(tmp_path))).parent.mkdir(exist_ok=True)
        ingest.write_shard(shard, data, str(tmp_path))
    finished(start(tmp_path, "one", 8))
    cluster = {"worker": [f"localhost:{port}" for port in free_ports(2)]}
    processes = [
        start(tmp_path, "two", 8, {"cluster": cluster, "task": {"type": "worker", "index": i}}) for i in (0, 1)
    ]
    for process in processes:
        finished(process)
    one, first, second = (json.loads((tmp_path / f"{who}.json").read_text()) for who in ("one-alone", "two-0", "two-1"))
    assert (one["replicas"], first["replicas"], second["replicas"]) == (1, 2, 2)
    losses = [np.nan_to_num(np.array(each["losses"])) for each in (one, first, second)]
    assert losses[0].shape == (6, 2)
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-3, atol=1e-6)
    np.testing.assert_allclose(losses[2], losses[1], rtol=1e-6)
    assert list((tmp_path / "two" / "latest").glob("ckpt-*.index"))  # of the chief alone
    assert list((tmp_path / "two" / "worker-1" / "latest").glob("ckpt-*.index"))


@pytest.mark.parametrize("override", ["train.cpu_minutes=1", "train.optimizer=lbfgs"])
def test_workers_refuse_what_they_cannot_share(monkeypatch: pytest.MonkeyPatch, override: str) -> None:
    spec = load("demo", [override]).train
    devices.check_shareable(spec)
    monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": {"worker": ["a:1", "b:1"]}, "task": {"index": 1}}))
    assert not devices.is_chief()
    with pytest.raises(ValueError, match="TF_CONFIG names 2 workers"):
        devices.check_shareable(spec)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["train.cpu_minutes=1"], "train.cpu_minutes is 1.0 and cluster.workers is 2: legal is null, with train.steps"),
        (["train.optimizer=lbfgs"], "train.optimizer is lbfgs and cluster.workers is 2: legal is adam"),
        (["train.batch=3"], "train.batch is 3 and cluster.workers is 2: legal are multiples of 2"),
        (["train.batch=6", "cluster.every.gpus=2"], "train.batch is 6 and cluster.workers is 2: legal are multiples of 4"),
        (["cluster.workdir=/data/x"], "cluster.tasks.Trainer must mount the volume that holds it, but mounts /models$"),
        (["cluster.tasks={Trainer: {volumes: [{claim: c, mount_path: /data}]}}", "cluster.workdir=/data/x"], "cluster.every must mount"),
        (["cluster.workdir=s3://b-1/x"], "cluster.workers is 2 and cluster.workdir s3://b-1/x: several workers share a volume"),
    ],
)  # fmt: skip
def test_workers_that_a_configuration_asks_for_are_checked_before_they_are_there(
    overrides: list[str], words: str
) -> None:
    fits = ["train.cpu_minutes=null", "train.batch=8"]
    preflight.check_workers(load("demo", [*fits, "cluster.workers=2"]))
    preflight.check_workers(load("demo", [*fits, *overrides]))
    with pytest.raises(ValueError, match=words):
        preflight.check_workers(load("demo", [*fits, "cluster.workers=2", *overrides]))


def test_a_number_of_workers_is_at_least_one() -> None:
    with pytest.raises(ConfigError, match=r"cluster\.workers is 0; legal: a whole number of at least 1"):
        load("demo", ["cluster.workers=0"])
