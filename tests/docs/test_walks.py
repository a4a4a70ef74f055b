"""The blocks of the walks and of the README do what they say: a page is one shell script, run away from the checkout."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs/walks").glob("*.md"))]
BLOCK = re.compile(r'^```(\w*)(?: title="([^"]+)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"^(stemline|make|python|pip|uv|docker|kubectl|from|import)\b", re.MULTILINE)

# Of the README, by how a block begins: what is not run here, and where it is.
ELSEWHERE = {
    "make demo": ".ci/run makes both, in this order, in a fresh clone",
    "stemline kubeflow submit": "needs a cluster; tests/pipeline/orchestration/cluster/test_readme.py has one for it",
}
# What takes long there is shorter here, and so the gate's verdict is open.
SHORTER = {
    "cpu_minutes: 20": "cpu_minutes: 0.05",
    "run --recipe mine.yaml --data stems": "run --recipe mine.yaml --data stems || [ $? = 3 ]",
}


def script(page: str) -> str:
    """Shell blocks as they are, Python blocks run, blocks with a title written to the file of that name; others are read only."""
    parts = ["set -e", "trap 'kill $(jobs -p) 2>/dev/null || true; wait' EXIT"]
    for language, title, body in BLOCK.findall(page):
        if title:
            parts.append(f"cat >{title} <<'END'\n{body}END")
        elif language == "python":
            parts.append(f"python - <<'END'\n{body}END")
        elif language == "bash" and not body.startswith((*ELSEWHERE,)):
            parts.append(body)
    return "\n".join(parts)


def walk(text: str, free_ports, **environment: str) -> None:
    [port] = free_ports(1)
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    command = ["bash", "-c", script(text).replace("8500", str(port))]
    done = subprocess.run(command, env={**os.environ, "PATH": path, **environment}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def pushed(tmp_path: Path) -> None:
    """What somebody pushed, untrained."""
    from models import exported
    from models.separator import Separator
    from models.spec import ModelSpec

    exported.save(Separator(ModelSpec(sizes={"units": 4}, frame_length=256, hop=128)), tmp_path / "runs/serving/mine/1")


def test_separate(pushed: None, free_ports) -> None:
    walk((ROOT / "docs/walks/separate.md").read_text(), free_ports)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_block_is_run_or_named(page: Path) -> None:
    """A block of no language holds no command, and what is not run is named once."""
    blocks = BLOCK.findall(page.read_text())
    assert {language for language, *_ in blocks} <= {"", "bash", "python", "yaml"}
    assert [body for language, title, body in blocks if not language and COMMAND.search(body)] == []
    if page.name == "README.md":
        bodies = [body for *_, body in blocks]
        assert [words for words in ELSEWHERE if sum(body.startswith(words) for body in bodies) != 1] == []
        assert [words for words in SHORTER if page.read_text().count(words) != 1] == []


@pytest.mark.slow
def test_the_readme(free_ports, tmp_path: Path) -> None:
    """In a copy of what git holds, which is a fresh clone; with rendered stems for somebody's own."""
    from pipeline.data.datasets.layouts import synthetic

    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    for name in subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")[:-1]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / ".venv").symlink_to(Path(sys.executable).parents[1])
    options = {**synthetic.OPTIONS, "tracks": {"train": 3, "dev": 1, "test": 2}, "seconds": 6}
    for ref in synthetic.discover(None, options):
        track = synthetic.load(ref, options)
        (folder := tmp_path / "stems" / track.split / track.name).mkdir(parents=True)
        for name, stem in track.stems.items():
            soundfile.write(folder / f"{name}.wav", stem, track.sample_rate_hz)
    page = (tmp_path / "README.md").read_text()
    for words, shorter in SHORTER.items():
        page = page.replace(words, shorter)
    walk(page, free_ports, PYTHONPATH=str(tmp_path))
    for made in ("karaoke/excerpt/no_vocals.flac", "judged/report.html", "served/excerpt/vocals.wav", "pipeline.yaml"):
        assert (tmp_path / made).is_file()


def test_judge(free_ports) -> None:
    walk((ROOT / "docs/walks/judge.md").read_text(), free_ports)


@pytest.mark.slow
def test_train(free_ports) -> None:
    walk((ROOT / "docs/walks/train.md").read_text(), free_ports)


@pytest.mark.slow
def test_network(free_ports, tmp_path: Path) -> None:
    """In a copy of the checkout."""
    for name in ("models", "pipeline", "serving", "tests"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    walk((ROOT / "docs/walks/network.md").read_text(), free_ports, PYTHONPATH=str(tmp_path))
