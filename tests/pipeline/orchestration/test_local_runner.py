"""The whole graph on rendered songs: real TFX, MLMD, files, a server process and a socket. One workdir for the module."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from pipeline.runs import history
from pipeline.runs.workdir import Workdir

TRACKS = "data.options={tracks: {train: 4, dev: 1, test: 2}, seconds: 4}"
OTHER_TRACKS = "data.options={tracks: {train: 4, dev: 1, test: 3}, seconds: 4, seed: 1}"
SMALL = [
    *("--set", TRACKS),
    *("--set", "model.sizes={units: 16}"),
    *("--set", "train.steps=12"),
    *("--set", "train.batch=4"),
    *("--set", "train.segment_frames=40"),
    *("--set", "train.evaluate_every_steps=6"),
    *("--set", "evaluate.metrics=[v3]"),
    *("--set", "serve.chunk_seconds=2"),
]
LENIENT = [
    *("--set", "gate.thresholds=[{target: vocals, metric: v3/SDR, at_least_db: -60}]"),
    *("--set", "gate.better_than_mixture=false"),
    *("--set", "gate.outputs=null"),
]
STRICT = ["--set", "gate.thresholds=[{target: vocals, metric: v3/SDR, at_least_db: 60}]"]
EVERYTHING = {
    *("StemsExampleGen", "StatisticsGen", "ImportSchemaGen", "ExampleValidator", "AnomalyGate", "Trainer"),
    *("LatestBlessedModel", "BssEvaluator", "ServingValidator", "Pusher"),
}
STEMLINE = str(Path(sys.executable).with_name("stemline"))


def command(workdir: Path, *more: str, verb: str = "run") -> list[str]:
    return [STEMLINE, verb, "--workdir", str(workdir), *SMALL, *LENIENT, *more]


@pytest.fixture(scope="module")
def workdir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workdir after one run that was blessed and pushed."""
    path = tmp_path_factory.mktemp("stemline") / "runs"
    done = subprocess.run(command(path), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return path


def versions(workdir: Path) -> list[str]:
    return sorted(path.name for path in (workdir / "serving" / "demo").iterdir() if path.name != ".push.lock")


def test_the_first_run_is_blessed_pushed_and_recorded(workdir: Path) -> None:
    [run] = history.runs(Workdir(workdir))
    assert set(run.states) == EVERYTHING
    assert set(run.states.values()) == {"done"}
    assert run.blessed
    assert run.infra_blessed
    assert np.isfinite(run.scores["vocals/v3/GSDR"])
    [version] = versions(workdir)
    assert run.pushed.endswith(f"serving/demo/{version}")
    assert Path(run.report).read_text().lstrip().startswith("<!")
    extra = Path(run.pushed) / "assets.extra"
    assert (extra / "tf_serving_warmup_requests").is_file()
    assert json.loads((extra / "config.json").read_text())["train"]["steps"] == 12
    assert json.loads((extra / "training.json").read_text())["stages"][-1]["steps"] == 12


def test_the_served_model_holds_nothing_of_training(workdir: Path) -> None:
    import tensorflow as tf

    names = [
        name for name, _ in tf.train.list_variables(f"{Workdir(workdir).latest_version('demo')}/variables/variables")
    ]
    assert names
    assert [name for name in names if "optimizer" in name.lower() or "average" in name.lower()] == []


def test_an_unchanged_run_comes_from_the_cache(workdir: Path) -> None:
    before = versions(workdir)
    done = subprocess.run(command(workdir), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    states = history.runs(Workdir(workdir))[0].states
    assert {name for name, state in states.items() if state != "cached"} <= {"LatestBlessedModel", "Pusher"}
    assert versions(workdir) == before


def test_a_refused_model_changes_nothing_and_says_why(workdir: Path) -> None:
    """On other songs: the model that was blessed on the first ones is the baseline on these."""
    before, blessed = versions(workdir), history.runs(Workdir(workdir))[0]
    done = subprocess.run(command(workdir, *STRICT, "--set", OTHER_TRACKS), capture_output=True, text=True)
    assert done.returncode == 3, done.stderr
    said = " ".join(done.stdout.split())
    assert "refused: vocals v3/SDR is" in said
    assert "misses the required 60.00 dB" in said
    assert "not pushed" in said
    run = history.runs(Workdir(workdir))[0]
    assert run.blessed is False
    assert run.pushed is None
    assert versions(workdir) == before
    theirs = baseline_sdr(run)
    assert theirs == {name: pytest.approx(value, abs=1e-4) for name, value in judged_now(blessed, run).items()}
    assert set(theirs) == {"test-0000", "test-0001", "test-0002"}


def baseline_sdr(run: history.Run) -> dict[str, float]:
    """Track -> SDR of the last blessed model's vocals, as the evaluation wrote it."""
    with Path(run.outputs["ModelEvaluation"].uri, "scores.csv").open() as file:
        wanted = ("baseline", "vocals", "SDR")
        rows = [row for row in csv.DictReader(file) if (row["method"], row["target"], row["metric"]) == wanted]
    return {row["track"]: float(row["value_db"]) for row in rows}


def judged_now(blessed: history.Run, run: history.Run) -> dict[str, float]:
    """The same of the model that one run pushed, separated and judged here on the songs of another."""
    from pipeline.data import tfrecords
    from pipeline.evaluation.bss_eval.score import score
    from pipeline.evaluation.separators import SavedSeparator

    model, targets = SavedSeparator(blessed.pushed), ("vocals", "accompaniment")
    scores = {}
    for track in tfrecords.read_tracks(f"{run.outputs['Examples'].uri}/Split-test", targets):
        estimates = model(track.mixture, track.sample_rate_hz)
        references, judged = ([each[target] for target in targets] for each in (track.stems, estimates))
        found = score(references, [judged], ["v3"])["v3"]
        scores[track.name] = float(found["SDR"][0, 0])
    return scores


@pytest.fixture(scope="module")
def server(workdir: Path) -> Iterator[str]:
    """`stemline serve` as a process; gives its address."""
    process = subprocess.Popen(
        [STEMLINE, "serve", "-r", "demo", "-w", str(workdir), "-p", "0"], stdout=subprocess.PIPE, text=True
    )
    line = process.stdout.readline()
    yield "localhost:" + line.split("127.0.0.1:")[1].split()[0]
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 0


@pytest.mark.parametrize("samples", [1, 4321, 70_000])
def test_separation_over_grpc_equals_separation_in_process(
    stemline, workdir: Path, server: str, tmp_path: Path, samples: int
) -> None:
    song = tmp_path / "song.wav"
    mixture = 0.2 * np.random.default_rng(0).normal(size=(samples, 2))
    soundfile.write(song, mixture, 16000, subtype="FLOAT")
    assert stemline("separate", song, "-o", tmp_path / "here", "-r", "demo", "-w", workdir).code == 0
    assert stemline("separate", song, "-o", tmp_path / "there", "--server", server).code == 0
    total = 0
    for target in ("vocals", "accompaniment"):
        here, rate_hz = soundfile.read(tmp_path / "here" / "song" / f"{target}.wav")
        there, _ = soundfile.read(tmp_path / "there" / "song" / f"{target}.wav")
        assert rate_hz == 16000
        assert here.shape == mixture.shape
        np.testing.assert_allclose(there, here, atol=1e-4)
        total = total + here
    np.testing.assert_allclose(total, mixture, atol=1e-4)  # the joint mask shares the mixture out


def test_runs_lists_verdicts_and_scores(stemline, workdir: Path) -> None:
    outcome = stemline("runs", "-w", workdir)
    assert outcome.code == 0
    assert outcome.out.count("demo") >= 3
    assert "yes" in outcome.out
    assert "no" in outcome.out


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["StemsExampleGen", "Trainer", "BssEvaluator"])
def test_a_killed_run_is_finished_by_the_next(workdir: Path, tmp_path: Path, moment: str) -> None:
    """kill -9 while a component is at work; the records and scores equal those of the undisturbed run where they must."""
    killed = tmp_path / "runs"
    slow_training = ["--set", "train.checkpoint_minutes=0.001"]
    process = subprocess.Popen(command(killed, *slow_training), stderr=subprocess.PIPE, text=True)
    for line in process.stderr:
        if line.startswith(f"{moment} "):
            break
    time.sleep(1.0)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    done = subprocess.run(command(killed, *slow_training), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    run = history.runs(Workdir(killed))[0]
    assert run.blessed
    assert json.loads((Path(run.pushed) / "assets.extra" / "training.json").read_text())["stages"][-1]["steps"] == 12
    reference = history.runs(Workdir(workdir))[-1]
    if moment == "BssEvaluator":  # training was not disturbed: nothing may differ
        assert run.scores == pytest.approx(reference.scores, abs=1e-6)
    for ours, theirs in zip(records_of(run), records_of(reference), strict=True):
        assert ours.read_bytes() == theirs.read_bytes()
    assert list(killed.rglob("*.partial")) == []


def records_of(run: history.Run) -> list[Path]:
    """The TFRecords of a run."""
    return sorted(Path(run.outputs["Examples"].uri).rglob("*.gz"))
