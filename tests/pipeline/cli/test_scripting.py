"""What scripts rely on: versions, help, completion, exit codes, JSON and plain streams."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

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
        ("stemline run --recipe p_d", {"p_drnn", "p_drnn_mir1k"}),
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
