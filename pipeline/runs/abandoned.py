"""What a run that was stopped or killed has begun and nobody will end: its half-written artifacts."""

from __future__ import annotations

import shutil

import ml_metadata as mlmd
from ml_metadata.proto import metadata_store_pb2 as pb

from pipeline.runs.workdir import Workdir

_LOGS = "model_run"  # of a training: the next run goes on after them


def clear(store: mlmd.MetadataStore, workdir: Workdir, name: str) -> list[str]:
    """Removes what the executions of a recipe have begun below `workdir`, and records that they have ended.

    For who holds the lock, so that none of them is at work. Returns the components.
    """
    ended = []
    root = workdir.artifacts(name)
    for execution in store.get_executions(mlmd.ListOptions(filter_query="last_known_state = RUNNING")):
        patterns = f"*/*/{execution.id}", f"*/.system/*/{execution.id}"
        found = [path for pattern in patterns for path in root.glob(pattern) if path.parent.name != _LOGS]
        for path in found:
            shutil.rmtree(path, ignore_errors=True)
        if found and not any(path.exists() for path in found):
            execution.last_known_state = pb.Execution.CANCELED
            store.put_executions([execution])
            ended.append(found[0].relative_to(root).parts[0])
    return ended
