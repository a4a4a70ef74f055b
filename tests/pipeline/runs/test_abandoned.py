"""What a killed run has begun goes, and what others have made stays."""

from __future__ import annotations

from pathlib import Path

from ml_metadata.proto import metadata_store_pb2 as pb

from pipeline.runs import abandoned, history
from pipeline.runs.workdir import Workdir


def test_what_a_killed_run_has_begun_is_removed_and_recorded_as_stopped(metadata, tmp_path: Path) -> None:
    nodes = {"StemsExampleGen": {}, "Trainer": {}}
    metadata.run("2026-11-20T12:00:00.000001", "demo", nodes)
    done, killed = metadata.store.get_executions()
    killed.last_known_state = pb.Execution.RUNNING
    metadata.store.put_executions([killed])
    artifacts = Workdir(tmp_path).artifacts("demo")
    begun = [
        artifacts / f"Trainer/model/{killed.id}/half",
        artifacts / f"Trainer/.system/executor_execution/{killed.id}",
    ]
    kept = [artifacts / f"StemsExampleGen/examples/{done.id}", artifacts / f"Trainer/model_run/{killed.id}"]
    for place in (*begun, *kept):
        place.mkdir(parents=True)
    assert abandoned.clear(metadata.store, Workdir(tmp_path), "other") == []
    assert all(place.exists() for place in begun)
    assert abandoned.clear(metadata.store, Workdir(tmp_path), "demo") == ["Trainer"]
    assert [place.exists() for place in (*begun, *kept)] == [False, False, True, True]
    assert not begun[0].parent.exists()
    assert abandoned.clear(metadata.store, Workdir(tmp_path), "demo") == []
    [run] = history.runs(Workdir(tmp_path))
    assert run.states == {"StemsExampleGen": "done", "Trainer": "stopped"}
