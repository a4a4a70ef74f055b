"""What every network owes the rest of the house; a new module in models/networks is tested here by being there."""

import io
import json

import numpy as np
import pytest
import soundfile
import tensorflow as tf
import tf_keras as keras

from models import exported, losses, networks, streaming
from models.layers.online import OnlineNetwork
from models.separator import Separator
from models.spec import ModelSpec

RATE_HZ = 8000
TARGETS = ("vocals", "accompaniment")
QUANTUM = 1 / 32768


def spec_of(name, **changes):
    values = {"sample_rate_hz": RATE_HZ, "frame_length": 64, "hop": 32, "window": "hann", "normalise_level": True}
    return ModelSpec(network=name, sizes=networks.network_class(name).SMALL, targets=TARGETS, **{**values, **changes})


class System:
    """A small separator with random weights, and what came back from its SavedModel."""

    def __init__(self, name, directory):
        keras.utils.set_random_seed(0)
        self.network_class = networks.network_class(name)
        self.spec = spec_of(name)
        self.separator = Separator(self.spec)
        self.directory = directory / "model"
        exported.save(self.separator, self.directory, recipe_name="small")
        self.loaded = tf.saved_model.load(str(self.directory))
        self.signatures = self.loaded.signatures

    def separate(self, waveform):
        """[samples, channels] -> {target: the same shape}, by the signature that takes channels as a batch."""
        answer = self.signatures["serving_default"](mixture=tf.constant(waveform.T, tf.float32))
        return {target: stem.numpy().T for target, stem in answer.items()}


@pytest.fixture(scope="module", params=networks.names())
def system(request, tmp_path_factory):
    return System(request.param, tmp_path_factory.mktemp(request.param))


def noise(*shape, seed=0):
    return np.random.default_rng(seed).uniform(-0.3, 0.3, shape).astype(np.float32)


def wav_bytes(waveform, rate_hz=RATE_HZ):
    buffer = io.BytesIO()
    soundfile.write(buffer, waveform, rate_hz, format="WAV", subtype="PCM_16")
    return buffer.getvalue()


def example_bytes(waveform, rate_hz=RATE_HZ):
    pcm = np.round(waveform * 32768).astype("<i2")
    features = {
        "mixture": tf.train.Feature(bytes_list=tf.train.BytesList(value=[pcm.tobytes()])),
        "channels": tf.train.Feature(int64_list=tf.train.Int64List(value=[waveform.shape[1]])),
        "sample_rate_hz": tf.train.Feature(int64_list=tf.train.Int64List(value=[rate_hz])),
    }
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()


@pytest.mark.parametrize("samples", [0, 1, 31, 32, 33, 64, 997])
def test_any_length_keeps_its_shape(system, samples):
    mixture = noise(3, samples)
    stems = system.separator(mixture)
    assert list(stems) == list(TARGETS)
    for stem in stems.values():
        assert stem.shape == mixture.shape
        assert stem.dtype == tf.float32
        assert np.isfinite(stem).all()


def test_masks_and_their_bounds(system):
    spectrogram = system.separator.encode(tf.constant(noise(2, 500, 1)))
    outputs = system.separator.network_outputs(spectrogram)
    masks = outputs["masks"].numpy()
    assert masks.shape == (*spectrogram.shape, len(TARGETS))
    assert outputs["masks"].dtype == tf.float32
    assert masks.min() >= 0
    assert masks.max() <= 1
    assert np.ptp(masks) > 0
    if system.network_class.MASKS_SUM_TO_ONE:
        np.testing.assert_allclose(masks.sum(-1), 1, atol=1e-5)


def test_targets_add_up_to_the_mixture(system):
    if not system.network_class.MASKS_SUM_TO_ONE:
        pytest.skip(f"the masks of {system.spec.network} need not add up to 1")
    mixture = noise(2, 500)
    np.testing.assert_allclose(sum(system.separator(mixture).values()), mixture, atol=1e-5)


@pytest.mark.parametrize("samples", [1, 700])
def test_silence_stays_silent(system, samples):
    for stem in system.separator(np.zeros([2, samples], np.float32)).values():
        assert not stem.numpy().any()


def test_an_online_network_streams_and_no_other(system):
    """Without normalise_level, which takes the level of the whole mixture: no separator of this file streams itself."""
    assert "stream" not in system.signatures
    separator = Separator(spec_of(system.spec.network, normalise_level=False))
    online = isinstance(separator.network, OnlineNetwork)
    assert online is not bool(streaming.obstacle(separator))
    if not online:
        return
    stream, mixture = streaming.StreamingSeparator(separator), noise(2, 160)
    stems, _ = stream(tf.constant(mixture), stream.initial_state(2))
    for target, whole in separator(mixture).items():
        np.testing.assert_allclose(stems[target][:, 32:], whole[:, :128], atol=1e-5)


def test_the_input_is_not_changed_and_the_answer_is_the_same_twice(system):
    mixture = noise(2, 300)
    before = mixture.copy()
    first, second = system.separator(mixture), system.separator(mixture)
    np.testing.assert_array_equal(mixture, before)
    np.testing.assert_array_equal(first["vocals"], second["vocals"])


def test_level_is_normalised_away(system):
    mixture = noise(1, 600)
    quiet, loud = system.separator(mixture)["vocals"], system.separator(mixture * 100)["vocals"]
    np.testing.assert_allclose(loud / 100, quiet, atol=1e-5)


def test_a_mono_model_separates_the_channels_of_stereo_on_their_own(system):
    left, right = noise(2, 400, seed=1), noise(2, 400, seed=2)
    stereo = system.separator(np.stack([left, right], -1))
    for target in TARGETS:
        assert stereo[target].shape == (2, 400, 2)
        np.testing.assert_allclose(stereo[target][..., 0], system.separator(left)[target], atol=1e-6)
        np.testing.assert_allclose(stereo[target][..., 1], system.separator(right)[target], atol=1e-6)


def test_a_stereo_model_takes_stereo_only(system):
    separator = Separator(spec_of(system.spec.network, channels=2))
    assert separator(noise(1, 200, 2))["vocals"].shape == (1, 200, 2)
    for shape in ([1, 200], [1, 200, 1], [200]):
        with pytest.raises(ValueError, match=r"mixture has shape.*legal: \[batch, samples, 2\]"):
            separator(noise(*shape))


def test_one_batch_overfits(system):
    """Two stems in different bands: 40 steps must halve the squared error at least."""
    keras.utils.set_random_seed(1)
    separator = Separator(system.spec)
    time = np.arange(1500) / RATE_HZ
    stems = np.stack([np.sin(2 * np.pi * hz * time) for hz in (400, 2600)]) + noise(2, 1500, seed=3) / 10
    references = tf.stack([separator.encode(tf.constant(s[None, :, None], tf.float32)) for s in stems], -1)
    mixture = tf.reduce_sum(references, -1)
    loss, optimiser = losses.build("mse"), keras.optimizers.Adam(1e-2)

    @tf.function(autograph=False)
    def step():
        with tf.GradientTape() as tape:
            value = loss(mixture, references, separator.network_outputs(mixture))
        gradients = tape.gradient(value, separator.trainable_variables)
        optimiser.apply_gradients(
            (g, v) for g, v in zip(gradients, separator.trainable_variables, strict=True) if g is not None
        )
        return value

    values = [float(step()) for _ in range(40)]
    assert np.isfinite(values).all()
    assert values[-1] < 0.5 * values[0], values[:: len(values) - 1]


def test_bfloat16_keeps_float32_weights_and_borders(system):
    half = system.separator.with_precision("bfloat16")
    assert keras.mixed_precision.global_policy().name == "float32"
    assert {weight.dtype for weight in half.weights} == {tf.float32}
    mixture = noise(1, 500)
    stem = half(mixture)["vocals"]
    exact = system.separator(mixture)["vocals"]
    assert stem.dtype == tf.float32
    np.testing.assert_allclose(stem, exact, atol=0.03)
    assert np.abs(stem - exact).max() > 0
    np.testing.assert_array_equal(half.with_precision("float32")(mixture)["vocals"], exact)


@pytest.mark.parametrize("samples", [0, 1, 333])
def test_the_saved_model_answers_as_the_separator(system, samples):
    mixture = noise(2, samples)
    answer = system.signatures["serving_default"](mixture=tf.constant(mixture))
    assert sorted(answer) == sorted(TARGETS)
    for target, stem in system.separator(mixture).items():
        assert answer[target].shape == mixture.shape
        np.testing.assert_allclose(answer[target], stem, atol=1e-5)


def test_wav_answers_as_serving_default_whatever_is_in_the_batch(system):
    waveforms = [np.round(noise(n, c, seed=n) * 32768) * QUANTUM for n, c in ((0, 1), (1, 1), (500, 2), (321, 1))]
    answer = system.signatures["wav"](audio=tf.constant([wav_bytes(w) for w in waveforms]))
    assert sorted(answer) == sorted(TARGETS)
    for index, waveform in enumerate(waveforms):
        expected = system.separate(waveform)
        for target in TARGETS:
            file = io.BytesIO(answer[target].numpy()[index])
            stem, rate_hz = soundfile.read(file, dtype="float32", always_2d=True)
            assert rate_hz == RATE_HZ
            assert stem.shape == waveform.shape
            np.testing.assert_allclose(stem, expected[target], atol=1.01 * QUANTUM)


def test_examples_answer_as_serving_default_padded_to_the_longest(system):
    waveforms = [np.round(noise(n, c, seed=n) * 32768) * QUANTUM for n, c in ((300, 1), (500, 2), (0, 1))]
    answer = system.signatures["examples"](examples=tf.constant([example_bytes(w) for w in waveforms]))
    for target in TARGETS:
        assert answer[target].shape == (3, 1000)
        for row, waveform in zip(answer[target].numpy(), waveforms, strict=True):
            stem = system.separate(waveform)[target]
            np.testing.assert_allclose(row[: stem.size], stem.reshape(-1), atol=1e-5)
            assert not row[stem.size :].any()


@pytest.mark.parametrize("signature", ["wav", "examples"])
def test_an_empty_batch_is_answered(system, signature):
    name = {"wav": "audio", "examples": "examples"}[signature]
    answer = system.signatures[signature](**{name: tf.zeros([0], tf.string)})
    assert answer["vocals"].shape[0] == 0


@pytest.mark.parametrize(("signature", "encode"), [("wav", wav_bytes), ("examples", example_bytes)])
def test_another_rate_is_refused_with_both_rates(system, signature, encode):
    name = {"wav": "audio", "examples": "examples"}[signature]
    good, bad = encode(noise(10, 1)), encode(noise(10, 1), rate_hz=44100)
    with pytest.raises(tf.errors.InvalidArgumentError, match="received: 44100 Hz; required: 8000 Hz"):
        system.signatures[signature](**{name: tf.constant([good, bad])})


def test_bytes_that_are_no_wav_are_refused(system):
    with pytest.raises(tf.errors.InvalidArgumentError):
        system.signatures["wav"](audio=tf.constant([b"not a wav"]))


def test_only_the_separators_variables_and_core_ops_are_saved(system):
    saved = tf.train.list_variables(str(system.directory / "variables" / "variables"))
    shapes = sorted(shape for name, shape in saved if not name.startswith("_CHECKPOINTABLE"))
    assert shapes == sorted(list(weight.shape) for weight in system.separator.weights)
    graph = tf.saved_model.load(str(system.directory)).signatures["wav"].graph
    functions = graph.as_graph_def().library.function
    ops = {node.op for function in functions for node in function.node_def}
    assert "DecodeWav" in ops
    assert not [op for op in ops if op.startswith("IO>") or op.startswith("Xla")]


def test_the_description_beside_the_model(system):
    with open(system.directory / "assets.extra" / "stemline.json", encoding="utf-8") as file:
        description = json.load(file)
    assert description == {
        "targets": list(TARGETS),
        "sample_rate_hz": RATE_HZ,
        "channels": 1,
        "network": system.spec.network,
        "parameters": system.separator.network.count_params(),
        "frame_length": 64,
        "hop": 32,
        "identity": exported.identity(system.separator),
        "streams": False,
        "latency_samples": None,
        "latency_ms": None,
        "recipe": "small",
    }
    assert description["parameters"] == sum(int(np.prod(weight.shape)) for weight in system.separator.network.weights)
