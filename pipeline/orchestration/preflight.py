"""What can be known to be wrong before anything is written."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from models import losses, storage
from models.separator import Separator
from pipeline.common.progress import console
from pipeline.config.cluster import TRAINER
from pipeline.config.config import Config, saved_config
from pipeline.data import catalogue, corpus, effects, leaks
from pipeline.data.datasets import pairing
from pipeline.data.datasets.track import TrackRef
from pipeline.data.leaks import ruling
from pipeline.evaluation.gate import outlook
from pipeline.orchestration import at_once, beam_runners
from pipeline.runs import history, metadata, power
from pipeline.runs.workdir import Workdir
from pipeline.training import devices, stages

# The smallest STFT: the network's sizes are checked without the memory of its real number of bins.
SMALL_FRAME_LENGTH, SMALL_HOP = 4, 1


def check_run(config: Config, refs: Sequence[TrackRef], workdir: Workdir | None = None) -> None:
    """Raises ValueError or OSError for networks, losses, augmentations or Beam runners that would be refused later.

    refs: the tracks, as `pipeline.data.corpus.usable` gives them. With `workdir`, the store of its runs must open, the teacher
    is looked for, and what the gate cannot decide is said.
    """
    beam_runners.check_arguments(config.beam.pipeline_args)
    check_recipe(config)
    if workdir:
        check_mixing(config, refs)
        metadata.check_store(config.metadata, workdir)
        check_teacher(config, workdir)
        check_gate(config, refs, workdir)


def check_recipe(config: Config) -> None:
    """Raises ValueError for networks, losses, stages or augmentations that a later component would refuse; looks at no data."""
    effects.require(config.train.augment)
    earlier: list[Separator] = []
    for name, stage in stages.plan(config.recipe):
        losses.check(stage.train.loss, stage.train.loss_options, teacher=stage.train.teacher is not None)
        separator = Separator(dataclasses.replace(stage.model, frame_length=SMALL_FRAME_LENGTH, hop=SMALL_HOP))
        stages.hand_over(earlier, separator, name == stages.OWN)
        earlier.append(separator)


def check_mixing(config: Config, refs: Sequence[TrackRef]) -> None:
    """Raises ValueError if sources of different recordings would be trained on as the songs that they are not."""
    if "remix" not in config.train.augment and any(pairing.METADATA.items() <= ref.metadata.items() for ref in refs):
        raise ValueError(
            f"train.augment is {list(config.train.augment)}, but the sources of format {config.data.format} belong to no "
            "common tracks: add remix, with train.augment_options={remix: {probability: 1}}"
        )


def check_gate(config: Config, refs: Sequence[TrackRef], workdir: Workdir) -> None:
    """Says what the gate will be unable to decide on the test tracks, or refuses (see `pipeline.evaluation.gate.outlook`).

    Its power is known where the recipe has judged a model against a last blessed one in `workdir` before, and leaks of
    data that were ingested before, which come from the cache where they are the same.
    """
    tracks = [ref.metadata for ref in refs if ref.split == "test"]
    known = power.last_pairs(workdir, config.name)
    count = min(len(tracks), config.evaluate.max_tracks or len(tracks))
    found = power.decisions(known[1], config.gate, count) if known else []
    outlook.tell(config.gate, tracks, config.evaluate.max_tracks, {each.name: each.power for each in found})
    ingested = (run.outputs["Examples"].uri for run in history.runs(workdir, config.name) if "Examples" in run.outputs)
    if (uri := next(ingested, None)) and Path(uri, leaks.FILE).is_file():
        leaked = ruling.ruled(leaks.read(uri), config.gate.leaks, corpus.published(uri)).refused
        judged = [track.metadata for track in catalogue.read(uri) if track.split == "test"]
        for words in (
            *(f"{each}: every model will be refused" for each in leaked),
            *outlook.ungrouped(config.gate, judged),
        ):
            console.print(f"  the gate, by the last ingest: {words}", style="yellow", markup=False, soft_wrap=True)


def check_workers(config: Config) -> None:
    """Raises ValueError for a training that `cluster.workers` cannot share, or a working directory that they do not see."""
    cluster = config.cluster
    if cluster.workers is None:
        return
    devices.check_shareable(config.train, cluster.workers, cluster.task(TRAINER).gpus or 1)
    if storage.is_remote(cluster.workdir):
        raise ValueError(
            f"cluster.workers is {cluster.workers} and cluster.workdir {cluster.workdir}: several workers share a volume, "
            "and legal is a path below a mount of theirs"
        )
    for key, task in ((f"tasks.{TRAINER}", cluster.task(TRAINER)), ("every", cluster.every)):
        paths = [volume.mount_path for volume in task.volumes]
        if not any(Path(cluster.workdir).is_relative_to(path) for path in paths):
            raise ValueError(
                f"cluster.workers is {cluster.workers} and cluster.workdir {cluster.workdir}: cluster.{key} must mount the "
                f"volume that holds it, but mounts {', '.join(paths) or 'none'}"
            )


def check_teacher(config: Config, workdir: Workdir) -> None:
    """Raises ValueError where train.teacher names a recipe without a trained model in `workdir`, or an unfit model."""
    model = at_once.teacher(config, workdir)
    if model is not None:
        losses.check_teacher(saved_config(model.saved_model).model, config.model)
