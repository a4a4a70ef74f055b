"""The leaderboard: which systems in which order, the page and the plot, and the command itself, killed and failing."""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.transforms import Bbox

from models.checked import ConfigError
from pipeline.config.config import Config, DataConfig, load, recipe_names
from pipeline.config.train import TrainSpec
from pipeline.leaderboard import page, run
from pipeline.leaderboard.board import Board, BoardEntry

STEMLINE = str(Path(sys.executable).with_name("stemline"))
PAPERS = (
    "Huang, Kim, Hasegawa-Johnson: A (MIREX 2014)",
    "Grais, Plumbley: B (GlobalSIP 2017)",
    "Doire: C (ICASSP 2019)",
)


def config(name: str, teacher: str | None = None, **data) -> Config:
    return Config(name, data=DataConfig(**data), train=TrainSpec(teacher=teacher))


def names(configs: list[Config]) -> list[str]:
    return [each.name for each in configs]


# --- which systems, in which order -----------------------------------------------------------------------------------


def test_every_mir1k_recipe_is_a_system() -> None:
    assert sorted(run.recipes()) == [name for name in recipe_names() if name.endswith("_mir1k")]
    assert run.recipes(["drnn", "own.yaml", "drnn"]) == ["drnn_mir1k", "own.yaml"]
    with pytest.raises(ConfigError, match="unknown system 'drn'; did you mean 'd"):
        run.recipes(["drn"])


def test_a_teacher_comes_first_and_joins_unasked() -> None:
    known = {"teacher": config("teacher", "grandmaster"), "grandmaster": config("grandmaster")}
    pupil, other = config("pupil", "teacher"), config("other")
    ordered = run.in_order([other, pupil, known["teacher"]], known.__getitem__)
    assert names(ordered) == ["other", "grandmaster", "teacher", "pupil"]
    assert names(run.in_order([pupil], known.__getitem__)) == ["grandmaster", "teacher", "pupil"]


def test_the_recipes_of_this_project_make_one_leaderboard() -> None:
    ordered = run.in_order([load(name, run.OVERRIDES) for name in run.recipes()], load)
    assert sorted(names(ordered)) == sorted(run.recipes())
    assert names(ordered).index("unet_mir1k") < names(ordered).index("or_unet_df_mir1k")
    assert all(not each.gate.thresholds and each.evaluate.metrics == ("v3",) for each in ordered)


@pytest.mark.parametrize(
    ("configs", "words"),
    [
        ([config("a", "b"), config("b", "a")], "recipes teach each other: a -> b -> a"),
        ([config("a"), config("a")], "two recipes have one name"),
        ([config("a"), config("b", segment_seconds=5.0)], r"data\.segment_seconds of b is 5\.0, of a 10\.0"),
    ],
)
def test_refuses_circles_twins_and_other_data(configs: list[Config], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        run.in_order(configs, {each.name: each for each in configs}.__getitem__)


# --- page and plot ---------------------------------------------------------------------------------------------------


def entry(name: str, score: float | None, place: int = 0, **fields) -> BoardEntry:
    scores = {} if score is None else {f"vocals/v3/{m}": score + i for i, m in enumerate(("GNSDR", "GSIR", "GSAR"))}
    scores |= {} if score is None else {"accompaniment/v3/GNSDR": -1.0}
    plain = BoardEntry(name, f"{name}_mir1k", PAPERS[place % 3], "7.27 | 11.98", f"key of {name}", "2026-11-20")
    plain = dataclasses.replace(plain, scores=scores, parameters=10**6 + place, cpu_minutes=10.04, steps=1200)
    return dataclasses.replace(plain, real_time_factor=0.01, pushed=f"serving/{name}/7", **fields)


def board(*entries: BoardEntry) -> Board:
    baselines = {"mixture": {"vocals/v3/GNSDR": 0.0}, "irm": {"vocals/v3/GNSDR": 13.46, "vocals/v3/GSAR": 15.0}}
    about = (
        "stemline leaderboard --data MIR-1K",
        "format mir1k",
        124,
        ("vocals", "accompaniment"),
        10.0,
        "a cpu",
        "tf",
    )
    return Board(*about, baselines, entries)


CROWD = board(
    *(entry(f"system_{i}", 6 + 0.07 * (i // 2), i, latency_ms=64.0 if i % 5 == 0 else None) for i in range(14))
)


def test_a_board_survives_text() -> None:
    for each in (CROWD, board(), board(entry("a", None, problem="no"))):
        assert Board.from_json(each.to_json()) == each
    with pytest.raises(ValueError, match="no leaderboard"):
        Board.from_json('{"entries": []}')


def test_the_table_is_sorted_and_says_how_it_came_about() -> None:
    failed = BoardEntry("c", "c_mir1k", PAPERS[0], "", "", problem="its teacher b failed")
    text = page.page(board(entry("a", 6.5), entry("b", 7.5, 1, latency_ms=64.0), failed))
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("|")]
    assert [row[0] for row in rows[2:]] == ["*oracle: ideal ratio mask*", "**b**", "**a**", "*mixture (no separation)*"]
    assert len({len(row) for row in rows}) == 1
    b = dict(zip(rows[0], rows[3], strict=True))
    assert b["paper"] == "Grais & Plumbley, GlobalSIP 2017"
    assert (b["online"], b["latency [ms]"], b["parameters"]) == ("yes", "64", "1,000,001")
    assert (b["vocals GNSDR"], b["GSAR"], b["accompaniment GNSDR"]) == ("7.50", "9.50", "−1.00")
    assert (b["CPU min"], b["steps"], b["real-time factor"]) == ("10.0", "1,200", "0.0100")
    for word in (
        "stemline leaderboard --data MIR-1K",
        "2026-11-20",
        "a cpu",
        "124 test clips",
        "BSS Eval v3",
        "weighted",
    ):
        assert word in text
    assert "- `c`: its teacher b failed" in text


@pytest.mark.parametrize("shown", [CROWD, board(entry("alone", 7.0)), board()], ids=["crowd", "one", "none"])
def test_every_system_is_labelled_once_a_panel_and_no_label_covers_another(shown: Board) -> None:
    figure = page._figure(shown)
    renderer = FigureCanvasAgg(figure).get_renderer()
    for axes in figure.axes:
        boxes = [text.get_window_extent(renderer) for text in axes.texts]
        assert sorted(text.get_text() for text in axes.texts) == sorted(each.system for each in shown.entries)
        assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))
        inside = axes.bbox.padded(1)
        assert all(Bbox.intersection(box, inside).bounds == pytest.approx(box.bounds) for box in boxes)


def test_same_board_same_plot() -> None:
    few = board(entry("a", 6.5), entry("b", 7.5, 1))
    assert page.plot(few) == page.plot(few)
    assert page.plot(few).lstrip().startswith("<?xml")


# --- the command -----------------------------------------------------------------------------------------------------


def write_recipes(directory: Path) -> list[str]:
    """Two systems that can be trained, the second a pupil of nobody, and one that cannot."""
    small = """
extends: demo
paper: "Nobody, Somebody, Anybody: Small (Nowhere 2020)"
data: {options: {tracks: {train: 4, dev: 1, test: 2}, seconds: 4}}
model: {sizes: {units: 16}}
train: {batch: 4, segment_frames: 40, shuffle_buffer: 8, evaluate_every_steps: 1000, checkpoint_minutes: 0.001}
serve: {chunk_seconds: 2}
"""
    (directory / "small.yaml").write_text(small)
    (directory / "smaller.yaml").write_text("extends: small\nmodel: {sizes: {units: 8}}\n")
    (directory / "wrong.yaml").write_text("extends: small\nmodel: {sizes: {unitss: 8}}\n")
    return [str(directory / f"{name}.yaml") for name in ("wrong", "small", "smaller")]


@pytest.mark.slow
def test_a_killed_leaderboard_goes_on_and_a_failing_system_stops_nobody(tmp_path: Path) -> None:
    workdir, files = tmp_path / "runs", write_recipes(tmp_path)
    command = [STEMLINE, "leaderboard", "--cpu-minutes", "0.3", "--workdir", str(workdir), "--systems", ",".join(files)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    for line in process.stderr:
        if "training smaller" in line:
            break
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    time.sleep(2)  # the child sees that its parent is gone

    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 4, done.stderr
    assert "did you mean 'units'" in done.stdout
    assert "Traceback" not in done.stderr
    assert done.stderr.count("Trainer …") == 1, "small was finished, smaller not"
    output = workdir / "leaderboard"
    assert sorted(path.name for path in output.iterdir()) == ["leaderboard.json", "leaderboard.md", "leaderboard.svg"]
    told = Board.read(output)
    assert told is not None
    assert [each.system for each in told.failed] == ["wrong"]
    assert {each.system for each in told.ranked} == {"small", "smaller"}
    assert set(told.baselines) == {"mixture", "rpca", "irm", "ibm"}
    for each in told.ranked:
        assert (workdir / each.pushed / "saved_model.pb").is_file()
        assert each.cpu_minutes >= 0.3
        assert 0 < each.real_time_factor < 10
    assert str(tmp_path) not in (output / "leaderboard.md").read_text()

    before = {path.name: path.read_bytes() for path in output.iterdir()}
    good = [*command[:-1], ",".join(files[1:])]
    again = subprocess.run([*good, "--output", str(output)], capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    assert again.stderr.count("finished before") == 2
    assert "Trainer" not in again.stderr
    assert "speed" not in again.stderr
    assert (
        json.loads(before["leaderboard.json"])["entries"][1:]
        == json.loads((output / "leaderboard.json").read_text())["entries"]
    )
    assert (output / "leaderboard.svg").read_bytes() == before["leaderboard.svg"]
