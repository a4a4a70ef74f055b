"""What a study says: one trial a training, the baselines, and how all of it came about; as JSON and back."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import math
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.directory import ModelDirectory
from pipeline.config.gate import PairedConfig
from pipeline.evaluation.evaluation import spread
from pipeline.evaluation.gate import paired
from pipeline.evaluation.scores import TrackScores, figure_of, score_name
from pipeline.studies.study import Claim, Planned, Study, told_as

if TYPE_CHECKING:
    from pipeline.data.catalogue import IngestedTrack
    from pipeline.runs.history import Run

METRICS = {"v3": ("v3/GNSDR", "v3/GSIR", "v3/GSAR"), "v4": ("v4/SDR", "v4/SIR", "v4/SAR")}
_WINDOW_SECONDS = 1.0


@dataclass(frozen=True)
class Trial:
    """One training. `scores`: `<target>/<version>/<metric>` -> dB; `clips`: metric -> dB of each of the study's clips.

    curve: (steps, CPU minutes, dev loss) of every evaluation. model: its directory in the workdir. problem: why there is no
    score; refused: why it was not pushed.
    """

    variant: str
    series: str
    point: str
    recipe: str
    changes: str
    seed: int
    paper: str
    published: str
    loss: str
    fingerprint: str
    date: str = ""
    machine: str = ""
    parameters: int | None = None
    latency_ms: float | None = None
    cpu_minutes: float | None = None
    steps: int | None = None
    scores: Mapping[str, float] = dataclasses.field(default_factory=dict)
    clips: Mapping[str, Sequence[float | None]] = dataclasses.field(default_factory=dict)
    curve: Sequence[Sequence[float]] = ()
    real_time_factor: float | None = None
    model: str = ""
    refused: str = ""
    problem: str = ""

    @property
    def online(self) -> bool:
        """Answers while it listens: the exported model has a latency."""
        return self.latency_ms is not None

    @classmethod
    def begin(cls, planned: Planned, fingerprint: str, problem: str = "") -> Trial:
        """A trial before its run, or one whose run failed."""
        config = planned.config
        told = config.paper, config.published, config.train.loss, fingerprint
        made_of = planned.series, planned.point, planned.recipe, planned.changes
        return cls(planned.variant, *made_of, planned.seed, *told, problem=problem)

    def with_figures(self, of: Trial) -> Trial:
        """The trial with what another study, perhaps on another machine, has found of the same training."""
        return dataclasses.replace(self, **{name: getattr(of, name) for name in _FIGURES})

    def finished(self, run: Run, tracks: Sequence[TrackScores], result: Result, root: Path) -> Trial:
        """The trial with what its run put out."""
        model = run.model or ""
        description = ModelDirectory(model).description
        by_name = {track.track: track for track in tracks}
        figures = {metric: figure_of("model", result.target, metric) for metric in METRICS[result.version]}
        return dataclasses.replace(
            self,
            date=f"{(run.trained_by or run).started:%Y-%m-%d}",
            machine=machine(),
            parameters=description["parameters"],
            latency_ms=description.get("latency_ms"),
            cpu_minutes=run.training.get("cpu_minutes"),
            steps=run.training.get("steps"),
            scores=run.scores,
            clips={
                metric: [_finite(by_name[clip].score(figure)) if clip in by_name else None for clip in result.clips]
                for metric, figure in figures.items()
            },
            curve=run.training.get("stages", [{}])[-1].get("curve", ()),
            model=os.path.relpath(model, root),
            refused=""
            if run.pushed
            else "; ".join(each.removeprefix("refused: ") for each in run.reasons if not each.startswith("ok")),
        )


_FIGURES = (
    *("date", "machine", "parameters", "latency_ms", "cpu_minutes", "steps", "scores", "clips", "curve"),
    *("real_time_factor", "model", "refused"),
)


@dataclass(frozen=True)
class Result:
    """A study's outcome. `baselines`: method -> `<target>/<version>/<metric>` -> dB; `data`: its layout and folder's name.

    set: what holds for all variants, in YAML. first: the variant that others are compared with. choices: on which tracks its figures are, and what they may decide. clips: the judged tracks, with `seconds` and the `groups`
    (singers, …) that they belong to, empty where each stands for itself.
    """

    name: str
    title: str
    command: str
    data: str
    set: str
    choices: str
    targets: tuple[str, ...]
    target: str
    version: str
    first: str
    seeds: tuple[int, ...]
    cpu_minutes: float
    software: str
    plots: tuple[str, ...]
    baselines: Mapping[str, Mapping[str, float]]
    clips: tuple[str, ...] = ()
    seconds: tuple[float, ...] = ()
    groups: tuple[str, ...] = ()
    claims: tuple[Claim, ...] = ()
    trials: tuple[Trial, ...] = ()

    @classmethod
    def begin(
        cls, study: Study, first: Planned, command: str, judged: Run, ingested: Sequence[IngestedTrack]
    ) -> Result:
        """A study without trials: what its file, the run that judged the baselines and the ingested tracks say."""
        data = first.config.data
        baselines: dict[str, dict[str, float]] = {}
        for name, value in judged.outputs["ModelEvaluation"].properties.items():
            method, _, score = name.partition("/")
            if score.count("/") == 2:
                baselines.setdefault(method, {})[score] = float(value)
        tested = {track.name: track for track in ingested if track.split == "test"}
        tracks = [tested[name] for name in spread(sorted(tested), first.config.evaluate.max_tracks)]
        groups = paired.clusters_of([track.metadata for track in tracks], PairedConfig())
        folder = f", folder {Path(data.path).name}" if data.path else ""
        return cls(
            name=study.name,
            title=study.title or study.name,
            command=command,
            data=f"format {data.format}{folder}, {data.sample_rate_hz} Hz, {len(tracks)} clips",
            set=told_as(study.set),
            choices=_choices(data.choose_on),
            targets=tuple(data.targets),
            target=study.target,
            version=study.metrics,
            first=first.variant,
            seeds=study.seeds,
            cpu_minutes=study.cpu_minutes,
            software=f"TensorFlow {importlib.metadata.version('tensorflow')}, Python {platform.python_version()}",
            plots=study.plots,
            baselines=baselines,
            clips=tuple(track.name for track in tracks),
            seconds=tuple(round(track.seconds, 3) for track in tracks),
            groups=tuple(groups or ()),
            claims=study.claims,
        )

    @classmethod
    def from_json(cls, text: str) -> Result:
        """The inverse of `to_json`.

        Raises:
          ValueError: the text is something else.
        """
        try:
            told = json.loads(text)
            fields = {each.name: told[each.name] for each in dataclasses.fields(cls) if each.name in told}
            lists = {key: tuple(value) for key, value in fields.items() if isinstance(value, list)}
            claims = tuple(Claim(**each) for each in fields.get("claims", ()))  # 0.2.0 wrote none
            trials = tuple(Trial(**each) for each in fields["trials"])
            return cls(**{**fields, **lists, "claims": claims, "trials": trials})
        except (TypeError, KeyError, AttributeError, json.JSONDecodeError) as error:
            raise ValueError(f"this is no study that this version wrote: {error}") from error

    @classmethod
    def read(cls, directory: Path, name: str) -> Result | None:
        """The result that was written to a directory; None when there is none, or none of this version."""
        path = directory / f"{name}.json"
        try:
            return cls.from_json(path.read_text()) if path.exists() else None
        except ValueError:
            return None

    @classmethod
    def shipped(cls) -> Result:
        """The leaderboard that comes with the project."""
        return cls.from_json(resources.files("pipeline.studies.results").joinpath("leaderboard.json").read_text())

    def to_json(self, **more: Any) -> str:
        """The result as JSON text; more: what follows from it."""
        return json.dumps({**dataclasses.asdict(self), **more}, indent=1, allow_nan=False) + "\n"

    @property
    def metrics(self) -> tuple[str, str, str]:
        """The figures of the table, that which ranks first."""
        return METRICS[self.version]

    @property
    def failed(self) -> list[Trial]:
        """The trials that have no score."""
        return [trial for trial in self.trials if trial.problem]

    @property
    def finished(self) -> list[Trial]:
        """The trials that have one."""
        return [trial for trial in self.trials if self.score(trial.scores, self.metrics[0]) is not None]

    def score(self, scores: Mapping[str, float], metric: str, target: str | None = None) -> float | None:
        """A figure of a trial or a baseline in dB, None where there is none."""
        return scores.get(score_name(target or self.target, metric))

    def with_trial(self, trial: Trial) -> Result:
        """With the trial in the place of an earlier one of the same variant and seed, or at the end."""
        trials = {(each.variant, each.seed): each for each in self.trials} | {(trial.variant, trial.seed): trial}
        return dataclasses.replace(self, trials=tuple(trials.values()))


def short(paper: str) -> str:
    """`Huang et al., MIREX 2014` of `Huang, Kim, ...: Title (MIREX 2014)`; two authors are both named."""
    authors, _, title = paper.partition(":")
    names = [name.strip() for name in authors.split(",")]
    who = f"{names[0]} et al." if len(names) > 2 else " & ".join(names)
    venue = title.rpartition("(")[2].rstrip(") ") if "(" in title else ""
    return f"{who}, {venue}" if venue else who


def machine() -> str:
    """Processor, whether it multiplies matrices (AMX), how many of it, and memory."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    amx = any("amx_tile" in line for line in lines if line.startswith("flags"))
    gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    processor = f"{names[0] if names else platform.machine()} {'with' if amx else 'without'} AMX"
    return f"{processor}, {os.cpu_count()} logical processors, {gib:.0f} GiB"


def _choices(held_out: Mapping[str, str]) -> str:
    if not held_out:
        return "figures on the test tracks: to be told, and nothing is to be chosen by them"
    tracks = " and ".join(f"{key} {value}" for key, value in held_out.items())
    return f"figures on the training tracks of {tracks}, which no training saw: to choose by; no test track was read"


def _finite(value: float) -> float | None:
    return round(value, 4) if math.isfinite(value) else None
