"""Models that are pinned and unpinned by the command, and what stays when everything else is cleared away."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from models.directory import ModelDirectory
from pipeline.runs import anchors
from pipeline.runs.workdir import Workdir

STARTS = ("2026-11-18T09:00:00.000001", "2026-11-20T12:00:00.000002", "2026-11-20T12:30:00.000003")


def save(directory: Path) -> Path:
    """Files as an exported model has them."""
    (directory / "assets.extra").mkdir(parents=True)
    (directory / "assets.extra" / "stemline.json").write_text(json.dumps({"identity": directory.parent.name}))
    (directory / "saved_model.pb").write_text("graph")
    return directory


@pytest.fixture
def workdir(tmp_path: Path, metadata: Any) -> Workdir:
    """Runs 1 and 2 of the demo, of which the first only ingested, and run 3 of drnn."""
    metadata.run(STARTS[0], "demo", {"StemsExampleGen": {"Examples": tmp_path}})
    for start, recipe in ((STARTS[1], "demo"), (STARTS[2], "drnn")):
        save(tmp_path / recipe / "Format-Serving")
        metadata.run(start, recipe, {"Trainer": {"Model": tmp_path / recipe}})
    return Workdir(tmp_path)


def test_a_run_is_pinned_listed_and_unpinned(workdir: Workdir, stemline) -> None:
    root = str(workdir.root)
    assert "anchor" not in stemline("runs", "--workdir", root).out
    assert stemline("runs", "pin", "2", "--workdir", root).out == (
        "pinned the model of run 2 of 2026-11-20 12:00:00: from the next run of demo on it is the anchor\n"
    )
    assert "anchor of demo: run 2, the model that was pinned on" in stemline("runs", "--workdir", root).out
    shutil.rmtree(workdir.root / "demo")
    kept = anchors.find(workdir.anchors("demo"))
    assert (kept.pinned, kept.model.identity, kept.model.origin) == (True, "demo", f"{root}/demo")
    assert anchors.find(workdir.anchors("drnn")) is None
    assert "anchor of demo is the best" in stemline("runs", "--workdir", root, "unpin").out
    assert anchors.find(workdir.anchors("demo")) is None


def test_the_newest_pin_counts_and_the_best_one_comes_back(workdir: Workdir, tmp_path: Path, stemline) -> None:
    place = workdir.anchors("demo")
    anchors.keep(place, anchors.BEST, save(tmp_path / "best" / "1"), "/runs/best")
    assert stemline("runs", "pin", "latest", "-w", tmp_path, "-r", "drnn").code == 0
    for name in ("one", "two", "three"):
        save(tmp_path / name / "model")
        assert stemline("runs", "pin", tmp_path / name / "model", "-r", "demo", "-w", tmp_path).code == 0
        assert anchors.find(place).model.identity == name
    assert len(ModelDirectory.versions(place / anchors.PINNED)) == 2, "one more than counts"
    several = stemline("runs", "unpin", "-w", tmp_path)
    assert (several.code, several.err.splitlines()[1:]) == (
        2,
        ["stemline: --recipe is needed: models are pinned for demo, drnn"],
    )
    assert stemline("runs", "unpin", "-w", tmp_path, "-r", "demo").code == 0
    assert anchors.find(place).model.identity == "best"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["pin", "1"], "run 1 has trained no model: legal is a run with one"),
        (["pin", "4"], "there is no run '4'; legal: 1 to 3, latest, previous, or a start"),
        (["pin", "2", "-r", "drnn"], "run 2 is of the recipe demo, and --recipe drnn: legal is the same"),
        (["pin", "./nothing", "-r", "demo"], "./nothing cannot be pinned: there is no SavedModel in ./nothing"),
        (["pin", "./nothing"], "--recipe is needed: it says whose candidates are held against the model in ./nothing"),
        (["pin", "./nothing", "-r", "dem"], "there is no recipe 'dem'; did you mean 'demo'?"),
        (["pin", ""], "is empty: legal is a value"),
        (["unpin"], "no model is pinned in "),
        (["unpin", "-r", "drnn"], "no model is pinned for drnn in "),
    ],
)
def test_what_cannot_be_pinned_is_told_in_a_sentence(workdir: Workdir, stemline, words: list[str], told: str) -> None:
    outcome = stemline("runs", *words, "--workdir", workdir.root)
    assert outcome.code == 2
    assert told in outcome.err.splitlines()[-1]
    assert not (workdir.root / "anchors").exists()


def test_a_model_that_is_gone_or_not_ours_is_no_anchor(workdir: Workdir, stemline) -> None:
    model = workdir.root / "demo" / "Format-Serving"
    (model / "assets.extra" / "stemline.json").unlink()
    assert "is no exported separator" in stemline("runs", "pin", "2", "-w", workdir.root).err
    shutil.rmtree(model)
    words = "the model of run 2 of 2026-11-20 12:00:00 cannot be pinned: there is no SavedModel in "
    assert words in stemline("runs", "pin", "2", "-w", workdir.root).err
    assert anchors.find(workdir.anchors("demo")) is None


def test_an_anchor_that_was_copied_half_is_none(workdir: Workdir, tmp_path: Path) -> None:
    place = workdir.anchors("demo")
    anchors.keep(place, anchors.BEST, save(tmp_path / "model"), "/runs/best")
    shutil.copytree(tmp_path / "model", place / anchors.PINNED / "17")
    (place / anchors.PINNED / "17" / "saved_model.pb").unlink()
    assert not anchors.find(place).pinned


def test_anchors_of_a_cluster_lie_in_its_bucket(bucket, tmp_path: Path) -> None:
    save(tmp_path / "models" / "first")
    save(tmp_path / "models" / "second")
    place = f"{bucket.url}/pipeline/anchors/demo"
    assert anchors.find(place) is None
    for name in ("first", "second"):
        anchors.keep(place, anchors.BEST, bucket.upload(tmp_path / "models" / name, name), f"/minio/{name}")
    kept = anchors.find(place)
    assert (kept.pinned, kept.model.origin) == (False, "/minio/second")
