"""What can be refused before TensorFlow is imported, which takes seconds. Networks and losses are read from their source."""

from __future__ import annotations

import ast
import os
import shlex
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from models import networks, storage
from models.checked import nearest
from pipeline.config.cluster import TRAINER
from pipeline.config.config import Config
from pipeline.data import effects
from pipeline.orchestration import beam_runners

if TYPE_CHECKING:
    from pipeline.runs.history import Output
    from pipeline.runs.workdir import Workdir

INGEST, JUDGE, PUSHER = "StemsExampleGen", "BssEvaluator", "Pusher"  # as their nodes are called
_GIVEN = ["bins", "channels", "targets"]  # what every network is made from, besides its sizes
_NOT_OURS = "keras"  # Keras 3, whose layers tf_keras cannot save; TFX knows none of them


def check(config: Config, workdir: Workdir | None = None, trains: bool = False) -> None:
    """Raises ValueError or OSError for what would be refused seconds later, in the same words.

    workdir: whose store must open. trains: whether the teacher must be there.
    """
    beam_runners.check_arguments(config.beam.pipeline_args)
    _check_names(config)
    if workdir:
        from pipeline.runs import metadata

        metadata.check_store(config.metadata, workdir)
        metadata.store(workdir, config.metadata)
    if workdir and trains:
        teacher(config, workdir)


def _check_names(config: Config) -> None:
    """Raises ValueError for networks, sizes, losses, options and packages that are not there."""
    train, model = config.train, config.model
    effects.require(train.augment)
    _check_loss(train.loss, train.loss_options, train.teacher is not None)
    _check_network(model.network, model.sizes)
    for stage in train.stages:
        _check_network(stage.network, stage.sizes)
        if stage.loss not in (None, train.loss):
            _check_loss(stage.loss, stage.loss_options, teacher=False)


def check_mounts(config: Config) -> None:
    """Raises ValueError for a place that is in no bucket and that a task which needs it does not mount."""
    cluster = config.cluster
    trainer = (TRAINER,) if config.train.warm_start else ()
    needs = {
        "data.path": (config.data.path, (INGEST,)),
        "cluster.serving": (cluster.serving, (PUSHER, JUDGE, *trainer)),
        "cluster.workdir": (cluster.workdir, (TRAINER, JUDGE)),
    }
    for key, (place, tasks) in needs.items():
        if place is None or storage.is_remote(place):
            continue
        for task in tasks:
            paths = [volume.mount_path for volume in cluster.task(task).volumes]
            if not any(Path(os.path.normpath(place)).is_relative_to(path) for path in paths):
                raise ValueError(
                    f"{key} is {place}, which {task} does not see: of cluster.tasks.{task} and cluster.every it mounts "
                    f"{', '.join(paths) or 'nothing'}; legal are places below a mount, s3://BUCKET/… and gs://BUCKET/…"
                )


def teacher(config: Config, workdir: Workdir) -> Output | None:
    """The model that the training looks through; None without one. Raises ValueError where it was never trained."""
    recipe = config.train.teacher
    if recipe is None:
        return None
    from pipeline.runs import history

    model = history.trained_model(workdir, recipe, config.metadata)
    if model is None:
        data = ["--format", config.data.format, "--data", config.data.path] if config.data.path else []
        command = shlex.join(["stemline", "run", "--recipe", recipe, *data, "--workdir", str(workdir.root)])
        raise ValueError(
            f"train.teacher is {recipe!r}, of which {workdir.root} holds no trained model; this makes one: {command}"
        )
    return model


def _check_network(name: str, sizes: Iterable[str]) -> None:
    """Raises ValueError for a network that is none, one of another Keras, or sizes that it has not."""
    if name not in networks.names():
        raise ValueError(f"network is {name!r}; {nearest(name, networks.names())}")
    tree = _tree(f"models.networks.{name}")
    if _NOT_OURS in {module.partition(".")[0] for module in _imported(tree)}:
        raise ValueError(f"network {name!r} imports {_NOT_OURS}, which is Keras 3; legal: tf_keras")
    for node in ast.walk(tree):
        made_of = _parameters(node)
        if made_of[1:4] == _GIVEN:
            _check_known(sizes, made_of[4:], f"size of network {name!r}")


def _check_loss(name: str, options: Iterable[str], teacher: bool) -> None:
    """Raises ValueError for a loss that is none, for options that it has not, and for a teacher too many or too few."""
    tree = _tree("models.losses")
    functions = {node.name: _parameters(node)[3:] for node in tree.body if isinstance(node, ast.FunctionDef)}
    [known] = [
        node.value for node in tree.body if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == "_LOSSES"
    ]
    losses = sorted(ast.literal_eval(key) for key in known.keys if key) if isinstance(known, ast.Dict) else []
    if name not in losses:
        raise ValueError(f"loss is {name!r}; {nearest(name, losses)}")
    if teacher != ("teacher" in functions[name]):
        legal = (
            "none, since it looks through no network"
            if teacher
            else "a trained model, whose recipe train.teacher names"
        )
        raise ValueError(f"loss {name!r} has {'a' if teacher else 'no'} teacher; legal: {legal}.")
    _check_known(options, [each for each in functions[name] if each != "teacher"], f"option of loss {name!r}")


def _check_known(names: Iterable[str], legal: list[str], what: str) -> None:
    for name in names:
        if name not in legal:
            raise ValueError(f"{name!r} is no {what}; {nearest(name, legal)}")


def _tree(module: str) -> ast.Module:
    spec = find_spec(module)
    return ast.parse(Path(spec.origin).read_text()) if spec and spec.origin else ast.Module([], [])


def _parameters(node: ast.AST) -> list[str]:
    return [each.arg for each in (*node.args.args, *node.args.kwonlyargs)] if isinstance(node, ast.FunctionDef) else []


def _imported(tree: ast.Module) -> list[str]:
    names = [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    return names + [str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
