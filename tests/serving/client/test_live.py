"""Streams as a user meets them: `stemline live` between real pipes, `stemline separate --stream` on real files."""

import os
import re
import subprocess
import sys
from io import BufferedReader, BytesIO
from pathlib import Path

import numpy as np
import pytest
import soundfile
import tf_keras as keras

from models import exported
from models.separator import Separator
from models.spec import ModelSpec
from serving.client import Client, live
from serving.client.stream import Stream
from serving.local import local_client

RATE_HZ, FRAME_LENGTH, HOP = 8000, 64, 32
LATENCY = FRAME_LENGTH


def saved(directory: Path, network: str, sizes: dict) -> Path:
    keras.utils.set_random_seed(0)
    spec = ModelSpec(network=network, sizes=sizes, sample_rate_hz=RATE_HZ, frame_length=FRAME_LENGTH, hop=HOP)
    separator = Separator(spec)
    random = np.random.default_rng(0)
    separator.set_weights([weight + random.normal(0, 0.2, weight.shape) for weight in separator.get_weights()])
    exported.save(separator, directory)
    return directory


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return saved(tmp_path_factory.mktemp("model") / "1", "or_unet", {"filters": (4, 8), "units": 8, "layers": 1})


@pytest.fixture(scope="module")
def local(model):
    with local_client(model) as local:
        yield local


@pytest.fixture(scope="module")
def offline(tmp_path_factory) -> Path:
    return saved(tmp_path_factory.mktemp("offline") / "1", "dnn", {"units": 4, "layers": 1})


@pytest.fixture(scope="module")
def address(model, services):
    with services({"stemline": model.parent}) as (address, _):
        yield address


def pcm(samples: int, channels: int = 1, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(-12000, 12000, (samples, channels)).astype("<i2")


def expected(local: Client, mixture: np.ndarray, target: str) -> np.ndarray:
    """What the signature for whole mixtures answers, in int16's units [samples, channels]."""
    stem = local.predict(np.ascontiguousarray(mixture.T) / np.float32(32768))[target].T
    return np.round(stem * 32768).astype(int)


def command(*args: object, **options) -> subprocess.Popen:
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    words = [sys.executable, "-m", "pipeline.cli.main", "live", *map(str, args)]
    return subprocess.Popen(words, bufsize=0, **{**pipes, **options})


@pytest.fixture
def stemline(monkeypatch, capfd):
    """Runs `stemline ARGS` in this process: (exit code, standard output, standard error)."""
    from pipeline.cli import main

    def run(*args: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["stemline", *map(str, args)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as stopped:
            main.main()
        return int(stopped.value.code or 0), *capfd.readouterr()

    return run


# ---- live


def test_live_answers_hop_by_hop_within_its_latency(model, local):
    """Each sample is read back before the one that is LATENCY later is written: nothing waits in a buffer."""
    mixture = pcm(20 * HOP + 5, 2)
    process = command("--model", model, "--target", "accompaniment", "--channels", 2)
    assert process.stdin
    assert process.stdout
    assert process.stderr
    looking, loading, ready = (process.stderr.readline().decode() for _ in range(3))
    assert looking == f"looking at {model}\n"
    assert loading == f"loading {model}\n"
    assert ready == "stemline live: accompaniment: s16le, 8000 Hz, 2 channels, latency 8 ms (64 samples)\n"
    got = b""
    for start in range(0, 20 * HOP, HOP):
        process.stdin.write(mixture[start : start + HOP].tobytes())
        finished = max(0, start + HOP - (LATENCY - HOP))
        while len(got) < 4 * finished:
            got += os.read(process.stdout.fileno(), 4096)
        assert len(got) == 4 * finished
    process.stdin.write(mixture[20 * HOP :].tobytes())
    process.stdin.close()
    got += process.stdout.read()
    words = process.stderr.read().decode()
    assert process.wait(20) == 0, words
    assert re.fullmatch(r"stemline live: 0\.1 s separated in \d+\.\d\d of real time\n", words)
    stem = np.frombuffer(got, "<i2").reshape(-1, 2)
    assert stem.shape == mixture.shape
    assert np.abs(stem - expected(local, mixture, "accompaniment")).max() <= 1
    assert np.abs(stem).max() > 1000


def test_live_ends_when_its_reader_does(address):
    """Over gRPC; the reader takes two bytes and goes."""
    process = command("--server", address, "--hops", 4)
    assert process.stdin
    assert process.stdout
    assert process.stderr
    process.stdin.write(pcm(20 * HOP).tobytes())
    assert len(process.stdout.read(2)) == 2
    process.stdout.close()
    try:
        while process.poll() is None:
            process.stdin.write(pcm(HOP).tobytes())
    except BrokenPipeError:
        pass
    assert process.wait(20) == 0
    lines = process.stderr.read().decode().splitlines()
    assert lines[:2] == [f"looking at {address}", f"asking model 'stemline' at {address}"]
    assert lines[2].endswith("8000 Hz, 1 channel, latency 20 ms (160 samples)")
    assert lines[3:] == ["stemline live: standard output was closed by its reader"]


@pytest.mark.parametrize(("samples", "channels", "hops"), [(0, 1, 1), (1, 2, 1), (33000, 1, 200), (300, 3, 2)])
def test_the_stem_is_as_long_as_the_input(local, samples, channels, hops):
    mixture, sink = pcm(samples, channels), BytesIO()
    source = BufferedReader(BytesIO(mixture.tobytes()))
    tally = live.separate(source, sink, Stream(local, channels, hops), "vocals", channels)
    stem = np.frombuffer(sink.getvalue(), "<i2").reshape(-1, channels)
    assert stem.shape == mixture.shape
    assert (tally.samples, tally.clipped) == (samples, 0)
    if samples:
        assert np.abs(stem - expected(local, mixture, "vocals")).max() <= 1


def test_a_torn_sample_is_named_after_all_whole_ones_are_written(local):
    sink, source = BytesIO(), BufferedReader(BytesIO(pcm(100, 2).tobytes() + b"abc"))
    with pytest.raises(ValueError, match="the input ends with 3 of a sample's 4 bytes; legal are whole samples"):
        live.separate(source, sink, Stream(local, 2), "vocals", 2)
    assert len(sink.getvalue()) == 400


def test_what_is_over_full_scale_is_cut_and_counted():
    tally = live.Tally()
    stem = np.array([[1.0], [-1.0], [-1.5], [0.5], [3.0]], np.float32)
    values = np.frombuffer(live._encode(stem, tally), "<i2")
    assert values.tolist() == [32767, -32768, -32768, 16384, 32767]
    assert tally.words(5).endswith("of real time, 3 values clipped")


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--target", "drums"], "target is 'drums'; legal: accompaniment, vocals"),
        (["--model", "{offline}"], "cannot stream (no signature 'stream'); legal is a model of an online network"),
        (["--model", "none"], "none is no SavedModel"),
        (["--channels", "0"], "channels is 0; legal is 1 or more"),
        (["--hops", "0"], "hops is 0; legal is 1 or more"),
    ],
)
def test_live_refuses_in_one_sentence_and_writes_nothing(stemline, model, offline, args, words):
    code, out, err = stemline("live", "--model", model, *(arg.format(offline=offline) for arg in args))
    assert (code, out) == (2, "")
    assert words in err
    assert "Traceback" not in err


def test_live_refuses_a_terminal(stemline, model):
    master, terminal = os.openpty()
    saved_stdin = sys.stdin
    try:
        with os.fdopen(terminal) as sys.stdin:
            code, out, err = stemline("live", "--model", model)
    finally:
        sys.stdin = saved_stdin
        os.close(master)
    assert (code, out) == (2, "")
    assert "standard input is a terminal; legal is a pipe or a file of raw s16le PCM" in err


# ---- separate --stream


@pytest.mark.parametrize("where", ["model", "server"])
def test_separate_stream_writes_what_separate_does(stemline, model, address, tmp_path, where):
    source = ["--model", model] if where == "model" else ["--server", address]
    mixture = pcm(3001, 2) / 32768
    soundfile.write(tmp_path / "a.wav", mixture, RATE_HZ, subtype="FLOAT")
    for out, flags in (("streamed", ["--stream"]), ("chunked", [])):
        code, printed, _ = stemline("separate", tmp_path / "a.wav", "-o", tmp_path / out, *flags, *source)
        assert code == 0
        assert printed.count("wrote ") == 2
    for target in ("vocals", "accompaniment"):
        streamed, chunked = (
            soundfile.read(tmp_path / out / "a" / f"{target}.wav")[0] for out in ("streamed", "chunked")
        )
        assert streamed.shape == mixture.shape
        np.testing.assert_allclose(streamed, chunked, rtol=0, atol=1e-5)
        assert np.abs(streamed).max() > 0.01


def test_separate_stream_needs_an_online_model(stemline, offline, tmp_path):
    soundfile.write(tmp_path / "a.wav", pcm(100), RATE_HZ)
    code, _, err = stemline("separate", tmp_path / "a.wav", "-o", tmp_path / "out", "--stream", "--model", offline)
    assert code == 2
    assert "cannot stream (no signature 'stream'); legal is a model of an online network" in err.splitlines()[-1]
    assert not (tmp_path / "out").exists()
