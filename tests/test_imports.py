"""Dependencies run one way: kubeflow -> pipeline -> (models, serving); models and serving stand alone."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FORBIDDEN = {
    "models": {"pipeline", "serving", "tfx", "yaml", "tensorflow_io", "kfp", "tests"},
    "serving": {"pipeline", "models", "tfx", "tensorflow_io", "kfp", "tests"},
    "pipeline": {"tests"},
}


def imported(path: Path) -> set[str]:
    """Top-level names of all packages that a module imports, anywhere in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names.add(node.module.split(".")[0])
    return names


@pytest.mark.parametrize("package", FORBIDDEN)
def test_no_import_against_the_direction(package: str) -> None:
    modules = sorted((ROOT / package).rglob("*.py"))
    assert modules
    wrong = {str(path.relative_to(ROOT)): imported(path) & FORBIDDEN[package] for path in modules}
    assert {name: found for name, found in wrong.items() if found} == {}


def test_relative_imports_are_not_used() -> None:
    """An absolute name is what the direction test reads."""
    relative = [
        str(path)
        for package in FORBIDDEN
        for path in (ROOT / package).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and node.level
    ]
    assert relative == []


def test_no_package_shadows_another() -> None:
    assert not (ROOT / "kubeflow" / "__init__.py").exists()
    assert not list((ROOT / "tests").rglob("__init__.py"))


def test_help_needs_no_tensorflow() -> None:
    """The command line lists every command without importing what takes seconds to import."""
    code = (
        "import sys; from typer.testing import CliRunner; from pipeline.cli.main import app; "
        "result = CliRunner().invoke(app, ['--help']); assert result.exit_code == 0, result.output; "
        "print([name for name in ('tensorflow', 'tfx', 'apache_beam', 'museval') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
