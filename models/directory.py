"""The directory of an exported model: what lies in it under which name, and which of several versions is the newest."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from models import storage

# The base path of the model that comes with the package, named by the recipe that trained it; its card lies beside the version.
DEFAULT = Path(__file__).parent / "pretrained" / "default"

# Of what becomes a directory or a file: leads to no other place, and fits a file system with something behind it.
PLAIN_NAME = re.compile(r"\w[\w.+ -]{0,99}")
PLAIN_WORDS = "letters, digits, spaces and . _ + -, a letter, a digit or _ first, 100 at most"

EXTRA = "assets.extra"  # beside the graph, where a model server looks for nothing but the warm-up requests


def numbered(names: Iterable[str]) -> dict[int, str]:
    """The names that a model server takes for versions, which are an int64, by their number."""
    digits = (name for name in names if name.isascii() and name.isdecimal() and len(name) < 20)
    return {int(name): name for name in digits if int(name) < 2**63}


class ModelDirectory:
    """A SavedModel and what lies beside it, on this machine or in a bucket; nothing need be there before it is read.

    Files, as paths: `description_file` says what was exported (see `models.exported.description`), `config_file` what it
    was trained with, `training_file` how that went, `origin_file` from which model a pushed version was copied, and
    `warm_up_file` what a server replays before it serves.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = storage.path(path)
        extra = self.path / EXTRA
        self.description_file = extra / "stemline.json"
        self.config_file = extra / "config.json"
        self.training_file = extra / "training.json"
        self.origin_file = extra / "origin.json"
        self.warm_up_file = extra / "tf_serving_warmup_requests"

    @classmethod
    def versions(cls, base: str | os.PathLike[str], inside: str = "") -> dict[int, ModelDirectory]:
        """The complete versions below the base path of a model server, by number, the oldest first.

        A version has a number for its name and is complete when saved_model.pb, which a copy writes last, is there.
        inside: where in a version's directory its SavedModel lies.

        Raises OSError where the bucket cannot be asked; a base path that is not there has no versions.
        """
        return dict(reversed([*cls._newest_first(base, inside)]))

    @classmethod
    def newest(cls, base: str | os.PathLike[str]) -> ModelDirectory | None:
        """The version of the highest number, which is the one served; None where there is none. Raises as `versions` does."""
        return next((version for _, version in cls._newest_first(base)), None)

    @classmethod
    def default(cls) -> ModelDirectory:
        """The model that comes with the package. Raises FileNotFoundError where it was left out."""
        found = cls.newest(DEFAULT)
        if found is None:
            raise FileNotFoundError(f"{DEFAULT} holds no model: the one that comes with Stemline is not installed")
        return found

    @classmethod
    def _newest_first(cls, base: str | os.PathLike[str], inside: str = "") -> Iterator[tuple[int, ModelDirectory]]:
        numbers = numbered(storage.listed(base))
        for number in sorted(numbers, reverse=True):
            directory = os.path.join(base, numbers[number], inside)
            if "saved_model.pb" in storage.listed(directory):
                yield number, cls(directory)

    @property
    def version(self) -> int:
        """The number of a version. Raises ValueError for a directory of another name."""
        return int(self.path.name)

    @property
    def description(self) -> dict[str, Any]:
        """What was exported. Raises ValueError where nothing was."""
        if not self.description_file.is_file():
            legal = f"a directory with {self.description_file.relative_to(self.path)}"
            raise ValueError(f"{self.path} is no exported separator; legal: {legal}.")
        with storage.told(self.path):
            return _read(self.description_file)

    @property
    def identity(self) -> str:
        """See `models.exported.identity`; empty for a model that does not tell."""
        return self.description.get("identity", "") if self.description_file.is_file() else ""

    @property
    def origin(self) -> str:
        """The URI of the model that was pushed as this version; empty where nobody wrote it down."""
        with storage.told(self.path):
            return _read(self.origin_file)["model"] if self.origin_file.is_file() else ""

    def write_origin(self, model_uri: str) -> None:
        """Notes, before a version is published, from which model it was copied."""
        self.origin_file.parent.mkdir(parents=True, exist_ok=True)
        self.origin_file.write_text(json.dumps({"model": model_uri}) + "\n")

    def is_foreign(self, own_models: str) -> bool:
        """Whether it is known to be a copy of a model outside of the directory `own_models`."""
        return bool(self.origin) and not self.origin.startswith(os.path.join(own_models, ""))

    def holds(self, model_uri: str, saved_model: str | os.PathLike[str]) -> bool:
        """Whether it is the model in the directory `saved_model`: a copy of that at `model_uri`, or of an equal one.

        Where no cache answers, the same training gives a model of another URI that answers alike.
        """
        known = self.identity
        return self.origin == model_uri or (bool(known) and known == ModelDirectory(saved_model).identity)

    def warms_up_as(self, saved_model: str | os.PathLike[str]) -> bool:
        """Whether it has the warm-up requests of the SavedModel in the directory `saved_model`, or both have none."""
        files = self.warm_up_file, ModelDirectory(saved_model).warm_up_file
        with storage.told(self.path):
            ours, theirs = (file.read_bytes() if file.is_file() else b"" for file in files)
            return ours == theirs


def refuse_no_model(place: str | os.PathLike[str]) -> None:
    """Raises ValueError where there is no SavedModel, without loading TensorFlow for a place of this machine, and OSError as `storage.listed`."""
    if not {"saved_model.pb", "saved_model.pbtxt"} & {*storage.listed(place)}:
        raise ValueError(f"{os.fspath(place)} is no SavedModel; legal is a directory with saved_model.pb")


def _read(file: Any) -> dict[str, Any]:
    """A JSON object. Raises ValueError, naming the file, where it holds something else."""
    try:
        if isinstance(found := json.loads(file.read_text()), dict):
            return found
    except ValueError as error:
        raise ValueError(f"{file} is no JSON: {error}") from error
    raise ValueError(f"{file} holds no JSON object")
