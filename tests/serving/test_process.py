"""A server in a process of its own: it ends with whoever started it, leaves nothing, and is ours wherever we stand."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from serving import process

PARENT = """
import sys
from pathlib import Path
from serving import process

with process.{how}(Path(sys.argv[1])) as address:
    print(address, flush=True)
    sys.stdin.read()
"""


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def start(how: str, place: Path, temporary: Path) -> tuple[subprocess.Popen, psutil.Process]:
    """A process that holds a server, and the server, which may still be loading."""
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT.format(how=how), str(place)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "TMPDIR": str(temporary)},
    )
    wait_for(lambda: bool(psutil.Process(parent.pid).children()))
    return parent, psutil.Process(parent.pid).children()[0]


@pytest.fixture
def temporary(tmp_path) -> Path:
    (tmp_path / "temporary").mkdir()
    return tmp_path / "temporary"


def test_a_server_ends_with_its_parent_and_leaves_no_folder(saved_model, temporary):
    parent, server = start("running_model", saved_model, temporary)
    assert parent.stdout.readline().startswith(b"localhost:")
    assert [path.name.startswith("stemline-serving-") for path in temporary.iterdir()] == [True]
    parent.kill()
    parent.wait(30)
    wait_for(lambda: not server.is_running())
    assert list(temporary.iterdir()) == []


def test_so_does_one_that_waits_for_a_version(tmp_path, temporary):
    parent, server = start("running", tmp_path / "none", temporary)
    time.sleep(1)
    parent.kill()
    parent.wait(30)
    wait_for(lambda: not server.is_running())


def test_so_does_one_that_has_only_begun(saved_model, temporary):
    parent, server = start("running_model", saved_model, temporary)
    parent.kill()
    parent.wait(30)
    wait_for(lambda: not server.is_running())
    assert list(temporary.iterdir()) == []


def test_a_server_that_was_killed_leaves_no_folder_either(saved_model, temporary, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    with process.running_model(saved_model):
        (server,) = (child for child in psutil.Process().children() if "serving.process" in child.cmdline())
        assert [path.name.startswith("stemline-serving-") for path in temporary.iterdir()] == [True]
        server.kill()
        server.wait()
    assert list(temporary.iterdir()) == []


def test_what_lies_in_the_current_directory_is_not_run(tmp_path, base_path):
    """`python -m` alone looks there first."""
    for name in ("serving.py", "grpc.py", "models.py"):
        (tmp_path / name).write_text("import os; os._exit(99)")
    refused = process.running(base_path, flags=["--no_such_flag"])  # in tmp_path, as every test
    with pytest.raises(process.ServerError, match="unknown argument: --no_such_flag"), refused:
        pass
    line = process.command("--version")
    assert subprocess.run(line, cwd=tmp_path, capture_output=True, text=True).stdout.startswith(
        "TensorFlow ModelServer"
    )
