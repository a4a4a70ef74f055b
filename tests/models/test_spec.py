"""A model's spec refuses what is illegal, in words."""

import dataclasses
import subprocess
import sys

import pytest

from models.spec import ModelSpec


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
        ({"hop": 0}, ["model.hop", "0", "a whole number of at least 1"]),
        ({"frame_length": 1023}, ["model.frame_length", "1023", "a multiple of 2"]),
        ({"frame_length": 1024.0}, ["model.frame_length", "1024.0", "whole number"]),
        ({"sample_rate_hz": -1}, ["model.sample_rate_hz", "-1"]),
        ({"channels": True}, ["model.channels", "True"]),
        ({"input_power": float("nan")}, ["model.input_power", "nan", "above 0"]),
        ({"input_power": float("inf")}, ["model.input_power", "inf"]),
        ({"standardise": "yes"}, ["model.standardise", "'yes'", "true or false"]),
        ({"targets": ()}, ["model.targets", "at least one"]),
        ({"targets": ("a", "a")}, ["model.targets", "none twice"]),
        ({"targets": "vocals"}, ["model.targets", "'vocals'", "a list"]),
        ({"sizes": [1]}, ["model.sizes", "[1]", "mapping"]),
        ({"network": ""}, ["model.network", "''"]),
    ],
)
def test_model_spec_names_field_value_and_legal_values(change, parts):
    with pytest.raises(ValueError, match="legal") as error:
        ModelSpec(**change)
    assert all(part in str(error.value) for part in parts), str(error.value)


def test_specs_and_network_names_need_no_tensorflow():
    code = (
        "import sys, models.spec; from models import networks; networks.names(); sys.exit('tensorflow' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
