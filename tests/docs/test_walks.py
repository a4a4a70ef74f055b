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
BLOCK = re.compile(r'^```(python|bash|yaml)(?: title="([^"]+)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)


def script(page: str) -> str:
    """Shell blocks as they are, Python blocks run, blocks with a title written to the file of that name; others are read only."""
    parts = ["set -e", "trap 'kill $(jobs -p) 2>/dev/null || true; wait' EXIT"]
    for language, title, body in BLOCK.findall(page):
        if title:
            parts.append(f"cat >{title} <<'END'\n{body}END")
        elif language == "python":
            parts.append(f"python - <<'END'\n{body}END")
        elif language == "bash":
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
    """What `make demo` leaves to serve, untrained."""
    from models import exported
    from models.separator import Separator
    from models.spec import ModelSpec

    exported.save(Separator(ModelSpec(sizes={"units": 4}, frame_length=256, hop=128)), tmp_path / "runs/serving/demo/1")


def test_separate(pushed: None, free_ports) -> None:
    walk((ROOT / "docs/walks/separate.md").read_text(), free_ports)


def test_the_readme(pushed: None, free_ports, tmp_path: Path) -> None:
    from pipeline.data.datasets.layouts import synthetic

    options = {**synthetic.OPTIONS, "tracks": {"test": 1}, "seconds": 3}
    [ref] = synthetic.discover(None, options)
    track = synthetic.load(ref, options)
    soundfile.write(tmp_path / "song.mp3", track.stems["vocals"] + track.stems["bass"], track.sample_rate_hz)
    (tmp_path / ".venv").symlink_to(Path(sys.executable).parents[1])
    walk((ROOT / "README.md").read_text(), free_ports)


def test_judge(free_ports) -> None:
    walk((ROOT / "docs/walks/judge.md").read_text(), free_ports)


@pytest.mark.slow
def test_network(free_ports, tmp_path: Path) -> None:
    """In a copy of the checkout."""
    for name in ("models", "pipeline", "serving", "tests"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    walk((ROOT / "docs/walks/network.md").read_text(), free_ports, PYTHONPATH=str(tmp_path))
