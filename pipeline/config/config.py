"""One object that says everything about a run: YAML recipe + `--set key=value` overrides -> frozen dataclasses <-> JSON.

Nothing here imports TensorFlow or TFX, so the command line can check a configuration in milliseconds.
"""

from __future__ import annotations

import dataclasses
import json
import shlex
import typing
from collections.abc import Iterable, Mapping
from dataclasses import field
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
import yaml
from pydantic import Field

from models import storage
from models.checked import ConfigError, Count, Name, PlainName, Positive, Whole, checked, in_words, nearest
from models.directory import ModelDirectory
from models.spec import Channels, ModelSpec, SampleRate, Targets
from pipeline.config.augment import MP3_RATES_HZ
from pipeline.config.cluster import ClusterConfig
from pipeline.config.gate import GateConfig
from pipeline.config.metadata import MetadataConfig
from pipeline.config.quarantine import QuarantineConfig
from pipeline.config.recipes import RECIPES, recipe_names
from pipeline.config.train import Recipe, TrainSpec

MOST_FRACTION = 0.9  # of the tracks, in the dev or test split
Fraction = Annotated[float, Field(ge=0, lt=MOST_FRACTION)]
Seconds = Annotated[float, Field(gt=0, le=3600)]
_FRACTIONS = ("dev_fraction", "test_fraction")
_TRAINED_WITH = ("data", "model", "train")
NOT_YAML = yaml.YAMLError, ValueError, RecursionError
"""What PyYAML raises of text: also of a month 13, of bytes that are no UTF-8, and where brackets are a thousand deep."""

# `<system>` is the recipe of a system at its published settings, `<system>_mir1k` the one that trains in minutes.
BENCHMARK_SUFFIX = "_mir1k"


@checked("data")
class DataConfig:
    """Where the stems are and how they become TFRecords (see pipeline/data/datasets and StemsExampleGen).

    format: the layout below `path`; "auto" recognises it, and is "synthetic" without a path.
    spans: of a path with {SPAN}, how many of the newest spans are trained on.
    group_by: where splits are drawn, tracks that share one of these in their metadata are in one split.
    choose_on: a key of the tracks' metadata and its value: the training and dev tracks that have it are the test split, and the
    corpus's own test tracks are left out, so that choices (see pipeline.studies) are made without them.
    sources: target -> names or patterns of the sources that it is the sum of.
    encoding: of the stems in TFRecords; `float32` keeps what is below 16 bits, `flac` is smaller and slower to read.
    missing_stem: what a track without a stem for a target is: a bad track, one to skip, or silent there.
    most_seconds: a track that lasts longer is a bad track.
    """

    format: str = "auto"
    path: str | None = None
    spans: Count = 1
    sample_rate_hz: SampleRate = 16000
    channels: Channels = 1
    targets: Targets = ("vocals", "accompaniment")
    segment_seconds: Positive = 10.0
    dev_fraction: Fraction = 0.1
    test_fraction: Fraction = 0.1
    group_by: tuple[Name, ...] = ("artist", "singer", "album", "song")
    choose_on: Annotated[Mapping[Name, Name], Field(max_length=1)] = field(default_factory=dict)
    sources: Mapping[str, Annotated[tuple[Name, ...], Field(min_length=1)]] = field(default_factory=dict)
    encoding: Literal["int16", "float32", "flac"] = "int16"
    missing_stem: Literal["bad", "skip", "silence"] = "bad"
    max_bad_tracks: Whole = 0
    most_seconds: Positive = 4 * 3600.0
    quarantine: QuarantineConfig = field(default_factory=QuarantineConfig)
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.format == "auto" and self.path is None:
            object.__setattr__(self, "format", "synthetic")
        _check_fractions(self)
        _check_sources(self.sources, self.targets)
        for name, most in (("channels", 8), ("sample_rate_hz", 655_350)):
            if self.encoding == "flac" and getattr(self, name) > most:
                raise ValueError(f"encoding is flac and data.{name} {getattr(self, name)}: legal is at most {most}")
        if self.spans > 1 and self.path and "{" not in self.path:
            raise ValueError(f"spans is {self.spans}, but data.path {self.path} has no {{SPAN}}: legal is 1")


def _check_fractions(data: DataConfig) -> None:
    """Also where they are options of the reader, which go before."""
    keys = {name: f"data.options.{name}" if name in data.options else f"data.{name}" for name in _FRACTIONS}
    values = {key: data.options.get(name, getattr(data, name)) for name, key in keys.items()}
    for key, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < MOST_FRACTION:
            raise ValueError(f"{key} is {value!r}; legal: a number of at least 0 and below {MOST_FRACTION:g}")
    if sum(values.values()) >= 1:
        told = " and ".join(f"{key} {value:g}" for key, value in values.items())
        raise ValueError(f"{told.replace(' ', ' is ', 1)}: legal is a sum below 1")


def _check_sources(sources: Mapping[str, tuple[str, ...]], targets: tuple[str, ...]) -> None:
    owners: dict[str, str] = {}
    for target, name in ((target, name) for target, names in sources.items() for name in names):
        if target not in targets:
            raise ValueError(f"sources has {target!r}, which is no target; {nearest(target, targets)}")
        if owners.setdefault(name.casefold(), target) != target:
            raise ValueError(
                f"sources has {name!r} for {owners[name.casefold()]} and for {target}: legal is one of them"
            )


@checked("evaluate")
class EvaluateConfig:
    """What is computed on the test split: BSS Eval versions, the window of v4, and the size of the report.

    baselines: what is judged beside the model and the mixture: the ideal masks, and robust PCA.
    tracks_in_report: how many tracks can be heard in the report; keep_audio: of how many, the worst first, the whole audio
    is kept beside it.
    """

    metrics: tuple[Literal["v3", "v4"], ...] = ("v3", "v4")
    baselines: tuple[Literal["ibm", "irm", "rpca"], ...] = ("irm",)
    window_seconds: Seconds = 1.0
    tracks_in_report: Whole = 3
    keep_audio: Whole = 0
    max_tracks: Count | None = None


@checked("serve")
class ServeConfig:
    """How a served model is checked and used: fixed chunks with overlap-add, and the tolerance of the infra check.

    validator: "embedded" serves the candidate by the embedded server and compares its answers; "infra_validator" is TFX's
        own, which starts the image of production where docker or Kubernetes is at hand.
    """

    chunk_seconds: Seconds = 10.0
    overlap_seconds: Annotated[float, Field(ge=0)] = 1.0
    tolerance: Annotated[float, Field(gt=0, le=1)] = 1e-4
    validator: Literal["embedded", "infra_validator"] = "embedded"

    def __post_init__(self) -> None:
        if self.overlap_seconds >= self.chunk_seconds:
            raise ValueError(
                f"overlap_seconds is {self.overlap_seconds:g}; legal: less than serve.chunk_seconds ({self.chunk_seconds:g})"
            )


@checked("beam")
class BeamConfig:
    """Arguments of every Beam job of the run. The default is the in-process FnApiRunner; any other runner is options only."""

    pipeline_args: tuple[str, ...] = ("--runner=FnApiRunner",)


@checked("")
class Config:
    """The whole of a run. `data` feeds ingest, `model` and `train` the trainer, `evaluate` and `gate` the judge, `serve` the
    server, `beam` and `cluster` say where it runs, `metadata` where that is recorded."""

    name: PlainName
    paper: str = ""
    published: str = ""
    command: str = ""
    expected: str = ""
    data: DataConfig = field(default_factory=DataConfig)
    model: ModelSpec = field(default_factory=ModelSpec)
    train: TrainSpec = field(default_factory=TrainSpec)
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)
    gate: GateConfig = field(default_factory=GateConfig)
    serve: ServeConfig = field(default_factory=ServeConfig)
    beam: BeamConfig = field(default_factory=BeamConfig)
    cluster: ClusterConfig = field(default_factory=ClusterConfig)
    metadata: MetadataConfig = field(default_factory=MetadataConfig)

    @property
    def recipe(self) -> Recipe:
        """The part that the trainer needs, without data paths."""
        described = {key: getattr(self, key) for key in ("name", "paper", "published", "command", "expected")}
        return Recipe(**described, model=self.model, train=self.train)

    @property
    def system(self) -> str:
        """The system of a paper that the recipe trains; several recipes may train one."""
        return self.name.removesuffix(BENCHMARK_SUFFIX)

    def only(self, *sections: str) -> Config:
        """This configuration with every other section at its default: what a component must be rerun for, and no more."""
        others = {
            f.name: f.default_factory()
            for f in dataclasses.fields(self)
            if f.default_factory is not dataclasses.MISSING and f.name not in sections
        }
        return dataclasses.replace(self, **others)

    def __post_init__(self) -> None:
        """Checks what no single section can see."""
        if self.data.sample_rate_hz != self.model.sample_rate_hz:
            raise ValueError(
                f"data.sample_rate_hz is {self.data.sample_rate_hz} but model.sample_rate_hz is "
                f"{self.model.sample_rate_hz}: they must be equal"
            )
        if tuple(self.data.targets) != tuple(self.model.targets):
            raise ValueError(
                f"data.targets is {list(self.data.targets)} but model.targets is {list(self.model.targets)}: they must be equal"
            )
        if self.model.channels not in (1, self.data.channels):
            raise ValueError(
                f"model.channels is {self.model.channels}: legal are 1 (each channel on its own) and "
                f"data.channels ({self.data.channels})"
            )
        if "rpca" in self.evaluate.baselines and "vocals" not in self.data.targets:
            raise ValueError(
                f"evaluate.baselines has rpca, which separates vocals, but data.targets is {list(self.data.targets)}"
            )
        if "mp3" in self.train.augment and self.model.sample_rate_hz not in MP3_RATES_HZ:
            rates = ", ".join(map(str, MP3_RATES_HZ))
            raise ValueError(
                f"train.augment has mp3, but model.sample_rate_hz is {self.model.sample_rate_hz}: legal are {rates}"
            )
        for threshold in self.gate.thresholds:
            if threshold.target not in self.model.targets:
                raise ValueError(
                    f"gate.thresholds names target {threshold.target!r}: legal are {', '.join(self.model.targets)}; what "
                    f"leaves it out: --set {shlex.quote(f'gate.thresholds={self._fitting_thresholds()}')}"
                )

    def _fitting_thresholds(self) -> str:
        """Those thresholds whose target the model has, as an override is written."""
        plain = [
            {
                f.name: value
                for f in dataclasses.fields(each)
                if (value := getattr(each, f.name)) != f.default or f.default is dataclasses.MISSING
            }
            for each in self.gate.thresholds
            if each.target in self.model.targets
        ]
        return yaml.safe_dump(plain, default_flow_style=True, sort_keys=False, width=10**9).strip()


FORMER: Mapping[str, str] = {
    "gate.outputs.misplaced_share": "was of version 0.1; legal: gate.outputs.stray_share, which counts tracks beyond chance",
    "train.shuffle_buffer": "was of version 0.2; legal: to leave it out, as all of the corpus is shuffled",
    "gate.paired.resamples": "was of version 0.1; legal: to leave it out, as the paired test draws no samples any more",
}
"""Keys of earlier versions, and what to write today."""


def load(recipe: str, overrides: Iterable[str] = ()) -> Config:
    """Reads a recipe by name or by path of a YAML file and applies `key.path=value` overrides (values are YAML).

    A recipe may say `extends: other`: the recipe file `other.yaml` beside it or, failing that, among those that ship, or a
    path relative to its own. Its values then go over those of the other: the sections merge field by field, while the value
    of a field (a list, `sizes`, any `*options`) replaces the other's as a whole. `name` is not inherited.

    An override of `data.targets` alone is one of `model.targets`, too, which must be equal.

    Raises:
      ConfigError: unknown recipe, a circle of `extends`, unknown key (the nearest legal one is named), a value of the
        wrong type, or as `check_start`.
    """
    path = _recipe_path(recipe)
    mapping = _read(path)
    mapping.setdefault("name", path.stem)
    overrides = [*overrides]
    given = {key: value for key, _, value in (override.partition("=") for override in overrides)}
    if "data.targets" in given and not {"model", "model.targets"} & given.keys():
        overrides.append(f"model.targets={given['data.targets']}")
    for override in overrides:
        _override(mapping, override)
    config = from_mapping(mapping)
    check_start(config)
    return config


def from_mapping(mapping: Mapping[str, Any]) -> Config:
    """Builds a Config from plain values. Raises ConfigError as `load` does."""
    try:
        return pydantic.TypeAdapter(Config).validate_python(mapping)
    except pydantic.ValidationError as error:
        words = in_words(error, Config)
        former = (f"{key} {now}" for key, now in FORMER.items() if words.startswith(f"unknown key {key!r};"))
        raise ConfigError(next(former, words)) from None


def to_json(config: Config) -> str:
    """The resolved configuration as one JSON string with sorted keys: equal configurations give equal strings."""
    return json.dumps(dataclasses.asdict(config), sort_keys=True, default=list)


def from_json(text: str) -> Config:
    """The inverse of `to_json`. Raises ConfigError on anything else."""
    return from_mapping(_mapping(text))


def _mapping(text: str) -> dict[str, Any]:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ConfigError(f"configuration is not JSON: {error}") from error


def saved_config(saved_model: str) -> Config:
    """The configuration that a SavedModel was trained with: its sections data, model and train.

    All others are as a new configuration has them: a model may be older than a setting of the gate. Keys that are gone
    are left out.

    Raises OSError when it is not beside the model, ConfigError when it cannot be read.
    """
    with storage.told(saved_model):
        text = ModelDirectory(saved_model).config_file.read_text()
    known = {f.name for f in dataclasses.fields(Config) if f.default_factory is dataclasses.MISSING} | set(
        _TRAINED_WITH
    )
    given = {key: value for key, value in _mapping(text).items() if key in known}
    for section, _, name in (key.partition(".") for key in FORMER):
        given.get(section, {}).pop(name, None)
    return from_mapping(given)


def other_model(saved_model: str, config: Config) -> list[str]:
    """The keys of `model` that a SavedModel was trained with another value of. Raises as `saved_config` does."""
    theirs, ours = (dataclasses.asdict(each.model) for each in (saved_config(saved_model), config))
    return [f"model.{name}" for name in ours if theirs[name] != ours[name]]


def check_start(config: Config) -> None:
    """Raises ConfigError where `train.start` names a model that is not there, or cannot be read, or is of another spec."""
    start = config.train.start
    if start is None:
        return
    try:
        changed = other_model(str(ModelDirectory.default().path), config)
    except (ValueError, OSError) as error:
        raise ConfigError(f"train.start is {start!r}, which cannot be read: {error}") from error
    if changed:
        legal = f"a recipe with its model, as --recipe {start} has"
        raise ConfigError(f"train.start is {start!r}, a model with another {', '.join(changed)}; legal: {legal}")


def _recipe_path(recipe: str) -> Path:
    if recipe.endswith((".yaml", ".yml")):
        if not Path(recipe).is_file():
            raise ConfigError(f"recipe file {recipe} does not exist")
        return Path(recipe)
    if recipe not in recipe_names():
        raise ConfigError(f"unknown recipe {recipe!r}; {nearest(recipe, recipe_names())}")
    return RECIPES / f"{recipe}.yaml"


def _read(path: Path, extended_by: tuple[Path, ...] = ()) -> dict[str, Any]:
    """The values of a recipe file over those of the file that it extends."""
    if path.resolve() in extended_by:
        circle = " -> ".join(step.stem for step in (*extended_by, path))
        raise ConfigError(f"{path} extends itself: {circle}")
    try:
        mapping = yaml.safe_load(path.read_text())
    except NOT_YAML as error:
        raise ConfigError(f"{path} is not YAML: {str(error).splitlines()[0]}") from error
    if not isinstance(mapping, dict):
        raise ConfigError(f"{path} holds {type(mapping).__name__}, a recipe is a mapping of sections")
    if "extends" not in mapping:
        return mapping
    base = _read(_base_path(mapping.pop("extends"), path), (*extended_by, path.resolve()))
    base.pop("name", None)
    return _merged(Config, base, mapping)


def _base_path(base: Any, path: Path) -> Path:
    """The file that the recipe at `path` extends."""
    if not isinstance(base, str):
        raise ConfigError(f"{path} extends {base!r}: the name of one recipe file is needed")
    file = base if base.endswith((".yaml", ".yml")) else f"{base}.yaml"
    for directory in (path.parent, RECIPES):
        if (directory / file).is_file():
            return directory / file
    known = {other.stem for directory in (path.parent, RECIPES) for other in directory.glob("*.yaml")} - {path.stem}
    raise ConfigError(f"{path} extends {base!r}, which does not exist; {nearest(base, sorted(known))}")


def _merged(cls: type, base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`over` over `base`: where both hold a section (a dataclass of its own) they merge, everything else is replaced."""
    types, merged = typing.get_type_hints(cls), dict(base)
    for key, value in over.items():
        kind, old = types.get(key), base.get(key)
        if (
            isinstance(kind, type)
            and dataclasses.is_dataclass(kind)
            and isinstance(old, dict)
            and isinstance(value, dict)
        ):
            value = _merged(kind, old, value)
        merged[key] = value
    return merged


def parsed(override: str) -> tuple[str, Any]:
    """Key and value of an override. Raises ConfigError for one that is none."""
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise ConfigError(f"--set {override!r} is not of the form key.path=value")
    try:
        return key, yaml.safe_load(text)
    except NOT_YAML as error:
        raise ConfigError(f"--set {override!r}: the value is not YAML") from error


def _override(mapping: dict[str, Any], override: str) -> None:
    key, value = parsed(override)
    *parents, last = key.split(".")
    here: Any = mapping
    for parent in parents:
        place = _place(here, parent, override)
        if isinstance(here, dict) and here.get(place) is None:
            here[place] = {}
        here = here[place]
    here[_place(here, last, override)] = value


def _place(here: Any, key: str, override: str) -> Any:
    """What `key` is in this container: a name in a mapping, an index in a list."""
    if isinstance(here, dict):
        return key
    if not isinstance(here, list):
        raise ConfigError(f"--set {override!r}: {key!r} is below a plain value")
    if not key.isdecimal() or int(key) >= len(here):
        raise ConfigError(f"--set {override!r}: {key!r} is not an index of a list of {len(here)}")
    return int(key)
