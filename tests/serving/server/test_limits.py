"""What a request may cost: the flags, the check of shapes, and the answers of a server that has them."""

from __future__ import annotations

import argparse
import io
import struct
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import pytest
import soundfile
from tensorflow_serving.apis import model_pb2, predict_pb2

from models import exported
from models.networks.drnn import DeepRecurrentNetwork
from models.separator import Separator
from models.spec import ModelSpec
from serving import process
from serving.server import limits
from serving.server.limits import NO_LIMITS, Limits
from serving.server.models.servable import Servable
from serving.wire import tensors
from serving.wire.status import Code, StatusError

RATE_HZ = 16000
PREDICT = "/tensorflow.serving.PredictionService/Predict"


def parse(*argv: str) -> Limits:
    parser = argparse.ArgumentParser()
    limits.add_flags(parser)
    return limits.from_flags(parser.parse_args(argv))


def test_every_limit_is_a_flag_and_0_lifts_it():
    assert parse() == Limits()
    flags = ["message_bytes", "concurrent_requests", "connections", "request_seconds", "batch_size", "request_values"]
    assert parse(*(f"--stemline_max_{name}=0" for name in flags)) == NO_LIMITS
    assert str(NO_LIMITS).split() == [f"--stemline_max_{name}=0" for name in flags]
    assert parse("--stemline_max_batch_size=7") == Limits(batch_size=7)
    assert NO_LIMITS.channel_options == [("grpc.max_receive_message_length", 2**31 - 1)]


@pytest.mark.parametrize("value", ["-1", "x", "1.5", str(2**31)])
def test_a_wrong_limit_is_refused(value, capsys):
    with pytest.raises(SystemExit) as caught:
        parse(f"--stemline_max_batch_size={value}")
    assert caught.value.code == 2
    assert "--stemline_max_batch_size" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("shapes", "words"),
    [
        ({"a": (5, 1)}, "input a has batch size 5; legal is up to 4 (--stemline_max_batch_size)"),
        ({"a": (4, 26)}, "the inputs have 104 values; legal is up to 100 (--stemline_max_request_values)"),
        (
            {"a": (4, 13), "b": (1, 49)},
            "the inputs have 101 values; legal is up to 100 (--stemline_max_request_values)",
        ),
    ],
)
def test_shapes_over_a_limit_are_refused_by_name(shapes, words):
    with pytest.raises(StatusError) as caught:
        Limits(batch_size=4, request_values=100).check(shapes)
    assert (caught.value.code, caught.value.message) == (Code.INVALID_ARGUMENT, words)
    NO_LIMITS.check(shapes)


def test_shapes_within_the_limits_pass():
    Limits(batch_size=4, request_values=100).check({"a": (3, 33), "scalar": ()})


# ---- a server with limits


@pytest.fixture(scope="module")
def limited(base_path):
    flags = [
        "--stemline_max_message_bytes=100000",
        "--stemline_max_batch_size=4",
        "--stemline_max_request_values=8000",
        "--stemline_max_concurrent_requests=3",
    ]
    with process.running(base_path, flags=flags) as address:
        yield address


def status_of(call) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return caught.value.code(), caught.value.details()


def code_of(call) -> grpc.StatusCode:
    try:
        call()
    except grpc.RpcError as error:
        return error.code()
    return Code.OK


def ask(channel: grpc.Channel, signature: str = "serving_default", timeout: float = 30, **inputs: np.ndarray) -> dict:
    spec = model_pb2.ModelSpec(name="stemline", signature_name=signature)
    message = tensors.predict_request(spec, inputs)
    return tensors.from_response(channel.unary_unary(PREDICT)(message, timeout=timeout))[0]


def test_requests_over_a_limit_are_refused_and_others_served(limited):
    with grpc.insecure_channel(limited) as channel:
        code, words = status_of(lambda: ask(channel, mixture=np.ones((1, 30_000), np.float32)))
        assert code is Code.RESOURCE_EXHAUSTED
        assert "larger than max" in words
        code, words = status_of(lambda: ask(channel, mixture=np.ones((5, 4), np.float32)))
        assert code is Code.INVALID_ARGUMENT
        assert words == "input mixture has batch size 5; legal is up to 4 (--stemline_max_batch_size)"
        code, words = status_of(lambda: ask(channel, mixture=np.ones((1, 8001), np.float32)))
        assert code is Code.INVALID_ARGUMENT
        assert "8001 values" in words
        assert ask(channel, mixture=np.ones((4, 2000), np.float32))["vocals"].shape == (4, 2000)


def test_more_requests_at_once_than_allowed_are_refused_at_once(limited):
    with grpc.insecure_channel(limited) as channel, ThreadPoolExecutor(3) as pool:
        mixture = np.ones((1, 4), np.float32)
        running = [pool.submit(ask, channel, "two_seconds", mixture=mixture) for _ in range(3)]
        time.sleep(0.7)
        started = time.monotonic()
        code, _ = status_of(lambda: ask(channel, mixture=mixture))
        assert code is Code.RESOURCE_EXHAUSTED
        assert time.monotonic() - started < 1
        for future in running:
            future.result(30)
        assert ask(channel, mixture=mixture)["vocals"].shape == (1, 4)


# ---- sound that is none, through the model's own graph


def wav(samples: np.ndarray, rate_hz: int = RATE_HZ, subtype: str = "PCM_16") -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate_hz, format="WAV", subtype=subtype)
    return buffer.getvalue()


GOOD = wav(np.zeros(100))


def header(
    channels: int = 1, rate_hz: int = RATE_HZ, bits: int = 16, data_bytes: int = 200, riff_bytes: int = 236
) -> bytes:
    """A WAV whose header says what it likes, with 200 bytes of sound."""
    align = channels * bits // 8 & 0xFFFF
    layout = struct.pack("<HHIIHH", 1, channels, rate_hz, rate_hz * align & 0xFFFFFFFF, align, bits)
    sizes = struct.pack("<I", riff_bytes), struct.pack("<I", data_bytes)
    return b"RIFF" + sizes[0] + b"WAVEfmt " + struct.pack("<I", 16) + layout + b"data" + sizes[1] + bytes(200)


BOMBS = {
    "nothing": b"",
    "no WAV": b"not a WAV file at all",
    "a header alone": GOOD[:44],
    "half a header": GOOD[:20],
    "four gigabytes declared": header(data_bytes=2**32 - 1, riff_bytes=2**32 - 1),
    "two gigabytes declared": header(data_bytes=2**31 - 1),
    "no channels": header(channels=0),
    "65535 channels": header(channels=65535),
    "another rate": wav(np.zeros(100), 44100),
    "rate 0": header(rate_hz=0),
    "rate 4 GHz": header(rate_hz=2**32 - 1),
    "0 bits": header(bits=0),
    "8 bits": wav(np.zeros(100), subtype="PCM_U8"),
    "24 bits": wav(np.zeros(100), subtype="PCM_24"),
    "float": wav(np.zeros(100), subtype="FLOAT"),
    "a chunk of four gigabytes": GOOD[:36] + b"LIST" + b"\xff\xff\xff\xff" + GOOD[36:],
}


@pytest.mark.parametrize("data", BOMBS.values(), ids=BOMBS)
def test_wav_bombs_are_refused_by_the_graph_and_the_server_lives(channel, data):
    started = time.monotonic()
    code = code_of(lambda: ask(channel, "wav", audio=np.array([data], object)))
    assert code in (Code.INVALID_ARGUMENT, Code.OUT_OF_RANGE, Code.FAILED_PRECONDITION)
    assert time.monotonic() - started < 10
    assert ask(channel, "wav", audio=np.array([GOOD], object))["vocals"].shape == (1,)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e38, 1e-45])
def test_numbers_that_are_no_sound_are_answered_and_stay_in_their_row(channel, value):
    mixture = np.full((2, 1000), 0.5, np.float32)
    mixture[0, 500] = value
    stems = ask(channel, mixture=mixture)
    assert all(np.isfinite(stem[1]).all() for stem in stems.values())
    np.testing.assert_array_equal(stems["vocals"], 0.25 * mixture)


# ---- the same through the graph that models.exported writes


@pytest.fixture(scope="module")
def separator(tmp_path_factory):
    directory = tmp_path_factory.mktemp("exported") / "1"
    exported.save(Separator(ModelSpec(sizes=DeepRecurrentNetwork.SMALL, frame_length=64, hop=16)), directory)
    servable = Servable(directory)
    yield servable
    servable.close()


def separate(servable: Servable, signature: str, **inputs: np.ndarray) -> dict[str, np.ndarray]:
    spec = model_pb2.ModelSpec(signature_name=signature)
    return servable.predict(predict_pb2.PredictRequest.FromString(tensors.predict_request(spec, inputs)))


@pytest.mark.parametrize("name", sorted(BOMBS))
def test_an_exported_model_refuses_wav_bombs(separator, name):
    with pytest.raises(StatusError) as caught:
        separate(separator, "wav", audio=np.array([BOMBS[name]], object))
    assert caught.value.code in (Code.INVALID_ARGUMENT, Code.OUT_OF_RANGE, Code.FAILED_PRECONDITION)


@pytest.mark.parametrize("value", [np.nan, np.inf, 3e38, 1e-45])
def test_an_exported_model_keeps_numbers_that_are_no_sound_to_their_row(separator, value):
    mixture = np.full((2, 400), 0.5, np.float32)
    alone = separate(separator, "serving_default", mixture=mixture[1:])
    mixture[0, 200] = value
    stems = separate(separator, "serving_default", mixture=mixture)
    for name, stem in stems.items():
        assert stem.shape == mixture.shape
        np.testing.assert_allclose(stem[1], alone[name][0], atol=1e-5)
