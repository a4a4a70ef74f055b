"""The page of a recipe's life, from real metadata and from the files of evaluations alone; and in a real browser."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from models.spec import ModelSpec
from pipeline.config.config import Config, DataConfig, EvaluateConfig
from pipeline.config.gate import GateConfig, Threshold
from pipeline.evaluation import results
from pipeline.evaluation.evaluation import conclude
from pipeline.evaluation.gate.checks import ModelFacts
from pipeline.evaluation.outputs.output_facts import OutputFacts
from pipeline.evaluation.scores import Figure, TrackScores
from pipeline.runs import anchors, life, page
from pipeline.runs.workdir import Workdir

CHROMIUM = shutil.which("chromium")
TARGETS = ("vocals", "accompaniment")
WEEKS = [6.0, 6.2, 7.0, 3.0, 7.1]  # GNSDR of the vocals; the fourth is refused
DRIFT = {
    "spans": [
        {"name": "1", "tracks": {"train": 20, "dev": 4, "test": 4}, "hours": 1.0},
        {"name": "2", "tracks": {"train": 4, "dev": 0, "test": 4}, "hours": 0.25},
    ],
    "features": [{"name": "level_db", "divergence": 0.41, "drifted": True}],
    "unknown": "",
}


def evaluated(directory: Path, level_db: float, songs: int = 8, recipe: str = "demo") -> Path:
    """An evaluation as the judge leaves it."""
    random = np.random.default_rng(round(10 * level_db))
    tracks = []
    for song in range(songs):
        values = {
            Figure(method, target, "v3", metric): (float(level + random.normal(0, 0.5)),)
            for method, level in (("model", level_db), ("mixture", 0.0))
            for target in TARGETS
            for metric in ("SDR", "NSDR", "SIR", "SAR")
        }
        facts = {
            target: OutputFacts(level_db=0.0, correlation=0.9, gain_db=5.0, resembles=target) for target in TARGETS
        }
        tracks.append(TrackScores(f"song {song}", 80000, 8000, values, {}, facts))
    setup = Config(
        recipe,
        data=DataConfig(sample_rate_hz=8000),
        model=ModelSpec(sample_rate_hz=8000, frame_length=256, hop=128),
        evaluate=EvaluateConfig(metrics=("v3",)),
        gate=GateConfig((Threshold("vocals", "v3/GNSDR", 5.0),)),
    )
    results.write(conclude(tracks, setup, facts=ModelFacts(0.125, 5.7, 1_400_000)), directory)
    (directory / "drift.json").write_text(json.dumps(DRIFT))
    return directory


@pytest.fixture
def workdir(tmp_path: Path, metadata: Any) -> Workdir:
    """Five weeks: the fourth model is refused, the last is judged on one song more, the third one is the anchor."""
    for week, level_db in enumerate(WEEKS):
        place = tmp_path / f"artifacts/{week}"
        beside = place / "model" / "Format-Serving" / "assets.extra"
        beside.mkdir(parents=True)
        (beside / "training.json").write_text(json.dumps({"steps": 100 + week, "cpu_minutes": 2.5}))
        (beside.parent / "saved_model.pb").write_text("graph")
        directory = evaluated(place / "evaluation", level_db, 9 if week == 4 else 8)
        summary = json.loads((directory / "summary.json").read_text())
        blessed, scores = summary["blessed"], summary["scores"]["model"]
        properties = {
            "ModelEvaluation": {"tracks": summary["tracks"], **scores},
            "ModelBlessing": {"blessed": int(blessed), "reasons": json.dumps(summary["reasons"])},
            "PushedModel": {"pushed": int(blessed), "pushed_destination": f"/serving/demo/{17 + week}"},
        }
        nodes = {
            "Trainer": {"Model": place / "model"},
            "BssEvaluator": {"ModelEvaluation": directory, "ModelBlessing": place},
            "Pusher": {"PushedModel": place},
        }
        metadata.run(f"2026-11-0{week + 1}T03:00:00.000001", "demo", nodes, properties=properties)
    metadata.run("2026-11-09T03:00:00.000001", "demo", {"StemsExampleGen": {"Examples": tmp_path}})
    held = Workdir(tmp_path)
    best = tmp_path / "artifacts" / "2" / "model"
    anchors.keep(held.anchors("demo"), anchors.BEST, best / "Format-Serving", str(best))
    return held


def cells(html: str, table: int = 0) -> list[list[str]]:
    """The rows of a table, without tags: the verdicts, then the scores."""
    bodies = re.findall(r"<tbody>(.*?)</tbody>", html, re.DOTALL)[table]
    rows = re.findall(r"<tr>(.*?)</tr>", bodies, re.DOTALL)
    return [
        [re.sub(r"<[^>]+>", " ", cell).strip() for cell in re.findall(r"<td.*?</td>", row, re.DOTALL)] for row in rows
    ]


def test_tells_every_run_of_a_working_directory(workdir: Workdir, stemline) -> None:
    outcome = stemline("runs", "page", "-w", workdir.root, "-o", workdir.root / "runs.html")
    assert (outcome.code, outcome.out) == (0, f"wrote {workdir.root}/runs.html\n")
    html = (workdir.root / "runs.html").read_text()
    rows = cells(html)
    assert [row[0].split()[0] for row in rows] == ["5", "4", "3", "2", "1"], "the newest first; run 6 judged nothing"
    assert [row[1].split()[0] for row in rows] == ["yes", "no", "yes", "yes", "yes"]
    assert "vocals v3/GNSDR is 3." in rows[1][1]
    assert "anchor, best so far" in rows[2][0]
    text = "\n".join(rows[0])
    for words in (
        "21",
        "104 steps, 2.5 CPU min",
        "5.7 MB, 1,400,000 parameters, 0.125 s for a second of audio",
        "level_db (0.41)",
    ):
        assert words in text
    assert "24 train, 4 dev, 8 test; 1.25 h, spans 1 to 2" in text
    assert cells(html, 1)[1][:2] == ["4", "8 set 1"]
    assert cells(html, 1)[1][3].startswith("3.15 [2.7, 3.6]")
    assert "5 models judged, 4 accepted" in html
    assert "The test tracks changed: there are 2 sets" in html
    assert html.count("<figure") == 2 * 2, "GNSDR and GSDR of two targets"
    assert not re.findall(r"(?:src|href)=\"(?!data:|#)", html)


def test_scores_and_their_intervals_are_those_of_the_tracks(workdir: Workdir) -> None:
    [(_, judged)] = life.of_workdir(workdir).items()
    for each in judged:
        gains = [track.score(Figure("model", "vocals", "v3", "NSDR")) for track in each.tracks]
        assert each.score("vocals/v3/GNSDR") == pytest.approx(np.mean(gains), abs=1e-4)
        low, high = each.interval("vocals/v3/GNSDR")
        half = 1.96 * np.std(gains, ddof=1) / len(gains) ** 0.5  # a bootstrap's is narrower by sqrt(1 - 1/n), some 6 %
        assert (high - low) / 2 == pytest.approx(half, rel=0.2)
    assert [each.test_set for each in judged[:4]] == [judged[0].test_set] * 4 != [judged[4].test_set] * 4


def test_files_that_are_gone_leave_the_scores_of_the_metadata(workdir: Workdir) -> None:
    shutil.rmtree(workdir.root / "artifacts" / "1" / "evaluation")
    judged = life.of_workdir(workdir)["demo"][1]
    assert judged.score("vocals/v3/GNSDR") == pytest.approx(6.2, abs=0.8)
    assert judged.interval("vocals/v3/GNSDR") is None
    assert len(cells(page.render(life.of_workdir(workdir), "here"))) == 5


def test_the_artifacts_alone_tell_all_but_what_lies_elsewhere(tmp_path: Path, stemline) -> None:
    """As on Kubeflow, whose metadata nobody can read."""
    for week, level_db in enumerate(WEEKS):
        directory = evaluated(tmp_path / f"root/demo/{'zyxwv'[week]}/BssEvaluator/7/evaluation", level_db)
        os.utime(directory / "summary.json", (1e9 + 1e5 * week,) * 2)
    (tmp_path / "root" / "other").mkdir()
    (tmp_path / "root" / "other" / "summary.json").write_text("[1, 2]")
    evaluated(tmp_path / "root" / "drnn", 5.5, recipe="drnn")
    assert stemline("runs", "page", "--artifacts", tmp_path / "root", "-r", "demo").code == 0
    html = Path("runs.html").read_text()
    rows = cells(html)
    assert [row[0].split()[0] for row in rows] == ["5", "4", "3", "2", "1"]
    assert [row[1].split()[0] for row in rows] == ["yes", "no", "yes", "yes", "yes"]
    assert "Not known here: which versions were pushed, how long trainings took." in html
    assert set(life.of_artifacts(str(tmp_path / "root"))) == {"demo", "drnn"}
    (tmp_path / "root" / "other" / "summary.json").write_text("{")
    broken = stemline("runs", "page", "--artifacts", tmp_path / "root")
    assert (broken.code, broken.err.count("\n")) == (2, 2)
    assert "summary.json is no JSON" in broken.err


def test_nothing_to_show_is_a_sentence(tmp_path: Path, workdir: Workdir, stemline) -> None:
    for words in (["-w", tmp_path / "empty"], ["--artifacts", tmp_path / "empty"], ["-w", workdir.root, "-r", "drnn"]):
        outcome = stemline("runs", "page", *words)
        assert (outcome.code, outcome.err.count("\n")) == (2, 2)
        assert "there is nothing to show" in outcome.err
    assert not Path("runs.html").exists()


def test_names_and_reasons_are_text(tmp_path: Path) -> None:
    directory = evaluated(tmp_path / "evaluation", 3.0, recipe="demo")
    summary = json.loads((directory / "summary.json").read_text())
    hostile = "<script>alert(1)</script>"
    (directory / "summary.json").write_text(
        json.dumps({**summary, "name": hostile, "reasons": [f"refused: {hostile}"]})
    )
    html = page.render(life.of_artifacts(str(tmp_path)), "here")
    assert "<script" not in html
    assert html.count("&lt;script&gt;alert(1)") >= 2


@pytest.fixture
def opened(workdir: Workdir) -> Iterator[SimpleNamespace]:
    if CHROMIUM is None:
        pytest.skip("chromium is not installed")
    from playwright.sync_api import sync_playwright

    path = workdir.root / "runs.html"
    page.write(life.of_workdir(workdir), "What ran here", path)
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        opened = chromium.new_page(viewport={"width": 390, "height": 844}, color_scheme="light")
        asked, complaints = [], []
        opened.on("request", lambda request: asked.append(request.url))
        opened.on("console", lambda message: complaints.append(message.text))
        opened.on("pageerror", lambda error: complaints.append(str(error)))
        opened.goto(path.as_uri())
        yield SimpleNamespace(page=opened, asked=asked, complaints=complaints, path=path)
        chromium.close()


def test_in_a_browser_it_fits_a_phone_and_has_two_colour_schemes(opened) -> None:
    shown = opened.page
    for width in (390, 1400):
        shown.set_viewport_size({"width": width, "height": 844})
        assert shown.evaluate("document.documentElement.scrollWidth") <= width
        assert shown.locator("figure.over-runs svg").first.bounding_box()["width"] > 300
    colours = []
    for scheme in ("light", "dark"):
        shown.emulate_media(color_scheme=scheme)
        style = "getComputedStyle(document.body)"
        colours.append((shown.evaluate(f"{style}.color"), shown.evaluate(f"{style}.backgroundColor")))
        ink = "getComputedStyle(document.querySelector('.over-runs svg text').closest('g')).color"
        assert shown.evaluate(ink) == colours[-1][0], "the plots' letters are of the page's ink"
    assert len({*colours[0], *colours[1]}) == 4
    assert [url for url in opened.asked if not url.startswith(("file:", "data:"))] == []
    assert opened.complaints == []
