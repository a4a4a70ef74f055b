"""The versions in the base directory of a model server: which one is served, and which model it is."""

from __future__ import annotations

import json
import os
from pathlib import Path

# Beside the warm-up requests, where model servers look for nothing else.
_ORIGIN = Path("assets.extra", "origin.json")
_WARM_UP = Path("assets.extra", "tf_serving_warmup_requests")
_DESCRIPTION = Path("assets.extra", "stemline.json")


def newest(base: str | Path) -> int:
    """The highest version number in a serving directory, which is the one served; 0 where there is none."""
    return max(numbers(Path(base)), default=0)


def newest_foreign(base: str | Path, own_models: str) -> int:
    """The highest version that was pushed from a model outside of the directory `own_models`; 0 where there is none."""
    return max((number for number in numbers(Path(base)) if is_foreign(base, number, own_models)), default=0)


def is_foreign(base: str | Path, version: int, own_models: str) -> bool:
    """Whether a version is known to come from a model outside of the directory `own_models`."""
    model = origin(base, version)
    return bool(model) and not model.startswith(os.path.join(own_models, ""))


def origin(base: str | Path, version: int) -> str:
    """The URI of the model that was pushed as this version; empty where nobody wrote it down."""
    file = Path(base, str(version), _ORIGIN)
    return json.loads(file.read_text())["model"] if file.is_file() else ""


def write_origin(directory: str | Path, model_uri: str) -> None:
    """Notes in the directory of a version, before it is published, from which model it was copied."""
    file = Path(directory, _ORIGIN)
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps({"model": model_uri}) + "\n")


def holds(base: str | Path, version: int, model_uri: str, saved_model: str | Path) -> bool:
    """Whether a version is the model in the directory `saved_model`: a copy of that at `model_uri`, or of an equal one.

    Where no cache answers, the same training gives a model of another URI that answers alike.
    """
    if not version:
        return False
    known = identity(Path(base, str(version)))
    return origin(base, version) == model_uri or (bool(known) and known == identity(saved_model))


def warms_up_alike(base: str | Path, version: int, saved_model: str | Path) -> bool:
    """Whether a version has the warm-up requests of the SavedModel in the directory `saved_model`, or both have none."""
    files = (Path(base, str(version), _WARM_UP), Path(saved_model, _WARM_UP))
    ours, theirs = (file.read_bytes() if file.is_file() else b"" for file in files)
    return ours == theirs


def identity(saved_model: str | Path) -> str:
    """See `models.exported.identity`; empty for a model that does not tell."""
    file = Path(saved_model, _DESCRIPTION)
    return json.loads(file.read_text()).get("identity", "") if file.is_file() else ""


def numbers(base: Path) -> list[int]:
    """The versions in a directory, in no order; none where it does not exist."""
    return [int(path.name) for path in base.glob("[0-9]*") if path.name.isdigit()]
