"""What every pod of a JobSet runs for its training: `python -P -m pipeline.orchestration.cluster.workers.worker`.

Its arguments are `<job>/request.json` and the addresses of all workers, of which it is the one that JOB_COMPLETION_INDEX says.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from pipeline.common.process import quiet, sentence
from pipeline.components import trainer
from pipeline.orchestration.cluster.workers.job_directory import JobDirectory
from pipeline.training import devices

_POLL_SECONDS = 2.0


def command(job: JobDirectory, addresses: Sequence[str]) -> list[str]:
    """The command of a worker's container."""
    return ["python", "-P", "-m", __name__, str(job.request), *addresses]


def meet(addresses: Sequence[str]) -> None:
    """Returns when every worker has an address, which it gets with its node: TensorFlow would fail after an hour."""
    for host in (address.rpartition(":")[0] for address in addresses):
        print(f"looks for {host}", flush=True)
        while True:
            with contextlib.suppress(socket.gaierror):
                socket.getaddrinfo(host, None)
                break
            time.sleep(_POLL_SECONDS)


def train(job: JobDirectory) -> None:
    """Trains as TF_CONFIG says; the chief leaves the model in the job's directory.

    Raises what `trainer.run_fn` raises; a ValueError, which would come again, is left for the launcher to read as well.
    """
    if job.finished:  # this worker was started again after the chief had written the model
        return
    if devices.is_chief():
        job.clear()
    try:
        trainer.run_fn(job.fn_args())
    except ValueError as error:
        job.refuse(sentence(error))
        raise
    if devices.is_chief():
        job.finish()


if __name__ == "__main__":
    quiet()
    request, *addresses = sys.argv[1:]
    task = {"type": "worker", "index": int(os.environ["JOB_COMPLETION_INDEX"])}
    os.environ["TF_CONFIG"] = json.dumps({"cluster": {"worker": addresses}, "task": task})
    meet(addresses)
    train(JobDirectory(Path(request).parent))
