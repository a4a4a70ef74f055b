"""What scripts rely on: versions, help, completion, exit codes, JSON and plain streams."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import kfp_server_api
import numpy as np
import pytest
import soundfile

from pipeline.cli import kubeflow_tables
from pipeline.cli.answers import EPILOG, Exit
from pipeline.cli.main import app

ROOT = Path(__file__).parents[3]
INSTALLED = Path(sys.executable).with_name("stemline")


def commands(prefix: tuple[str, ...], typed: object) -> list[tuple[str, ...]]:
    """Every command and group of commands as it is typed."""
    found = [prefix]
    found += [(*prefix, each.name or each.callback.__name__) for each in typed.registered_commands]
    for group in typed.registered_groups:
        found += commands((*prefix, group.name), group.typer_instance)
    return found


def installed(*args: str, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [INSTALLED, *args], capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT), **environment}
    )


def test_the_version_is_that_of_the_package(stemline) -> None:
    [written] = re.findall(
        r'^version = "(.*)"', (ROOT / "pyproject.toml").read_text().split("[project.opt")[0], re.MULTILINE
    )
    told = stemline("--version")
    assert (told.code, told.out) == (0, f"stemline {written}\n")


@pytest.mark.parametrize("command", commands((), app), ids=" ".join)
def test_h_is_help_everywhere(stemline, command: tuple[str, ...]) -> None:
    short, long = stemline(*command, "-h"), stemline(*command, "--help")
    assert (short.code, short.err) == (0, "")
    assert short.out == long.out
    assert "Usage: stemline" in short.out


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("stemline sepa", {"separate"}),
        ("stemline runs di", {"diff"}),
        ("stemline run --recipe p_d", {"p_drnn", "p_drnn_mir1k", "p_drnn_plus_mir1k"}),
        ("stemline separate --recipe dem", {"demo"}),
        ("stemline runs pin --rec", {"--recipe"}),
    ],
)
def test_a_shell_completes_commands_options_and_recipes(words: str, found: set[str]) -> None:
    place = str(len(words.split()) - 1)
    told = installed(_STEMLINE_COMPLETE="complete_bash", COMP_WORDS=words, COMP_CWORD=place)
    assert set(told.stdout.split()) == found


def test_exit_codes_stand_in_the_help_and_in_the_documentation(stemline) -> None:
    rows = re.findall(r"^\| (\d+) \| (.*) \|$", (ROOT / "docs" / "scripting.md").read_text(), re.MULTILINE)
    assert rows == [(str(code.value), code.words) for code in Exit]
    assert EPILOG in " ".join(stemline("--help").out.split())


def test_what_is_listed_can_be_asked_for_as_json() -> None:
    """Every command that shows figures, by its options; those that do are listed in the documentation."""
    page = (ROOT / "docs" / "scripting.md").read_text()
    listed = set(re.findall(r"^\| `stemline ([a-z ]+)` \|", page, re.MULTILINE))
    asked = {
        " ".join(command) for command in commands((), app) if command and "--json" in installed(*command, "-h").stdout
    }
    assert asked == listed


def test_scores_of_separated_files_as_json_are_those_of_the_table(stemline, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).normal(scale=0.1, size=(4, 16000)).astype(np.float32)
    for folder, leak in (("true", 0.0), ("separated", 0.3)):
        (tmp_path / folder / "song").mkdir(parents=True)
        soundfile.write(tmp_path / folder / "song" / "vocals.wav", noise[0] + leak * noise[1], 16000)
        soundfile.write(tmp_path / folder / "song" / "accompaniment.wav", noise[1] + leak * noise[0], 16000)
    args = "evaluate", "--references", tmp_path / "true", "--estimates", tmp_path / "separated"
    outcome = stemline(*args, "--json", "-o", tmp_path / "judged")
    told, table = json.loads(outcome.out), stemline(*args).out
    assert (outcome.code, told["tracks"], told["accepted"]) == (0, 1, None)
    assert {"vocals", "accompaniment"} == {each["target"] for each in told["files"]}
    for version in told["versions"]:
        for target in told["targets"]:
            sdr_db = told["scores_db"]["model"][f"{target}/{version}/SDR" if version == "v4" else f"{target}/v3/GSDR"]
            rows = [line.split("│") for line in table.splitlines() if target in line and "estimates" in line]
            assert f"{sdr_db:.2f}" in {cell.strip() for row in rows for cell in row}
    written = json.loads((tmp_path / "judged" / "summary.json").read_text())
    assert written["scores"] == told["scores_db"]


def test_the_state_of_a_cluster_as_json_is_that_of_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    class Cluster:
        """What Kubeflow's client returns."""

        host = "http://kubeflow"

        def recurring(self, experiment: str) -> list[kfp_server_api.V2beta1RecurringRun]:
            cron = kfp_server_api.V2beta1Trigger(cron_schedule=kfp_server_api.V2beta1CronSchedule(cron="0 3 * * 1"))
            return [kfp_server_api.V2beta1RecurringRun(display_name="weekly", trigger=cron, mode="DISABLE")]

        def runs(self, experiment: str, number: int) -> list[kfp_server_api.V2beta1Run]:
            began, never = datetime(2026, 11, 20, 3, tzinfo=UTC), datetime(1970, 1, 1, tzinfo=UTC)
            ended = began + timedelta(minutes=61, seconds=5)
            why = kfp_server_api.GooglerpcStatus(message="no [such] claim")
            failed = {"run_id": "b", "display_name": "old", "state": "FAILED", "error": why}
            return [
                kfp_server_api.V2beta1Run(
                    run_id="a", display_name="new", state="RUNNING", created_at=began, finished_at=never
                ),
                kfp_server_api.V2beta1Run(**failed, created_at=began, finished_at=ended),
            ]

    told = kubeflow_tables.status(cast(Any, Cluster()), "stemline", 10)
    kubeflow_tables.print_status(told)
    table = capsys.readouterr().out
    assert told["schedules"] == [{"name": "weekly", "cron": "0 3 * * 1", "paused": True}]
    assert [run["seconds"] for run in told["runs"]] == [None, 3665.0]
    assert json.loads(json.dumps(told))["runs"][1]["problem"] == "no [such] claim"
    for words in ("weekly", "0 3 * * 1", "paused", "running", "2026-11-20 03:00", "1:01:05", "no [such] claim"):
        assert words in table


def test_a_reader_that_goes_away_is_no_traceback() -> None:
    listed = subprocess.Popen([INSTALLED, "models"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert listed.stdout
    assert listed.stderr
    listed.stdout.close()
    assert listed.stderr.read() == b"reading what is in runs\n"
    assert listed.wait() == Exit.UNEXPECTED
