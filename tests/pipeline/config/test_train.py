"""A training refuses what is illegal, in words."""

import typing

import pytest

from models.checked import ConfigError
from models.spec import ModelSpec
from pipeline.config.augment import AUGMENTATIONS, Augmentation, Remix
from pipeline.config.config import load
from pipeline.config.train import Recipe, TrainSpec


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        ({"precision": "float16"}, ["train.precision", "'float16'", "float32, bfloat16", "did you mean"]),
        ({"schedule": "cosin"}, ["train.schedule", "'cosin'", "did you mean 'cosine'"]),
        ({"augment": ["remx"]}, ["train.augment", "'remx'", "did you mean 'remix'"]),
        ({"learning_rate": 0}, ["train.learning_rate", "0", "a number above 0"]),
        ({"learning_rate": "fast"}, ["train.learning_rate", "'fast'"]),
        ({"constant_fraction": 1.1}, ["train.constant_fraction", "1.1", "a number of at least 0 and of at most 1"]),
        ({"ema": 1.0}, ["train.ema", "1.0", "a number above 0 and below 1"]),
        ({"clip_norm": 0.0}, ["train.clip_norm", "0.0"]),
        ({"steps": 0}, ["train.steps", "0"]),
        ({"seed": -1}, ["train.seed", "-1"]),
        ({"seed": 2**32}, ["train.seed", "4294967296", "of at most 4,294,967,295"]),
        ({"patience": 0}, ["train.patience", "0"]),
        ({"checkpoint_minutes": -5}, ["train.checkpoint_minutes", "-5"]),
    ],
)
def test_train_spec_names_field_value_and_legal_values(change, parts):
    with pytest.raises(ValueError, match="legal") as error:
        TrainSpec(**change)
    assert all(part in str(error.value) for part in parts), str(error.value)


AUGMENT = "train.augment_options"


@pytest.mark.parametrize(
    ("name", "given", "parts"),
    [
        ("remix", {"probability": 1.5}, [f"{AUGMENT}.remix.probability is 1.5", "of at least 0 and of at most 1"]),
        ("remix", {"chance": 1}, [f"{AUGMENT}.remix has no option 'chance'", "legal: probability"]),
        ("remix", 5, [f"{AUGMENT}.remix is 5", "legal: a mapping"]),
        ("gain", {"deviation_db": float("nan")}, [f"{AUGMENT}.gain.deviation_db is nan", "of at most 24"]),
        ("gain", {"deviation_db": -1}, [f"{AUGMENT}.gain.deviation_db is -1", "of at least 0"]),
        ("speed", {"factors": [1.5, 3]}, [f"{AUGMENT}.speed.factors.1 is 3", "of at least 0.5 and of at most 2"]),
        ("speed", {"factors": []}, [f"{AUGMENT}.speed.factors is []", "at least one number"]),
        ("speed", {"factors": 1.1}, [f"{AUGMENT}.speed.factors is 1.1", "legal: a list"]),
        ("circular_shift", {"step_samples": 0}, [f"{AUGMENT}.circular_shift.step_samples is 0", "of at least 1"]),
        ("polarity", {"probability": "often"}, [f"{AUGMENT}.polarity.probability is 'often'"]),
        ("channel_swap", {"probability": -0.1}, [f"{AUGMENT}.channel_swap.probability is -0.1"]),
        ("equaliser", {"bands": 0}, [f"{AUGMENT}.equaliser.bands is 0", "of at least 1 and of at most 16"]),
        ("equaliser", {"first_only": 1}, [f"{AUGMENT}.equaliser.first_only is 1", "true or false"]),
        ("equaliser", {"most_db": 60}, [f"{AUGMENT}.equaliser.most_db is 60", "of at most 24"]),
        ("pitch_shift", {"semitones": [13]}, [f"{AUGMENT}.pitch_shift.semitones.0 is 13", "of at most 12"]),
        ("reverb", {"most_room": 1.1}, [f"{AUGMENT}.reverb.most_room is 1.1", "of at most 1"]),
        ("mp3", {"qualities": [10]}, [f"{AUGMENT}.mp3.qualities.0 is 10", "of at most 9"]),
    ],
)
def test_an_option_of_an_augmentation_names_value_and_legal_values(name, given, parts):
    with pytest.raises(ValueError, match="legal") as error:
        TrainSpec(augment=[name], augment_options={name: given})
    assert str(error.value).startswith(parts[0])
    assert all(part in str(error.value) for part in parts), str(error.value)


def test_options_of_augmentations_are_the_defaults_and_what_is_given():
    assert list(AUGMENTATIONS) == list(typing.get_args(Augmentation))
    spec = TrainSpec(augment=tuple(AUGMENTATIONS), augment_options={"remix": {"probability": 0.1}})
    assert spec.augmentations == {**{name: each() for name, each in AUGMENTATIONS.items()}, "remix": Remix(0.1)}
    with pytest.raises(ValueError, match=r"train\.augment_options names 'gain', which is not in train\.augment"):
        TrainSpec(augment=("remix",), augment_options={"gain": {"deviation_db": 1}})


def test_mp3_is_refused_at_rates_that_it_has_not():
    load("demo", ["train.augment=[mp3]"])
    other = [f"{section}.sample_rate_hz=10000" for section in ("data", "model")]
    with pytest.raises(
        ConfigError, match=r"train\.augment has mp3, but model\.sample_rate_hz is 10000: legal are 8000, "
    ):
        load("demo", ["train.augment=[mp3]", *other])


def test_nothing_optional_is_forced():
    spec = TrainSpec(ema=None, clip_norm=None, patience=None, warmup_steps=0)
    assert (spec.ema, spec.clip_norm, spec.patience, spec.warmup_steps) == (None, None, None, 0)


def test_recipe_needs_a_name():
    assert Recipe("demo").model == ModelSpec()
    with pytest.raises(ValueError, match=r"recipe\.name"):
        Recipe("")
