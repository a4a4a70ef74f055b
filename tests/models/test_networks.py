"""What the papers say of each network: sizes, layers, strategies."""

import resource
import time

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from models import losses, masking, networks
from models.layers import sequences
from models.networks import drnn, gru_skip_filtering
from models.separator import Separator
from models.spec import ModelSpec


def magnitudes(*shape, seed=0):
    return np.random.default_rng(seed).uniform(0.1, 2, shape).astype(np.float32)


def test_drnn_has_the_published_size():
    assert networks.build("drnn", bins=513, channels=1, targets=2).count_params() == 5_569_026


@pytest.mark.parametrize(("recurrent", "extra"), [((), 0), ((2,), 10**2), ((1, 2, 3), 3 * 10**2)])
def test_drnn_is_recurrent_where_it_is_told(recurrent, extra):
    network = networks.build("drnn", 5, 1, 2, units=10, recurrent=recurrent)
    dense = 15 * 10 + 10 + 2 * (10 * 10 + 10) + 10 * 10 + 10
    assert network.count_params() == dense + extra
    features = magnitudes(1, 30, 5, 1)
    changed = features.copy()
    changed[:, 0] += 1
    difference = np.abs(network(features)["masks"] - network(changed)["masks"]).max(axis=(0, 2, 3, 4))
    assert (difference[5:].max() > 0) == bool(recurrent)  # only a state carries the first frame beyond the context


def test_drnn_repeats_the_edge_frames_of_its_context():
    frames = tf.constant([[[1.0], [2.0], [3.0]]])
    np.testing.assert_array_equal(drnn.with_context(frames, 3)[0], [[1, 1, 2], [1, 2, 3], [2, 3, 3]])
    np.testing.assert_array_equal(drnn.with_context(frames, 1), frames)
    np.testing.assert_array_equal(drnn.with_context(frames, 5)[0, 0], [1, 1, 1, 2, 3])


def test_drnn_recurrence_does_not_explode():
    keras.utils.set_random_seed(0)
    network = networks.build("drnn", 33, 1, 2, units=200, recurrent=(1, 2, 3))

    @tf.function(autograph=False)
    def hidden(x):
        for layer in network.hidden:
            x = layer(x)
        return x

    x = hidden(drnn.with_context(tf.constant(magnitudes(1, 1000, 33)), 3))
    power = np.square(x).mean(axis=(0, 2))
    assert np.isfinite(power).all()
    assert power[-100:].mean() < 2 * power[100:200].mean()


def test_gru_has_the_published_size_per_target():
    assert networks.build("gru_skip_filtering", 1025, 1, 2, strategy="GRU-S").count_params() == 24_175_650


@pytest.mark.parametrize("strategy", ["GRU-D", "GRU-DWF"])
def test_gru_has_one_network_per_target(strategy):
    sizes = {"sequence_frames": 8, "context_frames": 2}
    one = networks.build("gru_skip_filtering", 9, 1, 2, strategy="GRU-S", **sizes).count_params()
    assert networks.build("gru_skip_filtering", 9, 1, 3, strategy=strategy, **sizes).count_params() == 3 * one


@pytest.mark.parametrize("units", [None, 4])
@pytest.mark.parametrize(("strategy", "alpha"), [("GRU-S", 1.7), ("GRU-D", 1.7), ("GRU-DWF", 2.0)])
def test_gru_strategies_make_masks_as_the_paper_says(strategy, alpha, units):
    network = networks.build("gru_skip_filtering", 9, 2, 2, units=units, strategy=strategy)
    features = magnitudes(2, 31, 9, 2)
    outputs = network(features)
    estimates = outputs["magnitudes"].numpy()
    assert outputs["skip_filtered"].shape == estimates.shape == (2, 31, 9, 2, 1 if strategy == "GRU-S" else 2)
    if strategy == "GRU-S":
        mask = np.minimum(estimates[..., 0] / features, 1) ** alpha
        expected = np.stack([mask, 1 - mask], -1)
    else:
        expected = estimates**alpha / (estimates**alpha).sum(-1, keepdims=True)
    np.testing.assert_allclose(outputs["masks"], expected, atol=1e-5)


def test_gru_skip_filter_only_attenuates_its_input():
    network = networks.build("gru_skip_filtering", 9, 1, 2, units=4)
    features = magnitudes(1, 20, 9, 1)
    filtered = network(features)["skip_filtered"].numpy()
    assert (filtered >= 0).all()
    assert (filtered <= features[..., None] + 1e-6).all()
    assert not network(np.zeros_like(features))["magnitudes"].numpy().any()


def test_gru_alpha_can_be_chosen():
    keras.utils.set_random_seed(0)
    network = networks.build("gru_skip_filtering", 9, 1, 2, units=4, alpha=1.0)
    outputs = network(magnitudes(1, 20, 9, 1))
    np.testing.assert_allclose(outputs["masks"], masking.ratio(outputs["magnitudes"], 1.0), atol=1e-6)


def test_gru_channels_are_separated_on_their_own():
    network = networks.build("gru_skip_filtering", 9, 2, 2, units=4)
    features = magnitudes(2, 20, 9, 2)
    masks = network(features)["masks"]
    for channel in range(2):
        alone = network(features[..., channel : channel + 1])["masks"]
        np.testing.assert_allclose(masks[..., channel : channel + 1, :], alone, atol=1e-5)


@pytest.mark.parametrize("frames", [1, 11, 12, 13, 40])
def test_gru_sequences_cover_every_frame_once(frames):
    x = magnitudes(3, frames, 5)
    sliced = sequences.slice_sequences(tf.constant(x), 18, 3)
    assert sliced.shape[1:] == (18, 5)
    joined = sequences.join_sequences(sliced[:, 3:-3, :, None], frames, 3)
    np.testing.assert_array_equal(joined[..., 0], x)
    if frames > 12:  # neighbours share 2 L frames
        per_item = sliced.shape[0] // 3
        np.testing.assert_array_equal(sliced[0, 12:], sliced[1, :6])
        assert per_item == -(-frames // 12)


def test_gru_directions_and_residuals_are_aligned():
    estimator = gru_skip_filtering.TargetEstimator(4, 4, 2, "target")
    impulse = np.zeros([1, 10, 4], np.float32)
    impulse[0, 5] = 1
    estimator(tf.constant(impulse))
    states = estimator.encode(tf.constant(impulse)).numpy()[0] - np.concatenate([impulse[0]] * 2, -1)
    forward, backward = np.abs(states[:, :4]).sum(-1), np.abs(states[:, 4:]).sum(-1)
    assert not forward[:5].any()
    assert (forward[5:] > 0).all()
    assert not backward[6:].any()
    assert (backward[:6] > 0).all()


def test_gru_learns_by_its_own_loss():
    keras.utils.set_random_seed(0)
    spec = ModelSpec(
        "gru_skip_filtering",
        gru_skip_filtering.SkipFilteringNetwork.SMALL,
        frame_length=32,
        hop=16,
        normalise_level=True,
    )
    separator = Separator(spec)
    # Scaled far from the unit level, so that a loss that forgot the level could not fall.
    stems = [magnitudes(1, 24, 17, 1, seed=seed) * (np.arange(17) % 2 == seed)[:, None] * 50 for seed in (0, 1)]
    references = tf.cast(tf.stack(stems, -1), tf.complex64)
    mixture = tf.reduce_sum(references, -1)
    loss, optimiser = losses.build("generalised_kl"), keras.optimizers.Adam(1e-2)

    @tf.function(autograph=False)
    def step():
        with tf.GradientTape() as tape:
            value = loss(mixture, references, separator.network_outputs(mixture))
        gradients = tape.gradient(value, separator.trainable_variables)
        assert None not in gradients
        optimiser.apply_gradients(zip(gradients, separator.trainable_variables, strict=True))
        return value

    values = [float(step()) for _ in range(80)]
    assert values[-1] < 0.4 * values[0], values[::16]


@pytest.mark.parametrize(
    ("name", "sizes", "parts"),
    [
        ("drn", {}, ["'drn'", "did you mean 'drnn'"]),
        ("drnn", {"unit": 3}, ["'unit'", "'drnn'", "did you mean 'units'"]),
        ("drnn", {"units": 0}, ["units is 0"]),
        ("drnn", {"context": 2}, ["context is 2", "odd"]),
        ("drnn", {"recurrent": (4,)}, ["recurrent is (4,)", "1 to 3"]),
        ("gru_skip_filtering", {"strategy": "GRU-X"}, ["'GRU-X'", "GRU-S, GRU-D, GRU-DWF"]),
        ("gru_skip_filtering", {"sequence_frames": 6}, ["sequence_frames is 6", "context_frames 3"]),
        ("gru_skip_filtering", {"alpha": 2.5}, ["alpha is 2.5", "at most 2"]),
        ("gru_skip_filtering", {"units": 0}, ["units is 0"]),
    ],
)
def test_illegal_networks_are_named(name, sizes, parts):
    with pytest.raises(ValueError, match=r"legal|size of") as error:
        networks.build(name, 9, 1, 2, **sizes)
    assert all(part in str(error.value) for part in parts), str(error.value)


@pytest.mark.parametrize(("strategy", "targets"), [("GRU-S", 3), ("GRU-D", 1)])
def test_gru_strategies_need_their_number_of_targets(strategy, targets):
    with pytest.raises(ValueError, match=f"targets is {targets}"):
        networks.build("gru_skip_filtering", 9, 1, targets, strategy=strategy)


@pytest.mark.slow
def test_gru_trains_one_step_at_the_published_size(capsys):
    spec = ModelSpec("gru_skip_filtering", frame_length=2048, hop=256, window="hamming", sample_rate_hz=44100)
    separator = Separator(spec)
    assert separator.network.count_params() == 2 * 24_175_650
    stems = [separator.encode(tf.constant(magnitudes(4, 200 * 256, 1, seed=seed))) for seed in (0, 1)]
    references = tf.stack(stems, -1)
    mixture = tf.reduce_sum(references, -1)
    loss, optimiser = losses.build("generalised_kl"), keras.optimizers.Adam(1e-3)

    @tf.function(autograph=False)
    def step():
        with tf.GradientTape() as tape:
            value = loss(mixture, references, separator.network_outputs(mixture))
        gradients, _ = tf.clip_by_global_norm(tape.gradient(value, separator.trainable_variables), 0.35)
        optimiser.apply_gradients(zip(gradients, separator.trainable_variables, strict=True))
        return value

    first = float(step())
    start = time.perf_counter()
    second = float(step())
    seconds = time.perf_counter() - start
    gigabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    with capsys.disabled():
        print(
            f"\nGRU-D, 48.4 M parameters, 4 x {mixture.shape[1]} frames: {seconds:.1f} s a step, {gigabytes:.1f} GB at most"
        )
    assert np.isfinite([first, second]).all()
    assert second < first
    assert gigabytes < 8
