"""What the pages name exists: every path, module, function, test and command."""

from __future__ import annotations

import ast
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "kubeflow/README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
]
NAME = re.compile(r"(?<![\w./-])(?:models|pipeline|serving)(?!\.yaml)(?:\.[A-Za-z_]\w*)+(?!\w|/)")
IMPORT = re.compile(r"^\s*from ((?:models|pipeline|serving)[\w.]*) import ([\w, ]+)", re.MULTILINE)
PATH = re.compile(
    r"(?<![\w./<>{-])(?:(?:models|pipeline|serving|kubeflow|tests|docs|\.ci|\.github)/[\w./*-]*|[\w/]+\.py)(?:::\w+)?(?![\w<{])"
)


def exists(name: str) -> bool:
    """Whether a dotted name is a module, or something at the top of one, or in a class there; nothing is imported."""
    parts = name.split(".")
    for count in range(len(parts), 0, -1):
        place = ROOT.joinpath(*parts[:count])
        for file in (place.with_suffix(".py"), place / "__init__.py"):
            if file.exists():
                return _holds(ast.parse(file.read_text()), parts[count:])
    return False


def _holds(node: ast.AST, names: list[str]) -> bool:
    if not names:
        return True
    for child in getattr(node, "body", ()):
        if isinstance(child, ast.Import | ast.ImportFrom):
            found = names[0] in {(alias.asname or alias.name) for alias in child.names}
            if found and isinstance(child, ast.ImportFrom) and names[1:]:
                return exists(".".join([child.module or "", *names]))
        elif isinstance(child, ast.Assign | ast.AnnAssign):
            targets = child.targets if isinstance(child, ast.Assign) else [child.target]
            found = any(isinstance(target, ast.Name) and target.id == names[0] for target in targets)
        else:
            found = getattr(child, "name", None) == names[0]
        if found:
            return _holds(child, names[1:])
    return False


def lies(path: str, folder: Path) -> bool:
    """Whether a path lies in the checkout or beside the page, or is the unique end of one; and holds `::name` if it says so."""
    path, _, test = path.partition("::")
    found = [*ROOT.glob(path), *folder.glob(path)] or [file for file in FILES if f"/{file}".endswith(f"/{path}")]
    return bool(found) and (not test or any(f"def {test}(" in (ROOT / file).read_text() for file in found))


FILES = subprocess.run(
    ["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True
).stdout.splitlines()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_name_exists(page: Path) -> None:
    text = page.read_text()
    imported = [f"{module}.{name.strip()}" for module, names in IMPORT.findall(text) for name in names.split(",")]
    written = list(re.findall(r'^```\w+ title="(.+)"', text, re.MULTILINE))
    paths = [path.rstrip(".") for path in PATH.findall(text) if path.rstrip(".") not in written]
    assert [name for name in [*NAME.findall(text), *imported] if not exists(name)] == []
    assert [path for path in paths if not lies(path, page.parent)] == []


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("pipeline.config.config.load", True),
        ("pipeline.config.config.Config", True),
        ("serving.client.Client.separate", True),
        ("pipeline.config.config.lod", False),
        ("pipeline.sizes", False),
        ("serving.client.Client.separat", False),
    ],
)
def test_a_name_is_found_or_missed(name: str, known: bool) -> None:
    assert exists(name) is known


def test_one_version_everywhere() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    [locked] = [each for each in tomllib.loads((ROOT / "uv.lock").read_text())["package"] if each["name"] == "stemline"]
    [newest, *_] = re.findall(r"^## \[?(\d+\.\d+\.\d+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert locked["version"] == newest == version


def test_what_it_stands_on_is_what_is_locked() -> None:
    locked = {each["name"]: each["version"] for each in tomllib.loads((ROOT / "uv.lock").read_text())["package"]}
    rows = re.findall(r"^\| ([^|]+) \| ([^|]+) \|", (ROOT / "docs/foundations.md").read_text(), re.MULTILINE)
    assert {part: told for part, told in rows if re.search(r"\d", told)} == {
        "Python": (ROOT / ".python-version").read_text().strip(),
        "TFX": locked["tfx"],
        "ML Metadata, TFDV": f"{locked['ml-metadata']}, {locked['tensorflow-data-validation']}",
        "TensorFlow, with Keras 2 as tf-keras": f"{locked['tensorflow']}, {locked['tf-keras']}",
        "tensorflow-io": locked["tensorflow-io"],
        "TensorFlow Serving": locked["tensorflow-serving-api"],
    }
    readme = (ROOT / "README.md").read_text()
    assert (
        f"TFX {locked['tfx']}, TensorFlow {locked['tensorflow']} and tensorflow-io {locked['tensorflow-io']}" in readme
    )
