"""High bins merged into bands and back, what the bands of a frame say of each other, and convolutions that are causal."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from models import networks
from models.layers.bands import BandRecurrence, MergedBands
from models.layers.cells import BidirectionalGru
from models.layers.convolution import CausalConvolution


def noise(*shape, seed=0):
    return tf.constant(np.random.default_rng(seed).normal(size=shape).astype(np.float32))


def test_low_bins_are_kept_and_high_ones_averaged_in_bands_that_widen():
    bands, features = MergedBands(100, 20, 12), noise(2, 3, 100, 2)
    merged = bands.merge(features)
    assert merged.shape == (2, 3, bands.count, 2) == (2, 3, 32, 2)
    np.testing.assert_array_equal(merged[:, :, :20], features[:, :, :20])
    np.testing.assert_allclose(bands.merge(tf.ones([1, 1, 100, 1])), 1, atol=1e-6)
    width = np.square(np.sum(bands.triangles, axis=1)) / np.sum(np.square(bands.triangles), axis=1)
    assert width[-2] > 3 * width[1]
    impulse = np.zeros([1, 1, 100, 1], np.float32)
    impulse[:, :, 99] = 1  # the last bin is heard in the last band
    assert np.argmax(bands.merge(tf.constant(impulse))[0, 0, :, 0]) == 31


def test_every_bin_lies_between_its_bands():
    bands = MergedBands(100, 20, 12)
    np.testing.assert_allclose(bands.spread(tf.ones([1, 2, 32, 3])), tf.ones([1, 2, 100, 3]), atol=1e-6)
    rising = bands.spread(tf.reshape(tf.range(32, dtype=tf.float32), [1, 1, 32, 1])).numpy().ravel()
    assert (np.diff(rising) > 0).all()
    np.testing.assert_array_equal(rising[:20], np.arange(20))
    assert rising[99] == pytest.approx(31)


def test_no_band_is_without_a_bin_where_they_are_hardly_fewer():
    bands = MergedBands(100, 60, 39)
    assert (np.sum(bands.triangles, axis=1) > 0.1).all()
    np.testing.assert_allclose(bands.merge(tf.ones([1, 1, 100, 1])), 1, atol=1e-6)


@pytest.mark.parametrize(("kept", "merged"), [(0, 8), (20, 1), (80, 20)])
def test_bands_that_cannot_be_are_refused(kept, merged):
    with pytest.raises(ValueError, match=rf"bands is \[{kept}, {merged}\]; legal with 100 bins: "):
        MergedBands(100, kept, merged)


def test_a_bidirectional_gru_is_that_of_keras():
    layer, inputs = BidirectionalGru(5), noise(3, 7, 4)
    cell = keras.layers.GRU(5, reset_after=False, return_sequences=True)
    theirs = keras.layers.Bidirectional(cell)
    layer(inputs), theirs(inputs)
    layer.set_weights(
        [weight + np.random.default_rng(0).normal(0, 0.3, weight.shape) for weight in layer.get_weights()]
    )
    theirs.set_weights(layer.get_weights())
    np.testing.assert_allclose(layer(inputs), theirs(inputs), atol=1e-6)


def test_bands_of_a_frame_see_each_other_and_no_other_frame():
    layer, x = BandRecurrence(6), noise(2, 4, 5, 3)
    changed = x.numpy()
    for band in (0, 4):
        changed = x.numpy()
        changed[:, 2, band] += 3
        difference = np.abs(layer(x) - layer(tf.constant(changed))).max(axis=(0, 3))
        assert (difference[2] > 1e-4).all()
        assert not np.delete(difference, 2, axis=0).any()


@pytest.mark.parametrize(("kernel", "stride"), [(5, 2), (4, 4), (3, 1), (2, 4)])
def test_a_causal_convolution_is_one_that_is_padded_before_its_frames(kernel, stride):
    x = noise(2, 6, 16, 3)
    ours = CausalConvolution(4, (3, kernel), stride)
    theirs = keras.layers.Conv2D(4, (3, kernel), (1, stride), padding="same")
    answer = ours(tf.pad(x, [[0, 0], [2, 0], [0, 0], [0, 0]]))
    theirs(x)
    theirs.set_weights(ours.get_weights())
    expected = theirs(tf.pad(x, [[0, 0], [1, 0], [0, 0], [0, 0]]))[:, :6]  # "same" looks one frame ahead: one later
    np.testing.assert_allclose(answer, expected, atol=1e-5)


def test_a_crn_is_without_the_recurrence_over_bands_where_it_is_told():
    shapes = [
        {weight.name for weight in networks.build("crn", 33, 1, 2, **sizes).weights}
        for sizes in ({"bands": (12, 6)}, {"bands": (12, 6), "band_units": None})
    ]
    assert any("over_bands" in name for name in shapes[0])
    assert not any("over_bands" in name for name in shapes[1])
