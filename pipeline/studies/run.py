"""Every variant of a study with every seed: which ones run, in which order, and what came out.

Each training is a run of its own pipeline in a process of its own, all in one workdir, so a study that was stopped goes on where
it was. The data are ingested, validated, and judged without a model once, in a pipeline that has the study's name, whose
Examples the other pipelines take over.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.text import Text

from models.spec import ModelSpec
from pipeline.common import files, process
from pipeline.common.progress import Pace, console, time_left
from pipeline.config.config import Config, from_json, to_json
from pipeline.data import catalogue, corpus
from pipeline.evaluation.scores import TrackScores
from pipeline.runs.workdir import Workdir
from pipeline.studies import page
from pipeline.studies.result import Result, Trial
from pipeline.studies.study import Planned, Study, compared_with

if TYPE_CHECKING:
    from pipeline.data.catalogue import IngestedTrack
    from pipeline.runs.history import Run


def run(study: Study, planned: Sequence[Planned], workdir: Workdir, output: Path, command: str) -> Result:
    """Trains and judges what `study.plan` gives, measures the speed of the models, and writes figures, page and plots.

    A trial that fails is one with its `problem`; the others go on. Its figures are written as soon as it has them.

    Raises:
      ValueError: networks or losses that would be refused later, data that cannot be ingested, or another run at work in
        `workdir`.
    """
    minutes = sum(each.config.train.cpu_minutes or 0 for each in planned)
    console.print(f"[bold]data and baselines[/bold], then {len(planned)} trainings of {minutes:g} CPU minutes together")
    plain = {each.variant: to_json(each.config) for each in reversed(planned)}
    shared = process.call(_shared, to_json(_without_model(study, planned[0].config)), str(workdir.root), plain)
    ingested = shared.outputs["Examples"].uri
    tracks = catalogue.read(ingested)
    keys = fingerprints(planned, digest(study.target, tracks))
    known = _known(output, workdir)
    # A pupil that is still to be trained needs its teacher's model, not its figures alone.
    teaching = {each.config.train.teacher for each in planned if keys[each.config.name] not in known}
    finished = {
        name: known[key]
        for name, key in keys.items()
        if key in known and (name not in teaching or (workdir.root / known[key].model).is_dir())
    }
    pending, pace = [name for name in keys if name not in finished], Pace()
    old = Result.read(output, study.name)
    result = Result.begin(study, compared_with(study, planned), command, shared, tracks)
    made: dict[str, Trial] = {}
    for place, each in enumerate(planned, start=1):
        seed = f", seed {each.seed}" if len(study.seeds) > 1 else ""
        console.print(
            Text.assemble((each.variant, "bold"), f"{seed} ({place} of {len(planned)}{time_left(pace.left)})")
        )
        name, key = each.config.name, keys[each.config.name]
        if name in finished:
            console.print("finished before")
            made[name] = Trial.begin(each, key).with_figures(finished[name])
        else:
            made[name] = _trial(each, key, result, workdir, ingested, made.get(each.config.train.teacher or ""))
            pace.at((pending.index(name) + 1) / len(pending))
        result = result.with_trial(made[name])
        # With the trials still to come as they are from before: stopped now, they are not made again.
        rest = {(later.variant, later.seed) for later in planned[place:]}
        kept = [trial for trial in old.trials if (trial.variant, trial.seed) in rest] if old else []
        whole = dataclasses.replace(result, trials=(*result.trials, *kept))
        files.write_text(output / f"{study.name}.json", whole.to_json())
    result = _timed(result, workdir)
    page.write(result, output)
    return result


def _without_model(study: Study, config: Config) -> Config:
    """What all variants have in common: the data, and the judging of what needs no model."""
    data = config.data
    spec = ModelSpec(targets=data.targets, sample_rate_hz=data.sample_rate_hz)
    baselines = tuple(each for each in study.baselines if each != "rpca" or "vocals" in data.targets)
    evaluate = dataclasses.replace(config.evaluate, baselines=baselines)
    return Config(study.name, data=data, model=spec, evaluate=evaluate, beam=config.beam, metadata=config.metadata)


def _shared(config: str, root: str, variants: dict[str, str]) -> Run:
    """The run of what all have in common, after a look at every variant, in the process that this is called in."""
    from pipeline.orchestration import preflight

    for label, variant in variants.items():
        try:
            preflight.check_recipe(from_json(variant))
        except ValueError as error:
            raise ValueError(f"{from_json(config).name}: {label}: {error}") from error
    preflight.check_run(from_json(config), corpus.usable(from_json(config).data), Workdir(Path(root)))
    from pipeline.orchestration.local_runner import run_local

    return run_local(from_json(config), Workdir(Path(root)), "baselines")


def _pipeline(config: str, root: str, ingested: str) -> tuple[Run, tuple[TrackScores, ...]]:
    """One run of a pipeline and its model's scores by track, in the process that this is called in."""
    from pipeline.orchestration import preflight

    resolved, workdir = from_json(config), Workdir(Path(root))
    preflight.check_run(resolved, corpus.usable(resolved.data), workdir)
    from pipeline.orchestration.local_runner import run_local
    from pipeline.runs import life

    done = run_local(resolved, workdir, "push", ingested)
    return done, life.tracks(done.outputs["ModelEvaluation"].uri)


def _trial(planned: Planned, key: str, result: Result, workdir: Workdir, ingested: str, teacher: Trial | None) -> Trial:
    config = planned.config
    if teacher and teacher.problem:
        return _failed(planned, key, f"its teacher {teacher.variant} failed")
    try:
        run, tracks = process.call(_pipeline, to_json(config), str(workdir.root), ingested)
    except process.ProcessError as error:
        return _failed(planned, key, str(error))
    return Trial.begin(planned, key).finished(run, tracks, result, workdir.root)


def fingerprints(planned: Sequence[Planned], heard: str) -> dict[str, str]:
    """Pipeline -> what changes with whatever the figures of its trial depend on, and with nothing that a study or a machine
    calls its own.

    heard: the digest of the tracks.
    """
    found: dict[str, str] = {}
    for each in planned:  # teachers first
        config, teacher = each.config, each.config.train.teacher
        same = dataclasses.replace(
            config.only("data", "model", "train", "evaluate", "gate", "serve"),
            **dict.fromkeys(("paper", "published", "command", "expected"), ""),
            name="trial",
            data=dataclasses.replace(config.data, path=""),
            train=dataclasses.replace(config.train, teacher=teacher and "teacher"),
        )
        found[config.name] = _sha256(to_json(same), heard, found[teacher] if teacher else "")
    return found


def digest(target: str, tracks: Sequence[IngestedTrack]) -> str:
    """Of what is trained on and judged; target: the one whose figures trials keep clip by clip."""
    # The samples of the mixture, and levels and peaks of every stem in every segment: a stem that was mended is another track.
    told = [
        (track.name, track.split, track.samples, track.metadata, track.fingerprint.get("digest"), track.measured)
        for track in tracks
    ]
    return _sha256(target, json.dumps(told, sort_keys=True))


def _sha256(*words: str) -> str:
    return hashlib.sha256("\0".join(words).encode(errors="surrogatepass")).hexdigest()[:16]


def _known(output: Path, workdir: Workdir) -> dict[str, Trial]:
    """Fingerprint -> a finished trial of any study that is told of in `output` or in the workdir."""
    files_of = [*(workdir.root / "studies").glob("*/*.json"), *output.glob("*.json")]
    results = (Result.read(path.parent, path.stem) for path in sorted(files_of))
    return {trial.fingerprint: trial for result in results if result for trial in result.finished}


def _failed(planned: Planned, key: str, problem: str) -> Trial:
    console.print(Text(f"{planned.variant} failed: {problem}", style="red"))
    return Trial.begin(planned, key, problem)


def _timed(result: Result, workdir: Workdir) -> Result:
    """A model of every variant that is here measured in one process, one after the other; as before when all were."""
    trials = [*{each.variant: each for each in reversed(result.finished)}.values()]
    here = [trial for trial in trials if (workdir.root / trial.model).is_dir()]
    if not here or all(trial.real_time_factor is not None for trial in trials):
        return result
    console.print(f"[bold]speed[/bold] of {len(here)} models on one thread")
    factors = process.call(_factors, [str(workdir.root / trial.model) for trial in here])
    for trial, factor in zip(here, factors, strict=True):
        result = result.with_trial(dataclasses.replace(trial, real_time_factor=factor))
    return result


def _factors(directories: Sequence[str]) -> list[float]:
    from pipeline.evaluation import speed

    return speed.factors(directories)
