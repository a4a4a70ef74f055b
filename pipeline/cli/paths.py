"""Commands whose paths are of this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

Work = Annotated[Path, typer.Option("--workdir", "-w", help="Metadata, artifacts, checkpoints and pushed models.")]
WORKDIR = Path("runs")


class LocalPaths(TyperCommand):
    """Refuses a place in a bucket where a Path is asked for: `s3://bucket` would become the directory `s3:` here."""

    def invoke(self, ctx: Any) -> Any:
        """Raises ValueError where a path begins as a place in a bucket does."""
        for name, value in ctx.params.items():
            for path in value if isinstance(value, list) else [value]:
                if isinstance(path, Path) and str(path).startswith(("s3:/", "gs:/")):
                    place = str(path).replace(":/", "://", 1)
                    raise ValueError(f"{name.replace('_', '-')} is {place}: legal is a path of this machine")
        return super().invoke(ctx)
