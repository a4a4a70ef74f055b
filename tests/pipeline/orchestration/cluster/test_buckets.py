"""A compiled graph whose stems, artifacts, models and working directory lie in a bucket, on a real S3 server."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from models import storage
from models.directory import ModelDirectory
from pipeline.config.config import load
from pipeline.orchestration.cluster import emulate, package
from serving import process
from serving.client import Client

SMALL = (
    *("data.format=folder", "data.options={}", "data.spans=2", "data.segment_seconds=2", "model.sizes={units: 16}"),
    *("train.steps=4", "train.warmup_steps=0", "train.evaluate_every_steps=2", "train.batch=4"),
    *("train.segment_frames=40", "train.warm_start=true"),
    *("evaluate.metrics=[v3]", "evaluate.tracks_in_report=1", "serve.chunk_seconds=2", "serve.overlap_seconds=0.5"),
    "gate={better_than_mixture: false, outputs: null, min_tracks: 1}",
)


@pytest.mark.slow
def test_two_weeks_in_a_bucket_from_the_wheel(bucket, installed: Path, arrive, tmp_path: Path) -> None:
    from pipeline.orchestration.cluster import compiler

    endpoint = {name: value for name, value in bucket.environment.items() if "KEY" not in name}
    places = [f"cluster.{name}={bucket.url}/{name}" for name in ("serving", "workdir", "pipeline_root")]
    compiled = [f"cluster.every.environment={json.dumps(endpoint)}"]
    pipeline_file = tmp_path / "pipeline.yaml"
    compiler.write(compiler.compile(load("demo", [*compiled, *places])), pipeline_file)
    overrides = [*compiled, *places, *SMALL, f"data.path={bucket.url}/stems/week-{{SPAN}}"]
    config = load("demo", overrides)
    package.check_compiled(package.read(pipeline_file), config)
    serving = config.cluster.serving

    def arrives(week: int) -> None:
        arrive(tmp_path / "stems", week, {"train": 3, "dev": 1, "test": 1})
        storage.copy(tmp_path / f"stems/week-{week}", f"{bucket.url}/stems/week-{week}")

    arrives(1)
    first = emulate.run(pipeline_file, config, tmp_path, installed)
    [(number, version)] = ModelDirectory.versions(serving).items()
    assert str(version.path) == f"{bucket.url}/serving/{number}"
    assert first.metadata("Pusher", "pushed_model")["pushed_destination"] == str(version.path)
    assert trained(first)["reason"].startswith("no version is served from s3://")

    arrives(2)
    second = emulate.run(pipeline_file, config, tmp_path, installed)
    assert (trained(second)["model"], trained(second)["reason"]) == (str(version.path), "")
    blessing = second.metadata("BssEvaluator", "blessing")
    assert (blessing["baseline_model"], blessing["served_version"]) == (str(version.path), number)
    assert "baseline/vocals/v3/GSDR" in second.metadata("BssEvaluator", "evaluation")
    [_, (newest, newer)] = ModelDirectory.versions(serving).items()
    assert second.metadata("Pusher", "pushed_model")["pushed_version"] == str(newest)

    folders = {key.partition("/")[0] for key in bucket.keys}
    assert folders == {"stems", "serving", "workdir", "pipeline_root"}
    below = {"/".join(key.split("/")[1:3]) for key in bucket.keys if key.startswith("workdir/")}
    assert below == {"checkpoints/demo", "models/demo", "reports/demo"}  # no scores of a judgement that has ended
    assert {key.split("/")[1] for key in bucket.keys if key.startswith("serving/")} == {str(number), str(newest)}
    assert not list(tmp_path.rglob("s3:*"))

    mixture = np.random.default_rng(0).uniform(-0.5, 0.5, (1, 16000)).astype(np.float32)
    with process.running(serving) as address, Client(address, model_name="stemline") as client:
        served = client.predict(mixture)
    with storage.local(newer.path) as directory:
        from serving.local import local_client

        with local_client(directory) as own:
            expected = own.predict(mixture)
    for target, stem in expected.items():
        np.testing.assert_allclose(served[target], stem, atol=1e-5)


def trained(run: emulate.EmulatedRun) -> dict[str, str]:
    """How the training of a run began."""
    file = ModelDirectory(run.local("Trainer", "model") / "Format-Serving").training_file
    return json.loads(file.read_text())["warm_start"]
