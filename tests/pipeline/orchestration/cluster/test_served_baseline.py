"""Which model a candidate has to beat where nothing looks up the last blessed one."""

from __future__ import annotations

import json
from pathlib import Path

from tfx.types import standard_artifacts

from pipeline.common import versions
from pipeline.components import evaluator


def test_without_a_resolver_it_is_the_version_that_is_served(tmp_path: Path) -> None:
    candidate = standard_artifacts.Model()
    candidate.uri = str(tmp_path / "runs/2/Trainer/model")
    serving = tmp_path / "stemline"

    def baseline(served: int) -> str:
        directory, told = evaluator._baseline(candidate, None, str(serving), served)
        assert told.get("baseline_model", "") == directory
        return directory

    assert baseline(0) == ""
    (serving / "7").mkdir(parents=True)
    assert baseline(7) == str(serving / "7"), "a version of unknown origin"
    versions.write_origin(serving / "7", str(tmp_path / "runs/1/Trainer/model"))
    assert baseline(7) == str(serving / "7"), "the version of the last run"
    versions.write_origin(serving / "7", candidate.uri)
    assert baseline(7) == "", "a model is no baseline of itself, when a task is tried again after the push"
    versions.write_origin(serving / "7", str(tmp_path / "runs/1/Trainer/model"))
    ours, theirs = (
        path / "assets.extra/stemline.json" for path in (Path(candidate.uri, "Format-Serving"), serving / "7")
    )
    for file, identity in ((ours, "a"), (theirs, "b")):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps({"identity": identity}))
    assert baseline(7) == str(serving / "7"), "a version that answers otherwise"
    theirs.write_text(ours.read_text())
    assert baseline(7) == "", "nor when a run without new data trains it once more"
