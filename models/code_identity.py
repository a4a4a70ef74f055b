"""Which code decides: modules and all that they reach through their imports, known by what they say and not by how."""

from __future__ import annotations

import ast
import functools
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
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
    for name, module in sorted(_reached(names).items()):
        result.update(f"{name}\0{module.says}\0".encode())
    return result.hexdigest()


@dataclass(frozen=True)
class _Module:
    """What a module says, and every name in it that may be of a module."""

    says: str
    imports: tuple[str, ...]


def _reached(names: tuple[str, ...]) -> dict[str, _Module]:
    """Modules and all that they import, by name."""
    if missing := [name for name in names if not _file(name)]:
        raise ModuleNotFoundError(f"{missing[0]} is no module; legal: one of {', '.join(PACKAGES)}.")
    modules, pending = {}, list(names)
    while pending:
        name = pending.pop()
        file = _file(name)
        if file and name not in modules:
            state = file.stat()
            modules[name] = _read(file, state.st_mtime_ns, state.st_size)
            pending += [name.rpartition(".")[0], *modules[name].imports]
    return modules


@functools.cache
def _read(file: Path, modified_ns: int, size: int) -> _Module:
    """Reading all takes a second, and a run asks often; modified_ns, size: another file is another module."""
    del modified_ns, size
    tree = _Meaning().visit(ast.parse(file.read_text()))
    return _Module(ast.dump(tree), tuple(_imported(tree)))


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
