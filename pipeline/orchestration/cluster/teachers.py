"""The models that other recipes may learn from, in the working directory of the cluster.

Kubeflow's metadata cannot be asked for the newest model of another pipeline, and its artifacts lie where only the pods of
their own run see them. So every run leaves its trained model in `models/<recipe>/trained` and, once it is blessed, in
`models/<recipe>/blessed`: numbered directories, the last of which counts.
"""

from __future__ import annotations

from pathlib import Path

from tfx.utils import path_constants, path_utils

from models import storage
from models.directory import ModelDirectory
from pipeline.common import publishing

TRAINED, BLESSED = "trained", "blessed"
_KEPT = 2  # the newest, and the one that another run may be reading


def keep(model_uri: str, workdir: Path, recipe: str, state: str) -> None:
    """Copies the SavedModel of a Model artifact to where `find` looks; it appears there when it is complete.

    state: TRAINED or BLESSED. Raises OSError where it cannot be written.
    """
    place = _place(workdir, recipe, state)
    with publishing.turn(place) as publisher:
        inside = path_constants.SERVING_MODEL_DIR
        publisher.publish(path_utils.serving_model_dir(model_uri), inside=inside)
        for old in [*_kept(place)][:-_KEPT]:
            storage.remove(place / str(old))


def find(workdir: Path, recipe: str) -> str:
    """The directory of the newest blessed model of a recipe as an artifact has it, or of its newest trained one.

    Raises ValueError where no run has left one.
    """
    for place in (_place(workdir, recipe, BLESSED), _place(workdir, recipe, TRAINED)):
        if numbers := [*_kept(place)]:
            return str(place / str(numbers[-1]))
    raise ValueError(
        f"train.teacher is {recipe!r}, of which {workdir} holds no trained model; this makes one, with a cluster.serving "
        f"of its own: stemline kubeflow submit --recipe {recipe}"
    )


def _kept(place: Path) -> dict[int, ModelDirectory]:
    """The models in a place by number, the oldest first."""
    return ModelDirectory.versions(place, path_constants.SERVING_MODEL_DIR)


def _place(workdir: Path, recipe: str, state: str) -> Path:
    return workdir / "models" / recipe / state
