"""The recipes that ship with the project, by name: known without what reads them."""

from __future__ import annotations

from pathlib import Path

RECIPES = Path(__file__).parent


def recipe_names() -> list[str]:
    """Names of the recipes that ship with the project; files whose name starts with `_` are bases, not recipes."""
    return sorted(path.stem for path in RECIPES.glob("[!_]*.yaml"))
