"""Weights restored from a SavedModel give the separator that was saved."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from models import exported, weights
from models.separator import Separator
from models.spec import ModelSpec

SPEC = ModelSpec(
    "unet", {"filters": (4, 8)}, frame_length=64, hop=32, normalise_level=True, input_power=0.5, standardise=True
)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A separator whose every weight is random, and the directory it was saved to."""
    keras.utils.set_random_seed(0)
    separator = Separator(SPEC)
    generator = np.random.default_rng(0)
    separator.set_weights([generator.uniform(0.1, 0.5, weight.shape) for weight in separator.weights])
    directory = tmp_path_factory.mktemp("weights") / "model"
    exported.save(separator, directory)
    return separator, directory


def test_the_restored_separator_is_the_one_that_was_saved(saved):
    separator, directory = saved
    restored = weights.restore(directory, SPEC)
    for ours, theirs in zip(restored.weights, separator.weights, strict=True):
        assert ours.name == theirs.name
        np.testing.assert_array_equal(ours, theirs)
    mixture = np.random.default_rng(1).normal(size=(2, 333)).astype(np.float32)
    np.testing.assert_array_equal(restored(mixture)["vocals"], separator(mixture)["vocals"])


def test_the_restored_separator_computes_in_the_precision_that_is_asked_for(saved):
    separator, directory = saved
    half = weights.restore(directory, SPEC, precision="bfloat16")
    spectrogram = separator.encode(tf.random.normal([1, 500, 1]))
    exact = separator.network_outputs(spectrogram)["masks"]
    rough = half.network_outputs(spectrogram)["masks"]
    np.testing.assert_allclose(rough, exact, atol=0.03)
    assert np.abs(rough - exact).max() > 0


@pytest.mark.parametrize("sizes", [{"filters": (4, 9)}, {"filters": (4, 8, 8)}, {"filters": (4,)}])
def test_another_spec_is_refused(saved, sizes):
    _, directory = saved
    with pytest.raises(ValueError, match=r"model holds \d+ weights of \d+ values.*network 'unet' has with this spec"):
        weights.restore(directory, dataclasses.replace(SPEC, sizes=sizes))


def test_what_is_no_exported_separator_is_refused(saved, tmp_path):
    with pytest.raises(ValueError, match="nowhere is no exported separator"):
        weights.restore(tmp_path / "nowhere", SPEC)
    broken = tmp_path / "variables" / "variables.index"
    broken.parent.mkdir()
    broken.write_bytes(b"not a checkpoint")
    with pytest.raises(ValueError, match=f"{tmp_path.name} is no exported separator"):
        weights.restore(tmp_path, SPEC)
