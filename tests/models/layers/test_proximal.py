"""The proximal layer against the primal-dual algorithm as the paper prints it before it simplifies, and its networks."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from models import networks
from models.layers import proximal
from models.layers.sequences import slice_sequences

TARGETS = 3
WEIGHTS = np.array([1.0, 0.4, 2.0], np.float32)
STEPS = {"rho": 0.9, "tau": 0.8, "sigma": 1.1}


@pytest.fixture(autouse=True)
def _seeded():
    keras.utils.set_random_seed(0)


def soft_threshold(x):
    """Of tau * sum_j w_j |x_j|."""
    limit = STEPS["tau"] * WEIGHTS
    return np.sign(x) * np.maximum(np.abs(x) - limit, 0)


def tf_soft_threshold(x):
    return tf.sign(x) * tf.nn.relu(tf.abs(x) - STEPS["tau"] * WEIGHTS)


def orthant(x):
    return np.maximum(x, 0)


PROXES = {"soft threshold": (soft_threshold, tf_soft_threshold), "orthant": (orthant, tf.nn.relu)}


def projection(x, mixture):
    """On the sources that sum to the mixture (Eq. 13-14)."""
    return x + (mixture - x.sum(-1))[..., None] / TARGETS


def primal_dual(prox, x, duals, mixture, rho, tau, sigma):
    """One iteration of Eq. 8-11 with a dual per source and the conjugate by Moreau's identity (Eq. 16)."""
    x_half = prox(x - tau * duals)
    s = duals + sigma * (2 * x_half - x)
    duals_half = s - sigma * projection(s / sigma, mixture)
    return x + rho * (x_half - x), duals + rho * (duals_half - duals)


def mixture_and_start(negative):
    generator = np.random.default_rng(0)
    mixture = generator.uniform(-2 if negative else 0, 2, [4, 5, 7]).astype(np.float32)
    return mixture, generator.normal(size=[4, 5, 7, TARGETS]).astype(np.float32)


@pytest.mark.parametrize("name", PROXES)
def test_the_layer_is_the_algorithm_step_by_step(name):
    prox, tf_prox = PROXES[name]
    layer = proximal.ProximalLayer(tf_prox, **STEPS)
    mixture, x = mixture_and_start(negative=name == "soft threshold")
    dual, state, duals = np.zeros_like(mixture), x, np.zeros_like(x)
    for _ in range(20):
        state, dual = layer(state, dual, mixture)
        x, duals = primal_dual(prox, x, duals, mixture, **STEPS)
        np.testing.assert_allclose(state, x, atol=1e-4)
        for source in range(TARGETS):  # Eq. 18: the duals of all sources are one
            np.testing.assert_allclose(dual, duals[..., source], atol=1e-4)


def run(tf_prox, mixture, x, steps=400):
    layer = proximal.ProximalLayer(tf_prox, **STEPS)
    dual = tf.zeros_like(mixture)
    for _ in range(steps):
        x, dual = layer(x, dual, mixture)
    return x.numpy()


def test_soft_threshold_converges_to_the_cheapest_sources_that_sum_to_the_mixture():
    mixture, start = mixture_and_start(negative=True)
    expected = np.zeros_like(start)
    expected[..., WEIGHTS.argmin()] = mixture  # min sum_j w_j |x_j| puts all of m where w_j is least
    np.testing.assert_allclose(run(tf_soft_threshold, mixture, start), expected, atol=1e-3)


def test_orthant_converges_to_sources_without_sign_that_sum_to_the_mixture():
    mixture, start = mixture_and_start(negative=False)
    x = run(tf.nn.relu, mixture, start)
    assert np.abs(start.sum(-1) - mixture).max() > 1
    np.testing.assert_allclose(x.sum(-1), mixture, atol=1e-3)
    assert x.min() > -1e-3


def test_a_point_that_sums_to_the_mixture_and_that_the_operator_leaves_stays():
    mixture, _ = mixture_and_start(negative=False)
    x = np.repeat(mixture[..., None] / TARGETS, TARGETS, -1)
    after, dual = proximal.ProximalLayer(tf.nn.relu)(x, np.zeros_like(mixture), mixture)
    np.testing.assert_allclose(after, x, atol=1e-6)
    np.testing.assert_allclose(dual, 0, atol=1e-6)


@pytest.mark.parametrize("raw", [-3e38, -1e4, -100.0, -1.0, 0.0, 50.0, 1e4])
def test_steps_are_positive_whatever_the_raw_variables(raw):
    value = proximal.positive(tf.constant(raw)).numpy()
    assert value > 0
    assert np.isfinite(value)


def test_steps_start_where_they_are_told_and_are_learned_per_layer():
    network = networks.build("p_drnn", 6, 1, 2, units=5, layers=2)
    layers = [network.hidden[0], proximal.ProximalLayer(tf.identity, **STEPS)]
    for layer, values in zip(layers, ((0.5, 0.5, 0.5), STEPS.values()), strict=True):
        np.testing.assert_allclose(proximal.positive(layer.raw_steps), list(values), rtol=1e-5)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(network(features(2, 9, 6, 1))["masks"][..., 0])
    steps = [variable for variable in network.trainable_variables if variable.shape == [3]]
    assert [id(variable) for variable in steps] == [id(layer.raw_steps) for layer in network.hidden]
    first, last = tape.gradient(loss, steps)
    # The first dual is 0, so that no tau moves it, and nobody reads the last, which a sigma moves.
    np.testing.assert_array_equal(np.array(first) != 0, [True, False, True])
    np.testing.assert_array_equal(np.array(last) != 0, [True, True, False])


def features(*shape, seed=0):
    return np.random.default_rng(seed).uniform(0.1, 2, shape).astype(np.float32)


@pytest.mark.parametrize("layers", [1, 2, 5, 20])
def test_the_twin_has_the_same_parameters_but_the_interlayers(layers):
    sizes = {"units": 4, "layers": layers, "sequence_frames": 3}
    deep, plain = (networks.build(name, 6, 2, 3, **sizes) for name in ("p_drnn", "srnn_deep"))
    width = 6 * 2 * 3
    block = 2 * (width * 4 + 4 + 4 * 4) + 8 * width + width
    assert plain.count_params() == layers * block + width * width + width
    assert deep.count_params() == plain.count_params() + 3 * layers
    for network in (deep, plain):
        masks = network(features(2, 7, 6, 2))["masks"].numpy()
        assert masks.shape == (2, 7, 6, 2, 3)
        assert np.isfinite(masks).all()


@pytest.mark.parametrize(("name", "parameters"), [("p_drnn", 7_766_082), ("srnn_deep", 7_766_046)])
def test_default_sizes(name, parameters):
    assert networks.build(name, 513, 1, 2).count_params() == parameters


@pytest.mark.parametrize(("name", "parameters"), [("dnn", 4_569_026), ("srnn", 7_569_026)])
def test_variants_of_huang_have_their_sizes(name, parameters):
    assert networks.build(name, 513, 1, 2).count_params() == parameters


def twins(**sizes):
    """A P-DRNN and a stacked twin with the same RNNs and output layer."""
    deep, plain = (networks.build(name, 6, 1, 2, **sizes) for name in ("p_drnn", "srnn_deep"))
    for proximal_layer, layer in zip(deep.hidden, plain.hidden, strict=True):
        layer.set_weights(proximal_layer.prox.get_weights())
    plain.estimates.set_weights(deep.estimates.get_weights())
    return deep, plain


def test_without_its_interlayers_the_network_is_its_twin():
    deep, plain = twins(units=5, layers=3, sequence_frames=4)
    x = features(2, 10, 6, 1)
    expected = plain(x)["masks"]
    assert np.abs(deep(x)["masks"] - expected).max() > 1e-2
    for layer in deep.hidden:
        layer.raw_steps.assign([np.log(np.expm1(1.0)), -1e4, 0.0])  # rho 1, tau 1e-6
    np.testing.assert_allclose(deep(x)["masks"], expected, atol=1e-3)


@pytest.mark.parametrize("depth", [1, 4])
def test_the_mixture_enters_every_interlayer(depth):
    """With RNNs that answer 0, only the interlayers can bring the mixture to the output."""
    deep, plain = twins(units=5, layers=depth)
    x = features(1, 5, 6, 1)
    for layer in deep.hidden:
        layer.prox.set_weights([np.zeros_like(w) for w in layer.prox.get_weights()])
    mixture = tf.constant(x[..., 0])
    sources = tf.stack([mixture / 2] * 2, -1)
    refined = deep.refine(sources, mixture)
    np.testing.assert_allclose(refined, sources * 0.5**depth, rtol=1e-4)  # x + rho (0 - x)
    duals = []
    dual = tf.zeros_like(mixture)
    for layer in deep.hidden:
        sources, dual = layer(sources, dual, mixture)
        duals.append(dual.numpy())
    steps = np.diff([np.zeros_like(x[..., 0]), *duals], axis=0)
    for number, step in enumerate(steps):  # rho sigma (0 - mean(x) - m / J)
        np.testing.assert_allclose(step, -0.25 * (0.5 ** (number + 1) + 0.5) * x[..., 0], rtol=1e-4)
    assert plain.count_params() == deep.count_params() - 3 * depth


@pytest.mark.parametrize("name", ["p_drnn", "srnn_deep"])
def test_frames_see_their_sequence_in_both_directions_and_nothing_else(name):
    network = networks.build(name, 6, 1, 2, units=16, layers=2, sequence_frames=5)
    x = features(1, 13, 6, 1)
    before = network(x)["masks"].numpy()
    changed = x.copy()
    changed[:, 7] += 1
    moved = np.abs(network(changed)["masks"] - before).max(axis=(0, 2, 3, 4)) > 1e-7
    assert moved[5:10].all()
    assert not moved[:5].any()
    assert not moved[10:].any()
    whole = networks.build(name, 6, 1, 2, units=16, layers=2, sequence_frames=None)
    moved = np.abs(whole(changed)["masks"] - whole(x)["masks"]).max(axis=(0, 2, 3, 4)) > 1e-9
    assert moved[[4, 10]].all()


@pytest.mark.parametrize("frames", [0, 1, 4, 5, 11])
def test_sequences_hold_every_frame_once_and_repeat_the_last(frames):
    x = features(2, frames, 3)
    sequences = slice_sequences(tf.constant(x), 5, repeat_last=True).numpy().reshape(2, -1, 3)
    assert sequences.shape[1] == -(-frames // 5) * 5
    np.testing.assert_array_equal(sequences[:, :frames], x)
    np.testing.assert_array_equal(sequences[:, frames:], np.repeat(x[:, -1:], sequences.shape[1] - frames, 1))


@pytest.mark.parametrize("name", ["p_drnn", "srnn_deep"])
@pytest.mark.parametrize("size", ["units", "layers", "sequence_frames"])
def test_illegal_sizes_are_named(name, size):
    with pytest.raises(ValueError, match=f"{size} is 0; legal: at least 1"):
        networks.build(name, 6, 1, 2, **{size: 0})
