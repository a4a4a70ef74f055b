"""A recipe refuses what is illegal, in words."""

import dataclasses
import subprocess
import sys

import pytest

from models.spec import ModelSpec, Recipe, TrainSpec


def test_bins_follow_the_frame_length():
    assert ModelSpec(frame_length=1024).bins == 513
    assert ModelSpec(frame_length=2048, hop=256).bins == 1025


def test_specs_are_frozen_and_keep_lists_as_tuples():
    spec = ModelSpec(targets=["vocals", "bass"])  # type: ignore[arg-type]
    assert spec.targets == ("vocals", "bass")
    with pytest.raises(dataclasses.FrozenInstanceError):
        spec.hop = 1  # type: ignore[misc]


def test_a_spec_does_not_share_the_mapping_it_was_given():
    sizes = {"units": 5}
    spec = ModelSpec(sizes=sizes)
    sizes["units"] = 6
    assert spec.sizes == {"units": 5}


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        ({"window": "han"}, ["model.window", "'han'", "hann, hamming, sine", "did you mean 'hann'"]),
        ({"hop": 513}, ["model.hop", "513", "1 to 512"]),
        ({"hop": 0}, ["model.hop", "0", "at least 1"]),
        ({"frame_length": 1023}, ["model.frame_length", "1023", "even"]),
        ({"frame_length": 1024.0}, ["model.frame_length", "1024.0", "whole number"]),
        ({"sample_rate_hz": -1}, ["model.sample_rate_hz", "-1"]),
        ({"channels": True}, ["model.channels", "True"]),
        ({"input_power": float("nan")}, ["model.input_power", "nan", "above 0"]),
        ({"input_power": float("inf")}, ["model.input_power", "inf"]),
        ({"standardise": "yes"}, ["model.standardise", "'yes'", "true or false"]),
        ({"targets": ()}, ["model.targets", "at least one"]),
        ({"targets": ("a", "a")}, ["model.targets", "none twice"]),
        ({"targets": "vocals"}, ["model.targets", "'vocals'", "list of names"]),
        ({"sizes": [1]}, ["sizes", "[1]", "mapping"]),
        ({"network": ""}, ["model.network", "''"]),
    ],
)
def test_model_spec_names_field_value_and_legal_values(change, parts):
    with pytest.raises(ValueError, match="legal") as error:
        ModelSpec(**change)
    assert all(part in str(error.value) for part in parts), str(error.value)


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        ({"precision": "float16"}, ["train.precision", "'float16'", "float32, bfloat16", "did you mean"]),
        ({"schedule": "cosin"}, ["train.schedule", "'cosin'", "did you mean 'cosine'"]),
        ({"augment": ["remx"]}, ["train.augment", "'remx'", "did you mean 'remix'"]),
        ({"learning_rate": 0}, ["train.learning_rate", "0", "above 0"]),
        ({"learning_rate": "fast"}, ["train.learning_rate", "'fast'"]),
        ({"constant_fraction": 1.1}, ["train.constant_fraction", "1.1", "at most 1"]),
        ({"ema": 1.0}, ["train.ema", "1.0", "below 1"]),
        ({"clip_norm": 0.0}, ["train.clip_norm", "0.0"]),
        ({"steps": 0}, ["train.steps", "0"]),
        ({"seed": -1}, ["train.seed", "-1"]),
        ({"patience": 0}, ["train.patience", "0"]),
        ({"checkpoint_minutes": -5}, ["train.checkpoint_minutes", "-5"]),
    ],
)
def test_train_spec_names_field_value_and_legal_values(change, parts):
    with pytest.raises(ValueError, match="legal") as error:
        TrainSpec(**change)
    assert all(part in str(error.value) for part in parts), str(error.value)


def test_nothing_optional_is_forced():
    spec = TrainSpec(ema=None, clip_norm=None, patience=None, warmup_steps=0)
    assert (spec.ema, spec.clip_norm, spec.patience, spec.warmup_steps) == (None, None, None, 0)


def test_recipe_needs_a_name():
    assert Recipe("demo").model == ModelSpec()
    with pytest.raises(ValueError, match=r"recipe\.name"):
        Recipe("")


def test_recipes_and_network_names_need_no_tensorflow():
    code = "import sys, models, models.spec; models.names(); sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
