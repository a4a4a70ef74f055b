"""The steps of a separator, its features and its export on disk."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from models import directory, exported
from models.separator import Separator
from models.spec import ModelSpec

SIZES = {"units": 8, "layers": 1, "recurrent": ()}


def spec_of(**changes):
    return ModelSpec(**{"sizes": SIZES, "frame_length": 64, "hop": 16, "window": "hann", **changes})


def noise(*shape, seed=0):
    return np.random.default_rng(seed).normal(0, 0.1, shape).astype(np.float32)


def test_the_steps_make_the_whole():
    separator = Separator(spec_of(channels=2))
    mixture = noise(2, 300, 2)
    spectrogram = separator.encode(tf.constant(mixture))
    masks = separator.mask(separator.features(spectrogram))["masks"]
    stems = separator.decode(separator.apply(spectrogram, masks), 300)
    for target, stem in separator(mixture).items():
        np.testing.assert_allclose(stems[target], stem, atol=1e-6)


def test_all_pass_masks_give_the_mixture_back():
    separator = Separator(spec_of())
    mixture = noise(1, 301, 1)
    spectrogram = separator.encode(tf.constant(mixture))
    masks = tf.tile(tf.constant([1.0, 0.0])[None, None, None, None], [*spectrogram.shape, 1])
    stems = separator.decode(separator.apply(spectrogram, masks), 301)
    np.testing.assert_allclose(stems["vocals"], mixture, atol=1e-5)
    assert not stems["accompaniment"].numpy().any()


def test_level_is_the_rms_of_the_magnitudes():
    separator = Separator(spec_of(normalise_level=True))
    spectrogram = separator.encode(tf.constant(noise(3, 4000, 1) * np.array([1, 10, 0])[:, None, None], tf.float32))
    level = separator.level(spectrogram)
    features = separator.features(spectrogram).numpy()
    assert level.shape == (3, 1, 1, 1)
    np.testing.assert_allclose(np.sqrt((features[:2] ** 2).mean((1, 2, 3))), 1, rtol=1e-5)
    rms = np.sqrt(0.375 * 64) * 0.1  # RMS of the waveform times sqrt(sum window^2)
    np.testing.assert_allclose(level[:, 0, 0, 0], [rms, 10 * rms, 1], rtol=0.05)
    np.testing.assert_array_equal(Separator(spec_of()).level(spectrogram)[:, 0, 0, 0], 1)


def test_input_power_is_applied_to_the_magnitudes():
    spectrogram = tf.constant(noise(1, 5, 33, 1), tf.complex64)
    features = Separator(spec_of(input_power=0.5)).features(spectrogram)
    np.testing.assert_allclose(features, np.abs(spectrogram) ** 0.5, rtol=1e-5)


@pytest.mark.parametrize("as_dataset", [False, True])
def test_adapt_standardises_every_bin(as_dataset):
    separator = Separator(spec_of(standardise=True, input_power=0.5))
    scales = np.linspace(0.1, 5, 33)[:, None]
    spectrograms = [tf.constant(noise(2, frames, 33, 1, seed=frames) * scales, tf.complex64) for frames in (50, 50)]
    separator.adapt(tf.data.Dataset.from_tensor_slices(spectrograms) if as_dataset else spectrograms)
    features = np.concatenate([separator.features(spectrogram) for spectrogram in spectrograms])
    np.testing.assert_allclose(features.mean((0, 1, 3)), 0, atol=1e-4)
    np.testing.assert_allclose(features.std((0, 1, 3)), 1, atol=1e-3)
    assert {weight.name.split(":")[0] for weight in separator.non_trainable_weights} == {
        "feature_mean",
        "feature_scale",
    }


@pytest.mark.parametrize(
    "spectrogram", [np.zeros([1, 9, 33, 1]), np.eye(1, 33)[:, None, :, None] * np.arange(9)[:, None, None]]
)
def test_adapt_survives_bins_that_do_not_vary(spectrogram):
    separator = Separator(spec_of(standardise=True))
    separator.adapt([spectrogram.astype(np.float32)])
    assert np.isfinite(separator(noise(1, 200))["vocals"]).all()
    assert separator.feature_scale.numpy().min() > 0


def test_adapt_refuses_what_it_cannot_use():
    with pytest.raises(ValueError, match=r"model\.standardise is False"):
        Separator(spec_of()).adapt([np.ones([1, 2, 33, 1])])
    with pytest.raises(ValueError, match="no frames"):
        Separator(spec_of(standardise=True)).adapt([])


@pytest.mark.parametrize("change", [{"standardise": True}, {"input_power": 0.5}])
def test_a_network_that_filters_its_input_needs_magnitudes(change):
    with pytest.raises(ValueError, match="filters its own input"):
        Separator(spec_of(network="gru_skip_filtering", sizes={"units": 4}, **change))


def test_unknown_precision_leaves_the_policy_alone():
    with pytest.raises(ValueError, match=r"'float16'.*did you mean 'bfloat16'|'float16'.*did you mean 'float32'"):
        Separator(spec_of(), precision="float16")
    assert keras.mixed_precision.global_policy().name == "float32"


def test_a_checkpoint_restores_the_standardisation_too(tmp_path):
    separator = Separator(spec_of(standardise=True))
    separator.adapt([np.abs(noise(1, 20, 33, 1))])
    path = tf.train.Checkpoint(model=separator).save(str(tmp_path / "checkpoint"))
    other = Separator(spec_of(standardise=True))
    tf.train.Checkpoint(model=other).restore(path).assert_existing_objects_matched()
    for mine, theirs in zip(separator.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_export_replaces_a_model_and_leaves_nothing_else(tmp_path):
    (tmp_path / "1.partial").mkdir()
    (tmp_path / "1.partial" / "debris").touch()
    for units in (4, 8):
        separator = Separator(spec_of(sizes={**SIZES, "units": units}))
        exported.save(separator, tmp_path / "1")
    assert [path.name for path in tmp_path.iterdir()] == ["1"]
    assert not (tmp_path / "1" / "debris").exists()
    assert directory.ModelDirectory(tmp_path / "1").description["parameters"] == separator.network.count_params()


def test_a_failed_export_leaves_the_old_model(tmp_path, monkeypatch):
    separator = Separator(spec_of())
    exported.save(separator, tmp_path / "1", recipe_name="old")
    monkeypatch.setattr(directory, "EXTRA", "saved_model.pb")  # a file where a folder must be made
    with pytest.raises((OSError, tf.errors.OpError)):
        exported.save(separator, tmp_path / "1", recipe_name="new")
    monkeypatch.undo()
    assert [path.name for path in tmp_path.iterdir()] == ["1"]
    assert directory.ModelDirectory(tmp_path / "1").description["recipe"] == "old"


def test_a_stereo_model_exports_rank_three(tmp_path):
    separator = Separator(spec_of(channels=2, targets=("drums", "rest")))
    exported.save(separator, tmp_path / "1")
    loaded = tf.saved_model.load(str(tmp_path / "1"))
    mixture = noise(250, 2)
    stems = loaded.signatures["serving_default"](mixture=tf.constant(mixture[None]))
    assert sorted(stems) == ["drums", "rest"]
    np.testing.assert_allclose(stems["drums"], separator(mixture[None])["drums"], atol=1e-5)
    mono = tf.audio.encode_wav(mixture[:, :1], 16000)
    with pytest.raises(tf.errors.InvalidArgumentError, match="received: 1 channels; required: 2 channels"):
        loaded.signatures["wav"](audio=mono[None])
    stereo = loaded.signatures["wav"](audio=tf.audio.encode_wav(mixture, 16000)[None])
    np.testing.assert_allclose(tf.audio.decode_wav(stereo["drums"][0])[0], stems["drums"][0], atol=3 / 32768)
