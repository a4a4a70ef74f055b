"""The checkout: git holds every module, and the tests neither look at what else lies there nor leave anything."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__)
PACKAGES = ("models", "pipeline", "serving")


def test_no_module_is_ignored_and_every_folder_of_modules_is_a_package() -> None:
    root = HERE.parent.parent
    modules = [path for package in PACKAGES for path in (root / package).rglob("*.py")]
    assert {path.parent for path in modules if not (path.parent / "__init__.py").exists()} == set()
    ignored = subprocess.run(["git", "check-ignore", *modules], cwd=root, capture_output=True, text=True)
    assert ignored.stdout == ""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """One of another project, with this one's conftest."""
    (tmp_path / "tests").mkdir()
    shutil.copy(HERE.with_name("conftest.py"), tmp_path / "tests")
    (tmp_path / ".gitignore").write_text("runs/\n")
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "of-a-demo").touch()
    subprocess.run(["git", "init", "--quiet"], cwd=tmp_path, check=True)
    return tmp_path


@pytest.mark.parametrize(
    ("processes", "body", "words"),
    [
        ("0", "assert not list(Path.cwd().iterdir()); Path('runs').mkdir(); Path('runs/more').touch()", None),
        ("2", "(Path(__file__).parent.parent / 'runs' / 'more').touch()", "the tests: runs/more"),
    ],
)
def test_a_run_fails_that_leaves_a_file(checkout: Path, processes: str, body: str, words: str | None) -> None:
    (checkout / "tests" / "test_it.py").write_text(f"from pathlib import Path\n\ndef test_it():\n    {body}\n")
    command = [sys.executable, "-m", "pytest", "-n", processes, "tests"]
    ended = subprocess.run(command, cwd=checkout, capture_output=True, text=True)
    assert "1 passed" in ended.stdout
    assert ended.returncode == (words is not None), ended.stdout
    assert words is None or f"files appeared in the checkout during {words}" in ended.stdout
