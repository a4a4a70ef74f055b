"""The configuration that a command is asked for: a recipe, with the options that have a flag of their own."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.common.process import shown
from pipeline.config.recipes import recipe_names

if TYPE_CHECKING:
    from pipeline.config.config import Config


def named(incomplete: str) -> list[str]:
    """The recipes that ship, and YAML files, that begin so: what a shell completes --recipe to."""
    if find_spec("pydantic") is None:  # the client alone
        return []
    files = (str(path) for path in Path().glob("*.yaml"))
    return [name for name in (*recipe_names(), *files) if name.startswith(incomplete)]


Recipe = Annotated[
    str,
    typer.Option("--recipe", "-r", help="Recipe by name (see `stemline models`) or a YAML file.", autocompletion=named),
]


def configured(
    recipe: str, data: str | None, format: str | None, overrides: list[str] | None, bad: int | None
) -> Config:
    """As `asked`, with the layout that --data is recognised as, which is told.

    Raises ConfigError, and as `corpus.resolved` and `reachable.refuse_absent`.
    """
    from pipeline.common import reachable
    from pipeline.data import corpus

    config = asked(recipe, data, format, overrides, bad)
    if config.data.path is not None:
        reachable.refuse_absent(config.data.path)
    section, reason = corpus.resolved(config.data)
    if not reason:
        return config
    _tell(f"format {section.format}: {reason}")
    return dataclasses.replace(config, data=section)


def asked(recipe: str, data: str | None, format: str | None, overrides: list[str] | None, bad: int | None) -> Config:
    """The recipe with --data, --format and --max-bad-tracks, then with every --set. Raises ConfigError.

    Without --format, that of the recipe; where it has no files, such as synthetic, that of --data is to be recognised.
    """
    from models import storage
    from pipeline.config.config import load

    path = [f"data.path={json.dumps(storage.absolute(data))}"] if data else []
    own = load(recipe, path).data
    if format is None and data and own.format == "synthetic":
        format = "auto"
    flags = {"data.format": format, "data.max_bad_tracks": bad}
    given = path + [f"{key}={json.dumps(value)}" for key, value in flags.items() if value is not None]
    if format is not None and own.format not in (format, "auto"):
        given.append("data.options={}")  # those of the recipe are of its own format
    return load(recipe, [*given, *(overrides or ())])


def recorded(recipe: str, ran: Iterable[str]) -> str:
    """The name that runs of a recipe have, which ships, is a YAML file, or is among those that `ran`. Raises ValueError."""
    if recipe.endswith((".yaml", ".yml")):
        from pipeline.config.config import load

        return load(recipe).name
    from models.checked import nearest

    legal = sorted({*ran, *recipe_names()})
    if recipe not in legal:
        raise ValueError(f"unknown recipe {recipe!r}; {nearest(recipe, legal)}")
    return recipe


@functools.cache
def _tell(words: str) -> None:
    """Once, however many recipes are read."""
    typer.echo(shown(words), err=True)
