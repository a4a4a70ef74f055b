"""What all commands have in common: what is refused as it is read, in a sentence, and the packages that they need."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer
from typer.core import TyperCommand, TyperGroup

from pipeline.cli.answers import typed
from pipeline.common import stopping
from pipeline.common.process import sentence, shortened, shown

if TYPE_CHECKING:
    from pipeline.config.config import Config
    from pipeline.runs.workdir import Workdir

Work = Annotated[Path, typer.Option("--workdir", "-w", help="Metadata, artifacts, checkpoints and pushed models.")]
WORKDIR = Path("runs")

UsageError = cast(type[Exception], typer.BadParameter.__base__)
"""Whatever is wrong with a command line by typer's own rules."""

# The extras of pyproject.toml, and a package that comes with each of them alone; finding it imports nothing.
_PACKAGES = {"server": "tensorflow_serving", "pipeline": "tfx"}
_KINDS = {int: "a whole number", float: "a number"}


def need(extra: str, what: str) -> None:
    """Raises ValueError where the packages of an extra are not installed; `what` asks for them."""
    if find_spec(_PACKAGES[extra]) is None:
        raise ValueError(f"{what} needs packages that are not installed: pip install 'stemline[{extra}]'")


@contextlib.contextmanager
def alone(config: Config, workdir: Workdir, trains: bool = False) -> Iterator[None]:
    """Refuses what can be refused before TensorFlow is loaded: another run at work, a disk that takes nothing, wrong names.

    trains: whether the teacher, where the recipe names one, must be there.
    """
    from pipeline.common import files
    from pipeline.orchestration import at_once
    from pipeline.runs import lock

    files.refuse_unwritable(workdir.root, "the working directory")
    with lock.held(workdir, config, beforehand=True):
        at_once.check(config, workdir, trains)
        yield


@contextlib.contextmanager
def continued(workdir: Workdir) -> Iterator[None]:
    """Says first that TensorFlow and TFX are loaded, which takes seconds, and at Ctrl-C or SIGTERM what goes on after the finished steps."""
    typer.echo("loading TensorFlow and TFX", err=True)
    with stopping.says(f"stopped: finished steps are kept in {workdir.root}, and this goes on after them: {typed()}"):
        yield


class _Plain:
    """Of a command or a group: what typer would draw a box around is a sentence."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Raises ValueError where typer raises UsageError."""
        if not args and getattr(self, "no_args_is_help", False):
            return super().parse_args(ctx, args)  # type: ignore[misc]
        try:
            return super().parse_args(ctx, [*args])  # type: ignore[misc]
        except UsageError as error:
            raise ValueError(_told(error, ctx, args)) from None


class Group(_Plain, TyperGroup):
    """Commands below one name."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Raises ValueError for a command that is none."""
        if args[0] not in self.commands and not ctx.resilient_parsing:
            raise ValueError(f"{ctx.command_path} has no command {args[0]}; {_nearest(args[0], [*self.commands])}")
        return super().resolve_command(ctx, args)


class LocalPaths(_Plain, TyperCommand):
    """Refuses what is empty, and what Path would make another place of: `s3://bucket` the directory `s3:` here."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Raises ValueError where something is given and empty, as an unset variable is."""
        left = super().parse_args(ctx, args)
        given, _, _ = self.make_parser(ctx).parse_args(args=[*args])
        for param in self.params:
            if "" in _each(given.get(param.name)):
                legal = "a value" if param.required else "to leave it out"
                if Path() in _each(ctx.params[param.name]):
                    legal = "a path, and . for the current directory"
                raise ValueError(f"{_named(param)} is empty: legal is {legal}")
        return left

    def invoke(self, ctx: Any) -> Any:
        """Says what the command begins with. Raises ValueError for a path that leads nowhere on this machine."""
        for param in self.params:
            for path in _each(ctx.params.get(param.name)):
                if isinstance(path, Path):
                    _check_path(_named(param), path)
        params = {
            **(ctx.parent.params if ctx.parent else {}),
            **{name: value for name, value in ctx.params.items() if value},
        }
        typer.echo(shortened(shown(_begun(params))), err=True)
        return super().invoke(ctx)


class PipelineCommand(LocalPaths):
    """A command of the pipeline. Its help needs nothing."""

    def invoke(self, ctx: Any) -> Any:
        """Raises ValueError where the extra `pipeline` is not installed."""
        need("pipeline", ctx.command_path)
        return super().invoke(ctx)


def _begun(params: dict[str, Any]) -> str:
    """What a command begins with, as far as its options say."""
    for name in ("data", "path", "audio", "references", "model", "server"):
        if value := params.get(name):
            return (
                f"looking at {', '.join('standard input' if str(each) == '-' else str(each) for each in _each(value))}"
            )
    read = {"file": "study {}", "recipe": "recipe {}", "workdir": "what is in {}"}
    return f"reading {' and '.join(words.format(params[name]) for name, words in read.items() if params.get(name))}"


def _check_path(name: str, path: Path) -> None:
    words = str(path)
    if words.startswith(("s3:/", "gs:/")):
        raise ValueError(f"{name} is {words.replace(':/', '://', 1)}: legal is a path of this machine")
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        pass
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or sentence(error)
        raise ValueError(
            f"{name} is {words}, where nothing can be ({reason}): legal is a path of this machine"
        ) from error


def _told(error: Any, ctx: Any, args: list[str]) -> str:
    """A UsageError in a sentence that names the thing, the value and what is legal."""
    param, place = getattr(error, "param", None), ctx.command_path
    by_option = {option: each for each in ctx.command.get_params(ctx) for option in (*each.opts, *each.secondary_opts)}
    if isinstance(error, typer.BadParameter) and param is not None:
        if not error.message:
            return f"{place} needs {_named(param)}: {_help(param)}"
        given, _, _ = ctx.command.make_parser(ctx).parse_args(args=[*args])
        return f"{_named(param)} is {', '.join(map(str, _each(given.get(param.name))))}; legal: {_legal(param, error.message)}"
    option = getattr(error, "option_name", None)
    if option in by_option:
        takes = not getattr(by_option[option], "is_flag", False)
        return f"{option} needs a value: {_help(by_option[option])}" if takes else f"{option} takes no value"
    if option:
        return f"{place} has no option {option}; {_nearest(option, [name for name in by_option if name[:2] == '--'])}"
    _, left, _ = ctx.command.make_parser(ctx).parse_args(args=[*args])
    legal = [each.display_name_raw for each in ctx.command.get_params(ctx) if each.param_type_name == "argument"]
    return f"{place} takes no {' '.join(left)}; legal: {' '.join(legal) or 'options only'}"


def _legal(param: Any, message: str) -> str:
    """What a parameter takes."""
    if "is not one of " in message:
        return message.partition("is not one of ")[2].rstrip(".")
    kind = _KINDS.get(param.type_descriptor.annotation)
    if kind is None:
        return _help(param)
    bounds = [
        f"{words} {limit}"
        for words, limit in (("of at least", param.min), ("of at most", param.max))
        if limit is not None
    ]
    return " ".join([kind, " and ".join(bounds)]).rstrip()


def _named(param: Any) -> str:
    """`--max-bad-tracks`, or the name of an argument."""
    return max(param.opts, key=len) if param.param_type_name == "option" else param.display_name_raw


def _help(param: Any) -> str:
    """What the help says of it, as the end of a sentence."""
    words = (param.help or "a value").rstrip(".")
    return words[:1].lower() + words[1:]


def _nearest(name: str, legal: Sequence[str]) -> str:
    from models.checked import nearest

    return nearest(name, legal)


def _each(value: Any) -> Sequence[Any]:
    """The values of what may be given more than once."""
    return value if isinstance(value, list | tuple) else [value]
