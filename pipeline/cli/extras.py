"""What a command needs beyond the client, which `pip install stemline` brings."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

from pipeline.cli.paths import LocalPaths

# The extras of pyproject.toml, and a package that comes with each of them alone; finding it imports nothing.
_PACKAGES = {"server": "tensorflow_serving", "pipeline": "tfx"}


def need(extra: str, what: str) -> None:
    """Raises ValueError where the packages of an extra are not installed; `what` asks for them."""
    if find_spec(_PACKAGES[extra]) is None:
        raise ValueError(f"{what} needs packages that are not installed: pip install 'stemline[{extra}]'")


class PipelineCommand(LocalPaths):
    """A command of the pipeline. Its help needs nothing."""

    def invoke(self, ctx: Any) -> Any:
        """Raises ValueError where the extra `pipeline` is not installed."""
        need("pipeline", ctx.command_path)
        return super().invoke(ctx)
