"""BssEvaluator: BSS Eval of a model on the test split, its report, and the blessing that the gate gives or refuses."""

import contextlib
import functools
import json
import math
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import apache_beam as beam
import tensorflow as tf
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from tfx.components.evaluator import constants
from tfx.dsl.component.experimental.annotations import (
    BeamComponentParameter,
    InputArtifact,
    OutputArtifact,
    Parameter,
)
from tfx.dsl.component.experimental.decorators import component
from tfx.types import artifact_utils, standard_artifacts
from tfx.utils import path_utils

from pipeline import config as configuration
from pipeline import report
from pipeline.config import Config
from pipeline.examples import TrackAudio, read_tracks, shards
from pipeline.metrics import saved_model, stores
from pipeline.metrics.evaluation import Evaluation, conclude, evaluate_tracks, spread
from pipeline.metrics.tracks import TrackScores
from pipeline.progress import console
from pipeline.report.excerpts import Shown

SPLIT = "test"
REPORT = "report.html"
_RESULTS = ".tracks"
_WATCH_SECONDS = 1.0


@component(use_beam=True)
def BssEvaluator(
    examples: InputArtifact[standard_artifacts.Examples],
    model: InputArtifact[standard_artifacts.Model],
    config: Parameter[str],
    evaluation: OutputArtifact[standard_artifacts.ModelEvaluation],
    blessing: OutputArtifact[standard_artifacts.ModelBlessing],
    baseline_model: InputArtifact[standard_artifacts.Model] = None,
    beam_pipeline: BeamComponentParameter[beam.Pipeline] = None,
) -> None:
    """Judges `model` on the test split of `examples`, against the mixture, the baselines of the
    configuration and the last blessed model.

    `config` is `pipeline.config.to_json` of the resolved configuration. `evaluation` gets report.html, summary.json,
    scores.csv and museval's JSON, and the model's finite scores as custom properties `<target>/<version>/<metric>`
    (those of the other methods with the method in front); `blessing` gets TFX's properties and files, and `reasons`,
    a JSON list of sentences.

    Raises:
        ValueError: the test split has no tracks, or model and tracks do not fit each other.
    """
    settings = configuration.from_json(config)
    split_dir = artifact_utils.get_split_uri([examples], SPLIT)
    names = _chosen(split_dir, settings)
    models = {"model": _serving_dir(model)}
    _check(models["model"], settings)
    baseline_problem = ""
    if baseline_model is not None:
        baseline_problem = _unfit(_serving_dir(baseline_model), settings)
        models |= {} if baseline_problem else {"baseline": _serving_dir(baseline_model)}
    directory = Path(evaluation.uri)
    scores = _judge_all(beam_pipeline, split_dir, names, models, config, directory / _RESULTS)
    result = conclude(scores, settings, baseline_problem)
    stores.write(result, directory)
    report.write(result, _shown(result, split_dir, models["model"], settings), directory / REPORT, f"Model {model.uri}")
    _publish_scores(evaluation, result)
    _bless(blessing, result, model, baseline_model)


@component(use_beam=True)
def BaselinesEvaluator(
    examples: InputArtifact[standard_artifacts.Examples],
    config: Parameter[str],
    evaluation: OutputArtifact[standard_artifacts.ModelEvaluation],
    beam_pipeline: BeamComponentParameter[beam.Pipeline] = None,
) -> None:
    """Judges what needs no model on the test split: the mixture and `evaluate.baselines`.

    `evaluation` gets summary.json, scores.csv and museval's JSON, and finite scores as custom properties
    `<method>/<target>/<version>/<metric>`.

    Raises:
        ValueError: the test split has no tracks.
    """
    settings = configuration.from_json(config)
    split_dir = artifact_utils.get_split_uri([examples], SPLIT)
    names = _chosen(split_dir, settings)
    directory = Path(evaluation.uri)
    result = conclude(_judge_all(beam_pipeline, split_dir, names, {}, config, directory / _RESULTS), settings)
    stores.write(result, directory)
    _publish_scores(evaluation, result)


def _serving_dir(model: standard_artifacts.Model) -> str:
    return path_utils.serving_model_path(model.uri, path_utils.is_old_model_artifact(model))


def _check(directory: str, config: Config) -> None:
    _separator(directory).check(config.data.sample_rate_hz, config.data.channels, config.model.targets)


def _unfit(baseline_dir: str, config: Config) -> str:
    """Why the last blessed model cannot be judged on these tracks; empty when it can."""
    try:
        _check(baseline_dir, config)
    except ValueError as error:
        return f"the last blessed model cannot be judged on these tracks: {error}"
    return ""


def _chosen(split_dir: str, config: Config) -> list[str]:
    names = spread(sorted({name for shard in shards(split_dir) for name in _names(shard)}), config.evaluate.max_tracks)
    if not names:
        raise ValueError(f"split {SPLIT!r} of the examples in {split_dir} has no tracks to judge a model by")
    return names


def _names(shard: str) -> Iterator[str]:
    """The track of every segment in a shard, without decoding audio."""
    feature = {"track": tf.io.FixedLenFeature([], tf.string)}
    records = tf.data.TFRecordDataset(shard, compression_type="GZIP")
    for record in records.map(lambda r: tf.io.parse_single_example(r, feature)["track"]).as_numpy_iterator():
        yield record.decode()


def _judge_all(
    pipeline: beam.Pipeline,
    split_dir: str,
    names: Sequence[str],
    models: Mapping[str, str],
    config: str,
    results: Path,
) -> list[TrackScores]:
    """Judges the tracks on Beam; the workers leave one file a track, so that nothing but names travels through Beam."""
    results.mkdir(parents=True, exist_ok=True)
    with _watched(results, len(names)), pipeline:
        _ = (
            pipeline
            | "Shards" >> beam.Create(shards(split_dir))
            | beam.Reshuffle()
            | "JudgeTracks" >> beam.ParDo(_JudgeTracks(frozenset(names), dict(models), config, str(results)))
        )
    scores = [stores.from_json(path.read_text()) for path in sorted(results.glob("*.json"))]
    shutil.rmtree(results)
    return scores


class _JudgeTracks(beam.DoFn):
    """Shard of TFRecords -> a file of scores for each of its tracks that was chosen; yields their names."""

    def __init__(self, names: frozenset[str], models: Mapping[str, str], config: str, results: str) -> None:
        self._names, self._models, self._config, self._results = names, models, config, results

    def process(self, shard: str) -> Iterator[str]:
        config = configuration.from_json(self._config)
        separators = {method: _separator(directory) for method, directory in self._models.items()}
        tracks = _tracks([shard], self._names, config)
        for scores in evaluate_tracks(tracks, separators, config.model, config.evaluate):
            path = Path(self._results) / f"{stores.file_name(scores.track)}.json"
            stores.write_text(path, stores.to_json(scores))
            yield scores.track


@functools.lru_cache(maxsize=2)
def _separator(directory: str) -> saved_model.Separator:
    """The model and its baseline, loaded once in every process."""
    return saved_model.load(directory)


def _tracks(files: Sequence[str], names: frozenset[str], config: Config) -> Iterator[TrackAudio]:
    return (track for track in read_tracks(files, config.model.targets) if track.name in names)


def _shown(result: Evaluation, split_dir: str, model_dir: str, config: Config) -> list[Shown]:
    """The tracks that the report plays, separated once more: keeping all estimates would take more room than time."""
    threshold = next(iter(config.gate.thresholds), None)
    metric = threshold.metric if threshold else f"{config.evaluate.metrics[0]}/SDR"
    target = threshold.target if threshold else config.model.targets[0]
    ranks = {
        name: rank for rank, name in report.choose(result, metric, target, config.evaluate.tracks_in_report).items()
    }
    separate = _separator(model_dir)
    shown = {
        track.name: Shown(ranks[track.name], track, separate(track.mixture, track.sample_rate_hz))
        for shard in shards(split_dir)
        for track in _tracks([shard], frozenset(ranks), config)
    }
    return [shown[name] for name in ranks]


def _publish_scores(artifact: standard_artifacts.ModelEvaluation, result: Evaluation) -> None:
    """Finite scores only: a NaN among the properties would leave the execution unpublished for ever."""
    artifact.set_int_custom_property("tracks", len(result.tracks))
    for method in result.methods:
        prefix = "" if method == "model" else f"{method}/"
        for name, value in result.scores[method].items():
            if math.isfinite(value):
                artifact.set_float_custom_property(prefix + name, value)


def _bless(
    blessing: standard_artifacts.ModelBlessing,
    result: Evaluation,
    model: standard_artifacts.Model,
    baseline: standard_artifacts.Model | None,
) -> None:
    """What TFX's Evaluator would write, so that Resolver and Pusher understand it, and the reasons."""
    blessed = result.verdict.blessed
    blessing.set_string_custom_property(constants.ARTIFACT_PROPERTY_CURRENT_MODEL_URI_KEY, model.uri)
    blessing.set_int_custom_property(constants.ARTIFACT_PROPERTY_CURRENT_MODEL_ID_KEY, model.id)
    if baseline is not None:
        blessing.set_string_custom_property(constants.ARTIFACT_PROPERTY_BASELINE_MODEL_URI_KEY, baseline.uri)
        blessing.set_int_custom_property(constants.ARTIFACT_PROPERTY_BASELINE_MODEL_ID_KEY, baseline.id)
    blessing.set_string_custom_property("reasons", json.dumps(result.verdict.reasons))
    name = constants.BLESSED_FILE_NAME if blessed else constants.NOT_BLESSED_FILE_NAME
    stores.write_text(Path(blessing.uri) / name, "\n".join(result.verdict.reasons) + "\n")
    value = constants.BLESSED_VALUE if blessed else constants.NOT_BLESSED_VALUE
    blessing.set_int_custom_property(constants.ARTIFACT_PROPERTY_BLESSED_KEY, value)


@contextlib.contextmanager
def _watched(results: Path, total: int) -> Iterator[None]:
    """Shows how many tracks are judged by counting their files, wherever the workers run."""
    done = threading.Event()
    columns = (TextColumn("  {task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("judging tracks", total=total)
        watcher = threading.Thread(target=_watch, args=(results, total, done, functools.partial(bar.update, task)))
        watcher.start()
        try:
            yield
        finally:
            done.set()
            watcher.join()


def _watch(results: Path, total: int, done: threading.Event, update: Callable[..., None]) -> None:
    """Moves the bar; where there is no terminal, prints a line whenever another tenth of the tracks is judged."""
    told = 0
    while not done.wait(_WATCH_SECONDS):
        count = sum(1 for _ in results.glob("*.json"))
        update(completed=count)
        if not console.is_terminal and count >= told + max(1, total // 10):
            told = count
            console.print(f"  judged {count} of {total} tracks")
