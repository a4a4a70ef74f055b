"""Which model a candidate has to beat where nothing looks up the last blessed one."""

from __future__ import annotations

import json
from pathlib import Path

from tfx.types import standard_artifacts

from models.directory import ModelDirectory
from pipeline.components import rivals


def test_without_a_resolver_it_is_the_version_that_is_served(tmp_path: Path) -> None:
    candidate = standard_artifacts.Model()
    candidate.uri = str(tmp_path / "runs/2/Trainer/model")
    served = ModelDirectory(tmp_path / "stemline/7")

    def baseline(served: ModelDirectory | None = served) -> str:
        found = rivals.baseline(candidate, None, served)
        assert found.uri == found.directory
        return found.directory

    assert baseline(None) == ""
    served.path.mkdir(parents=True)
    assert baseline() == str(served.path), "a version of unknown origin"
    served.write_origin(str(tmp_path / "runs/1/Trainer/model"))
    assert baseline() == str(served.path), "the version of the last run"
    served.write_origin(candidate.uri)
    assert baseline() == "", "a model is no baseline of itself, when a task is tried again after the push"
    served.write_origin(str(tmp_path / "runs/1/Trainer/model"))
    ours = ModelDirectory(Path(candidate.uri, "Format-Serving"))
    for directory, identity in ((ours, "a"), (served, "b")):
        directory.description_file.parent.mkdir(parents=True, exist_ok=True)
        directory.description_file.write_text(json.dumps({"identity": identity}))
    assert baseline() == str(served.path), "a version that answers otherwise"
    served.description_file.write_text(ours.description_file.read_text())
    assert baseline() == "", "nor when a run without new data trains it once more"
