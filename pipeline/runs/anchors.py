"""The models that a recipe's candidates are held against besides the last blessed one: the best so far, and a pinned one.

Of either a copy is kept in the working directory, in numbered directories of which the newest counts, so that an anchor
stays when versions or artifacts are cleared away, and where nothing but the working directory outlives a run.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from models import storage
from models.checked import nearest
from models.directory import ModelDirectory
from pipeline.common import publishing
from pipeline.config import config
from pipeline.runs import compare, history
from pipeline.runs.workdir import Workdir, is_plain

BEST, PINNED = "best", "pinned"
_KEPT = 2  # the newest, and the one that another run may be reading


@dataclass(frozen=True)
class Anchor:
    """A model that is kept as an anchor. pinned: by a user; else it is the best of the blessed ones."""

    model: ModelDirectory
    pinned: bool

    @property
    def since(self) -> datetime:
        """When it became the anchor, in local time."""
        return datetime.fromtimestamp(self.model.version)

    @property
    def words(self) -> str:
        """`the model that was pinned on 2026-11-20`, or `the best one, blessed on` that day."""
        return f"{'the model that was pinned' if self.pinned else 'the best one, blessed'} on {self.since:%Y-%m-%d}"


def find(place: str | os.PathLike[str]) -> Anchor | None:
    """The anchor in the directory of a recipe (see `Workdir.anchors`): the pinned one, else the best; None before the first.

    Raises OSError where the bucket cannot be asked.
    """
    for kind in (PINNED, BEST):
        if newest := ModelDirectory.newest(os.path.join(place, kind)):
            return Anchor(newest, kind == PINNED)
    return None


def keep(place: str | os.PathLike[str], kind: str, saved_model: str | os.PathLike[str], model_uri: str) -> None:
    """Makes a copy of a SavedModel the BEST or the PINNED one of a recipe.

    model_uri: of the model that it is. Raises OSError where it cannot be copied.
    """
    kept = storage.path(place) / kind
    with publishing.turn(kept) as publisher:
        publisher.publish(os.fspath(saved_model), at_least=int(time.time()), origin=model_uri)
        for old in [*ModelDirectory.versions(kept).values()][:-_KEPT]:
            storage.remove(old.path)


def pin(workdir: Workdir, name: str, recipe: str | None = None) -> tuple[str, str]:
    """Pins the model of a run (as `compare.find` names it) or of a directory (a name with a slash), which needs a recipe; says
    whose and which.

    Raises:
        ValueError: there is no such run, recipe or model, or the run is another recipe's.
        OSError: it cannot be copied.
    """
    found = history.runs(workdir)
    if "/" in name:
        whose, saved_model, uri, words = _known(found, recipe, name), name, storage.absolute(name), name
    else:
        run = compare.find(found, name)
        if recipe not in (None, run.pipeline):
            raise ValueError(
                f"run {run.number} is of the recipe {run.pipeline}, and --recipe {recipe}: legal is the same"
            )
        words = f"the model of run {run.number} of {run.started:%Y-%m-%d %H:%M:%S}"
        if run.model is None:
            raise ValueError(f"run {run.number} has trained no model: legal is a run with one")
        whose, saved_model, uri = run.pipeline, run.model, run.outputs["Model"].uri
    directory = ModelDirectory(saved_model)
    if "saved_model.pb" not in storage.listed(saved_model):
        raise ValueError(f"{words} cannot be pinned: there is no SavedModel in {saved_model}")
    _ = directory.description  # raises where Stemline did not export it
    keep(workdir.anchors(whose), PINNED, saved_model, uri)
    return whose, words


def unpin(workdir: Workdir, recipe: str | None = None) -> str:
    """Takes the pinned model of a recipe away, or the only one there is, and says whose; the best one counts again.

    Raises ValueError where none is pinned, or several are and no recipe is named.
    """
    pinned = [name for name, anchor in listed(workdir).items() if anchor.pinned]
    if recipe is None and len(pinned) > 1:
        raise ValueError(f"--recipe is needed: models are pinned for {', '.join(pinned)}")
    whose = recipe or next(iter(pinned), None)
    if whose not in pinned:
        of = f" for {recipe}" if recipe else ""
        raise ValueError(f"no model is pinned{of} in {workdir.root}; pinned are: {', '.join(pinned) or 'none'}")
    storage.remove(workdir.anchors(whose) / PINNED)
    return whose


def listed(workdir: Workdir) -> dict[str, Anchor]:
    """The anchor of every recipe that has one, by its name."""
    names = filter(is_plain, storage.listed(workdir.root / "anchors"))
    return {name: anchor for name in names if (anchor := find(workdir.anchors(name)))}


def _known(found: Sequence[history.Run], recipe: str | None, directory: str) -> str:
    names = sorted({*config.recipe_names(), *(run.pipeline for run in found)})
    if recipe is None:
        raise ValueError(f"--recipe is needed: it says whose candidates are held against the model in {directory}")
    if recipe not in names:
        raise ValueError(f"there is no recipe {recipe!r}; {nearest(recipe, names, 'those of `stemline models`')}")
    return recipe
