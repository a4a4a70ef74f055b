"""Judging the tracks of a test split on Beam, one element a track; what is judged outlives a killed process."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import apache_beam as beam

from models import code_identity, storage
from pipeline.common import files, progress
from pipeline.config import config as configuration
from pipeline.config.config import Config
from pipeline.data import tfrecords
from pipeline.data.catalogue import IngestedTrack
from pipeline.data.datasets.track import Track
from pipeline.evaluation import results
from pipeline.evaluation.baselines import estimate_by_all
from pipeline.evaluation.scores import TrackScores, score_track
from pipeline.evaluation.separators import SavedSeparator

_SECTIONS = ("data", "model", "evaluate")


@dataclass(frozen=True)
class JudgingTask:
    """What is to be judged: tracks of an Examples artifact, by models (method -> directory of its SavedModel)."""

    artifact_uri: str
    tracks: Sequence[IngestedTrack]
    models: Mapping[str, str]
    config: Config

    def file(self, track: IngestedTrack) -> str:
        """The TFRecord file of a track."""
        return f"{self.artifact_uri}/{track.file}"


def key(task: JudgingTask) -> str:
    """SHA-256 of everything that decides the scores: bytes of tracks and models, configuration, code that judges."""
    digest = hashlib.sha256(configuration.to_json(task.config.only(*_SECTIONS)).encode())
    for track in task.tracks:
        digest.update(f"\0{track.name}\0{track.file}\0".encode())
    for method, directory in sorted(task.models.items()):
        digest.update(f"\0{method}\0".encode())
        _add_files(digest, sorted(path for path in Path(directory).rglob("*") if path.is_file()))
    _add_files(digest, [Path(file) for file in dict.fromkeys(map(task.file, task.tracks))])
    digest.update(code_identity.digest(__name__).encode())
    return digest.hexdigest()


def judge_tracks(pipeline: beam.Pipeline, task: JudgingTask, directory: Path) -> list[TrackScores]:
    """The scores of the task's tracks, in their order: those that `directory` holds, and of the others now.

    The workers leave a file of scores for each track in `directory`, so that nothing but names travels through Beam and
    a killed evaluation continues with the next track. The scores do not depend on how many workers there are.

    Args:
      pipeline: decides where the work is done; `directory` and the task's files must be there.
      task: what to judge.
      directory: of this task alone: its name should be `key(task)`. It is left for the caller to remove.

    Raises:
      ValueError: tracks, models and configuration do not fit each other.
    """
    files = {track.name: _scores_file(directory, track.name) for track in task.tracks}
    names = {file.name for file in files.values()}
    held = names & {*storage.listed(directory)}
    pending = [(track.name, task.file(track)) for track in task.tracks if files[track.name].name not in held]
    if held:
        progress.console.print(f"  {len(held)} of {len(files)} tracks were judged before")
    if pending:
        judge_track = _JudgeTrack(dict(task.models), configuration.to_json(task.config), str(directory))
        with progress.watching("judging", "judged", directory, dict.fromkeys(names, 1)), pipeline:
            _ = pipeline | "Tracks" >> beam.Create(pending) | beam.Reshuffle() | "JudgeTrack" >> beam.ParDo(judge_track)
    with storage.told(directory):
        return [results.from_json(path.read_text()) for path in files.values()]


class _JudgeTrack(beam.DoFn):
    """(name of a track, TFRecord file that holds it) -> the file of its scores, written whole; yields the name."""

    def __init__(self, models: Mapping[str, str], config: str, directory: str) -> None:
        self._models, self._config, self._directory = models, config, directory

    def process(self, element: tuple[str, str]) -> Iterator[str]:
        name, file = element
        config = configuration.from_json(self._config)
        settings, targets = config.evaluate, config.model.targets
        separators = {method: load_separator(model) for method, model in self._models.items()}
        track = read_track(file, name, config)
        methods = estimate_by_all(track, separators, config.model, settings.baselines)
        scores = score_track(track, methods, targets, settings.metrics, settings.window_seconds)
        files.write_text(_scores_file(storage.path(self._directory), name), results.to_json(scores))
        yield name


@functools.lru_cache(maxsize=3)
def load_separator(directory: str) -> SavedSeparator:
    """The model, its baseline or its anchor, loaded once in every process.

    Raises:
      ValueError: the directory holds no model.
    """
    return SavedSeparator(directory)


def read_track(file: str, name: str, config: Config) -> Track:
    """The track of this name in a TFRecord file, with the targets of the configuration."""
    return next(track for track in tfrecords.read_tracks([file], config.model.targets) if track.name == name)


def _scores_file(directory: Path, track: str) -> Path:
    return directory / f"{results.file_name(track)}.json"


def _add_files(digest: hashlib._Hash, files: Iterable[Path]) -> None:
    for path in files:
        with path.open("rb") as file:
            digest.update(f"\0{path.name}\0".encode() + hashlib.file_digest(file, "sha256").digest())
