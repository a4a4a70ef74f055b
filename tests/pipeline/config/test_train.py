"""A training refuses what is illegal, in words."""

import pytest

from models.spec import ModelSpec
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
        ({"seed": 2**32}, ["train.seed", "4294967296", "of at most 4.29497e+09"]),
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
