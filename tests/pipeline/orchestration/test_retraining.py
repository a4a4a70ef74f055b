"""Training again: where it starts, what it is made of, when there is nothing to do, and what is served meanwhile."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from models import weights
from models.checked import ConfigError
from pipeline.components import trainer
from pipeline.config.config import Config, load, to_json
from pipeline.runs import history
from pipeline.runs.workdir import Workdir
from pipeline.training import loop, warm_start

SONGS = {"train": 4, "dev": 1, "test": 2}
SMALL = (
    "data.sample_rate_hz=8000",
    "model.sample_rate_hz=8000",
    "model.frame_length=256",
    "model.hop=128",
    "model.sizes={units: 16}",
    "model.standardise=true",
    "train.steps=12",
    "train.batch=4",
    "train.segment_frames=20",
    "train.evaluate_every_steps=4",
    "train.warm_start=true",
)


def run_fn(config: Config, small_records: dict[str, list[str]], root: Path, version: int) -> dict:
    """What the Trainer leaves in `root`/serving/<version>, as if the Pusher had copied it; gives its training.json."""
    from tfx.components.trainer.fn_args_utils import FnArgs

    model = root / "serving" / str(version)
    trainer.run_fn(
        FnArgs(
            train_files=small_records["train"],
            eval_files=small_records["dev"],
            serving_model_dir=str(root / "trained" / str(version)),
            model_run_dir=str(root / "logs"),
            base_model=None,
            custom_config={
                "config": to_json(config),
                "checkpoint_root": str(root / "checkpoints"),
                "serving_directory": str(root / "serving"),
            },
        )
    )
    model.parent.mkdir(exist_ok=True)
    (root / "trained" / str(version)).rename(model)
    return json.loads((model / "assets.extra" / "training.json").read_text())


# --- warm start ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "more",
    [pytest.param(["train.ema=0.9", "train.precision=bfloat16"], marks=pytest.mark.slow), ["train.patience=5"]],
)
def test_a_warm_start_begins_where_the_served_model_stands(small_records, tmp_path: Path, more: list[str]) -> None:
    more = [*more, "train.evaluate_every_steps=12"]  # at the end alone, so that the last weights are the best, too
    config = load("demo", [*SMALL, *more])
    first = run_fn(config, small_records, tmp_path, 1)
    assert first["warm_start"]["reason"].startswith("no version is served from")
    fresh = first["stages"][-1]["dev_loss"]
    second = run_fn(load("demo", [*SMALL, *more, "train.seed=1"]), small_records, tmp_path, 2)
    assert second["warm_start"]["model"] == str(tmp_path / "serving" / "1")
    assert second["warm_start"]["reason"] == ""
    assert second["warm_start"]["dev_loss"] == pytest.approx(fresh, rel=1e-4)


@pytest.mark.slow
def test_a_model_of_another_spec_is_no_start(small_records, tmp_path: Path) -> None:
    run_fn(load("demo", SMALL), small_records, tmp_path, 1)
    wider = load("demo", [*SMALL, "model.sizes={units: 17}", "model.input_power=1.0"])
    told = run_fn(wider, small_records, tmp_path, 2)["warm_start"]
    assert told["reason"] == "version 1, which is served, has another model.sizes, model.input_power"
    assert told["dev_loss"] is None
    (tmp_path / "serving" / "2" / "assets.extra" / "config.json").unlink()
    start = warm_start.find(wider, str(tmp_path / "serving"))
    assert start.separator is None
    assert start.words.startswith("from scratch: version 2, which is served, cannot be read: ")


def test_without_the_switch_nothing_is_looked_for(tmp_path: Path) -> None:
    assert warm_start.begin(load("demo"), str(tmp_path), tmp_path / "checkpoints") is None
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ValueError, match=r"train\.warm_start"):
        load("demo", ["train.warm_start=maybe"])


@pytest.mark.slow
def test_a_warm_start_leaves_the_stages_out(small_records, tmp_path: Path) -> None:
    stage = "train.stages=[{name: before, network: drnn, share: 0.5, sizes: {units: 16}}]"
    config = load("demo", [*SMALL, stage])
    separators = [
        loop.train(config.recipe, *small_records.values(), str(tmp_path / "a"), str(tmp_path / "log")).separator
    ]
    result = loop.train(
        config.recipe, *small_records.values(), str(tmp_path / "b"), str(tmp_path / "log"), start=separators[0]
    )
    assert [stage.name for stage in result.stages] == ["own"]
    assert result.own.steps == 6


@pytest.mark.slow
def test_another_version_alone_trains_nothing(small_records, tmp_path: Path) -> None:
    """The same data and settings again, as a scheduler asks for them: the finished training is taken, with its start."""
    run_fn(load("demo", SMALL), small_records, tmp_path, 1)
    changed = load("demo", [*SMALL, "train.seed=1"])
    trained = run_fn(changed, small_records, tmp_path, 2)
    shutil.rmtree(tmp_path / "serving" / "1")
    assert run_fn(changed, small_records, tmp_path, 3) == trained
    models = [weights.restore(tmp_path / "serving" / version, changed.model) for version in ("2", "3")]
    for ours, theirs in zip(*(model.get_weights() for model in models), strict=True):
        np.testing.assert_array_equal(ours, theirs)


# --- span after span -------------------------------------------------------------------------------------------------


def test_spans_need_a_pattern() -> None:
    assert load("demo", ["data.path=stems/{SPAN}", "data.spans=4"]).data.spans == 4
    with pytest.raises(ConfigError, match=r"data\.spans is 4, but data\.path stems has no \{SPAN\}"):
        load("demo", ["data.path=stems", "data.spans=4"])
    with pytest.raises(ConfigError, match=r"data\.spans is 0; legal: a whole number of at least 1"):
        load("demo", ["data.spans=0"])


STEMLINE = str(Path(sys.executable).with_name("stemline"))
RECIPE = [
    "data.spans=2",
    "model.sizes={units: 16}",
    "train.steps=12",
    "train.batch=4",
    "train.segment_frames=40",
    "train.evaluate_every_steps=6",
    "train.warm_start=true",
    "evaluate.metrics=[v3]",
    "serve.chunk_seconds=2",
    "gate.thresholds=[{target: vocals, metric: v3/SDR, at_least_db: -60}]",
    "gate.better_than_mixture=false",
    "gate.outputs=null",
    "gate.drift={min_values: 2, divergence: 0.01}",
]


def run(
    stems: Path | str, workdir: Path, *overrides: str, program: tuple[str, ...] = (STEMLINE,)
) -> subprocess.CompletedProcess:
    settings = [word for override in (*RECIPE, *overrides) for word in ("--set", override)]
    data = ["--format", "folder", "--data", f"{stems}/week-{{SPAN}}"]
    return subprocess.run(
        [*program, "run", "--workdir", str(workdir), *data, *settings], capture_output=True, text=True
    )


def served(workdir: Path) -> dict[str, bytes]:
    """Every file that a model server could read, with its content."""
    base = workdir / "serving" / "demo"
    return {
        str(path.relative_to(base)): path.read_bytes() for path in sorted(base.glob("[0-9]*/**/*")) if path.is_file()
    }


def judged(run: history.Run, method: str) -> set[str]:
    """The tracks on which a method was judged."""
    with Path(run.outputs["ModelEvaluation"].uri, "scores.csv").open() as file:
        return {row["track"] for row in csv.DictReader(file) if row["method"] == method}


@pytest.mark.slow
def test_week_after_week(arrive, tmp_path: Path) -> None:
    """Two spans, then nothing new, then spans and components that fail; what is served changes with the first two only."""
    stems, workdir = tmp_path / "stems", tmp_path / "runs"
    arrive(stems, 1, SONGS)
    done = run(stems, workdir)
    assert done.returncode == 0, done.stderr
    [first] = history.runs(Workdir(workdir))
    assert first.training["warm_start"]["reason"].startswith("no version is served")
    after_first = served(workdir)

    arrive(stems, 2, SONGS)
    done = run(stems, workdir)
    assert done.returncode == 0, done.stderr
    second = history.runs(Workdir(workdir))[0]
    start = second.training["warm_start"]
    assert (start["model"], start["reason"]) == (first.pushed, "")
    assert f"from demo version {Path(first.pushed).name}" in done.stdout
    both = {f"test-{index:04d} of week {week}" for index in (0, 1) for week in (1, 2)}
    assert judged(second, "model") == judged(second, "baseline") == both
    assert second.outputs["ModelBlessing"].properties["baseline_model"] == first.outputs["Model"].uri
    drifted = json.loads(Path(second.outputs["ModelEvaluation"].uri, "drift.json").read_text())
    assert [span["tracks"] for span in drifted["spans"]] == [{"train": 4, "dev": 1, "test": 2}] * 2
    page = Path(second.report).read_text()
    assert '<section id="data">' in page
    assert "span 2 is unlike span 1 in " in page
    after_second = served(workdir)
    assert after_first.items() < after_second.items()

    done = run(stems, workdir)
    assert done.returncode == 0, done.stderr
    told = f"no new data since run 2 of {second.started:%Y-%m-%d %H:%M:%S}: nothing to train"
    assert told in done.stdout
    third = history.runs(Workdir(workdir))[0]
    assert (third.states["StemsExampleGen"], third.states["Trainer"]) == ("cached", "cached")
    assert third.trained_by.run_id == second.run_id

    (stems / "week-3").mkdir()
    done = run(stems, workdir)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("stemline: ")
    assert "week-3 holds no track" in done.stderr.splitlines()[-1]
    (stems / "week-3").rmdir()

    arrive(stems, 3, SONGS)
    done = run(stems, workdir, "gate.drift={min_values: 2, divergence: 0.01, refuse: true}")
    assert done.returncode == 3, done.stderr
    assert "refused: span 3 is unlike span 2 in " in done.stdout
    crash = "import pipeline.training.loop as t; t.train = lambda *a: 1 / 0; from pipeline.cli.main import main; main()"
    done = run(stems, workdir, "train.seed=1", program=(sys.executable, "-c", crash))
    assert done.returncode == 1
    assert "Traceback (most recent call last)" in done.stderr
    assert "ZeroDivisionError" in done.stderr
    assert served(workdir) == after_second
    assert history.runs(Workdir(workdir))[0].states["Trainer"] == "failed"


@pytest.mark.slow
def test_a_week_in_a_bucket_trains_the_model_that_it_trains_on_this_machine(arrive, bucket, tmp_path: Path) -> None:
    """Beam's workers are processes of their own, which find the bucket by themselves."""
    arrive(tmp_path / "stems", 1, SONGS)
    places = {"here": tmp_path / "stems", "there": bucket.upload(tmp_path / "stems", "my stems")}
    workers = (
        "beam.pipeline_args=[--runner=FnApiRunner, --direct_running_mode=multi_processing, --direct_num_workers=2]"
    )
    for name, place in places.items():
        done = run(place, tmp_path / name, workers)
        assert done.returncode == 0, done.stderr
    records = [
        {f"{file.parent.name}/{file.name}": file.read_bytes() for file in (tmp_path / name).rglob("data_tfrecord-*.gz")}
        for name in places
    ]
    assert len(records[0]) == 7
    assert records[0] == records[1]
    identities = [
        json.loads((Path(history.runs(Workdir(tmp_path / name))[0].pushed) / "assets.extra/stemline.json").read_text())
        for name in places
    ]
    assert identities[0]["identity"] == identities[1]["identity"]

    done = run(places["there"], tmp_path / "there", workers)
    assert done.returncode == 0, done.stderr
    assert "nothing to train" in done.stdout
    assert history.runs(Workdir(tmp_path / "there"))[0].states["StemsExampleGen"] == "cached"
