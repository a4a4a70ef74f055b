"""A training whose checkpoints, and the model that it begins with, lie in a bucket, on a real S3 server; it is killed and goes on."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import tensorflow as tf

from models import storage
from models.directory import ModelDirectory
from pipeline.common import publishing
from pipeline.config.config import Config, load, to_json
from pipeline.training import warm_start

ROOT = Path(__file__).parents[3]
SMALL = (
    *("data.sample_rate_hz=8000", "model.sample_rate_hz=8000", "model.frame_length=256", "model.hop=128"),
    *("model.sizes={units: 16}", "train.steps=12", "train.batch=4", "train.segment_frames=20"),
    *("train.evaluate_every_steps=6", "train.warm_start=true", "train.patience=9"),
)
# Trains, and says how many steps that took.
PROGRAM = """
import json, sys
from tfx.components.trainer.fn_args_utils import FnArgs
from pipeline.components import trainer
from pipeline.training import loop
steps, after = [], loop._Loop._after_step
loop._Loop._after_step = lambda self, *given: (steps.append(1), after(self, *given))
trainer.run_fn(FnArgs(**json.loads(sys.argv[1])))
print(len(steps))
"""


def start(config: Config, records: dict[str, list[str]], url: str, model: Path) -> subprocess.Popen:
    given = {
        "train_files": records["train"],
        "eval_files": records["dev"],
        "serving_model_dir": str(model),
        "model_run_dir": str(model.with_name("logs")),
        "base_model": None,
        "custom_config": {
            "config": to_json(config),
            "checkpoint_root": f"{url}/pipeline/checkpoints/{config.name}",
            "serving_directory": f"{url}/stemline",
        },
    }
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", PROGRAM, json.dumps(given)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


def steps(process: subprocess.Popen) -> int:
    said, _ = process.communicate(timeout=300)
    assert process.returncode == 0
    return int(said.splitlines()[-1])


@pytest.mark.slow
def test_a_training_that_is_killed_goes_on_from_the_bucket(bucket, small_records, tmp_path: Path) -> None:
    config = load("demo", SMALL)
    assert steps(start(config, small_records, bucket.url, tmp_path / "first")) == 12
    with publishing.turn(f"{bucket.url}/stemline") as publisher:
        publisher.publish(str(tmp_path / "first"), at_least=7)

    again = load("demo", [*SMALL, "train.checkpoint_minutes=0.00001"])  # after every step
    killed = start(again, small_records, bucket.url, tmp_path / "second")
    end = time.monotonic() + 400
    [old] = {key.split("/")[3] for key in bucket.keys if key.startswith("pipeline/checkpoints/")}
    while not (
        found := [key for key in bucket.keys if old not in key and re.search(r"latest/ckpt-[3-9]\.index$", key)]
    ):
        assert time.monotonic() < end
        assert killed.poll() is None
        time.sleep(0.02)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    directory = f"{bucket.url}/{found[0].rpartition('/')[0]}"
    made = int(tf.train.load_checkpoint(directory).get_tensor("steps/.ATTRIBUTES/VARIABLE_VALUE"))
    assert 2 <= made < 12
    storage.remove(f"{bucket.url}/stemline")  # the start was kept with the checkpoints
    assert steps(start(again, small_records, bucket.url, tmp_path / "second")) == 12 - made
    told = json.loads(ModelDirectory(tmp_path / "second").training_file.read_text())
    assert told["warm_start"]["model"] == f"{bucket.url}/stemline/7"
    assert told["warm_start"]["reason"] == ""
    assert told["steps"] == 12
    assert not [key for key in bucket.keys if old in key]  # the checkpoints of the training before


def test_a_bucket_that_does_not_answer_is_no_start_from_scratch(bucket, tmp_path: Path) -> None:
    config = load("demo", SMALL)
    with pytest.raises(OSError, match=r"s3://no-such-bucket/stemline cannot be used"):
        warm_start.find(config, "s3://no-such-bucket/stemline")
    assert warm_start.find(config, f"{bucket.url}/stemline").reason.startswith("no version is served from s3://")
