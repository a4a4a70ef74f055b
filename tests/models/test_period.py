"""What a client needs to separate by parts: the period of a separator, and a level that it is told."""

import numpy as np
import pytest
import tensorflow as tf

from models import exported
from models.separator import Separator
from models.spec import ModelSpec

HOP = 32
GROUPED = {
    "blstm": ({"units": 12, "segment_frames": 6}, 6),
    "fcn": ({"filters": (6,), "kernels": ((3, 5),), "output_kernel": (3, 5), "segment_frames": 6}, 6),
    "gru_skip_filtering": ({"units": 8, "sequence_frames": 8, "context_frames": 2}, 4),
}


def separator_of(name: str, sizes: dict, **values) -> Separator:
    tf.random.set_seed(0)
    spec = ModelSpec(
        network=name, sizes=sizes, sample_rate_hz=1000, frame_length=64, hop=HOP, targets=("vocals", "rest"), **values
    )
    separator = Separator(spec)
    separator(tf.zeros([1, 1000]))
    return separator


def noise(samples: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-0.5, 0.5, (1, samples)).astype(np.float32)


@pytest.mark.parametrize("name", GROUPED)
def test_delayed_by_the_period_a_mixture_is_separated_as_it_was(name):
    sizes, frames = GROUPED[name]
    separator = separator_of(name, sizes)
    assert separator.period_samples == frames * HOP
    mixture, edge = noise(60 * HOP), 12 * HOP
    plain = separator(mixture)["vocals"].numpy()[:, edge:]
    for delay, same in ((2 * separator.period_samples, True), (2 * separator.period_samples + HOP, False)):
        delayed = separator(np.concatenate([noise(delay, 1), mixture], axis=1))["vocals"].numpy()[:, delay + edge :]
        assert bool(np.abs(delayed - plain)[:, :-edge].max() < 1e-5) is same


def test_told_its_own_level_a_mixture_is_separated_as_it_was(tmp_path):
    separator = separator_of("blstm", GROUPED["blstm"][0], normalise_level=True)
    separator.set_weights([4 * weight for weight in separator.get_weights()])  # untrained, masks hardly differ
    mixture = noise(4000)
    rms = np.sqrt(np.mean(np.square(mixture), axis=1))
    own = separator(mixture)["vocals"].numpy()
    np.testing.assert_allclose(separator(mixture, rms)["vocals"], own, atol=2e-2 * np.abs(own).max())
    louder = separator(mixture, 100 * rms)["vocals"].numpy()
    assert np.abs(louder - own).max() > 5e-2 * np.abs(own).max()
    stereo = np.stack([mixture, 0.5 * mixture], axis=-1)
    for level, channels in ((rms, 0), (0.5 * rms, 1)):  # an item's channels share what they are told
        both = separator(stereo, level)["vocals"].numpy()[..., channels]
        np.testing.assert_allclose(both, (1.0, 0.5)[channels] * own, atol=2e-2 * np.abs(own).max())
    assert np.isfinite(separator(0 * mixture, 0 * rms)["vocals"]).all()
    exported.save(separator, tmp_path / "model")
    loaded = tf.saved_model.load(str(tmp_path / "model"))
    answer = loaded.signatures["levelled"](mixture=tf.constant(mixture), level=tf.constant(rms))["vocals"]
    np.testing.assert_allclose(answer, separator(mixture, rms)["vocals"], atol=1e-6)
    facts = loaded.signatures["describe"](query=tf.constant([""]))
    assert int(facts["period_samples"][0]) == 6 * HOP


def test_a_model_that_leaves_the_level_needs_not_be_told(tmp_path):
    exported.save(separator_of("drnn", {"units": 8, "layers": 1, "recurrent": (1,)}), tmp_path / "model")
    assert "levelled" not in tf.saved_model.load(str(tmp_path / "model")).signatures
