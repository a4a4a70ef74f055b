"""`--json` of runs: documents that parse and hold what the tables show; a run told whole; old and moved working directories."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pipeline.runs import history
from pipeline.runs import metadata as runs_metadata
from pipeline.runs.workdir import Workdir

STEMLINE = Path(sys.executable).with_name("stemline")
REFUSED, FAILED, PUSHED = "2026-11-18T09:00:00.000001", "2026-11-19T10:00:00.000002", "2026-11-20T11:30:00.000003"
REASONS = ["ok: the outputs are sound", "refused: vocals v3/SDR is 4.00 dB; required are 6.00 dB"]


def model(directory: Path, training: dict[str, Any]) -> Path:
    beside = directory / "Format-Serving" / "assets.extra"
    beside.mkdir(parents=True)
    (beside / "training.json").write_text(json.dumps(training))
    return directory


@pytest.fixture
def workdir(tmp_path: Path, metadata: Any) -> Workdir:
    """Three runs: one that was refused, one whose training failed, one that was pushed."""
    artifacts = tmp_path / "artifacts" / "demo"
    for start, number, blessed, sdr_db, loss in ((REFUSED, 1, 0, 4.006, float("nan")), (PUSHED, 3, 1, 7.125, -2.5)):
        place = artifacts / "BssEvaluator" / "evaluation" / str(number)
        place.mkdir(parents=True)
        told = {"steps": 100 * number, "cpu_minutes": 1.25 * number, "dev_loss": loss, "stopped_early": False}
        nodes = {
            "Trainer": {"Model": model(artifacts / "Trainer" / "model" / str(number), told)},
            "BssEvaluator": {"ModelEvaluation": place, "ModelBlessing": place},
            **({"Pusher": {"PushedModel": place}} if blessed else {}),
        }
        properties = {
            "ModelEvaluation": {"vocals/v3/GNSDR": sdr_db, "mixture/vocals/v3/GNSDR": 0.0, "tracks": 12},
            "ModelBlessing": {"blessed": blessed, "reasons": json.dumps(REASONS[: 2 - blessed])},
            "PushedModel": {"pushed": 1, "pushed_destination": str(tmp_path / "serving" / "demo" / "1796018483")},
        }
        config = {"data": {"format": "folder", "path": "/somewhere/my stems"}}
        metadata.run(start, "demo", nodes, config=config, properties=properties)
    metadata.run(FAILED, "demo", {"Trainer": {}}, failed={"Trainer": "the loss is NaN at step 7"})
    return Workdir(tmp_path)


def words(text: str) -> str:
    return " ".join(text.split())


def test_the_list_as_json_holds_what_its_table_shows(stemline, workdir: Workdir) -> None:
    told = json.loads(stemline("runs", "--json", "-w", workdir.root).out)
    table = stemline("runs", "-w", workdir.root).out
    assert [run["number"] for run in told["runs"]] == [3, 2, 1]
    for run in told["runs"]:
        [row] = [line for line in table.splitlines() if re.match(rf" {run['number']} ", line)]
        assert run["started"][:19].replace("T", " ") in row
        if run["training"]:
            assert f"{run['training']['steps']} steps, {run['training']['cpu_minutes']:.1f} CPU min" in row
            assert f"v3/GNSDR {run['scores_db']['vocals/v3/GNSDR']:.2f} dB" in row
            assert f" {'yes' if run['blessed'] else 'no'} " in row
    assert [run["version"] for run in told["runs"]] == [1796018483, None, None]
    assert told["runs"][2]["training"]["dev_loss"] is None, "NaN is no JSON"
    assert told["runs"][0]["data"] == {"format": "folder", "folder": "my stems", "tracks": 12}


def test_json_before_a_command_is_not_dropped(stemline, workdir: Workdir) -> None:
    outcome = stemline("runs", "-w", workdir.root, "--json", "show", "1")
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err == "stemline: --json stands before show; legal is behind it\n"


def test_a_run_says_what_was_refused_and_why(stemline, workdir: Workdir) -> None:
    shown = stemline("runs", "show", "1", "-w", workdir.root)
    assert shown.code == 0
    for told in (*REASONS, "not pushed", "judged on folder my stems, 12 tracks: v3/GNSDR 4.01 dB", "1.2 CPU min"):
        assert told in words(shown.out)
    assert f"report: {workdir.root}/artifacts/demo/BssEvaluator/evaluation/1/report.html" in shown.out
    told = json.loads(stemline("runs", "-w", workdir.root, "show", "1", "--json").out)
    assert told["reasons"] == REASONS
    assert (told["accepted"], told["paths"]["serving"]) == (False, None)


def test_a_run_says_what_failed_and_why(stemline, workdir: Workdir) -> None:
    shown = stemline("runs", "show", "2", "-w", workdir.root)
    assert "Trainer failed: the loss is NaN at step 7" in shown.out
    [component] = json.loads(stemline("runs", "show", "2", "--json", "-w", workdir.root).out)["components"]
    assert (component["name"], component["state"]) == ("Trainer", "failed")
    assert component["problem"] == "the loss is NaN at step 7"


def test_differences_as_json_are_those_of_the_table(stemline, workdir: Workdir) -> None:
    told = json.loads(stemline("runs", "diff", "1", "3", "--json", "-w", workdir.root).out)
    [scores] = [section["rows"] for section in told["sections"] if section["title"] == "Scores in dB"]
    assert (told["a"], told["b"]) == (1, 3)
    assert scores == [{"name": "vocals v3 GNSDR", "a": "4.01", "b": "7.12", "change_db": pytest.approx(3.119)}]
    assert "+3.12" in stemline("runs", "diff", "1", "3", "-w", workdir.root).out


def test_a_recipe_is_told_on_which_data_its_scores_are(stemline, tmp_path: Path, metadata: Any) -> None:
    for number, (folder, tracks, score_db) in enumerate(
        (("MIR-1K", 124, 8.5), ("MIR-1K-17-singers", 99, 7.5), ("MIR-1K", 124, 8.25)), 1
    ):
        place = tmp_path / str(number)
        place.mkdir()
        metadata.run(
            f"2026-11-{number:02}T00:00:00.000001",
            "p_drnn_mir1k",
            {"BssEvaluator": {"ModelEvaluation": place}},
            config={"data": {"format": "mir1k", "path": f"/data/{folder}"}},
            properties={"ModelEvaluation": {"vocals/v3/GNSDR": score_db, "tracks": tracks}},
        )
    told = json.loads(stemline("models", "--json", "-w", tmp_path).out)
    [system] = [each for each in told["systems"] if each["system"] == "p_drnn"]
    own = [(each["data"]["folder"], each["vocals_db"], each["source"]) for each in system["scores"]]
    assert own[:2] == [("MIR-1K", 8.25, "run 3"), ("MIR-1K-17-singers", 7.5, "run 2")]
    assert own[2][2] == "the leaderboard"
    table = words(stemline("models", "-w", tmp_path).out)
    for folder, score_db, source in own:
        tracks = 99 if "17" in folder else 124
        assert f"p_drnn v3/GNSDR {score_db:.2f} dB mir1k {folder}, {tracks} tracks {source}" in table


def test_a_working_directory_may_be_moved_or_copied(stemline, workdir: Workdir, tmp_path_factory) -> None:
    """Paths in the metadata are absolute; a copy tells of its own files, also where the original still is."""
    (workdir.root / "serving" / "demo" / "1796018483").mkdir(parents=True)
    for copy in (True, False):
        place = tmp_path_factory.mktemp("elsewhere") / "artifacts" / "runs"
        (shutil.copytree if copy else shutil.move)(workdir.root, place)
        told = json.loads(stemline("runs", "show", "3", "--json", "-w", place).out)
        assert told["training"]["steps"] == 300
        for name, end in (("model", "model/3/Format-Serving"), ("serving", "demo/1796018483")):
            assert told["paths"][name].startswith(str(place))
            assert told["paths"][name].endswith(end)


def test_a_moved_working_directory_writes_down_where_it_is_before_a_run(workdir: Workdir, tmp_path_factory) -> None:
    place = Workdir(tmp_path_factory.mktemp("elsewhere") / "runs")
    shutil.move(workdir.root, place.root)
    store = runs_metadata.store(place)
    assert store is not None
    history.relocate(store, place)
    moved = [artifact.uri for artifact in store.get_artifacts()]
    assert [uri for uri in moved if not uri.startswith(str(place.root))] == []
    assert [uri for uri in moved if not Path(uri).is_dir()] == []


def test_a_working_directory_that_cannot_be_written_is_read(workdir: Workdir) -> None:
    """On a read-only mount, as root is not kept out by permissions."""
    (workdir.root / "serving" / "demo" / "1796018483").mkdir(parents=True)
    mounted = 'mount --bind "$0" "$0" && mount -o remount,ro,bind "$0" && exec "$@"'
    alone = ["unshare", "--mount", "sh", "-c", mounted, workdir.root]
    if subprocess.run([*alone, "true"], capture_output=True).returncode:
        pytest.skip("needs the right to mount (unshare --mount), which root has outside of containers")
    before = sorted(path for path in workdir.root.rglob("*"))
    for command in (["runs"], ["runs", "show", "latest"], ["runs", "diff", "1", "3"], ["models"]):
        done = subprocess.run([*alone, STEMLINE, *command, "-w", workdir.root], capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, f"reading what is in {workdir.root}\n")
        assert "GNSDR" in done.stdout
    assert sorted(path for path in workdir.root.rglob("*")) == before


def test_what_is_broken_in_a_working_directory_is_named(stemline, workdir: Workdir) -> None:
    [file] = (workdir.root / "artifacts").glob("demo/Trainer/model/1/*/assets.extra/training.json")
    file.write_text("{")
    outcome = stemline("runs", "-w", workdir.root)
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.splitlines()[-1].startswith(f"stemline: {file} is no JSON: ")
    workdir.metadata.write_text("no database")
    outcome = stemline("runs", "--json", "-w", workdir.root)
    assert (outcome.code, outcome.out) == (2, "")
    assert (
        outcome.err.splitlines()[-1]
        == f"stemline: the metadata {workdir.metadata} cannot be opened: Error when executing query: file is not a database"
    )


def test_a_run_whose_name_leads_elsewhere_is_told_and_left_out(stemline, workdir: Workdir, metadata: Any) -> None:
    """As an older version took it; the numbers of the others stay."""
    start = "2026-11-18T12:00:00.000004"
    metadata.run(start, "../../escaped", {"Trainer": {}}, failed={"Trainer": "it was stopped"})
    (workdir.root / "anchors" / ".hidden").mkdir(parents=True)
    listed = stemline("runs", "--workdir", workdir.root, "--json")
    assert listed.code == 0, listed
    assert [run["number"] for run in json.loads(listed.out)["runs"]] == [4, 3, 1]
    assert listed.err.splitlines() == [
        f"reading what is in {workdir.root}",
        "  run 2 is left out: its recipe is called '../../escaped'; legal are letters, digits, spaces and . _ + -, a letter, "
        "a digit or _ first, 100 at most",
    ]
