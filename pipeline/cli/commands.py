"""Commands whose paths are of this machine, and that need more than the client, which `pip install stemline` brings."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

Work = Annotated[Path, typer.Option("--workdir", "-w", help="Metadata, artifacts, checkpoints and pushed models.")]
WORKDIR = Path("runs")

# The extras of pyproject.toml, and a package that comes with each of them alone; finding it imports nothing.
_PACKAGES = {"server": "tensorflow_serving", "pipeline": "tfx"}


def need(extra: str, what: str) -> None:
    """Raises ValueError where the packages of an extra are not installed; `what` asks for them."""
    if find_spec(_PACKAGES[extra]) is None:
        raise ValueError(f"{what} needs packages that are not installed: pip install 'stemline[{extra}]'")


class LocalPaths(TyperCommand):
    """Refuses what is empty, and what Path would make another place of: `s3://bucket` the directory `s3:` here."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Raises ValueError where something is given and empty, as an unset variable is."""
        given, _, _ = self.make_parser(ctx).parse_args(args=[*args])
        left = super().parse_args(ctx, args)
        for param in self.params:
            if "" in _each(given.get(param.name)):
                legal = "a value" if param.required else "to leave it out"
                if Path() in _each(ctx.params[param.name]):
                    legal = "a path, and . for the current directory"
                raise ValueError(f"{param.name.replace('_', '-')} is empty: legal is {legal}")
        return left

    def invoke(self, ctx: Any) -> Any:
        """Raises ValueError where a path begins as a place in a bucket does."""
        for name, value in ctx.params.items():
            for path in _each(value):
                if isinstance(path, Path) and str(path).startswith(("s3:/", "gs:/")):
                    place = str(path).replace(":/", "://", 1)
                    raise ValueError(f"{name.replace('_', '-')} is {place}: legal is a path of this machine")
        return super().invoke(ctx)


class PipelineCommand(LocalPaths):
    """A command of the pipeline. Its help needs nothing."""

    def invoke(self, ctx: Any) -> Any:
        """Raises ValueError where the extra `pipeline` is not installed."""
        need("pipeline", ctx.command_path)
        return super().invoke(ctx)


def _each(value: Any) -> Sequence[Any]:
    """The values of what may be given more than once."""
    return value if isinstance(value, list | tuple) else [value]
