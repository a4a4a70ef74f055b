"""BssEvaluator: BSS Eval of a model on the test split, its report, and the blessing that the gate gives or refuses."""

import contextlib
import dataclasses
import functools
import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import apache_beam as beam
from tfx.components.evaluator import constants
from tfx.dsl.component.experimental.annotations import (
    BeamComponentParameter,
    InputArtifact,
    OutputArtifact,
    Parameter,
)
from tfx.dsl.component.experimental.decorators import component
from tfx.types import standard_artifacts

from models import storage
from models.directory import ModelDirectory
from pipeline.common import files, process
from pipeline.common.progress import line
from pipeline.components import judging, rivals
from pipeline.components.judging import JudgingTask
from pipeline.components.pusher import SERVED_VERSION
from pipeline.config import config as configuration
from pipeline.config.config import Config
from pipeline.data import catalogue, corpus, drift, leaks
from pipeline.data.catalogue import IngestedTrack
from pipeline.data.leaks import ruling
from pipeline.evaluation import results, speed
from pipeline.evaluation.evaluation import Evaluation, conclude, spread
from pipeline.evaluation.gate.checks import ModelFacts
from pipeline.evaluation.gate.verdict import Check, Verdict
from pipeline.evaluation.report.page import choose_tracks, worst_tracks, write_report
from pipeline.evaluation.report.rooms import Heard, Shown

SPLIT = "test"
REPORT = "report.html"


@component(use_beam=True)
def BssEvaluator(
    examples: InputArtifact[standard_artifacts.Examples],
    model: InputArtifact[standard_artifacts.Model],
    config: Parameter[str],
    evaluations: Parameter[str],
    serving_directory: Parameter[str],
    served_elsewhere: Parameter[int],
    evaluation: OutputArtifact[standard_artifacts.ModelEvaluation],
    blessing: OutputArtifact[standard_artifacts.ModelBlessing],
    anchors: Parameter[str] = "",
    pinned: Parameter[str] = "",
    baseline_model: InputArtifact[standard_artifacts.Model] = None,  # pyright: ignore[reportArgumentType]  # how TFX spells an optional one
    beam_pipeline: BeamComponentParameter[beam.Pipeline] = None,  # pyright: ignore[reportArgumentType]  # TFX fills it
) -> None:
    """Judges `model` on the test split of `examples`, against the mixture, the baselines of the configuration and the
    last blessed model, or the version in `serving_directory` where another pipeline pushed that or none is known.

    Where a threshold is over the anchor, also against that: the best model that was ever blessed, or one that is pinned, in
    `anchors` (see `pipeline.runs.anchors`); there a model that is blessed and better takes its place.

    Baseline and anchor are judged again on the tracks of today, whatever they scored on others.

    `config` is `pipeline.config.config.to_json` of the resolved configuration. `evaluations` is a directory that outlives
    executions: a killed one continues from there. `served_elsewhere` is the newest version that another
    pipeline pushed to the serving directory: a verdict from the cache holds only while nobody else has pushed, and while
    `pinned`, which names the pinned model, stays the same.

    `evaluation` gets report.html, drift.json, summary.json, scores.csv and museval's JSON, and the model's finite scores
    as custom properties `<target>/<version>/<metric>` (those of the other methods with the method in front); `blessing`
    gets TFX's properties and files, `reasons`, a JSON list of sentences, and `served_version`, the newest one when judging began.

    Raises:
        ValueError: the test split has no tracks or no catalogue, or model and tracks do not fit each other.
    """
    del served_elsewhere, pinned
    settings = configuration.from_json(config)
    served = ModelDirectory.newest(serving_directory)
    tracks = _chosen(examples.uri, settings)
    models = {"model": rivals.serving_dir(model)}
    needed = settings.data.sample_rate_hz, settings.data.channels, settings.model.targets
    line("loading the candidate, and what it is judged against")
    judging.load_separator(models["model"]).check_fits(*needed)
    baseline = rivals.baseline(model, baseline_model, served)
    with contextlib.ExitStack() as fetched:

        def judge(method: str, directory: str, name: str) -> str:
            local = str(fetched.enter_context(storage.local(directory)))
            try:
                judging.load_separator(local).check_fits(*needed)
            except ValueError as error:
                return f"the {name} cannot be judged on these tracks: {str(error).replace(local, directory)}"
            models[method] = local
            return ""

        unfit = judge("baseline", baseline.directory, "last blessed model") if baseline.directory else ""
        anchor = rivals.anchored(anchors, settings.gate, model, baseline, judge)
        task = JudgingTask(examples.uri, tracks, models, settings)
        state = storage.path(os.path.join(evaluations, judging.key(task)))
        scores = judging.judge_tracks(beam_pipeline, task, state)
    ingested = catalogue.read(examples.uri)
    leaked = _leaked(examples.uri, tracks, settings)
    data = drift.describe(ingested, settings.gate.drift)
    facts = _facts(models["model"], settings)
    result = conclude(scores, settings, unfit, facts, leaked.refused, anchor=anchor.judged_as)
    if data.words:
        line(f"drift: {data.words}", "yellow")
        if settings.gate.drift.refuse:
            verdict = Verdict((*result.verdict.checks, Check(False, data.words, "drift")))
            result = dataclasses.replace(result, verdict=verdict)
    clean = (
        () if leaked.refused or leaked.told else (f"no recording of the {len(tracks)} test tracks is in another split",)
    )
    told = [Check(True, words, "leak") for words in (*leaked.told, *clean)]
    result = dataclasses.replace(result, verdict=Verdict((*result.verdict.checks, *told)))
    directory = Path(evaluation.uri)
    results.write(result, directory)
    files.write_text(directory / drift.FILE, drift.to_json(data))
    inside, kept = _shown(result, task)
    line(f"writing the report, with {len(inside)} tracks to listen to")
    write_report(result, inside, directory / REPORT, f"Model {model.uri}", data=data, kept=kept)
    _publish_scores(evaluation, result)
    anchor.move(result, settings.gate, model, baseline)
    told = {**baseline.described, **anchor.described, SERVED_VERSION: served.version if served else 0}
    _bless(blessing, result, model, told)
    storage.remove(state)


@component(use_beam=True)
def BaselinesEvaluator(
    examples: InputArtifact[standard_artifacts.Examples],
    config: Parameter[str],
    evaluations: Parameter[str],
    evaluation: OutputArtifact[standard_artifacts.ModelEvaluation],
    beam_pipeline: BeamComponentParameter[beam.Pipeline] = None,  # pyright: ignore[reportArgumentType]  # TFX fills it
) -> None:
    """Judges what needs no model on the test split: the mixture and `evaluate.baselines`.

    `evaluation` gets summary.json, scores.csv and museval's JSON, and finite scores as custom properties
    `<method>/<target>/<version>/<metric>`. `evaluations` is as that of BssEvaluator.

    Raises:
        ValueError: the test split has no tracks or no catalogue.
    """
    settings = configuration.from_json(config)
    task = JudgingTask(examples.uri, _chosen(examples.uri, settings), {}, settings)
    state = storage.path(os.path.join(evaluations, judging.key(task)))
    result = conclude(judging.judge_tracks(beam_pipeline, task, state), settings, gated=False)
    results.write(result, Path(evaluation.uri))
    _publish_scores(evaluation, result)
    storage.remove(state)


# --- what is judged --------------------------------------------------------------------------------------------------


def _chosen(artifact_uri: str, config: Config) -> list[IngestedTrack]:
    entries = {entry.name: entry for entry in catalogue.read(artifact_uri) if entry.split == SPLIT}
    if not entries:
        raise ValueError(f"split {SPLIT!r} of the examples in {artifact_uri} has no tracks to judge a model by")
    return [entries[name] for name in spread(sorted(entries), config.evaluate.max_tracks)]


def _leaked(artifact_uri: str, tracks: Sequence[IngestedTrack], config: Config) -> ruling.Ruling:
    """What `gate.leaks` makes of recordings in two splits; of the test split, those in the tracks that are judged."""
    judged = {track.name for track in tracks}
    found = [leak for leak in leaks.read(artifact_uri) if leak.split != SPLIT or leak.track in judged]
    return ruling.ruled(found, config.gate.leaks, corpus.published(artifact_uri))


def _facts(directory: str, config: Config) -> ModelFacts:
    """What the model costs; its speed is measured, in a process of its own, only where the gate has a budget for it."""
    factor = None
    if config.gate.budgets.real_time_factor is not None:
        line("measuring how fast the candidate is")
        [factor] = process.call(speed.factors, [directory])
    size = sum(path.stat().st_size for path in Path(directory).rglob("*") if path.is_file())
    return ModelFacts(factor, size / 1e6, ModelDirectory(directory).description["parameters"])


# --- what comes of it ------------------------------------------------------------------------------------------------


def _shown(result: Evaluation, task: JudgingTask) -> tuple[list[Shown], list[Shown]]:
    """The tracks that the report plays, and those whose audio is kept beside it.

    They are separated once more, one at a time: keeping all estimates would take more room than time.
    """
    config = task.config
    threshold = next(iter(config.gate.thresholds), None)
    metric = threshold.metric if threshold else f"{config.evaluate.metrics[0]}/SDR"
    target = threshold.target if threshold else config.model.targets[0]
    files = {track.name: task.file(track) for track in task.tracks}

    def load(name: str) -> Heard:
        track = judging.read_track(files[name], name, config)
        separators = {method: judging.load_separator(model) for method, model in task.models.items()}
        return Heard(track, {each: sep(track.mixture, track.sample_rate_hz) for each, sep in separators.items()})

    def shown(chosen: Mapping[str, str]) -> list[Shown]:
        return [Shown(rank, name, functools.partial(load, name)) for rank, name in chosen.items()]

    return (
        shown(choose_tracks(result, metric, target, config.evaluate.tracks_in_report)),
        shown(worst_tracks(result, metric, target, config.evaluate.keep_audio)),
    )


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
    properties: Mapping[str, str | int],
) -> None:
    """What TFX's Evaluator would write, so that Resolver and Pusher understand it, the reasons, and `properties`."""
    blessed = result.verdict.blessed
    told = {
        constants.ARTIFACT_PROPERTY_CURRENT_MODEL_URI_KEY: model.uri,
        constants.ARTIFACT_PROPERTY_CURRENT_MODEL_ID_KEY: model.id,
        constants.ARTIFACT_PROPERTY_BLESSED_KEY: constants.BLESSED_VALUE if blessed else constants.NOT_BLESSED_VALUE,
        "reasons": json.dumps(result.verdict.reasons),
        **properties,
    }
    for name, value in told.items():
        if isinstance(value, int):
            blessing.set_int_custom_property(name, value)
        else:
            blessing.set_string_custom_property(name, value)
    name = constants.BLESSED_FILE_NAME if blessed else constants.NOT_BLESSED_FILE_NAME
    files.write_text(Path(blessing.uri) / name, "\n".join(result.verdict.reasons) + "\n")
