from __future__ import annotations

import dataclasses
import json
import math
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from models import networks
from models.directory import ModelDirectory
from pipeline.config import config


@pytest.mark.parametrize("name", config.recipe_names())
def test_every_recipe_survives_the_round_trip_through_json(name: str) -> None:
    loaded = config.load(name)
    assert config.from_json(config.to_json(loaded)) == loaded
    assert config.to_json(config.from_json(config.to_json(loaded))) == config.to_json(loaded)
    assert loaded.paper
    assert loaded.command
    assert loaded.gate.thresholds


def test_targets_of_the_data_are_those_of_the_model_unless_it_has_its_own() -> None:
    four = "[vocals, drums, bass, other]"
    given = config.load("demo", [f"data.targets={four}", "gate.thresholds=[]"])
    assert given.model.targets == given.data.targets == ("vocals", "drums", "bass", "other")
    with pytest.raises(config.ConfigError, match=r"model\.targets is .*: they must be equal"):
        config.load("demo", [f"data.targets={four}", "model.targets=[vocals]", "gate.thresholds=[]"])


def test_overrides_reach_their_section_and_keep_types() -> None:
    changed = config.load(
        "demo", ["train.steps=7", "model.sizes.units=8", "gate.thresholds.0.at_least_db=1", "data.path=/a b"]
    )
    assert changed.train.steps == 7
    assert changed.model.sizes["units"] == 8
    assert changed.gate.thresholds[0].at_least_db == 1.0
    assert changed.data.path == "/a b"


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("train.stesp=3", ("train.stesp", "did you mean 'steps'")),
        ("trian.steps=3", ("trian", "did you mean 'train'")),
        ("gate.thresholds.9.at_least_db=3", ("9", "list of 6")),
        ("gate.thresholds.0.at_last_db=3", ("did you mean 'at_least_db'",)),
        ("train.steps=abc", ("train.steps", "abc", "a whole number")),
        ("train.steps=0", ("train.steps", "0")),
        ("model.window=han", ("model.window", "han", "hann, hamming, sine")),
        ("data.sample_rate_hz=8000", ("8000", "16000", "must be equal")),
        ("data.segment_seconds=0", ("data.segment_seconds", "0")),
        ("data.dev_fraction=0.95", ("data.dev_fraction", "0.95")),
        (
            "data={dev_fraction: 0.6, test_fraction: 0.4}",
            ("data.dev_fraction is 0.6 and data.test_fraction 0.4", "below 1"),
        ),
        (
            "data={dev_fraction: 0.6, options: {test_fraction: 0.4}}",
            ("data.dev_fraction is 0.6 and data.options.test_fraction 0.4", "below 1"),
        ),
        (
            "data.options={dev_fraction: 0.95}",
            ("data.options.dev_fraction is 0.95", "a number of at least 0 and below 0.9"),
        ),
        (
            "data.options={test_fraction: half}",
            ("data.options.test_fraction is 'half'", "a number of at least 0 and below 0.9"),
        ),
        ("gate.thresholds.0.target=voice", ("voice", "vocals, accompaniment")),
        ("gate.thresholds.0.over=nothing", ("over", "nothing")),
        ("gate.thresholds.0.metric=v3/SDX", ("metric is 'v3/SDX'", "v3/SDR", "v4/ISR")),
        ("gate.thresholds.0.metric=v4/GNSDR", ("metric is 'v4/GNSDR'", "v4/SDR")),
        ("steps", ("steps", "key.path=value")),
        ("name.x=3", ("name.x", "plain value")),
        ("train=3", ("train", "mapping")),
    ],
)
def test_a_bad_override_is_one_sentence_that_names_key_and_value(override: str, words: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match=r"\S") as caught:
        config.load("demo", [override])
    message = str(caught.value)
    assert "\n" not in message
    assert [word for word in words if word not in message] == []


PLACES = "a path that begins with /, without .., or s3://BUCKET/PATH or gs://BUCKET/PATH"


@pytest.mark.parametrize(
    ("override", "legal"),
    [
        *(
            (f"cluster.serving={place}", PLACES)
            for place in (
                *("models", "s3://bucket", "gs://bucket/", "s3:/bucket/x", "s3://bucket//x", "S3://bucket/x"),
                *(
                    "s3://bucket/../x",
                    "s3://bucket/a b",
                    "hdfs://host/x",
                    "minio://bucket/x",
                    "s3://b/x",
                    "s3://bucket/x?y",
                ),
            )
        ),
        ("cluster.pipeline_root=/models/runs", "empty, or s3://BUCKET/PATH"),
        ("cluster.pipeline_root=file:///models", "empty, or s3://BUCKET/PATH"),
        ("cluster.every.environment={AWS_SECRET_ACCESS_KEY: hush}", "AWS_SECRET_ACCESS_KEY, which holds a credential"),
        ("cluster.every.environment={S3_ENDPOINT: 'http://me:hush@minio'}", "S3_ENDPOINT, which holds a credential"),
        ("cluster.tasks.Pusher.environment={S3-ENDPOINT: x}", "'S3-ENDPOINT': legal are letters, digits and _"),
        ("cluster.every.environment={S3_VERIFY_SSL: 0}", "cluster.every.environment.S3_VERIFY_SSL is 0; legal: text"),
        ("cluster.every.secrets=[{name: minio}]", "cluster.every.secrets.0.keys is missing"),
    ],
)
def test_a_place_or_a_way_there_that_cannot_be(override: str, legal: str) -> None:
    with pytest.raises(config.ConfigError) as refused:
        config.load("demo", [override])
    assert legal in str(refused.value)
    assert "hush" not in str(refused.value)


def test_places_on_volumes_and_in_buckets() -> None:
    for place in ("/models/x y", "s3://bucket/stemline", "gs://my_bucket-1.x/a/b.c/"):
        loaded = config.load("demo", [f"cluster.serving={place}", f"cluster.workdir={place}"]).cluster
        assert (loaded.serving, loaded.workdir) == (place, place)
    for root in ("''", "s3://bucket", "gs://bucket/x/y", "minio://mlpipeline/v2/artifacts"):
        assert config.load("demo", [f"cluster.pipeline_root={root}"]).cluster.pipeline_root == root.strip("'")


def test_unknown_recipe_names_the_nearest() -> None:
    with pytest.raises(config.ConfigError, match="did you mean 'drnn_mir1k'"):
        config.load("drn_mir1k")


def test_a_recipe_file_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("train: {steps: 3}\n")
    assert config.load(str(path)).name == "mine"
    path.write_text("- 1\n")
    with pytest.raises(config.ConfigError, match="mapping"):
        config.load(str(path))
    path.write_text("a: [\n")
    with pytest.raises(config.ConfigError, match="not YAML"):
        config.load(str(path))
    with pytest.raises(config.ConfigError, match="does not exist"):
        config.load(str(tmp_path / "absent.yaml"))


def test_a_recipe_extends_another_section_by_section(tmp_path: Path) -> None:
    (tmp_path / "_base.yaml").write_text(
        "name: base\npaper: theirs\ntrain: {steps: 3, batch: 5, augment: [gain, remix]}\n"
        "model: {sizes: {units: 8, layers: 2}, window: hann}\ndata: {options: {seconds: 3}}\n"
    )
    (tmp_path / "child.yaml").write_text(
        "extends: _base\ntrain: {steps: 4, augment: [gain]}\nmodel: {sizes: {units: 9}}\ndata: {options: {seed: 1}}\n"
    )
    (tmp_path / "below").mkdir()
    grandchild = tmp_path / "below" / "grandchild.yaml"
    grandchild.write_text("extends: ../child.yaml\npaper: ours\ntrain: {batch: 6}\n")
    loaded = config.load(str(grandchild), ["train.seed=2"])
    assert (loaded.name, loaded.paper) == ("grandchild", "ours")
    assert (loaded.train.steps, loaded.train.batch, loaded.train.seed) == (4, 6, 2)
    assert loaded.train.augment == ("gain",)
    assert loaded.model.window == "hann"
    assert loaded.model.sizes == {"units": 9}
    assert loaded.data.options == {"seed": 1}
    assert config.load(str(tmp_path / "child.yaml")).name == "child"


def test_a_recipe_of_ones_own_extends_one_that_ships(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("extends: drnn_mir1k\ntrain: {steps: 9}\n")
    mine, theirs = config.load(str(path)), config.load("drnn_mir1k")
    assert mine == dataclasses.replace(theirs, name="mine", train=dataclasses.replace(theirs.train, steps=9))


@pytest.mark.parametrize(
    ("extends", "words"),
    [
        ("drn_mir1k", ("'drn_mir1k'", "does not exist", "did you mean 'drnn_mir1k'")),
        ("absent/file.yaml", ("'absent/file.yaml'", "does not exist")),
        ("one", ("one.yaml", "extends itself: one -> one")),
        ("two", ("extends itself: one -> two -> one",)),
        ("[two, three]", ("['two', 'three']", "one recipe file")),
    ],
)
def test_what_cannot_be_extended_is_said_in_one_sentence(tmp_path: Path, extends: str, words: tuple[str, ...]) -> None:
    (tmp_path / "one.yaml").write_text(f"extends: {extends}\n")
    (tmp_path / "two.yaml").write_text("extends: one\n")
    with pytest.raises(config.ConfigError) as caught:
        config.load(str(tmp_path / "one.yaml"))
    message = str(caught.value)
    assert "\n" not in message
    assert [word for word in words if word not in message] == []


def test_bases_are_not_recipes() -> None:
    assert (config.RECIPES / "_mir1k.yaml").is_file()
    assert [name for name in config.recipe_names() if name.startswith("_")] == []
    with pytest.raises(config.ConfigError, match="unknown recipe '_mir1k'"):
        config.load("_mir1k")


def test_every_network_has_a_recipe_at_the_published_settings() -> None:
    published = {config.load(name).model.network for name in config.recipe_names() if not name.endswith("_mir1k")}
    assert published == set(networks.names())


@pytest.mark.parametrize("name", ["dnn", "drnn", "srnn"])
def test_huangs_networks_are_trained_as_published(name: str) -> None:
    train = config.load(name).train
    assert (train.loss, train.loss_options, train.optimizer) == ("discriminative", {"gamma": 0.05}, "lbfgs")
    assert (train.steps, train.optimizer_options["history"]) == (400, 50)
    assert train.augment_options == {"circular_shift": {"step_samples": 10_000}}


@pytest.mark.parametrize("name", ["ffn", "fcn", "blstm", "fcn_blstm"])
def test_a_batch_of_grais_is_100_segments_of_15_frames(name: str) -> None:
    loaded = config.load(name)
    model, train = loaded.model, loaded.train
    frames = train.segment_frames + model.frame_length // model.hop - 1  # those at the edges are partly padding
    assert frames % 15 == 0
    assert frames // 15 * train.batch == 100
    assert (train.learning_rate, train.schedule, train.optimizer) == (1e-4, "constant", "adam")


def test_a_batch_of_mimilakis_is_16_sequences_of_18_frames() -> None:
    loaded = config.load("gru_skip_filtering")
    model, train = loaded.model, loaded.train
    frames = train.segment_frames + model.frame_length // model.hop - 1  # those at the edges are partly padding
    assert frames / (18 - 2 * 3) * train.batch == 16


def test_the_stages_of_fcn_blstm_are_equal_and_of_the_sizes_of_the_whole() -> None:
    loaded = config.load("fcn_blstm")
    whole, stages = loaded.model.sizes, loaded.train.stages
    assert [(stage.name, stage.network, stage.loss) for stage in stages] == [
        ("fcn", "fcn", "magnitudes"),
        ("blstm", "blstm", "ideal_mask"),
    ]
    assert all(stage.sizes.items() <= whole.items() for stage in stages)
    assert [round(loaded.train.steps * stage.share) for stage in stages] == [17500, 17500]


def test_a_twin_differs_from_p_drnn_in_its_network_alone() -> None:
    ours, twin = config.load("p_drnn"), config.load("srnn_deep")
    assert (twin.train, twin.data) == (ours.train, ours.data)
    assert twin.model == dataclasses.replace(ours.model, network="srnn_deep")


@pytest.mark.parametrize("name", ["crn_online", "crn_online_mir1k", "lstm_online", "or_unet", "or_unet_df"])
def test_an_online_system_does_not_look_ahead_for_its_level(name: str) -> None:
    assert not config.load(name).model.normalise_level


def test_a_change_of_the_gate_leaves_the_trainers_view_unchanged() -> None:
    strict = config.load("demo", ["gate.thresholds.0.at_least_db=99"])
    sections = ("data", "model", "train")
    assert config.to_json(strict.only(*sections)) == config.to_json(config.load("demo").only(*sections))
    assert strict.only(*sections).gate == config.GateConfig()


def test_a_model_that_is_older_than_a_setting_of_the_gate_is_read(tmp_path: Path) -> None:
    mapping = json.loads(config.to_json(config.load("demo").only("data", "model", "train")))
    mapping["gate"]["paired"]["resamples"] = 10_000
    ModelDirectory(tmp_path).config_file.parent.mkdir()
    ModelDirectory(tmp_path).config_file.write_text(json.dumps(mapping))
    assert config.saved_config(str(tmp_path)) == config.load("demo").only("data", "model", "train")
    ModelDirectory(tmp_path).config_file.write_text(json.dumps({**mapping, "model": {"netwok": "drnn"}}))
    with pytest.raises(config.ConfigError, match="netwok"):
        config.saved_config(str(tmp_path))


def test_the_configuration_cannot_be_changed_in_place() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.load("demo").train.steps = 3


def test_a_section_that_may_be_null_names_its_keys() -> None:
    with pytest.raises(config.ConfigError, match=r"unknown key 'gate.outputs.bands.octave'; did you mean 'octaves'\?"):
        config.load("demo", ["gate.outputs.bands.octave=1"])
    assert config.load("demo", ["gate.outputs.bands=null"]).gate.outputs.bands is None


def numbers(cls: type, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The keys of a configuration that take a number, through what may be null."""
    for name, kind in typing.get_type_hints(cls).items():
        if typing.get_origin(kind) in (tuple, Mapping):
            continue
        kinds = [each for each in (kind, *typing.get_args(kind)) if isinstance(each, type)]
        if inner := [each for each in kinds if dataclasses.is_dataclass(each)]:
            yield from numbers(inner[0], (*path, name))
        elif {int, float} & {*kinds}:
            yield (*path, name)


@pytest.mark.parametrize("value", [1e300, -1e300, 10**30, math.nan], ids=str)
def test_no_number_may_be_absurd(value: float) -> None:
    keys = [*numbers(config.Config)]
    assert ("gate", "outputs", "artefacts", "clicks_per_minute") in keys
    assert len(keys) > 90
    for key in keys:
        mapping: Any = value
        for part in reversed(key):
            mapping = {part: mapping}
        with pytest.raises(config.ConfigError, match=rf"^{'.'.join(key)} is .*; legal: "):
            config.from_mapping({"name": "absurd", **mapping})


@pytest.mark.parametrize(
    ("override", "legal"),
    [
        ("data.quarantine.gain_db=-1e6", "a number of at least -1000 and of at most 0"),
        ("data.quarantine.examined_db=1", "a number of at least -1000 and of at most 0"),
        ("gate.paired.boundary=101", "a number of at least 1 and of at most 100"),
        ("gate.outputs.false_voice.excess_db=1001", "a number of at least 0 and of at most 1000"),
        ("gate.outputs.bands.octaves=21", "a number of at least 0 and of at most 20"),
        ("gate.outputs.artefacts.clicks_per_minute=1e9", "a number of at least 0 and of at most 60000"),
        ("gate.outputs.level_db=true", "a number of at least -1000 and of at most 1000"),
    ],
)
def test_limits_of_the_gate_have_limits(override: str, legal: str) -> None:
    with pytest.raises(config.ConfigError, match=f"; legal: {legal}"):
        config.load("demo", [override])
