"""`stemline evaluate --references`: judges anybody's separated files, or a SavedModel, without a pipeline run or TFX."""

from __future__ import annotations

import concurrent.futures
import csv
import functools
import io
import multiprocessing
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import threadpoolctl

from models.directory import refuse_no_model
from models.spec import ModelSpec
from pipeline.common import files, process, progress
from pipeline.config.config import Config, DataConfig, EvaluateConfig
from pipeline.config.gate import Budgets, GateConfig
from pipeline.data.datasets.track import BadTrackError, printable
from pipeline.evaluation import results
from pipeline.evaluation.bss_eval.score import Engine
from pipeline.evaluation.evaluation import Evaluation, conclude
from pipeline.evaluation.report import beside
from pipeline.evaluation.report.page import choose_tracks, worst_tracks, write_report
from pipeline.evaluation.report.rooms import Heard, Shown
from pipeline.evaluation.scores import VERSIONS, TrackScores, score_track
from pipeline.evaluation.separated_files import finding, matching, reading
from pipeline.evaluation.separated_files import targets as of_targets
from pipeline.evaluation.separated_files.matching import Matched, Pair
from pipeline.evaluation.separated_files.reading import Fit, Loaded

if TYPE_CHECKING:
    from serving.client import Client

_LISTED = 3


@dataclass(frozen=True)
class Request:
    """What is judged, and how. Of `estimates` and `model` one is given, of the baselines one or none.

    targets: none for those that were separated. metrics, window_seconds: none for those of the recipe, or the usual ones.
    gate: the recipe whose gate judges; None for scores alone.
    engine: "reference" has museval and mir_eval themselves compute.
    keep_audio: of how many tracks, the worst first, the whole audio lies beside the report; None for the recipe's.
    """

    references: Path
    estimates: Path | None = None
    model: Path | None = None
    baseline_estimates: Path | None = None
    baseline_model: Path | None = None
    targets: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()
    window_seconds: float | None = None
    max_bad_tracks: int = 0
    jobs: int = 0
    gate: Config | None = None
    engine: Engine = "stemline"
    keep_audio: int | None = None


@dataclass(frozen=True)
class Work:
    """What is the same for every track: all that a process needs besides the pair itself."""

    targets: tuple[str, ...]
    settings: EvaluateConfig
    models: Mapping[str, Path]
    engine: Engine


@dataclass(frozen=True)
class Found:
    """What was matched with what, known before anything is computed: method -> matches; track -> why it is left out."""

    references: Path
    pairs: tuple[Pair, ...]
    targets: tuple[str, ...]
    matched: Mapping[str, Matched]
    bad: Mapping[str, str]


@dataclass(frozen=True)
class Judged:
    """The evaluation, track -> reason of those that could not be judged, and the estimates that had to be fitted."""

    evaluation: Evaluation
    bad: Mapping[str, str]
    fits: Mapping[str, tuple[Fit, ...]]
    work: Work
    pairs: tuple[Pair, ...]

    @property
    def labels(self) -> dict[str, str]:
        """Method -> what it is here: files or a model."""
        kinds = {method: "model" if method in self.work.models else "estimates" for method in ("model", "baseline")}
        return {"model": kinds["model"], "baseline": f"baseline {kinds['baseline']}"}

    @property
    def accepted(self) -> bool:
        """The gate's verdict; without a gate there is nothing to refuse."""
        return not self.evaluation.gated or self.evaluation.verdict.blessed

    @property
    def reasons(self) -> list[str]:
        """Every check of the gate in words; without a gate only what is wrong with the estimates."""
        verdict = self.evaluation.verdict
        if self.evaluation.gated:
            return list(verdict.reasons)
        return [f"note: {check.words}" for check in verdict.checks if not check.passed and check.kind == "output"]


@dataclass(frozen=True)
class _Outcome:
    name: str
    scores: TrackScores | None = None
    fits: tuple[Fit, ...] = ()
    problem: str = ""


def evaluate(request: Request, tell: Callable[[Found], None] = lambda found: None) -> Judged:
    """Judges every track of the request, each in one of `jobs` processes; the figures do not depend on how many.

    Args:
        tell: called with what was matched, before anything is refused for it or computed.

    Raises:
        ValueError: illegal options, no track, or more unusable ones than `max_bad_tracks`.
    """
    _check_options(request)
    references = finding.references(request.references)
    directories = {"model": request.estimates, "baseline": request.baseline_estimates}
    matched = {
        method: matching.match(references, path, without=request.references)
        for method, path in directories.items()
        if path is not None
    }
    found, bad = matching.pair(references, matched)
    if not found:
        _limit(bad, request.max_bad_tracks, 0)
    work = _work(request, found)
    bad |= _unusable(found, work.targets)
    usable = tuple(each for each in found if each.name not in bad)
    tell(Found(request.references, usable, work.targets, matched, bad))
    _limit(bad, request.max_bad_tracks, len(usable))
    outcomes = sorted(_outcomes(usable, work, request.jobs), key=lambda each: each.name)
    problems = {each.name: each.problem for each in outcomes if each.problem}
    _limit(bad | problems, request.max_bad_tracks, len(usable) - len(problems))
    scores = [each.scores for each in outcomes if each.scores]
    result = conclude(scores, _config(request, work), gated=request.gate is not None)
    fits = {each.name: each.fits for each in outcomes if each.fits}
    return Judged(result, bad | problems, fits, work, usable)


def check_output(directory: Path, inputs: Sequence[Path | None] = ()) -> None:
    """Raises ValueError if results cannot be written there, would mix with files of another origin, or replace the inputs."""
    if directory.exists() and not directory.is_dir():
        raise ValueError(f"--output {directory} is a file; a directory is needed")
    if file := next((parent for parent in directory.absolute().parents if parent.is_file()), None):
        raise ValueError(f"--output {directory} lies below {file}, which is a file; a directory is needed")
    for name in ("museval", beside.FOLDER):
        if (directory / name).exists() and not (directory / "summary.json").exists():
            raise ValueError(
                f"--output {directory} holds a folder {name} that is not of stemline evaluate; choose another"
            )
    files.refuse_unwritable(directory, "--output")
    for path in inputs:
        if path is not None and path.resolve().is_relative_to((directory / beside.FOLDER).resolve()):
            raise ValueError(f"--output {directory} would replace {path}, which is to be judged; choose another")


def write(judged: Judged, directory: Path) -> list[Path]:
    """Writes museval's JSON, scores.csv, files.csv, summary.json, report.html and, where it is kept, audio over those of
    before; returns what was written.
    """
    check_output(directory)
    if (directory / "museval").exists():
        shutil.rmtree(directory / "museval")
    results.write(judged.evaluation, directory)
    files.write_text(directory / "files.csv", _files_csv(judged))
    path = directory / "report.html"
    pairs = {each.name: each for each in judged.pairs}
    caption = f"{len(judged.bad)} of {len(judged.pairs) + len(judged.bad)} tracks left out" if judged.bad else ""
    metric = f"{judged.work.settings.metrics[0]}/SDR"
    settings, target = judged.work.settings, judged.work.targets[0]

    def shown(chosen: Mapping[str, str]) -> list[Shown]:
        return [Shown(rank, name, functools.partial(_heard, pairs[name], judged.work)) for rank, name in chosen.items()]

    inside = shown(choose_tracks(judged.evaluation, metric, target, settings.tracks_in_report))
    kept = shown(worst_tracks(judged.evaluation, metric, target, settings.keep_audio))
    write_report(judged.evaluation, inside, path, caption, labels=judged.labels, kept=kept)
    audio = [directory / beside.FOLDER] if kept else []
    return [path, *(directory / name for name in ("scores.csv", "files.csv", "summary.json", "museval")), *audio]


def document(judged: Judged) -> dict[str, Any]:
    """As plain values: scores and how they came about, every file, what was left out or fitted, the gate's verdict."""
    told = results.summary(judged.evaluation)
    gated = judged.evaluation.gated
    return {
        "accepted": judged.accepted if gated else None,
        "reasons": judged.reasons,
        "tracks": told["tracks"],
        "targets": told["targets"],
        "methods": {method: judged.labels.get(method, method) for method in judged.evaluation.methods},
        "versions": told["versions"],
        "scores_db": told["scores"],
        "files": [dict(zip(_FILE, row, strict=True)) for row in _file_rows(judged)],
        "left_out": [{"track": name, "reason": reason} for name, reason in sorted(judged.bad.items())],
    }


_FILE = "track", "reference", "method", "target", "file", "matched", "fitted"


def _files_csv(judged: Judged) -> str:
    """A line for each file of estimates that was judged: as what, against what, and what was done to it before."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([_FILE, *_file_rows(judged)])
    return text.getvalue()


def _file_rows(judged: Judged) -> Iterator[tuple[str, ...]]:
    for each in (each for each in judged.pairs if each.name not in judged.bad):
        fits = {fit.path: fit for fit in judged.fits.get(each.name, ())}
        for method, files_of in each.estimates.items():
            for target, path in reading.chosen(each, method, judged.work.targets).items():
                fitted = "; ".join(fits[path].words) if path in fits else ""
                where, file = printable(str(each.references.where)), printable(str(path))
                yield each.name, where, method, target, file, files_of.rule, fitted


def _check_options(request: Request) -> None:
    if unknown := [metric for metric in request.metrics if metric not in VERSIONS]:
        raise ValueError(f"--metrics has {unknown[0]!r}; legal: {', '.join(VERSIONS)}, separated by commas")
    if len(set(request.metrics)) != len(request.metrics):
        raise ValueError(f"--metrics is {','.join(request.metrics)!r}; legal: {', '.join(VERSIONS)}, none twice")
    if request.window_seconds is not None and not 0 < request.window_seconds < float("inf"):
        raise ValueError(f"--window is {request.window_seconds:g} s; it must be above 0")
    if (request.estimates is None) == (request.model is None):
        raise ValueError("with --references exactly one of --estimates and --model is needed")
    if request.baseline_estimates is not None and request.baseline_model is not None:
        raise ValueError("of --baseline-estimates and --baseline-model only one can be given")
    of_targets.check(request.targets)
    for model in (request.model, request.baseline_model):
        if model is not None:
            refuse_no_model(model)


def _work(request: Request, found: Sequence[Pair]) -> Work:
    models = {"model": request.model, "baseline": request.baseline_model}
    models = {method: path.resolve() for method, path in models.items() if path is not None}
    settings = request.gate.evaluate if request.gate else EvaluateConfig()
    settings = replace(
        settings,
        metrics=request.metrics or settings.metrics,
        window_seconds=request.window_seconds or settings.window_seconds,
        baselines=(),
        keep_audio=settings.keep_audio if request.keep_audio is None else request.keep_audio,
    )
    targets = request.gate.model.targets if request.gate else request.targets
    if not targets and "model" in models:
        targets = of_targets.in_order(_separator(models["model"]).targets)
    if not targets:
        estimates = [each.estimates["model"] for each in found]
        targets = of_targets.choose([each.references for each in found], estimates)
    return Work(tuple(targets), settings, models, request.engine)


def _config(request: Request, work: Work) -> Config:
    """The configuration that the evaluation is concluded by: the recipe's gate, or none."""
    if request.gate:  # what a model costs is not seen from files
        return replace(request.gate, evaluate=work.settings, gate=replace(request.gate.gate, budgets=Budgets()))
    judged = request.estimates or request.model
    name = printable(judged.resolve().name) if judged else ""
    return Config(
        name,
        data=DataConfig(targets=work.targets),
        model=ModelSpec(targets=work.targets),
        evaluate=work.settings,
        gate=GateConfig(better_than_mixture=False),
    )


def _unusable(found: Sequence[Pair], targets: Sequence[str]) -> dict[str, str]:
    """Track -> reason, from names and headers: nobody should wait an hour for what can be said at once."""
    bad = {}
    for each in found:
        try:
            reading.check_pair(each, targets)
        except BadTrackError as error:
            bad[each.name] = str(error)
    return bad


def _limit(bad: Mapping[str, str], most: int, usable: int) -> None:
    """Refuses too many unusable tracks, and none that is usable."""
    if len(bad) <= most and usable:
        return
    reasons = [f"{name}: {reason}" for name, reason in sorted(bad.items())]
    listed = "; ".join(reasons[:_LISTED]) + (f"; and {len(reasons) - _LISTED} more" if len(reasons) > _LISTED else "")
    raise ValueError(
        f"{len(bad)} of {len(bad) + usable} tracks cannot be judged, where --max-bad-tracks allows {most} "
        f"and one must be left: {listed}"
    )


def _outcomes(found: Sequence[Pair], work: Work, jobs: int) -> Iterator[_Outcome]:
    """One for each pair, as they are done. Models run in one process: TensorFlow uses all cores anyway."""
    jobs = min(jobs or (1 if work.models else os.cpu_count() or 1), len(found))
    with progress.counting("judging", "judged", "tracks", beside=jobs) as show:
        outcomes = (_score_pair(each, work) for each in found) if jobs == 1 else _by_processes(found, work, jobs)
        for done, outcome in enumerate(outcomes, start=1):
            show(done, len(found))
            yield outcome


def _by_processes(found: Sequence[Pair], work: Work, jobs: int) -> Iterator[_Outcome]:
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(jobs, context, initializer=process.begin) as processes:
        with process.deaf():
            waiting = [processes.submit(_score_pair, each, work) for each in found]
        try:
            yield from (done.result() for done in concurrent.futures.as_completed(waiting))
        except concurrent.futures.process.BrokenProcessPool as error:
            raise ValueError("a process was killed: is there too little memory for so many --jobs?") from error
        finally:
            processes.shutdown(wait=False, cancel_futures=True)


def _score_pair(each: Pair, work: Work) -> _Outcome:
    """One thread for the linear algebra, so that the last digit does not depend on how many processes share the cores."""
    try:
        with threadpoolctl.threadpool_limits(1):
            loaded = _load(each, work)
            methods = {"mixture": dict.fromkeys(work.targets, loaded.track.mixture), **loaded.estimates}
            scores = score_track(
                loaded.track,
                methods,
                work.targets,
                work.settings.metrics,
                work.settings.window_seconds,
                work.engine,
            )
    except ValueError as error:
        return _Outcome(each.name, problem=process.sentence(error))
    return _Outcome(each.name, scores, loaded.fits)


def _load(each: Pair, work: Work) -> Loaded:
    """The pair with the estimates of its files and of the models."""
    loaded = reading.load(each, work.targets)
    track = loaded.track
    separated = {
        method: _separator(directory).separate(track.mixture, track.sample_rate_hz)
        for method, directory in work.models.items()
    }
    return replace(loaded, estimates={**loaded.estimates, **separated})


def _heard(each: Pair, work: Work) -> Heard:
    """The pair, read or separated once more: to keep all estimates would take too much room."""
    loaded = _load(each, work)
    return Heard(loaded.track, loaded.estimates)


@functools.lru_cache(maxsize=2)
def _separator(directory: Path) -> Client:
    """The model and its baseline, loaded once in every process; they run as `stemline separate` runs them."""
    from serving.local import local_client

    return local_client(directory)
