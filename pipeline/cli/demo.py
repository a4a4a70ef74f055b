"""The whole house in one go: pipeline, push, embedded server, and a song that training never saw, separated over gRPC."""

from __future__ import annotations

import dataclasses
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import soundfile
from rich.table import Table

from pipeline.cli import tables
from pipeline.common import stopping
from pipeline.common.progress import separating
from pipeline.common.terminal import Terminal
from pipeline.config.config import Config
from pipeline.data import corpus, ingest, tfrecords
from pipeline.data.datasets.track import Track
from pipeline.evaluation import baselines
from pipeline.evaluation.bss_eval.score import score
from pipeline.orchestration.local_runner import run_local
from pipeline.runs import documents
from pipeline.runs.workdir import Workdir
from serving import process
from serving.client import Client

# Another seed is another singer, band and song; no split of the demo holds it.
HELD_OUT_SEED = 20_000
MINIMUM_GAIN_DB = 3.0
METRICS = ("SDR", "SIR", "SAR")

console = Terminal(highlight=False)


def main(config: Config, workdir: Workdir) -> int:
    """Runs everything and prints scores and paths; 0 when the served vocals are 3 dB SDR above the mixture, else 3.

    Raises:
      ValueError, OSError: as `pipeline.orchestration.local_runner.run_local` and `serving.client.Client` do.
    """
    run = run_local(config, workdir)
    tables.print_run(documents.of_run(run, workdir))
    if not workdir.serving(config.name).exists():
        return 3
    with stopping.says(raising=True):
        return _served(config, workdir)


def _served(config: Config, workdir: Workdir) -> int:
    song = held_out_song(config)
    directory = workdir.root / "demo"
    directory.mkdir(parents=True, exist_ok=True)
    mixture = directory / "song.wav"
    soundfile.write(mixture, song.mixture, song.sample_rate_hz, subtype="FLOAT")
    with (
        process.running(workdir.serving(config.name)) as address,
        Client(address) as client,
        separating({mixture.name: mixture.stat().st_size}) as progress,
    ):
        separated = client.separate_file(mixture, directory / "separated", progress=partial(progress, mixture.name))
    scores = _scores(song, separated, config)
    _print_scores(scores, song)
    for target, path in {"mixture": mixture, **separated}.items():
        console.print(f"{target}: {path}", markup=False, soft_wrap=True)
    gain_db = scores["served model"]["vocals"]["SDR"] - scores["mixture"]["vocals"]["SDR"]
    console.print(
        f"vocals served over gRPC: {gain_db:.2f} dB SDR above the mixture (at least {MINIMUM_GAIN_DB:g} wanted)"
    )
    return 0 if gain_db >= MINIMUM_GAIN_DB else 3


def held_out_song(config: Config) -> Track:
    """A synthetic song of another seed, read back from TFRecords as the pipeline's own songs are."""
    changed = {"seed": HELD_OUT_SEED, "tracks": {"test": 1}, "allow_empty_splits": ["train", "dev"]}
    data = dataclasses.replace(config.data, options={**config.data.options, **changed})
    with tempfile.TemporaryDirectory() as directory:
        shard = next(shard for shard in ingest.plan(corpus.discover(data)) if shard.split == "test")
        Path(shard.path(directory)).parent.mkdir(parents=True)
        ingest.write_shard(shard, data, directory)
        return next(tfrecords.read_tracks([shard.path(directory)], config.model.targets))


def _scores(song: Track, separated: dict[str, Path], config: Config) -> dict[str, dict[str, dict[str, float]]]:
    """Method -> target -> metric: BSS Eval v3 over the whole song."""
    targets = config.model.targets
    served = {target: soundfile.read(path, dtype="float32", always_2d=True)[0] for target, path in separated.items()}
    spec = config.model
    methods = {
        "mixture": dict.fromkeys(targets, song.mixture),
        "served model": served,
        "IRM oracle": baselines.ratio_mask(
            song.mixture, song.stems, baselines.Stft(spec.frame_length, spec.hop, spec.window)
        ),
    }
    references = np.stack([song.stems[target] for target in targets]).astype(float)
    estimates = np.stack([[method[target] for target in targets] for method in methods.values()]).astype(float)
    scores = score(references, estimates, ["v3"])["v3"]
    return {
        method: {
            target: {metric: float(scores[metric][i, j]) for metric in METRICS} for j, target in enumerate(targets)
        }
        for i, method in enumerate(methods)
    }


def _print_scores(scores: dict[str, dict[str, dict[str, float]]], song: Track) -> None:
    seconds = len(song.mixture) / song.sample_rate_hz
    title = f"A held-out synthetic song of {seconds:g} s, BSS Eval v3 over the whole song, dB"
    table = Table("target", "method", *METRICS, title=title)
    for target in song.stems:
        for method, by_target in scores.items():
            table.add_row(target, method, *(f"{by_target[target][metric]:.2f}" for metric in METRICS))
    console.print(table)
