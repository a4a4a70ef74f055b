"""Every recipe at the published settings builds at its size and makes one training step, in a process of its own.

The table of what that takes:  python -m pytest tests/pipeline/studies/test_published_sizes.py -m slow -n 0 -s
One system:                    python tests/pipeline/studies/test_published_sizes.py drnn

For L-BFGS the step is an iteration over one batch; the pairs of its history, 16 bytes a parameter each, come one by one.
"""

from __future__ import annotations

import json
import math
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest

from pipeline.config import config

# Grais & Plumbley print theirs, Mimilakis et al. "approximately 24 million" a target; the others follow from the recipe's sizes.
PARAMETERS = {
    "ffn": 4_206_600,
    "fcn": 529_189,
    "blstm": 172_339_400,
    "fcn_blstm": 71_992_189,
    "gru_skip_filtering": 2 * 24_175_650,
    "dnn": 4_569_026,
    "drnn": 5_569_026,
    "srnn": 7_569_026,
    "p_drnn": 7_766_082,
    "srnn_deep": 7_766_046,
    "lstm_online": 4_466_692,
    "unet": 9_826_116,
    "or_unet": 12_137_156,
    "or_unet_df": 12_137_156,
    "crn": 2_112_420,
    "crn_online": 1_578_500,
    "default": 1_197_444,
}

# Where the recipe's batch takes too long for a test: the gradients of the FCN's large filters, 20 s of CPU a segment each.
SMALLER: dict[str, dict[str, int]] = {
    "fcn": {"batch": 1, "segment_frames": 12},
    "blstm": {"batch": 1, "segment_frames": 12},
    "fcn_blstm": {"batch": 1, "segment_frames": 12},
    "or_unet": {"batch": 4},
    "or_unet_df": {"batch": 4},
}

ROW = "{:20} {:>12} {:>14} {:>9} {:>8}"


@pytest.fixture(scope="module")
def head() -> None:
    print("\n" + ROW.format("system", "parameters", "batch x frames", "peak MB", "CPU s"))


PUBLISHED = [name for name in config.recipe_names() if not name.endswith("_mir1k") and name != "demo"]


def test_no_parameters_are_of_a_recipe_that_is_gone() -> None:
    assert set(PARAMETERS) <= set(PUBLISHED)


@pytest.mark.slow
@pytest.mark.parametrize("name", PUBLISHED)
def test_it_makes_a_training_step(name: str, head: None) -> None:
    done = subprocess.run([sys.executable, __file__, name], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    seen = json.loads(done.stdout.splitlines()[-1])
    batch = f"{seen['batch']} x {seen['frames']}"
    figures = (f"{seen['parameters']:,}", batch, f"{seen['peak_mb']:,}", f"{seen['cpu_seconds']:.0f}")
    print(ROW.format(name, *figures))
    assert seen["parameters"] == PARAMETERS.get(name, seen["parameters"])
    assert [stage for stage, _, _ in seen["steps"]] == seen["stages"]
    assert all(math.isfinite(loss) and math.isfinite(dev_loss) for _, loss, dev_loss in seen["steps"])


def one_step(name: str, directory: str) -> dict[str, Any]:
    """What one step of every stage of the recipe gives and takes, on songs rendered at its rate."""
    from models.separator import Separator
    from pipeline.common.progress import TrainingProgress
    from pipeline.data import corpus, ingest, tfrecords
    from pipeline.training import loop, stages

    published = config.load(name)
    options = {"tracks": {"train": 1, "dev": 1, "test": 1}, "seconds": 8, "seed": 0}
    steps = {"steps": 1 + len(published.train.stages), "cpu_minutes": None}  # a budget of time goes before steps
    smaller = {**SMALLER.get(name, {}), **steps}
    if published.train.optimizer == "lbfgs":
        smaller["optimizer_options"] = {**published.train.optimizer_options, "batches": 1}
    loaded = config.load(
        name,
        [f"data.options={json.dumps(options)}", "data.format=synthetic", "data.segment_seconds=8"]
        + [f"train.{key}={json.dumps(value)}" for key, value in smaller.items()],
    )
    data, records = loaded.data, f"{directory}/records"
    for shard in ingest.plan(corpus.discover(data)):
        Path(shard.path(records)).parent.mkdir(parents=True, exist_ok=True)
        ingest.write_shard(shard, data, records)
    teacher = Separator(config.load(loaded.train.teacher).model) if loaded.train.teacher else None
    steps: list[TrainingProgress] = []
    start = time.process_time()
    result = loop.train(
        loaded.recipe,
        tfrecords.shards(f"{records}/Split-train"),
        tfrecords.shards(f"{records}/Split-dev"),
        f"{directory}/checkpoints",
        f"{directory}/logs",
        steps.append,
        teacher,
    )
    model, train = loaded.model, loaded.train
    return {
        "parameters": result.separator.network.count_params(),
        "batch": train.batch,
        "frames": train.segment_frames + model.frame_length // model.hop - 1,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "cpu_seconds": time.process_time() - start,
        "stages": [stage for stage, _ in stages.plan(loaded.recipe)],
        "steps": [(step.stage, step.loss, step.dev_loss) for step in steps],
    }


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as directory:
        print(json.dumps(one_step(sys.argv[1], directory)))
