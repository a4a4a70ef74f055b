"""tf.distribute: two replicas learn what one learns from the same batches."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent

# Two logical CPUs stand for two GPUs; devices have to be set up before TensorFlow starts, hence a process of its own.
SCRIPT = """
import dataclasses, sys
from pathlib import Path
import numpy as np
import tensorflow as tf

cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)

from models.recipe import ModelSpec, Recipe, TrainSpec
from pipeline import examples, ingest, training
from pipeline.config import load

root = sys.argv[1]
options = {"tracks": {"train": 2, "dev": 1, "test": 1}, "seconds": 2}
data = ingest.plain(dataclasses.replace(load("demo").data, sample_rate_hz=8000, segment_seconds=2, options=options))
for shard in ingest.plan(ingest.discover(data)):
    Path(shard.path(root)).parent.mkdir(exist_ok=True)
    ingest.write_shard(shard, data, root)
files = {split: examples.shards(f"{root}/Split-{split}") for split in ("train", "dev")}
recipe = Recipe(
    "small",
    model=ModelSpec(sizes={"units": 8}, frame_length=256, hop=128, sample_rate_hz=8000),
    train=TrainSpec(steps=6, batch=4, segment_frames=20, evaluate_every_steps=3, shuffle_buffer=4, clip_norm=None, ema=0.9),
)

def losses(name, strategy):
    training.strategy = lambda: strategy
    seen = []
    training.train(recipe, files["train"], files["dev"], f"{root}/{name}", f"{root}/{name}/log", lambda p: seen.append((p.loss, p.dev_loss)))
    return np.nan_to_num(np.array(seen))

one = losses("one", tf.distribute.get_strategy())
two = losses("two", tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]))
np.testing.assert_allclose(two, one, rtol=1e-3, atol=1e-6)
print("equal", len(one))
"""


def test_two_replicas_give_the_losses_of_one(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT, str(tmp_path)], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.strip().endswith("equal 6")
