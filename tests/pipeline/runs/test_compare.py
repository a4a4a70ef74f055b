"""Two runs side by side, from real metadata and real files of artifacts."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from pipeline.runs import compare, history
from pipeline.runs.compare import Row, Section
from pipeline.runs.workdir import Workdir

STARTS = ("2026-11-18T09:00:00.000001", "2026-11-20T12:00:00.000002", "2026-11-20T12:30:00.000003")
TARGETS = ("vocals", "accompaniment")


def model(directory: Path, config: Mapping[str, Any], training: Mapping[str, Any]) -> Path:
    beside = directory / "Format-Serving" / "assets.extra"
    beside.mkdir(parents=True)
    (beside / "config.json").write_text(json.dumps(config))
    (beside / "training.json").write_text(json.dumps(training))
    return directory


def evaluation(directory: Path, sdr_db: Sequence[float], window: str = "track") -> Path:
    directory.mkdir(parents=True)
    with (directory / "scores.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["track", "seconds", "method", "target", "version", "metric", "window", "value_db"])
        for number, value in enumerate(sdr_db):
            for method, gain in (("model", 0.0), ("mixture", -20.0)):
                writer.writerow([f"song {number}", "10.000", method, "vocals", "v3", "SDR", window, f"{value + gain}"])
    return directory


def examples(directory: Path, tracks: Mapping[str, Sequence[str]]) -> Path:
    directory.mkdir(parents=True)
    entries = [
        {"name": name, "split": split, "samples": 36000, "sample_rate_hz": 10, "fingerprint": {"pcm": name}}
        for split, names in tracks.items()
        for name in names
    ]
    (directory / "tracks.json").write_text(json.dumps(entries))
    return directory


@pytest.fixture
def workdir(tmp_path: Path, metadata: Any) -> Workdir:
    """Three runs: one that only ingested, then two trainings, of which the second is better, blessed and pushed."""
    first = examples(tmp_path / "examples1", {"train": ["a", "b"], "test": ["c"]})
    second = examples(tmp_path / "examples2", {"train": ["a", "b", "d"], "test": ["c"]})
    metadata.run(STARTS[0], "demo", {"StemsExampleGen": {"Examples": first}})
    for start, data, steps, scores, blessed in (
        (STARTS[1], first, 100, [5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 11.0], 0),
        (STARTS[2], second, 250, [6.0, 7.5, 8.0, 8.5, 10.0, 9.5, 11.0], 1),
    ):
        config = {"name": "demo", "train": {"steps": steps, "batch": 8}, "data": {"targets": list(TARGETS)}}
        judged = {**config, "train": {}, "gate": {"thresholds": [{"target": "vocals", "at_least_db": 3.0 + blessed}]}}
        training = {"steps": steps, "cpu_minutes": steps / 50, "dev_loss": None, "stopped_early": bool(blessed)}
        place = tmp_path / str(steps)
        nodes = {
            "StemsExampleGen": {"Examples": data},
            "Trainer": {"Model": model(place / "model", config, training)},
            "BssEvaluator": {"ModelEvaluation": evaluation(place / "evaluation", scores), "ModelBlessing": place},
            **({"Pusher": {"PushedModel": place}} if blessed else {}),
        }
        reasons = json.dumps(["ok: vocals [good]" if blessed else "refused: vocals is too quiet"])
        properties = {
            "ModelEvaluation": {"vocals/v3/GSDR": sum(scores) / 7, "mixture/vocals/v3/GSDR": 0.0},
            "ModelBlessing": {"blessed": blessed, "reasons": reasons},
            "PushedModel": {"pushed": 1, "pushed_destination": "/serving/demo/17"},
        }
        metadata.run(start, "demo", nodes, config=judged, properties=properties)
    return Workdir(tmp_path)


@pytest.fixture
def told(workdir: Workdir) -> dict[str, Section]:
    newest, older, _ = history.runs(workdir)
    return {section.title: section for section in compare.sections(older, newest)}


def test_only_what_differs_in_the_configuration(told: dict[str, Section]) -> None:
    rows = (Row("train.steps", "100", "250"), Row("gate.thresholds.0.at_least_db", "3.0", "4.0"))
    assert sorted(told["Configuration"].rows, key=str) == sorted(rows, key=str)


def test_equal_configurations_are_called_so(workdir: Workdir) -> None:
    newest = history.runs(workdir)[0]
    told = {section.title: section for section in compare.sections(newest, newest)}
    assert told["Configuration"] == Section("Configuration", (), ("no difference",))
    assert told["Data"].notes == ("the same audio",)


def test_data_training_and_verdict(told: dict[str, Section]) -> None:
    assert told["Data"].rows == (
        Row("train", "2 tracks, 2.00 h", "3 tracks, 3.00 h"),
        Row("test", "1 tracks, 1.00 h", "1 tracks, 1.00 h"),
    )
    assert told["Data"].notes == ("different audio in train",)
    assert told["Training"].rows == (
        Row("steps", "100", "250"),
        Row("cpu minutes", "2", "5"),
        Row("dev loss", "–", "–"),
        Row("stopped early", "no", "yes"),
    )
    assert told["Verdict"].rows[0] == Row("blessed", "no", "yes")
    assert told["Verdict"].rows[2] == Row("served version", "–", "17")
    assert told["Verdict"].notes == ("A: refused: vocals is too quiet", "B: ok: vocals [good]")
    assert Row("Pusher", "–", "done") in told["Run"].rows


def test_scores_and_tracks_are_b_less_a(told: dict[str, Section]) -> None:
    (score,) = told["Scores in dB"].rows
    assert (score.name, score.a, score.b) == ("vocals v3 GSDR", "8.00", "8.64")
    assert score.change == pytest.approx(4.5 / 7)
    (row,) = told["Track by track"].rows
    assert (row.name, row.a, row.b) == ("vocals v3/SDR (track)", "better on 1", "better on 5")
    assert row.change == pytest.approx(4.5 / 7), "the mean of 1, 1.5, 1, 0.5, 1, -0.5, 0"
    assert (
        told["Track by track"].notes[0].startswith("vocals v3/SDR (track): B less A on 7 common tracks, 90% interval")
    )


def test_other_windows_are_never_compared(workdir: Workdir) -> None:
    newest, older, _ = history.runs(workdir)
    directory = Path(older.outputs["ModelEvaluation"].uri)
    (directory / "scores.csv").write_text((directory / "scores.csv").read_text().replace(",track,", ",2 s,"))
    told = {section.title: section for section in compare.sections(older, newest)}
    assert told["Track by track"].rows == ()
    assert [note.partition(": ")[2] for note in told["Track by track"].notes] == [
        "no track that both runs judged so"
    ] * 2


def test_a_run_that_only_ingested_has_dashes(workdir: Workdir) -> None:
    newest, _, ingested = history.runs(workdir)
    told = {section.title: section for section in compare.sections(ingested, newest)}
    assert told["Configuration"].notes == ("a run that trained and judged nothing has left no configuration",)
    assert told["Training"].rows[0] == Row("steps", "–", "250")
    assert told["Scores in dB"].rows[0].change is None
    assert told["Verdict"].rows[0] == Row("blessed", "–", "yes")


@pytest.mark.parametrize(
    ("name", "place"),
    [("3", 0), ("1", 2), ("latest", 0), ("previous", 1), ("2026-11-18", 2), ("2026-11-20 12:30", 0), (STARTS[1], 1)],
)
def test_finds_runs_by_what_the_list_shows(workdir: Workdir, name: str, place: int) -> None:
    found = history.runs(workdir)
    assert compare.find(found, name) is found[place]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("9", "no run '9'; legal: 1 to 3"),
        ("0", "no run '0'; legal: 1 to 3"),
        ("lastest", "did you mean 'latest'"),
        ("2026-11-19", "did you mean '2026-11-18 09:00:00'"),
        ("2026-11-20 12", "2 runs start with"),
        ("", "is empty: legal is a value"),
    ],
)
def test_an_unknown_run_is_bad_input_that_names_the_nearest(stemline, workdir: Workdir, name: str, words: str) -> None:
    outcome = stemline("runs", "diff", "1", name, "--workdir", workdir.root)
    assert outcome.code == 2
    assert outcome.err.splitlines()[-1].startswith("stemline: ")
    assert words in outcome.err.splitlines()[-1]


def test_the_list_shows_the_numbers_and_diff_takes_them(stemline, workdir: Workdir) -> None:
    listed = stemline("runs", "--workdir", workdir.root)
    assert listed.code == 0
    rows = [line.split()[:3] for line in listed.out.splitlines() if "2026-11-" in line]
    assert [(number, day, time[:5]) for number, day, time in rows] == [
        ("3", "2026-11-20", "12:30"),
        ("2", "2026-11-20", "12:00"),
        ("1", "2026-11-18", "09:00"),
    ]
    for args in (
        ("runs", "diff", "2", "3", "-w", workdir.root),
        ("runs", "-w", workdir.root, "diff", "previous", "latest"),
    ):
        outcome = stemline(*args)
        assert outcome.code == 0, outcome.err
        assert "train.steps" in outcome.out
        assert "+0.64" in outcome.out
        assert "refused: vocals is too quiet" in outcome.out
        assert "ok: vocals [good]" in outcome.out, "square brackets are no markup"


def test_no_runs_is_bad_input(stemline, tmp_path: Path) -> None:
    outcome = stemline("runs", "diff", "1", "2", "--workdir", tmp_path / "absent")
    assert outcome.code == 2
    assert "there are no runs in" in outcome.err


def test_answers_without_tensorflow(workdir: Workdir) -> None:
    code = (
        f"import sys; from pipeline.cli import main; sys.argv = ['stemline', 'runs', 'diff', '2', '3', '-w', {str(workdir.root)!r}]\n"
        "try: main.main()\nfinally: print(sorted({'tensorflow', 'tfx', 'apache_beam', 'ml_metadata'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "['ml_metadata']"
