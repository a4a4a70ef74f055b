"""The four networks of Grais & Plumbley: published sizes, segments, masks, and weights that are handed on."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from models import networks
from models.layers import segments as grais
from models.layers import sequences

NAMES = ("ffn", "fcn", "blstm", "fcn_blstm")
BINS = 9


def magnitudes(*shape, seed=0):
    return np.random.default_rng(seed).uniform(0.1, 2, shape).astype(np.float32)


def small(name, channels=1, **sizes):
    keras.utils.set_random_seed(0)
    return networks.build(name, BINS, channels, 2, **{**networks.network_class(name).SMALL, **sizes})


def positive(network):
    """Weights without signs, so that no ReLU hides what passes through it."""
    network.set_weights([np.abs(weight) for weight in network.get_weights()])
    return network


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("ffn", 4_206_600),
        ("fcn", 529_189),
        pytest.param("blstm", 172_339_400, marks=pytest.mark.slow),
        ("fcn_blstm", 71_992_189),
    ],
)
def test_the_published_sizes(name, parameters):
    with tf.Graph().as_default():  # declares the variables and fills none: 690 MB for the BLSTM
        network = networks.build(name, bins=1025, channels=1, targets=2)
        assert network.count_params() == parameters
        assert sum(np.prod(weight.shape) for weight in network.trainable_weights) == parameters


@pytest.mark.parametrize("name", ["ffn", "fcn"])
def test_published_networks_answer(name):
    outputs = networks.build(name, bins=1025, channels=1, targets=2)(magnitudes(1, 16, 1025, 1))
    assert outputs["masks"].shape == (1, 16, 1025, 1, 2)
    assert np.isfinite(outputs["magnitudes"]).all()
    assert np.ptp(outputs["magnitudes"]) > 0


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("frames", [1, 5, 6, 7, 20])
def test_any_number_of_frames_and_channels_of_their_own(name, frames):
    network = small(name, channels=2)
    features = magnitudes(3, frames, BINS, 2)
    masks = network(features)["masks"].numpy()
    assert masks.shape == (3, frames, BINS, 2, 2)
    np.testing.assert_allclose(masks.sum(-1), 1, atol=1e-6)
    for channel in range(2):
        alone = network(features[..., channel : channel + 1])["masks"]
        np.testing.assert_allclose(masks[..., channel : channel + 1, :], alone, atol=1e-6)


@pytest.mark.parametrize(("name", "reached"), [("ffn", {8}), *((name, set(range(6, 12))) for name in NAMES[1:])])
def test_a_frame_reaches_its_own_segment_and_no_other(name, reached):
    sizes = {} if name == "ffn" else {"segment_frames": 6}
    if name.startswith("fcn"):
        sizes["output_kernel"] = (11, 5)  # wide enough to carry a frame across its whole segment
    network = small(name, **sizes) if "blstm" in name else positive(small(name, **sizes))
    features = magnitudes(4, 20, BINS, 1)
    changed = features.copy()
    changed[:, 8] *= 3
    answers = [network(x).get("magnitudes", network(x)["masks"]) for x in (features, changed)]
    difference = np.abs(answers[0] - answers[1]).max(axis=(0, 2, 3, 4))
    assert set(np.flatnonzero(difference > 0)) == reached


@pytest.mark.parametrize("name", ["ffn", "fcn"])
def test_masks_of_magnitudes_are_shares_of_the_mixture_cut_at_one(name):
    features = magnitudes(2, 20, BINS, 2)
    features[0, 3, 4] = 0
    outputs = positive(small(name, channels=2))(features)
    estimates = outputs["magnitudes"].numpy()
    assert estimates.shape == (2, 20, BINS, 2, 1)
    assert estimates.min() >= 0
    share = np.divide(estimates[..., 0], features, out=np.zeros_like(features), where=features > 0)
    assert share.max() > 1 > share.min()  # some are cut
    np.testing.assert_allclose(outputs["masks"][..., 0], np.minimum(share, 1), atol=1e-6)


def test_segments_do_not_overlap_and_are_filled_with_zeros():
    x = magnitudes(2, 7, 3)
    segments = sequences.slice_sequences(tf.constant(x), 5).numpy()
    np.testing.assert_array_equal(segments[0], x[0, :5])
    np.testing.assert_array_equal(segments[1], np.concatenate([x[0, 5:], np.zeros([3, 3])]))
    np.testing.assert_array_equal(segments[2], x[1, :5])
    restored = grais.by_segment(lambda segment: segment, tf.constant(magnitudes(2, 7, 3, 2)), 5)
    np.testing.assert_array_equal(restored[..., 0], magnitudes(2, 7, 3, 2))


def test_the_lstm_is_the_cell_of_the_paper():
    """Sigmoid of candidate and cell, hard sigmoid of the gates, forget gate's bias 1; two frames by hand."""
    layer = grais.lstm(2, "lstm")
    x = magnitudes(1, 2, 3)
    answer = layer(tf.constant(x)).numpy()[0]
    kernel, recurrent, bias = (weight.numpy() for weight in layer.weights)
    state = cell = np.zeros(2)
    for frame in range(2):
        i, f, g, o = np.split(x[0, frame] @ kernel + state @ recurrent + bias, 4)
        i, f, o = (np.clip(0.2 * gate + 0.5, 0, 1) for gate in (i, f, o))
        cell = f * cell + i / (1 + np.exp(-g))
        state = o / (1 + np.exp(-cell))
        np.testing.assert_allclose(answer[frame], state, atol=1e-6)


def test_the_masks_of_an_lstm_have_the_stated_ceiling():
    layer = grais.lstm(4, "lstm")
    x = tf.ones([1, 4, 3])
    layer(x)
    layer.set_weights([np.full(weight.shape, 1e3, np.float32) for weight in layer.weights])
    np.testing.assert_allclose(layer(x)[0, :, 0], [0.731, 0.881, 0.953, 0.982], atol=1e-3)


def test_the_first_mask_of_a_stack_of_lstms_is_not_constant():
    """Standard deviation over excerpts of noise: 0.001 with Glorot & Bengio's kernels, 0.04 with ours."""
    keras.utils.set_random_seed(0)
    network = networks.build("blstm", 65, 1, 2, units=64)
    masks = network(tf.random.normal([32, 15, 65, 1]))["masks"][..., 0, 0]
    assert tf.reduce_mean(tf.math.reduce_std(masks, axis=0)) > 0.02


def test_trained_layers_are_handed_on_to_the_combination():
    fcn, blstm, combined = (small(name) for name in ("fcn", "blstm", "fcn_blstm"))
    combined.convolutions.set_weights(fcn.convolutions.get_weights())
    combined.first.set_weights(blstm.first.get_weights())
    combined.last.set_weights(blstm.last.get_weights())
    features = magnitudes(2, 12, BINS, 1)
    first_estimate = fcn(features)["magnitudes"][..., 0]
    segments = sequences.slice_sequences(first_estimate[..., 0], 6)
    expected = tf.reshape(blstm.last(blstm.first(segments)), [2, 12, BINS])
    np.testing.assert_allclose(combined(features)["masks"][..., 0, 0], expected, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "sizes", "parts"),
    [
        ("ffn", {"units": 0}, ["units is 0"]),
        ("ffn", {"layers": 0}, ["layers is 0"]),
        ("fcn", {"filters": (1, 2), "kernels": ((3, 3),)}, ["filters has 2", "kernels 1"]),
        ("fcn", {"filters": (), "kernels": ()}, ["filters has 0"]),
        ("fcn", {"filters": (0,), "kernels": ((3, 3),)}, ["filters is (0,)"]),
        ("fcn", {"output_kernel": (3,)}, ["a kernel is (3,)"]),
        ("fcn", {"segment_frames": 0}, ["segment_frames is 0"]),
        ("blstm", {"units": 0}, ["units is 0"]),
        ("blstm", {"segment_frames": -1}, ["segment_frames is -1"]),
        ("fcn_blstm", {"unit": 5}, ["'unit'", "did you mean 'units'"]),
        ("fcn_blstm", {"kernels": ((0, 3),), "filters": (2,)}, ["a kernel is (0, 3)"]),
    ],
)
def test_illegal_sizes_are_named(name, sizes, parts):
    with pytest.raises(ValueError, match="legal") as error:
        networks.build(name, BINS, 1, 2, **sizes)
    assert all(part in str(error.value) for part in parts), str(error.value)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("targets", [1, 3])
def test_there_are_two_targets(name, targets):
    with pytest.raises(ValueError, match=f"targets is {targets}"):
        networks.build(name, BINS, 1, targets, **networks.network_class(name).SMALL)
