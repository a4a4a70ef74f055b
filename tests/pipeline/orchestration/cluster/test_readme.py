"""kubeflow/README.md in its own order, as far as no cluster is needed: its recipes load, its `stemline kubeflow` lines run."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import yaml
from typer.main import get_command

from pipeline.config.config import load

ROOT = Path(__file__).resolve().parents[4]
TEXT = (ROOT / "kubeflow/README.md").read_text()
BLOCK = re.compile(r'^( *)```(\w*)(?: title="([^"]+)")?\n(.*?)^\1```$', re.MULTILINE | re.DOTALL)
RECIPES = [
    (title, body)
    for _, language, title, body in BLOCK.findall(TEXT)
    if language == "yaml" and re.search("cluster:|extends:", body)
]
LINES = [
    line
    for _, language, _, body in BLOCK.findall(TEXT)
    if not language
    for line in body.replace("\\\n", "").splitlines()
]
COMMANDS = [shlex.split(line, comments=True)[2:] for line in LINES if line.startswith("stemline kubeflow")]


def written(directory: Path) -> None:
    """The page's recipes, by their titles."""
    for title, body in RECIPES:
        if title:
            (directory / title).write_text(body)


@pytest.mark.parametrize("body", [body for _, body in RECIPES])
def test_a_recipe_of_the_page_loads(body, tmp_path) -> None:
    given = yaml.safe_load(body)
    (tmp_path / "it.yaml").write_text(body if "extends" in given else f"extends: demo\nname: it\n{body}")
    load(str(tmp_path / "it.yaml"))


def test_the_commands_of_the_page_run_in_its_order(kubeflow, stemline, tmp_path, monkeypatch) -> None:
    """Against an API server on a local socket; `emulate` trains, and is held to its flags."""
    from pipeline.cli.kubeflow import app

    monkeypatch.chdir(tmp_path)
    written(tmp_path)
    legal = get_command(app).commands
    assert {words[0] for words in COMMANDS} == set(legal)
    for words in COMMANDS:
        options = {
            option for parameter in legal[words[0]].params for option in (*parameter.opts, *parameter.secondary_opts)
        }
        assert {word for word in words if word.startswith("-")} <= options, words
        if words[0] == "emulate":
            continue
        kubeflow.course = iter([{"state": "SUCCEEDED"}])
        here = ["--host", kubeflow.host] if words[0] != "compile" else []
        given = [word.replace("data.path=...", "data.path=/models/stems") for word in words]
        code, said = stemline(*given, *here)
        assert code == 0, (words, said)
        # Where versions go that no server of the overlays reads, the command says so: the teacher's.
        assert ("note: the servers of kubeflow/base read /models/stemline" in said) == (
            "cluster.serving=/models/teachers" in words
        )
    assert len(kubeflow.recurring) == 1


def test_every_recipe_with_a_file_is_submitted(kubeflow, stemline, tmp_path, monkeypatch) -> None:
    """Nothing of it is refused before it is sent; of the bucket nobody is asked there."""
    monkeypatch.chdir(tmp_path)
    written(tmp_path)
    files = [title for title, _ in RECIPES if title]
    assert files == ["s3.yaml", "mine.yaml", "gke.yaml"]
    for file in files:
        code, said = stemline("submit", "-r", file, "--host", kubeflow.host)
        assert code == 0, said
        assert "note:" not in said
    assert len(kubeflow.runs) == len(files)


def test_what_the_page_says_of_a_profile_is_a_recipe_too(tmp_path) -> None:
    (flow,) = re.findall(r"`cluster: (\{namespace: .*?\})`", TEXT)
    (tmp_path / "it.yaml").write_text(f"extends: demo\nname: it\ncluster: {flow}\n")
    cluster = load(str(tmp_path / "it.yaml")).cluster
    assert (cluster.namespace, cluster.service_account) == ("music", "default-editor")
