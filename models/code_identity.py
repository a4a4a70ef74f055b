"""Which code decides: modules and all that they reach through their imports, known by what they say and not by how."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]  # where the packages lie side by side
PACKAGES = ("models", "pipeline", "serving")


def digest(*names: str) -> str:
    """SHA-256 of the modules of these names and of those of this project that they import, at any depth.

    Comments, docstrings, layout and what only a type checker reads do not count. What is imported by a name that is made
    at run time is not found: give it. Raises ModuleNotFoundError for a name that is no module of this project.
    """
    result = hashlib.sha256()
    for name, tree in sorted(_reached(names).items()):
        result.update(f"{name}\0{ast.dump(tree)}\0".encode())
    return result.hexdigest()


def _reached(names: tuple[str, ...]) -> dict[str, ast.Module]:
    """The syntax trees of modules and of all that they import, by name."""
    if missing := [name for name in names if not _file(name)]:
        raise ModuleNotFoundError(f"{missing[0]} is no module; legal: one of {', '.join(PACKAGES)}.")
    trees, pending = {}, list(names)
    while pending:
        name = pending.pop()
        file = _file(name)
        if file and name not in trees:
            trees[name] = _Meaning().visit(ast.parse(file.read_text()))
            pending += [name.rpartition(".")[0], *_imported(trees[name])]
    return trees


def _file(name: str) -> Path | None:
    """Where a module of this project lies; None for what is none."""
    path = ROOT.joinpath(*name.split("."))
    found = [file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()]
    return found[0] if found and name.partition(".")[0] in PACKAGES else None


def _imported(tree: ast.Module) -> Iterator[str]:
    """Every name that may be of a module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield str(node.module)
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


class _Meaning(ast.NodeTransformer):
    """Leaves out docstrings and the imports for type checkers."""

    def generic_visit(self, node: ast.AST) -> ast.AST:
        documented = isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        if documented and ast.get_docstring(node, clean=False) is not None:
            del node.body[0]
        return super().generic_visit(node)

    def visit_If(self, node: ast.If) -> Any:
        if isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            return [self.visit(each) for each in node.orelse]
        return self.generic_visit(node)
