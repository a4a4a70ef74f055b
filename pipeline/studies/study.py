"""What a study is: recipes x overrides x seeds under one budget; a YAML file, and the configurations that follow from it."""

from __future__ import annotations

import dataclasses
import fnmatch
import itertools
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
import yaml
from pydantic import Field

from models.checked import ConfigError, Decibels, Name, PlainName, Positive, Whole, checked, in_words, nearest
from pipeline.config.config import BENCHMARK_SUFFIX, NOT_YAML, Config, recipe_names

SHIPPED = Path(__file__).parent / "shipped"
PLAIN = ""
# What a study says itself: of each trial the seed and the name, and that methods without a model are judged once for all.
_OWN = {"name": "name", "train.seed": "seeds", "evaluate.metrics": "metrics", "evaluate.baselines": "baselines"}

Values = Mapping[str, Any]
"""Key of a recipe, as `--set` takes it -> value."""


@checked("recipes")
class Entry:
    """A recipe of a study, by name or as a YAML file, with values of its own; `name` is what tables call it."""

    recipe: Name
    name: str = ""
    set: Values = field(default_factory=dict)


@checked("claims")
class Claim:
    """That variant `better` is more than `by_db` above variant `than` in a metric of the target; `says` it in words."""

    says: Name
    better: Name
    than: Name
    metric: Literal["SDR", "SIR", "SAR"] = "SDR"
    by_db: Decibels = 0.0


@checked("")
class Study:
    """The variants are all pairs of `recipes` and `overrides`; each is trained with every one of `seeds`.

    set: values that hold for all. cpu_minutes: of each training. metrics: the version of BSS Eval. target: by which variants
    are ranked and compared. baselines: what is judged beside them, once. claims: what the page answers by a paired test.
    The first variant is what the others are compared with.
    """

    name: PlainName
    recipes: Annotated[tuple[Entry, ...], Field(min_length=1)]
    title: str = ""
    overrides: Annotated[Mapping[str, Values], Field(min_length=1)] = field(default_factory=lambda: {PLAIN: {}})
    seeds: Annotated[tuple[Whole, ...], Field(min_length=1)] = (0,)
    set: Values = field(default_factory=dict)
    cpu_minutes: Positive = 10.0
    metrics: Literal["v3", "v4"] = "v3"
    target: Name = "vocals"
    baselines: tuple[Literal["ibm", "irm", "rpca"], ...] = ("irm",)
    plots: tuple[Literal["boxes", "curves", "lines", "cost"], ...] = ("boxes", "curves")
    claims: tuple[Claim, ...] = ()


@dataclass(frozen=True)
class Planned:
    """A training to be made: of a variant, which is an override (`point`) of a recipe (`series`), with a seed.

    recipe, changes: what it is made of, for people; `changes` is YAML, empty for none.
    """

    variant: str
    series: str
    point: str
    seed: int
    config: Config
    recipe: str
    changes: str


def shipped() -> list[str]:
    """The names of the studies that come with the project."""
    return sorted(path.stem for path in SHIPPED.glob("*.yaml"))


def read(file: str, systems: Iterable[str] = ()) -> Study:
    """A study of a YAML file, or one that ships, by its name; with other recipes than its own where `systems` are given.

    Raises:
      ConfigError: the file is none, or says what no study says: file, key and what is legal are named.
    """
    path = Path(file)
    if not file.endswith((".yaml", ".yml")):
        if file not in shipped():
            raise ConfigError(f"unknown study {file!r}; {nearest(file, shipped())}, or a YAML file")
        path = SHIPPED / f"{file}.yaml"
    elif not path.is_file():
        raise ConfigError(f"study file {file} does not exist")
    try:
        mapping = yaml.safe_load(path.read_text())
    except NOT_YAML as error:
        raise ConfigError(f"{file} is not YAML: {str(error).splitlines()[0]}") from error
    if not isinstance(mapping, dict):
        raise ConfigError(f"{file} holds {type(mapping).__name__}; legal: a mapping with the key recipes")
    if systems:
        mapping["recipes"] = list(systems)
    if isinstance(mapping.get("recipes"), list):
        mapping["recipes"] = list(itertools.chain.from_iterable(_entries(each, path) for each in mapping["recipes"]))
    if isinstance(mapping.get("overrides"), dict):  # depths are labels, too
        mapping["overrides"] = {str(label): values for label, values in mapping["overrides"].items()}
    try:
        return pydantic.TypeAdapter(Study).validate_python({"name": path.stem, **mapping})
    except pydantic.ValidationError as error:
        raise ConfigError(f"{file}: {in_words(error, Study)}") from None


def _entries(entry: Any, path: Path) -> list[Any]:
    """An entry of `recipes`: a name, a file beside the study, a pattern of names, or a mapping as it is."""
    if isinstance(entry, dict) and isinstance(entry.get("recipe"), str):
        return [{**entry, "recipe": _beside(path, entry["recipe"])}]
    if not isinstance(entry, str):
        return [entry]
    found = fnmatch.filter(recipe_names(), entry) if "*" in entry else [entry]
    if not found:
        raise ConfigError(
            f"{path}: recipes has {entry!r}, which no recipe is called by; {nearest(entry, recipe_names())}"
        )
    return [{"recipe": _beside(path, each)} for each in found]


def _beside(path: Path, recipe: str) -> str:
    file = path.parent / recipe
    return str(file) if recipe.endswith((".yaml", ".yml")) and file.is_file() else recipe


def systems_of(names: Iterable[str]) -> list[str]:
    """The recipe of every system that has one for MIR-1K, by its name; a YAML file is its own.

    Raises:
      ConfigError: an unknown system; the nearest is named.
    """
    known = {each.removesuffix(BENCHMARK_SUFFIX): each for each in recipe_names() if each.endswith(BENCHMARK_SUFFIX)}
    names = list(dict.fromkeys(names))
    for name in names:
        if name not in known and not name.endswith((".yaml", ".yml")):
            raise ConfigError(f"unknown system {name!r}; {nearest(name, sorted(known))}")
    return [known.get(name, name) for name in names]


def plan(study: Study, load: Callable[[str, list[str]], Config]) -> list[Planned]:
    """Every training in the order in which they are made: seed by seed, so that a study that is stopped has compared
    something, and a variant after its teacher, which joins where it is not among the recipes.

    load: a recipe and overrides, as `--set` takes them -> its configuration.

    Raises:
      ConfigError: a recipe or a value that is none, a key that is not for a study to change, two variants of one name, teachers in a
        circle, variants that read or judge other data, or a claim about a variant that is none.
    """
    entries = list(study.recipes)
    for name in (names := [entry.name or _stem(entry) for entry in entries]):
        if names.count(name) > 1:
            raise ConfigError(f"recipes has {name!r} twice; legal: each once, or under a name of its own")
    variants: dict[str, tuple[Entry, str, Config]] = {}

    def add(entry: Entry, point: str, pupils: tuple[str, ...] = ()) -> None:
        config = _config(study, entry, point, load)
        series = entry.name or config.system
        if config.name in pupils:
            raise ConfigError(f"recipes teach each other: {' -> '.join((*pupils, config.name))}")
        if teacher := config.train.teacher:
            others = [each for each in entries if _stem(each) == teacher]
            add(others[0] if others else Entry(teacher), point, (*pupils, config.name))
        label = point if point and entries == [entry] else ", ".join(filter(None, (series, point)))
        known = variants.setdefault(label, (entry, point, config))
        if known != (entry, point, config):
            raise ConfigError(f"two variants are called {label!r}; legal: names of which each is there once")

    for entry, point in itertools.product(entries, study.overrides):
        add(entry, point)
    _check_alike(study, {label: config for label, (_, _, config) in variants.items()})
    for place, claim in enumerate(study.claims):
        for key, variant in (("better", claim.better), ("than", claim.than)):
            if variant not in variants:
                raise ConfigError(f"claims.{place}.{key} is {variant!r}; {nearest(variant, variants)}")
    return [planned for seed in study.seeds for planned in _with_seed(study, variants, seed)]


def compared_with(study: Study, planned: Iterable[Planned]) -> Planned:
    """The first recipe with the first override: no teacher of it, which is trained before."""
    entry, point = study.recipes[0], next(iter(study.overrides))
    return next(
        each
        for each in planned
        if (each.recipe, each.point) == (_stem(entry), point) and entry.name in (PLAIN, each.series)
    )


def told_as(values: Values) -> str:
    """`{train.loss: csdr}`: values in a line of YAML; empty for none."""
    return _yaml(dict(values)) if values else ""


def _config(study: Study, entry: Entry, point: str, load: Callable[[str, list[str]], Config]) -> Config:
    own = {"train.cpu_minutes": study.cpu_minutes, "evaluate.metrics": [study.metrics], "evaluate.baselines": []}
    layers = {
        "set": study.set,
        f"recipes.{entry.name or entry.recipe}": entry.set,
        f"overrides.{point}": study.overrides[point],
    }
    given = [_override(key, value) for key, value in own.items()]
    config = _told("recipes", load, entry.recipe, given)
    for place, values in layers.items():
        for key in values:
            if key in _OWN:
                raise ConfigError(f"{place} has {key}, which the study's own key {_OWN[key]} says")
        if values:
            given = [*given, *(_override(key, value) for key, value in values.items())]
            config = _told(place, load, entry.recipe, given)
    if study.target not in config.data.targets:
        raise ConfigError(f"target is {study.target!r}; {nearest(study.target, config.data.targets)}")
    return config


def _told(place: str, load: Callable[[str, list[str]], Config], recipe: str, given: list[str]) -> Config:
    try:
        return load(recipe, given)
    except ConfigError as error:
        raise ConfigError(f"{place}: {error}") from error


def _override(key: str, value: Any) -> str:
    return f"{key}={_yaml(value)}"


def _yaml(value: Any) -> str:
    """One line that YAML reads back; JSON's 1e-05 would be text to it."""
    return yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=float("inf")).strip()


def _check_alike(study: Study, configs: Mapping[str, Config]) -> None:
    (first, whole), *others = configs.items()
    for label, config in others:
        for section in ("data", "evaluate"):
            ours, theirs = vars(getattr(config, section)), vars(getattr(whole, section))
            for key in (key for key in theirs if ours[key] != theirs[key]):
                raise ConfigError(
                    f"{section}.{key} of {label} is {ours[key]!r}, of {first} {theirs[key]!r}: all variants "
                    f"of a study need the same; {section}.{key} below set gives it to all"
                )


def _with_seed(study: Study, variants: Mapping[str, tuple[Entry, str, Config]], seed: int) -> Iterable[Planned]:
    """The variants with a seed, each as a pipeline of its own, whose teacher is the one of the same override and seed."""
    pipelines = {label: _pipeline(study.name, label, seed) for label in variants}
    if len(set(pipelines.values())) < len(variants):
        raise ConfigError(f"{', '.join(variants)} differ in signs alone; legal: in letters or digits, too")
    teachers = {(config.name, point): pipelines[label] for label, (_, point, config) in reversed([*variants.items()])}
    for label, (entry, point, config) in variants.items():
        teacher = config.train.teacher and teachers[config.train.teacher, point]
        train = dataclasses.replace(config.train, seed=seed, teacher=teacher)
        named = dataclasses.replace(config, name=pipelines[label], train=train)
        yield Planned(
            label,
            entry.name or config.system,
            point,
            seed,
            named,
            _stem(entry),
            told_as({**entry.set, **study.overrides[point]}),
        )


def _pipeline(study: str, label: str, seed: int) -> str:
    """A name for directories: no other study's trainings are in its way, and the variant's letters stay."""
    return "-".join((study, re.sub(r"[^\w.]+", "_", label).strip("_"), str(seed)))


def _stem(entry: Entry) -> str:
    return Path(entry.recipe).name.removesuffix(".yaml").removesuffix(".yml")
