"""Streams: block by block is the whole mixture, later by what is stated; in eager mode and through the SavedModel."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from models import exported, networks, spectral, streaming
from models.directory import ModelDirectory
from models.separator import Separator
from models.spec import ModelSpec
from models.streaming import StreamingSeparator

ONLINE = ("crn_online", "lstm_online", "or_unet")
RATE_HZ, FRAME_LENGTH, HOP = 8000, 64, 32
TARGETS = ("vocals", "drums", "bass")
EXACT = {"rtol": 0, "atol": 1e-5}


def spec_of(network, **changes):
    values = {"sample_rate_hz": RATE_HZ, "frame_length": FRAME_LENGTH, "hop": HOP, "targets": TARGETS}
    return ModelSpec(network=network, sizes=networks.network_class(network).SMALL, **{**values, **changes})


def separator_of(network, **changes):
    """A small separator with no weight left at zero or one."""
    keras.utils.set_random_seed(0)
    separator = Separator(spec_of(network, **changes))
    random = np.random.default_rng(1)
    separator.set_weights([weight + random.normal(0, 0.1, weight.shape) for weight in separator.get_weights()])
    return separator


def noise(*shape, seed=0):
    return np.random.default_rng(seed).uniform(-0.5, 0.5, shape).astype(np.float32)


def streamed(step, spec, mixture, hops, state):
    """All that comes out of a stream of the mixture [batch, samples, ...] in blocks of `hops` hops (in turn), flushed."""
    samples = mixture.shape[1]
    rest = spectral.frame_count(samples, spec.frame_length, spec.hop) * spec.hop - samples
    padded = np.pad(mixture, [(0, 0), (0, rest)] + [(0, 0)] * (mixture.ndim - 2))
    parts, position, turn = [], 0, 0
    while position < padded.shape[1]:
        block = padded[:, position : position + hops[turn % len(hops)] * spec.hop]
        stems, state = step(tf.constant(block), state)
        assert {stem.shape for stem in stems.values()} == {block.shape}
        parts.append(stems)
        position, turn = position + block.shape[1], turn + 1
    return {target: np.concatenate([part[target] for part in parts], axis=1) for target in spec.targets}


def aligned(stems, spec, samples):
    late = streaming.delay_samples(spec)
    assert all(stem.shape[1] >= late + samples for stem in stems.values())
    return {target: stem[:, late : late + samples] for target, stem in stems.items()}


@pytest.fixture(scope="module", params=ONLINE)
def separator(request):
    return separator_of(request.param)


@pytest.fixture(scope="module")
def stream(separator):
    return StreamingSeparator(separator)


@pytest.fixture(scope="module")
def traced(stream):
    """One graph for every batch and block."""
    mixture = tf.TensorSpec([None, None], tf.float32)
    return tf.function(stream.__call__, input_signature=[mixture, stream.state_specs], autograph=False)


@pytest.mark.parametrize(
    ("samples", "hops"), [(0, (1,)), (1, (1,)), (31, (2,)), (130, (1,)), (250, (3, 1, 2)), (250, (9,))]
)
def test_block_by_block_is_the_whole_mixture_later(separator, stream, traced, samples, hops):
    mixture = noise(2, samples)
    stems = aligned(streamed(traced, separator.spec, mixture, hops, stream.initial_state(2)), separator.spec, samples)
    for target, whole in separator(mixture).items():
        np.testing.assert_allclose(stems[target], whole, **EXACT)
        assert samples == 0 or np.abs(whole).max() > 1e-3


@pytest.mark.parametrize(
    "changes",
    [
        {"channels": 2},
        {"frame_length": 60, "hop": 14, "window": "hamming"},  # a hop that does not divide the frame
        {"hop": 16, "window": "hann", "input_power": 0.5, "standardise": True},
    ],
    ids=str,
)
@pytest.mark.parametrize("network", ONLINE)
def test_any_framing_features_and_channels(network, changes):
    separator = separator_of(network, **changes)
    spec, stream = separator.spec, StreamingSeparator(separator)
    mixture = noise(2, 130) if spec.channels == 1 else noise(2, 130, spec.channels)
    stems = aligned(streamed(stream, spec, mixture, (1, 4), stream.initial_state(2)), spec, 130)
    for target, whole in separator(mixture).items():
        np.testing.assert_allclose(stems[target], whole, **EXACT)


def test_silence_stays_silent(stream, traced):
    stems = streamed(traced, stream.spec, np.zeros([1, 300], np.float32), (2,), stream.initial_state(1))
    assert not any(stem.any() for stem in stems.values())


def test_items_of_a_batch_do_not_meet(stream, traced):
    mixture = noise(3, 150)
    together = streamed(traced, stream.spec, mixture, (2,), stream.initial_state(3))
    for item in range(3):
        alone = streamed(traced, stream.spec, mixture[item : item + 1], (2,), stream.initial_state(1))
        np.testing.assert_allclose(together["vocals"][item], alone["vocals"][0], **EXACT)


def stream_of_a_copy(spec):
    """A stream whose masks are all 1, so that what comes out is the mixture late."""
    separator = Separator(spec)
    for weight in separator.network.estimates.weights:  # of the layer before the sigmoids
        weight.assign(tf.fill(weight.shape, 100.0 if "bias" in weight.name else 0.0))
    return StreamingSeparator(separator)


@pytest.mark.parametrize("framing", [(64, 32), (64, 16), (60, 14)], ids=str)
@pytest.mark.parametrize("hops", [1, 3])
def test_an_impulse_measures_the_stated_latency(framing, hops):
    """The delay among samples, and the wait in samples taken until it is out: the longest over a block's offsets."""
    spec = spec_of("lstm_online", frame_length=framing[0], hop=framing[1])
    stream, block = stream_of_a_copy(spec), hops * framing[1]
    impulses = np.eye(block, 10 * block, dtype=np.float32)  # item n of the batch: an impulse at sample n
    stems = streamed(stream, spec, impulses, (hops,), stream.initial_state(block))["vocals"]
    positions, offsets = np.argmax(np.abs(stems), axis=1), np.arange(block)
    np.testing.assert_allclose(stems[offsets, positions], 1, atol=1e-5)
    assert set(positions - offsets) == {streaming.delay_samples(spec)} == {framing[0] - framing[1]}
    taken = (positions // block + 1) * block  # a sample comes out with its block
    assert max(taken - offsets) == streaming.latency_samples(spec, hops) == framing[0] + (hops - 1) * framing[1]
    assert streaming.latency_ms(spec, hops) == 1000 * streaming.latency_samples(spec, hops) / RATE_HZ


def test_the_whole_state_is_needed(stream, traced):
    """Each tensor alone, forgotten in the middle, changes what follows."""
    mixture = tf.constant(noise(1, 10 * HOP))
    _, state = traced(mixture[:, : 5 * HOP], stream.initial_state(1))
    expected, _ = traced(mixture[:, 5 * HOP :], state)
    for index in range(len(state)):
        forgotten = [tensor * (position != index) for position, tensor in enumerate(state)]
        answer, _ = traced(mixture[:, 5 * HOP :], forgotten)
        assert np.abs(answer["vocals"] - expected["vocals"]).max() > 1e-4, index


def test_bfloat16_keeps_a_float32_state(separator):
    stream, mixture = StreamingSeparator(separator.with_precision("bfloat16")), noise(1, 200)
    state = stream.initial_state(1)
    stems = aligned(streamed(stream, separator.spec, mixture, (2,), state), separator.spec, 200)
    np.testing.assert_allclose(stems["vocals"], separator(mixture)["vocals"], atol=0.03)
    _, after = stream(tf.constant(noise(1, HOP)), state)
    assert {tensor.dtype for tensor in [*state, *after]} == {tf.float32}


@pytest.mark.parametrize("samples", [0, 1, 33])
def test_samples_that_are_no_whole_hops_are_refused_in_words(stream, samples):
    words = f"samples of mixture received: {samples}; required: a multiple of the hop, 32, and at least one"
    with pytest.raises(tf.errors.InvalidArgumentError, match=words):
        stream(tf.zeros([1, samples]), stream.initial_state(1))
    with pytest.raises(ValueError, match=r"state has 1 tensors; legal: the \d of initial_state"):
        stream(tf.zeros([1, HOP]), stream.initial_state(1)[:1])


@pytest.mark.parametrize(
    ("network", "changes", "words"),
    [
        ("unet", {}, "network is 'unet', which sees the whole mixture at once; legal for a stream: an online one"),
        ("lstm_online", {"normalise_level": True}, "model.normalise_level is True, .*; legal for a stream: False"),
        ("lstm_online", {"targets": ("state_1", "b")}, "target is 'state_1'; legal for a stream: a name that does not"),
    ],
)
def test_what_cannot_stream_says_why_in_one_sentence(network, changes, words):
    separator = Separator(spec_of(network, **changes))
    with pytest.raises(ValueError, match=words):
        StreamingSeparator(separator)
    assert "\n" not in streaming.obstacle(separator)
    assert "stream" not in exported.signatures(separator)
    described = exported.description(separator)
    assert (described["streams"], described["latency_samples"], described["latency_ms"]) == (False, None, None)


@pytest.mark.parametrize(("network", "channels"), [("crn_online", 2), ("lstm_online", 1), ("or_unet", 2)])
def test_the_saved_model_streams_and_says_how(network, channels, tmp_path):
    separator = separator_of(network, channels=channels)
    spec = separator.spec
    exported.save(separator, tmp_path / "model")
    loaded = tf.saved_model.load(str(tmp_path / "model"))
    described = ModelDirectory(tmp_path / "model").description
    assert (described["streams"], described["latency_samples"], described["latency_ms"]) == (True, 64, 8.0)
    told = loaded.signatures["describe"](query=tf.constant(["", ""]))
    assert {name: list(value.numpy()) for name, value in told.items()} == {
        "sample_rate_hz": [RATE_HZ] * 2,
        "period_samples": [HOP] * 2,
        "hop": [HOP] * 2,
        "latency_samples": [FRAME_LENGTH] * 2,
    }
    stream = loaded.signatures["stream"]
    _, inputs = stream.structured_input_signature
    names = sorted(set(inputs) - {"mixture"})
    assert names == [f"state_{index}" for index in range(len(names))]
    assert sorted(stream.structured_outputs) == sorted([*TARGETS, *names])
    late = FRAME_LENGTH - HOP
    assert inputs["state_0"].shape.as_list() == [None, late, channels]
    assert inputs[names[-1]].shape.as_list() == [None, late, channels, len(TARGETS)]

    def step(block, state):
        answer = stream(mixture=block, **state)
        return {target: answer[target] for target in TARGETS}, {name: answer[name] for name in names}

    mixture = noise(2, 201) if channels == 1 else noise(2, 201, channels)
    zeros = {name: tf.zeros([2, *inputs[name].shape[1:]]) for name in names}
    stems = aligned(streamed(step, spec, mixture, (1, 2), zeros), spec, 201)
    for target, whole in separator(mixture).items():
        np.testing.assert_allclose(stems[target], whole, **EXACT)
    with pytest.raises(tf.errors.InvalidArgumentError, match="samples of mixture received: 31; required: a multiple"):
        step(tf.zeros([2, 31] if channels == 1 else [2, 31, channels]), zeros)
