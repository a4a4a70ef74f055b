"""The layout of a working directory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePath

from models.directory import PLAIN_NAME, PLAIN_WORDS, ModelDirectory

_KEPT = "artifacts", "serving", "anchors"
DEMO = "demo"  # a recipe whose models only show that all works: they are taken by name alone


@dataclass(frozen=True)
class Workdir:
    """Where one machine keeps everything: metadata, artifacts, checkpoints, served versions."""

    root: Path

    def __post_init__(self) -> None:
        """Absolute, so that what the metadata says holds from any directory.

        Raises ValueError for what was a place in a bucket before it became a Path, since locks and databases need a file
        system, and for what is, or lies below, a file.
        """
        if str(self.root).startswith(("s3:/", "gs:/")):
            bucket = str(self.root).replace(":/", "://", 1)
            raise ValueError(f"the working directory is {bucket}: legal is a directory of this machine")
        object.__setattr__(self, "root", self.root.resolve())
        existing = next(place for place in (self.root, *self.root.parents) if place.exists())
        if not existing.is_dir():
            raise ValueError(f"the working directory is {self.root}, and {existing} is a file: legal is a directory")

    @property
    def metadata(self) -> Path:
        """The MLMD database, shared by all recipes."""
        return self.root / "metadata.db"

    @property
    def metadata_note(self) -> Path:
        """Says, as JSON, on which server the runs are recorded; absent where they are in `metadata`."""
        return self.root / "metadata.json"

    @property
    def lock(self) -> Path:
        """Held by the one process that writes `metadata`."""
        return self.root / ".lock"

    def lock_of(self, name: str) -> Path:
        """Held by the one process that runs a recipe, where a server takes the metadata of many."""
        return self.root / f".{_plain(name)}.lock"

    def artifacts(self, name: str) -> Path:
        """The pipeline root of one recipe."""
        return self.root / "artifacts" / _plain(name)

    def checkpoints(self, name: str) -> Path:
        """Trainings in progress and the last finished one."""
        return self.root / "checkpoints" / _plain(name)

    def evaluations(self, name: str) -> Path:
        """The scores of tracks in evaluations that are not finished."""
        return self.root / "evaluations" / _plain(name)

    def serving(self, name: str) -> Path:
        """The versions that were pushed: the base path of a model server."""
        return self.root / "serving" / _plain(name)

    def anchors(self, name: str) -> Path:
        """The models that candidates of a recipe are held against, whatever was blessed last (see `pipeline.runs.anchors`)."""
        return self.root / "anchors" / _plain(name)

    def reports(self, name: str) -> Path:
        """What a failed ingest leaves for people."""
        return self.root / "reports" / _plain(name)

    def here(self, path: str) -> str:
        """Where lies what was written down with a path of this working directory, which may have been moved or copied since.

        A path that is no such, or that nothing here ends like, stays as it is.
        """
        parts = PurePath(path).parts
        if "://" in path or PurePath(path).is_relative_to(self.root):
            return path
        ends = (self.root.joinpath(*parts[place:]) for place, name in enumerate(parts) if name in _KEPT)
        return next((str(end) for end in ends if end.exists()), path)

    def latest_version(self, name: str | None = None) -> Path:
        """Directory of the newest pushed version of one recipe, or of any but the demo's.

        Raises:
          FileNotFoundError: nothing was pushed yet.
        """
        bases = [self.serving(name)] if name else {*(self.root / "serving").glob("*")} - {self.serving(DEMO)}
        found = [version for base in bases if (version := ModelDirectory.newest(base))]
        if not found:
            what = f"version of {name!r}" if name else "model"
            if not name and ModelDirectory.newest(self.serving(DEMO)):
                what = f"model but that of the demo, which --recipe {DEMO} takes,"
            run = f"`stemline run --recipe {name or 'NAME'}`"
            raise FileNotFoundError(f"no {what} was pushed in {self.root} yet; {run} pushes one")
        return max(found, key=lambda each: each.version).path


def is_plain(name: str) -> bool:
    """Whether a recipe of this name has directories of its own here; one without a name has recorded nothing yet."""
    return not name or bool(PLAIN_NAME.fullmatch(name))


def _plain(name: str) -> str:
    """Raises ValueError for a name that would lead to another place."""
    if not PLAIN_NAME.fullmatch(name):
        raise ValueError(f"the name of a recipe is {name!r}: legal are {PLAIN_WORDS}")
    return name
