"""A study at work: what is done is not done again, a killed one goes on, a failing training stops nobody."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from study_results import result, trial

from pipeline.config.config import Config, load
from pipeline.data.catalogue import IngestedTrack
from pipeline.runs.workdir import Workdir
from pipeline.studies import run, statistics
from pipeline.studies.result import Result
from pipeline.studies.study import Planned, plan, read

STEMLINE = str(Path(sys.executable).with_name("stemline"))
SMALL = """
extends: demo
paper: "Nobody, Somebody, Anybody: Small (Nowhere 2020)"
model: {sizes: {units: 16}}
train: {batch: 4, segment_frames: 40, evaluate_every_steps: 1000, checkpoint_minutes: 0.001}
serve: {chunk_seconds: 2}
"""
STUDY = """
recipes: [wrong.yaml, small.yaml, smaller.yaml]
cpu_minutes: 0.3
baselines: [rpca, irm, ibm]
plots: [cost, boxes, curves]
set:
  data.options: {tracks: {train: 4, dev: 1, test: 2}, seconds: 4, seed: 0}
  gate.thresholds: []
  gate.better_than_mixture: false
  gate.min_tracks: 1
"""


def planned_of(config: Config) -> Planned:
    return dataclasses.replace(plan(read("example"), load)[0], config=config)


def key_of(config: Config, heard: str = "tracks") -> str:
    return run.fingerprints([planned_of(config)], heard)[config.name]


def test_whatever_figures_depend_on_makes_another_training_and_names_and_places_do_not() -> None:
    config = plan(read("example"), load)[0].config
    key = key_of(config)
    others = [
        key_of(dataclasses.replace(config, train=dataclasses.replace(config.train, cpu_minutes=9))),
        key_of(dataclasses.replace(config, train=dataclasses.replace(config.train, seed=9))),
        key_of(dataclasses.replace(config, gate=dataclasses.replace(config.gate, min_tracks=2))),
        key_of(config, "other tracks"),
    ]
    assert len({key, *others}) == 5
    elsewhere = dataclasses.replace(config.data, path="/elsewhere")
    assert key_of(dataclasses.replace(config, name="another", published="7.74 dB", data=elsewhere)) == key


def test_a_pupil_of_another_teacher_is_another_training() -> None:
    study = read("leaderboard", ["unet_mir1k", "or_unet_df_mir1k"])
    planned = plan(study, load)
    longer = dataclasses.replace(planned[0].config, train=dataclasses.replace(planned[0].config.train, seed=9))
    other = [dataclasses.replace(planned[0], config=longer), planned[1]]
    of, of_other = (run.fingerprints(each, "tracks") for each in (planned, other))
    assert planned[1].config.train.teacher == longer.name
    assert set(of.values()).isdisjoint(of_other.values())


def test_the_digest_is_of_what_is_heard() -> None:
    track = IngestedTrack("a", "test", "file", 16000, 16000, {}, {"digest": "12"})
    same = dataclasses.replace(track, file="other", modified="2026-01-01")
    others = [
        dataclasses.replace(track, split="dev"),
        dataclasses.replace(track, fingerprint={"digest": "13"}),
        dataclasses.replace(track, measured={"rms_db/vocals": [-20.0]}),
    ]
    assert run.digest("vocals", [track]) == run.digest("vocals", [same])
    digests = {run.digest("vocals", [each]) for each in (track, *others)}
    assert len({*digests, run.digest("accompaniment", [track]), run.digest("vocals", [])}) == 6


def test_a_pupil_of_a_failed_teacher_fails_before_it_runs(tmp_path: Path) -> None:
    planned = plan(read("example"), load)[0]
    failed = trial("teacher", None, problem="no memory")
    told = run._trial(planned, "key", result(), Workdir(tmp_path), "uri", failed)
    assert told.problem == "its teacher teacher failed"
    assert list(tmp_path.iterdir()) == []


def write_study(directory: Path) -> str:
    """Two systems that can be trained, and one whose loss is soon infinite."""
    (directory / "small.yaml").write_text(SMALL)
    (directory / "smaller.yaml").write_text("extends: small\nmodel: {sizes: {units: 8}}\n")
    diverges = "{learning_rate: 10.0, warmup_steps: 0, clip_norm: null, schedule: constant}"
    (directory / "wrong.yaml").write_text(f"extends: small\nmodel: {{network: srnn}}\ntrain: {diverges}\n")
    (directory / "mine.yaml").write_text(STUDY)
    return str(directory / "mine.yaml")


@pytest.mark.slow
def test_a_killed_study_goes_on_and_a_failing_training_stops_nobody(tmp_path: Path) -> None:
    workdir, file = tmp_path / "runs", write_study(tmp_path)
    command = [STEMLINE, "study", file, "--workdir", str(workdir)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    for line in process.stderr:
        if "training mine-smaller-0" in line:
            break
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    time.sleep(2)  # the child sees that its parent is gone

    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 4, done.stderr
    assert "the training loss became" in done.stdout
    assert "Traceback" not in done.stderr
    assert done.stderr.count("Trainer …") == 2, "small was finished, wrong and smaller not"
    output = workdir / "studies" / "mine"
    plots = {f"mine-{name}.svg" for name in ("cost", "boxes", "curves")}
    assert {path.name for path in output.iterdir()} == plots | {"mine.json", "mine.md", "mine.html"}
    told = Result.read(output, "mine")
    assert told is not None
    assert [each.variant for each in told.failed] == ["wrong"]
    assert {each.variant for each in told.finished} == {"small", "smaller"}
    assert set(told.baselines) == {"mixture", "rpca", "irm", "ibm"}
    for each in told.finished:
        assert (workdir / each.model / "saved_model.pb").is_file()
        assert each.cpu_minutes >= 0.3
        assert each.curve
        assert 0 < each.real_time_factor < 10
    assert str(tmp_path) not in (output / "mine.md").read_text()

    before = {path.name: path.read_bytes() for path in output.iterdir()}
    Path(file).write_text(STUDY.replace("wrong.yaml, ", ""))
    again = subprocess.run([*command, "--json"], capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    assert again.stderr.count("finished before") == 2
    assert "Trainer" not in again.stderr
    assert "speed" not in again.stderr
    assert json.loads(again.stdout)["trials"] == json.loads(before["mine.json"])["trials"][1:]
    assert (output / "mine-cost.svg").read_bytes() == before["mine-cost.svg"]

    # Another study on another machine, which has what this one says and none of its models.
    told_of = tmp_path / "told"
    told_of.mkdir()
    (told_of / "mine.json").write_bytes((output / "mine.json").read_bytes())
    elsewhere = STUDY.replace("[wrong.yaml, small.yaml, smaller.yaml]", "[{name: little, recipe: smaller.yaml}]")
    (tmp_path / "other.yaml").write_text(elsewhere)
    other = [STEMLINE, "study", str(tmp_path / "other.yaml"), "--workdir", str(tmp_path / "new"), "-o", str(told_of)]
    done = subprocess.run([*other, "--json"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("finished before") == 1
    assert "Trainer" not in done.stderr
    [little] = json.loads(done.stdout)["trials"]
    [smaller] = [each for each in json.loads(again.stdout)["trials"] if each["variant"] == "smaller"]
    assert little == smaller | {"variant": "little", "series": "little"}


@pytest.mark.slow
def test_the_example_compares_two_sizes_over_two_seeds(tmp_path: Path) -> None:
    done = subprocess.run([STEMLINE, "study", "example", "--json"], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    told = Result.read(tmp_path / "runs/studies/example", "example")
    assert told is not None
    assert json.loads(done.stdout)["trials"] == json.loads(told.to_json())["trials"]
    first, other = sorted(statistics.variants(told), key=lambda each: each.name)
    assert [each["name"] for each in json.loads(done.stdout)["variants"]] == [v.name for v in statistics.variants(told)]
    assert [[trial.seed for trial in each.trials] for each in (first, other)] == [[0, 1], [0, 1]]
    assert first.trials[0].scores != first.trials[1].scores, "another seed, another model"
    assert (first.against, other.against.clips) == (None, 6)
    assert other.trials[0].parameters > first.trials[0].parameters
    ours = first.trials[0]
    clips, seconds = ours.clips["v3/GNSDR"], told.seconds
    assert sum(a * b for a, b in zip(clips, seconds, strict=True)) / sum(seconds) == pytest.approx(
        ours.scores["vocals/v3/GNSDR"], abs=1e-3
    )
    assert {
        line.split("|")[1].strip()
        for line in (tmp_path / "runs/studies/example/example.md").read_text().splitlines()
        if line.startswith("| **")
    } == {"**16 units**", "**32 units**"}
