"""What every pod of a TFJob runs: its part of a training, `python -m pipeline.orchestration.cluster.workers.worker <job>/request.json`."""

from __future__ import annotations

import sys
from pathlib import Path

from pipeline.common.process import quiet, sentence
from pipeline.components import trainer
from pipeline.orchestration.cluster.workers.job_directory import JobDirectory
from pipeline.training import devices


def command(job: JobDirectory) -> list[str]:
    """The command of a worker's container."""
    return ["python", "-m", __name__, str(job.request)]


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
    train(JobDirectory(Path(sys.argv[1]).parent))
