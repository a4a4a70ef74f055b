"""Networks that separate frame by frame (no look-ahead, a carried state), and the U-Net that does not."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from models import networks
from models.layers.cells import CellRecurrence
from models.layers.convolution import pad_to_multiple

ONLINE = ("crn_online", "lstm_online", "or_unet")
BATCH, FRAMES, BINS, CHANNELS, TARGETS = 2, 30, 33, 2, 3


def magnitudes(*shape, seed=0):
    return np.random.default_rng(seed).gamma(0.5, 2, shape).astype(np.float32)


def small(name, bins=BINS, channels=CHANNELS, targets=TARGETS, **sizes):
    """A small network with no weight left at zero or one, where a forgotten bias or gain would not show."""
    keras.utils.set_random_seed(0)
    network = networks.build(name, bins, channels, targets, **{**networks.network_class(name).SMALL, **sizes})
    random = np.random.default_rng(1)
    network.set_weights([weight + random.normal(0, 0.1, weight.shape) for weight in network.get_weights()])
    return network


@pytest.fixture(scope="module", params=ONLINE)
def network(request):
    return small(request.param)


@pytest.fixture(scope="module")
def features():
    return magnitudes(BATCH, FRAMES, BINS, CHANNELS)


def frame_by_frame(network, features, state=None):
    state = network.initial_state(features.shape[0]) if state is None else state
    masks = []
    for frame in range(features.shape[1]):
        mask, state = network.advance(tf.constant(features[:, frame : frame + 1]), state)
        masks.append(mask.numpy())
    return np.concatenate(masks, axis=1), state


def test_frame_by_frame_is_the_whole_sequence(network, features):
    whole = network(features)["masks"]
    masks, _ = frame_by_frame(network, features)
    assert masks.shape == whole.shape == (BATCH, FRAMES, BINS, CHANNELS, TARGETS)
    np.testing.assert_allclose(masks, whole, atol=1e-5)


@pytest.mark.parametrize("cell", [keras.layers.LSTMCell(7), keras.layers.GRUCell(7, reset_after=False)])
def test_a_recurrence_is_that_of_the_cell_in_keras(cell):
    inputs = tf.constant(magnitudes(2, 20, 5))
    theirs, ours = keras.layers.RNN(cell, return_sequences=True), CellRecurrence(cell, return_sequences=True)
    ours.build(inputs.shape)
    cell.set_weights([weight + np.random.default_rng(0).normal(0, 0.3, weight.shape) for weight in cell.get_weights()])
    np.testing.assert_allclose(ours(inputs), theirs(inputs), atol=1e-6)


def test_parts_traced_for_every_batch_and_length_answer_the_same(network, features):
    spec = tf.TensorSpec([None, None, BINS, CHANNELS], tf.float32)
    states = [tf.TensorSpec([None, *state.shape[1:]], state.dtype) for state in network.initial_state(1)]
    traced = tf.function(network.advance, input_signature=[spec, states], autograph=False)
    state = network.initial_state(tf.constant(BATCH))
    expected = network(features)["masks"]
    for part in (slice(0, 1), slice(1, 4), slice(4, 5)):
        masks, state = traced(tf.constant(features[:, part]), state)
        np.testing.assert_allclose(masks, expected[:, part], atol=1e-5)
    assert traced.experimental_get_tracing_count() == 1


def test_no_frame_looks_ahead(network, features):
    masks = network(features)["masks"].numpy()
    for frame in (0, 7, FRAMES - 2):
        changed = features.copy()
        changed[:, frame + 1 :] = magnitudes(BATCH, FRAMES - frame - 1, BINS, CHANNELS, seed=2) * 100
        again = network(changed)["masks"].numpy()
        np.testing.assert_allclose(again[:, : frame + 1], masks[:, : frame + 1], atol=1e-6)
        assert np.abs(again[:, frame + 1 :] - masks[:, frame + 1 :]).max() > 0.01


def test_the_state_carries_the_past(network, features):
    changed = features.copy()
    changed[:, 0] *= 20
    difference = np.abs(network(changed)["masks"] - network(features)["masks"]).max(axis=(0, 2, 3, 4))
    assert (difference[:4] > 1e-5).all(), difference


def test_a_sequence_goes_on_where_its_state_was_left(network, features):
    whole = network(features)["masks"].numpy()
    first, state = frame_by_frame(network, features[:, :13])
    second, _ = frame_by_frame(network, features[:, 13:], state)
    np.testing.assert_allclose(np.concatenate([first, second], axis=1), whole, atol=1e-5)
    forgotten, _ = frame_by_frame(network, features[:, 13:])
    assert np.abs(forgotten - second).max() > 1e-4


def test_items_of_a_batch_do_not_meet(network, features):
    whole = network(features)["masks"]
    for item in range(BATCH):
        np.testing.assert_allclose(network(features[item : item + 1])["masks"][0], whole[item], atol=1e-5)


def test_the_state_is_listed_and_its_number_is_checked(network, features):
    state = network.initial_state(BATCH)
    sizes = networks.network_class(network.name).SMALL
    units = (BATCH, sizes["units"])
    shapes = {
        "crn_online": [
            (BATCH, 1, 24, CHANNELS),
            (BATCH, 1, 6, 4),
            units,
            units,
        ],  # 18 bands, padded to strides of 4 and 2
        "lstm_online": [units] * 2 * sizes.get("layers", 1),
        "or_unet": [units] * sizes.get("layers", 1),
    }
    assert [tuple(tensor.shape) for tensor in state] == shapes[network.name]
    assert not any(tensor.numpy().any() for tensor in state)
    _, after = network.advance(tf.constant(features[:, :3]), state)
    assert [tensor.shape for tensor in after] == [tensor.shape for tensor in state]
    assert all(tensor.numpy().any() for tensor in after)
    with pytest.raises(ValueError, match=f"state has {len(state) + 1} tensors; legal: the {len(state)} of"):
        network.advance(tf.constant(features[:, :1]), [*state, state[0]])


@pytest.mark.parametrize(
    ("name", "mono_513", "stereo_1025"),
    [
        ("crn", 998_090, 1_031_460),
        ("crn_online", 1_447_170, 1_972_804),
        ("lstm_online", 2_102_786, 4_466_692),
        ("or_unet", 7_938_354, 12_137_156),
        ("unet", 9_824_114, 9_826_116),
    ],
)
def test_parameters_at_the_default_sizes(name, mono_513, stereo_1025):
    assert networks.build(name, 513, 1, 2).count_params() == mono_513
    assert networks.build(name, 1025, 2, 2).count_params() == stereo_1025


@pytest.mark.parametrize("name", ["crn", "crn_online", "or_unet", "unet"])
@pytest.mark.parametrize(("bins", "frames"), [(1, 1), (8, 16), (9, 17), (33, 5)])
def test_u_nets_take_any_number_of_bins_and_frames(name, bins, frames):
    sizes = {"bands": None} if name.startswith("crn") else {}
    masks = small(name, bins, **sizes)(magnitudes(1, frames, bins, CHANNELS))["masks"].numpy()
    assert masks.shape == (1, frames, bins, CHANNELS, TARGETS)
    assert (masks > 0).all()
    assert (masks < 1).all()


@pytest.mark.parametrize("name", [*ONLINE, "crn", "unet"])
def test_a_mask_sees_both_channels(name, features):
    """Stereo is seen at once: the right channel changes the masks of the left."""
    network = small(name)
    changed = features.copy()
    changed[..., 1] = 0
    difference = np.abs(network(changed)["masks"] - network(features)["masks"])
    assert difference[..., 0, :].max() > 1e-3


def test_or_unet_bottleneck_sees_every_bin(features):
    network = small("or_unet")
    for bin_index in (0, BINS - 1):
        changed = features[:, :1].copy()
        changed[:, :, bin_index] += 50
        difference = np.abs(network(changed)["masks"] - network(features[:, :1])["masks"])
        assert (difference.max(axis=(0, 1, 3, 4)) > 1e-6).all()


@pytest.mark.parametrize("name", ["crn", "unet"])
def test_offline_networks_look_at_both_sides_in_time(name, features):
    network = small(name)
    changed = features.copy()
    changed[:, 15] *= 50
    difference = np.abs(network(changed)["masks"] - network(features)["masks"]).max(axis=(0, 2, 3, 4))
    assert difference[14] > 1e-3
    assert difference[16] > 1e-3


def test_unet_masks_do_not_depend_on_silence_that_follows_far_behind(features):
    """No statistic is taken over time: a song is separated as its excerpt is, away from the cut."""
    network = small("unet")
    longer = np.pad(features, [(0, 0), (0, 320), (0, 0), (0, 0)])
    longest = np.pad(features, [(0, 0), (0, 640), (0, 0), (0, 0)])
    np.testing.assert_allclose(network(longer)["masks"][:, :160], network(longest)["masks"][:, :160], atol=1e-5)


def test_unet_feature_maps_are_those_of_the_first_four_levels(features):
    network = networks.build("unet", BINS, CHANNELS, TARGETS, filters=(3, 4, 5, 6, 7))
    maps = network.feature_maps(tf.constant(features))
    assert [tuple(level.shape) for level in maps] == [(2, 16, 32, 3), (2, 8, 16, 4), (2, 4, 8, 5), (2, 2, 4, 6)]
    with tf.GradientTape() as tape:
        x = tf.constant(features)
        tape.watch(x)
        total = tf.add_n([tf.reduce_sum(tf.abs(level)) for level in network.feature_maps(x)])
    assert np.abs(tape.gradient(total, x)).max() > 0


def test_u_net_levels_have_the_kernel_stride_and_filters_they_are_told():
    network = networks.build("or_unet", 50, 1, 2, filters=(6, 10), kernel=7, stride=3, units=4, layers=1)
    shapes = [tuple(layer.convolution.kernel.shape) for layer in [*network.down, *network.up]]
    assert shapes == [(7, 1, 6), (7, 6, 10), (7, 6, 20)]
    assert network.bottleneck == (6, 10)
    assert network(magnitudes(1, 3, 50, 1))["masks"].shape == (1, 3, 50, 1, 2)


@pytest.mark.parametrize(("length", "padded"), [(0, 0), (1, 4), (4, 4), (5, 8)])
def test_padding_is_at_the_end_and_zero(length, padded):
    x = np.ones([2, length, 3], np.float32)
    answer = pad_to_multiple(tf.constant(x), [1], 4).numpy()
    assert answer.shape == (2, padded, 3)
    np.testing.assert_array_equal(answer[:, :length], x)
    assert not answer[:, length:].any()


@pytest.mark.parametrize(
    ("name", "sizes", "part"),
    [
        ("lstm_online", {"units": 0}, "units is 0"),
        ("lstm_online", {"layers": 0}, "layers is 0"),
        ("or_unet", {"filters": ()}, r"filters is \(\)"),
        ("or_unet", {"filters": (4, 0)}, r"filters is \(4, 0\)"),
        ("or_unet", {"kernel": 0}, "kernel is 0"),
        ("or_unet", {"layers": 0}, "layers is 0"),
        ("crn", {"strides": (4,)}, r"filters is \[4, 8\] and strides is \[4\]"),
        ("crn", {"kernel": (3,)}, r"kernel is \[3\]"),
        ("crn", {"bands": (6,)}, r"bands is \[6\]"),
        ("crn", {"bands": (6, 1)}, r"bands is \[6, 1\]"),
        ("crn", {"band_units": 0}, "band_units is 0"),
        ("crn_online", {"kernel": (1, 5)}, "frames of kernel is 1; legal: at least 2"),
        ("unet", {"stride": 1}, "stride is 1; legal: at least 2"),
        ("unet", {"filters": ()}, r"filters is \(\)"),
    ],
)
def test_illegal_sizes_are_named(name, sizes, part):
    sizes = {"filters": (4, 8), "strides": (4, 2), "bands": None, **sizes} if name.startswith("crn") else sizes
    with pytest.raises(ValueError, match=f"{part}.*legal" if "legal" not in part else part):
        networks.build(name, 9, 1, 2, **sizes)
