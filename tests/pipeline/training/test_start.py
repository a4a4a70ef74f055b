"""`train.start`: the weights of the model that comes with Stemline as the beginning of a training."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest

from models import directory, exported, weights
from models.checked import ConfigError
from models.directory import ModelDirectory
from models.separator import Separator
from pipeline.config.config import Config, load, to_json
from pipeline.data import corpus, ingest, tfrecords
from pipeline.evaluation.bss_eval.score import score
from pipeline.training import loop, warm_start

SMALL = (
    *("data.sample_rate_hz=8000", "model.sample_rate_hz=8000", "model.frame_length=256", "model.hop=128"),
    *("model.sizes={units: 4}", "model.standardise=false"),
)
START = "train.start=default"
SHORT = (
    "train.cpu_minutes=null",
    "train.steps=6",
    "train.warmup_steps=4",
    "train.ema=null",
    "train.augment=[remix]",
    "train.augment_options={}",
)


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small one in the place of that which comes with Stemline."""
    monkeypatch.setattr(directory, "DEFAULT", tmp_path / "default")
    return saved(load("demo", SMALL), tmp_path / "default" / "1")


def saved(config: Config, version: Path) -> Path:
    separator = Separator(config.model)
    random = np.random.default_rng(0)
    separator.set_weights([random.normal(0, 0.2, weight.shape) for weight in separator.get_weights()])
    version.parent.mkdir(parents=True)
    exported.save(separator, version)
    ModelDirectory(version).config_file.write_text(to_json(config) + "\n")
    return version


def same(start: warm_start.Start | None, version: Path, config: Config) -> bool:
    assert start is not None
    assert start.separator is not None
    ours, theirs = start.separator.get_weights(), weights.restore(version, config.model).get_weights()
    return all(np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True))


def test_a_training_begins_with_its_weights_and_keeps_them(shipped: Path, tmp_path: Path) -> None:
    config = load("demo", [*SMALL, START])
    start = warm_start.begin(config, str(tmp_path / "serving"), tmp_path / "checkpoints")
    assert same(start, shipped, config)
    assert (start.model, start.words) == (str(shipped), f"from the weights of {shipped}")
    shutil.copytree(shipped, tmp_path / "kept")
    shutil.rmtree(shipped)  # as by an upgrade: a training that was begun goes on as it began
    assert same(warm_start.begin(config, "", tmp_path / "checkpoints"), tmp_path / "kept", config)


def test_with_warm_start_it_is_the_beginning_while_nothing_that_fits_is_served(shipped: Path, tmp_path: Path) -> None:
    config = load("demo", [*SMALL, START, "train.warm_start=true"])
    first = warm_start.begin(config, str(tmp_path / "serving"), tmp_path / "first")
    assert first.model == str(shipped)
    other = saved(
        dataclasses.replace(config, model=dataclasses.replace(config.model, hop=64)), tmp_path / "other" / "1"
    )
    assert warm_start.begin(config, str(other.parent), tmp_path / "second").model == str(shipped)
    served = saved(config, tmp_path / "serving" / "1")
    assert warm_start.begin(config, str(served.parent), tmp_path / "third").model == str(served)


@pytest.mark.parametrize(
    ("changed", "keys"),
    [
        (["model.sizes={units: 5}"], "model.sizes"),
        (["model.frame_length=512", "model.hop=256"], "model.frame_length, model.hop"),
        (["model.network=dnn"], "model.network"),
    ],
)
def test_another_model_is_refused_before_anything(stemline, shipped: Path, changed: list[str], keys: str) -> None:
    overrides = [word for each in (*SMALL, START, *changed) for word in ("--set", each)]
    legal = "a recipe with its model, as --recipe default has"
    refused = f"train.start is 'default', a model with another {keys}; legal: {legal}"
    for command in (["run"], ["train"], ["kubeflow", "compile"]):
        outcome = stemline(*command, *overrides)
        assert (outcome.code, outcome.out) == (2, "")
        assert outcome.err.splitlines()[-1] == f"stemline: {refused}"
    assert not [path for path in Path().iterdir() if path.name in ("runs", "pipeline.yaml")]


def test_of_another_version_of_the_project_it_is_refused_where_it_trains(shipped: Path, tmp_path: Path) -> None:
    """A cluster's image may hold another model than the machine that checked the configuration."""
    config = load("demo", [*SMALL, START])
    wider = dataclasses.replace(config, model=dataclasses.replace(config.model, sizes={"units": 5}))
    with pytest.raises(ConfigError, match=r"a model with another model\.sizes; legal: "):
        warm_start.begin(wider, "", tmp_path / "checkpoints")


@pytest.mark.parametrize(
    ("break_it", "words"),
    [
        (lambda version: shutil.rmtree(version), "holds no model: the one that comes with Stemline is not installed"),
        (lambda version: ModelDirectory(version).config_file.unlink(), "No such file or directory"),
        (lambda version: ModelDirectory(version).config_file.write_text("{"), "configuration is not JSON"),
    ],
)
def test_one_that_is_broken_is_told(shipped: Path, break_it, words: str) -> None:
    break_it(shipped)
    with pytest.raises(ConfigError, match=r"^train\.start is 'default', which cannot be read: ") as caught:
        load("demo", [*SMALL, START])
    assert words in str(caught.value)


def test_there_is_one_to_start_from() -> None:
    with pytest.raises(
        ConfigError, match=r"^train\.start is 'defaults'; did you mean 'default'\? legal: default, or null$"
    ):
        load("demo", ["train.start=defaults"])


@pytest.mark.slow
def test_six_own_songs_are_learnt_faster_from_it_than_from_scratch(tmp_path: Path) -> None:
    """By the same steps, and judged on a seventh song: rendered ones, of which it has heard none."""
    songs = {"tracks": {"train": 6, "test": 1}, "seconds": 10, "allow_empty_splits": ["dev"]}
    config = load("default", ["data.format=synthetic", f"data.options={songs}", *SHORT])
    records = str(tmp_path / "records")
    for shard in ingest.plan(corpus.discover(config.data)):
        Path(shard.path(records)).parent.mkdir(parents=True, exist_ok=True)
        ingest.write_shard(shard, config.data, records)
    song = next(tfrecords.read_tracks(tfrecords.shards(f"{records}/Split-test"), config.model.targets))
    tuned = load("default", [START, f"data.options={songs}", *SHORT])
    starts = None, warm_start.begin(tuned, "", tmp_path / "begun").separator
    estimates = [song.mixture[None].repeat(2, axis=0)]
    for start in starts:
        place = tmp_path / ("scratch" if start is None else "tuned")
        files = tfrecords.shards(f"{records}/Split-train")
        result = loop.train(config.recipe, files, [], str(place), str(tmp_path / "log"), start=start)
        stems = result.separator(song.mixture[None])
        estimates.append(np.stack([stems[target][0].numpy() for target in config.model.targets]))
    references = np.stack([song.stems[target] for target in config.model.targets])
    of_mixture, scratch, fine_tuned = score(references, np.stack(estimates), ["v3"])["v3"]["SDR"][:, 0]
    print(f"vocals of the mixture {of_mixture:.2f}, from scratch {scratch:.2f}, fine-tuned {fine_tuned:.2f} dB SDR")
    assert fine_tuned > max(scratch, of_mixture) + 1
