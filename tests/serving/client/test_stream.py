"""Streams of a real exported model, in this process and over gRPC on a socket."""

import functools
import itertools
import os
import shutil
import time
from collections.abc import Callable
from contextlib import ExitStack, nullcontext
from pathlib import Path

import numpy as np
import pytest
import soundfile
import tf_keras as keras

from models import exported
from models.separator import Separator
from models.spec import ModelSpec
from serving.client import Client
from serving.client.separation import placeholder
from serving.client.signals import SeparationError
from serving.client.stream import Stream, stream_file
from serving.local import Local, local_client
from serving.server.models.versions import State

RATE_HZ, FRAME_LENGTH, HOP = 8000, 64, 16
LATE = FRAME_LENGTH - HOP
SIZES = {
    "lstm_online": {"units": 8, "layers": 2},
    "or_unet": {"filters": (4, 8), "units": 8, "layers": 1},
}
EXACT = {"rtol": 0, "atol": 1e-5}


def saved(network: str, directory: Path, seed: int = 0, **changes) -> Path:
    """A small model, its weights far from nothing, exported."""
    keras.utils.set_random_seed(seed)
    spec = ModelSpec(
        network=network, sizes=SIZES[network], sample_rate_hz=RATE_HZ, frame_length=FRAME_LENGTH, hop=HOP, **changes
    )
    separator = Separator(spec)
    random = np.random.default_rng(seed)
    separator.set_weights([weight + random.normal(0, 0.2, weight.shape) for weight in separator.get_weights()])
    exported.save(separator, directory)
    return directory


@pytest.fixture(scope="module")
def bases(tmp_path_factory) -> dict[str, Path]:
    """Base paths of a server by model name."""
    root = tmp_path_factory.mktemp("bases")
    for network in SIZES:
        saved(network, root / network / "1")
    saved("lstm_online", root / "stereo" / "1", channels=2)
    saved("lstm_online", root / "levelled" / "1", normalise_level=True)
    return {path.name: path for path in root.iterdir()}


@pytest.fixture(scope="module")
def address(bases, services):
    with services(bases) as (address, _):
        yield address


@pytest.fixture(scope="module")
def local(bases):
    """Opens a model in this process by name; each is loaded once."""
    with ExitStack() as stack:
        load = functools.cache(lambda name: stack.enter_context(local_client(bases[name] / "1")))
        yield lambda name: nullcontext(load(name))


@pytest.fixture(params=["in process", "over gRPC"])
def connect(request):
    """Opens a model by name."""
    if request.param == "in process":
        return request.getfixturevalue("local")
    address = request.getfixturevalue("address")
    return lambda name: Client(address, model_name=name, timeout_seconds=20, patience_seconds=1)


def noise(samples: int, channels: int | None = None, seed: int = 0) -> np.ndarray:
    shape = (samples,) if channels is None else (samples, channels)
    return np.random.default_rng(seed).uniform(-0.5, 0.5, shape).astype(np.float32)


def pushed(stream: Stream, signal: np.ndarray, *lengths: int) -> dict[str, np.ndarray]:
    """All that the stream gives for a signal in blocks of these lengths, in turn."""
    parts, turns = [], itertools.cycle(lengths)
    while len(signal):
        block, signal = np.split(signal, [next(turns)])
        parts.append(stream.push(block))
    parts.append(stream.finish())
    return {target: np.concatenate([part[target] for part in parts]) for target in stream.targets}


def whole(model, signal: np.ndarray) -> dict[str, np.ndarray]:
    """What the signature for whole mixtures answers."""
    wide = signal.reshape(len(signal), -1)
    mixture = wide.T if len(model.mixture_shape) == 2 else wide[np.newaxis]
    outputs = {target: np.asarray(output) for target, output in model.predict(mixture).items()}
    stems = {target: output.T if output.ndim == 2 else output[0] for target, output in outputs.items()}
    return {target: stem.reshape(signal.shape) for target, stem in stems.items()}


@pytest.mark.parametrize("network", SIZES)
@pytest.mark.parametrize(
    ("channels", "samples", "hops", "lengths"),
    [
        (None, 200, 1, (HOP,)),
        (None, 333, 3, (1, 50, 0, 7)),
        (2, 205, 2, (33,)),
        (3, 160, 2, (1000,)),
        (1, 64, 1, (64,)),
    ],
)
def test_blocks_of_any_length_are_the_whole_mixture(connect, network, channels, samples, hops, lengths):
    with connect(network) as model:
        signal = noise(samples, channels)
        stems, expected = pushed(Stream(model, channels, hops), signal, *lengths), whole(model, signal)
    assert sorted(stems) == sorted(expected) == ["accompaniment", "vocals"]
    for target, stem in stems.items():
        assert stem.shape == signal.shape
        np.testing.assert_allclose(stem, expected[target], **EXACT)
        assert np.abs(stem).max() > 0.01


@pytest.mark.parametrize("samples", [0, 1, LATE, FRAME_LENGTH + 1])
def test_short_signals_keep_their_length(local, samples):
    with local("or_unet") as model:
        stems = pushed(Stream(model, hops=2), noise(samples), 1000)
        assert {target: stem.shape for target, stem in stems.items()} == dict.fromkeys(stems, (samples,))
        if samples:
            np.testing.assert_allclose(stems["vocals"], whole(model, noise(samples))["vocals"], **EXACT)


def test_a_stereo_model_takes_both_channels_at_once_and_mono_on_both(connect):
    with connect("stereo") as model:
        signal = noise(150, 2)
        stems, expected = pushed(Stream(model, 2), signal, 40), whole(model, signal)
        np.testing.assert_allclose(stems["vocals"], expected["vocals"], **EXACT)
        mono = pushed(Stream(model), signal[:, 0], 40)["vocals"]
        both = whole(model, np.repeat(signal[:, :1], 2, axis=1))["vocals"].mean(axis=1)
        np.testing.assert_allclose(mono, both, **EXACT)
        with pytest.raises(SeparationError, match="the audio has 3 channels; the model takes 1 or 2"):
            pushed(Stream(model, 3), noise(HOP, 3), HOP)


def test_silence_stays_silent(connect):
    with connect("or_unet") as model:
        assert not any(stem.any() for stem in pushed(Stream(model, 2), np.zeros((300, 2)), 100).values())


@pytest.mark.parametrize("hops", [1, 3])
def test_a_sample_comes_out_within_the_stated_latency_and_not_before(connect, hops):
    with connect("lstm_online") as model:
        stream = Stream(model, hops=hops)
        assert (stream.sample_rate_hz, stream.block_samples, stream.delay_samples) == (RATE_HZ, hops * HOP, LATE)
        assert stream.latency_samples == FRAME_LENGTH + (hops - 1) * HOP
        given, waits = 0, []
        for heard, sample in enumerate(noise(20 * HOP), 1):
            before, given = given, given + len(stream.push([sample])["vocals"])
            waits += [heard - first for first in range(before, given)]
        assert max(waits) == stream.latency_samples
        assert min(waits) == stream.delay_samples + 1
        assert heard - given < stream.latency_samples


def test_a_stream_that_ended_begins_again_and_two_do_not_meet(connect):
    with connect("or_unet") as model:
        one, other, signal = Stream(model), Stream(model), noise(200)
        first = pushed(one, signal, 200)["vocals"]
        begun = other.push(noise(100, seed=1))["vocals"]
        np.testing.assert_array_equal(pushed(one, signal, 200)["vocals"], first)
        assert len(begun) + len(other.finish()["vocals"]) == 100


def test_what_a_failed_request_leaves_is_asked_again(bases, local):
    class Flaky(Local):
        fails = False

        def run(self, inputs, signature_name):
            self.fails = not self.fails and signature_name == "stream"
            if self.fails:
                raise SeparationError("the line is down")
            return super().run(inputs, signature_name)

    with Client(Flaky(bases["lstm_online"] / "1")) as model:
        stream, signal, parts = Stream(model), noise(100), []
        ask: Callable = functools.partial(stream.push, signal)
        while len(parts) < 2:
            try:
                parts.append(ask()["vocals"])
                ask = stream.finish
            except SeparationError:
                ask = functools.partial(stream.push, signal[:0]) if not parts else stream.finish
        with local("lstm_online") as sound:
            np.testing.assert_allclose(np.concatenate(parts), whole(sound, signal)["vocals"], **EXACT)


def test_all_requests_of_a_stream_have_one_length(bases):
    lengths = set()

    class Watched(Local):
        def run(self, inputs, signature_name):
            if signature_name == "stream":
                lengths.add(inputs["mixture"].shape)
            return super().run(inputs, signature_name)

    with Client(Watched(bases["lstm_online"] / "1")) as model:
        pushed(Stream(model, 2, hops=3), noise(500, 2), 7, 100)
    assert lengths == {(2, 3 * HOP)}


def test_a_stream_keeps_to_the_version_it_began_with(bases, services, tmp_path):
    """State of one version fed to another would be noise: the stream ends with the version, in one sentence."""
    base = tmp_path / "model"
    shutil.copytree(bases["lstm_online"], base)
    signal = noise(200)
    with (
        services({"model": base}) as (address, core),
        Client(address, model_name="model", patience_seconds=0) as client,
    ):
        stream = Stream(client)
        begun = stream.push(signal[:100])["vocals"]
        saved("lstm_online", tmp_path / "staged", seed=5).rename(base / "2")
        while [version.state for version in core.states("model")] != [State.AVAILABLE, State.END]:
            time.sleep(0.02)
        message = (
            f"server {address} does not serve 'model' version 1 .Servable not found for request: Specific.model, 1"
        )
        with pytest.raises(SeparationError, match=message):
            stream.push(signal[100:])
        again = pushed(Stream(client), signal, 50)["vocals"]
        np.testing.assert_allclose(again, whole(client, signal)["vocals"], **EXACT)
        assert np.abs(again[: len(begun)] - begun).max() > 1e-3


# ---- files


@pytest.mark.parametrize(
    ("rate_hz", "channels", "samples"), [(RATE_HZ, 2, 3001), (RATE_HZ, 1, 0), (RATE_HZ, 1, 1), (22050, 2, 9000)]
)
def test_a_file_is_streamed_in_step_with_itself(connect, tmp_path, rate_hz, channels, samples):
    soundfile.write(tmp_path / "a.wav", noise(samples, channels), rate_hz, subtype="FLOAT")
    fractions = []
    with connect("lstm_online") as model:
        paths = stream_file(model, tmp_path / "a.wav", tmp_path / "streamed", progress=fractions.append)
        others = model.separate_file(tmp_path / "a.wav", tmp_path / "chunked")
    for target, path in paths.items():
        stem, written_hz = soundfile.read(path, dtype="float32", always_2d=True)
        assert (written_hz, stem.shape) == (rate_hz, (samples, channels))
        np.testing.assert_allclose(stem, soundfile.read(others[target], always_2d=True)[0], rtol=0, atol=2e-5)
    assert fractions[-1] == 1.0
    assert fractions == sorted(fractions)


# ---- errors


@pytest.mark.parametrize("use", [Stream, lambda model: stream_file(model, Path("a.wav"), Path("out"))])
def test_a_model_that_cannot_stream_says_so(connect, use, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    soundfile.write("a.wav", noise(100), RATE_HZ)
    with (
        connect("levelled") as model,
        pytest.raises(SeparationError, match=r"cannot stream \(no signature 'stream'\); legal is a model of an online"),
    ):
        use(model)
    assert os.listdir(tmp_path) == ["a.wav"]


@pytest.mark.parametrize(
    ("channels", "block", "message"),
    [
        (None, np.zeros((4, 1)), r"block has shape \(4, 1\); legal is \[samples\]"),
        (2, np.zeros(4), r"block has shape \(4,\); legal is \[samples, 2\]"),
        (None, 0.5, r"block has shape \(\); legal is"),
        (None, [0, 0, np.nan], "the signal holds NaN or infinity at sample 102; legal are finite numbers"),
    ],
)
def test_an_illegal_block_is_named_and_the_stream_goes_on(local, channels, block, message):
    with local("lstm_online") as model:
        stream = Stream(model, channels)
        first = stream.push(noise(100, channels))["vocals"]
        with pytest.raises(SeparationError, match=message):
            stream.push(block)
        assert len(first) + len(stream.finish()["vocals"]) == 100


@pytest.mark.parametrize(
    ("options", "message"), [({"channels": 0}, "channels is 0; legal"), ({"hops": 0}, "hops is 0")]
)
def test_illegal_arguments_are_named(local, options, message):
    with local("lstm_online") as model, pytest.raises(SeparationError, match=message):
        Stream(model, **options)


def test_the_server_refuses_what_is_no_whole_hop(address):
    with Client(address, model_name="lstm_online", patience_seconds=0) as client:
        inputs = {name: placeholder(info) for name, info in client.signature("stream").inputs.items()}
        words = "refused with INVALID_ARGUMENT.*samples of mixture received: 1; required: a multiple of the hop, 16"
        with pytest.raises(SeparationError, match=words):
            client.run(inputs, "stream")
        short = {**inputs, "mixture": np.zeros([1, HOP], np.float32)}
        short.pop("state_0")
        with pytest.raises(
            SeparationError, match=r"refused with INVALID_ARGUMENT: input size does not match signature"
        ):
            client.run(short, "stream")
