"""The client against a real server: arrays, files, errors."""

import os
import re
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import soundfile

from serving import process
from serving.client import Client
from serving.client.connection import Connection
from serving.client.files import writing
from serving.client.remote import Remote
from serving.client.signals import SeparationError
from serving.local import local_client

RATE_HZ = 16000


@pytest.fixture
def client(address):
    with Client(address, timeout_seconds=20, patience_seconds=1) as client:
        yield client


def noise(samples: int, channels: int | None = None) -> np.ndarray:
    shape = (samples,) if channels is None else (samples, channels)
    return np.random.default_rng(0).uniform(-0.5, 0.5, shape).astype(np.float32)


def sine(samples: int, rate_hz: int, channels: int) -> np.ndarray:
    time_seconds = np.arange(samples)[:, np.newaxis] / rate_hz
    return (0.5 * np.sin(2 * np.pi * 440 * time_seconds + np.arange(channels))).astype(np.float32)


def test_the_model_says_what_it_is(client):
    assert client.targets == ("accompaniment", "vocals")
    assert client.mixture_shape == (None, None)
    assert client.model_rate_hz == RATE_HZ


@pytest.mark.parametrize("samples", [0, 1, 2, 799, 800, 801, 3217])
@pytest.mark.parametrize("channels", [None, 1, 2, 3])
def test_any_length_and_channels_come_back_in_shape(client, samples, channels):
    waveform = noise(samples, channels)
    fractions = []
    stems = client.separate(waveform, RATE_HZ, 0.05, 0.01, fractions.append)
    assert sorted(stems) == ["accompaniment", "vocals"]
    assert stems["vocals"].shape == waveform.shape
    np.testing.assert_allclose(stems["vocals"], 0.25 * waveform, atol=1e-7)
    np.testing.assert_allclose(stems["vocals"] + stems["accompaniment"], waveform, atol=1e-6)
    assert fractions[-1] == 1.0
    assert fractions == sorted(fractions)


def test_all_chunks_have_one_length_and_several_are_in_flight(address):
    shapes, together, running, lock = set(), 0, 0, threading.Lock()
    meet = threading.Barrier(3, timeout=20)

    class Watched(Remote):
        def run(self, inputs, signature_name):
            nonlocal together, running
            if signature_name != "serving_default":
                return super().run(inputs, signature_name)
            with lock:
                running += 1
                together = max(together, running)
            meet.wait()  # nobody passes until three are here
            shapes.update(array.shape for array in inputs.values())
            answer = super().run(inputs, signature_name)
            with lock:
                running -= 1
            return answer

    with Client(Watched(address), in_flight=3, model_rate_hz=RATE_HZ) as client:
        waveform = noise(5 * 720 + 81, 2)  # six chunks of 800 with 80 shared, the last one short
        stems = client.separate(waveform, RATE_HZ, 0.05, 0.005)
    np.testing.assert_allclose(stems["vocals"], 0.25 * waveform, atol=1e-7)
    assert shapes == {(2, 800)}
    assert together == 3


def test_another_rate_is_resampled_there_and_back(client):
    waveform = sine(44100, 44100, 2)
    vocals = client.separate(waveform, 44100, 0.5, 0.1)["vocals"]
    assert vocals.shape == waveform.shape
    error = (vocals - 0.25 * waveform)[2000:-2000]
    assert 20 * np.log10(np.abs(error).max()) < -60


@pytest.mark.parametrize("samples", [0, 1, 2, 5, 1000])
@pytest.mark.parametrize("rate_hz", [8000, 44100])
def test_short_signals_at_another_rate_keep_their_length(client, samples, rate_hz):
    stems = client.separate(noise(samples, 2), rate_hz)
    assert {stem.shape for stem in stems.values()} == {(samples, 2)}


def test_in_process_and_over_the_wire_agree(client, saved_model):
    waveform = noise(RATE_HZ + 1, 2)
    with local_client(saved_model) as local:
        np.testing.assert_array_equal(
            local.separate(waveform, RATE_HZ)["vocals"], client.separate(waveform, RATE_HZ)["vocals"]
        )


# ---- files


@pytest.mark.parametrize(
    ("name", "rate_hz", "channels", "samples"),
    [
        ("a.wav", 16000, 1, 0),
        ("a.wav", 44100, 2, 0),
        ("a.wav", 16000, 1, 1),
        ("a.flac", 44100, 2, 1),
        ("a.wav", 16000, 2, 12345),
        ("a.flac", 44100, 2, 12345),
        ("a.flac", 16000, 1, 3200),
    ],
)
def test_a_file_becomes_one_wav_per_target(client, tmp_path, samples, name, rate_hz, channels):
    source, out = tmp_path / name, tmp_path / "out"
    soundfile.write(source, sine(samples, rate_hz, channels), rate_hz)
    paths = client.separate_file(source, out, 0.2, 0.05)
    assert paths == {target: out / f"{target}.wav" for target in ("accompaniment", "vocals")}
    assert sorted(os.listdir(out)) == ["accompaniment.wav", "vocals.wav"]
    mixture = soundfile.read(source, dtype="float32", always_2d=True)[0]
    for target, gain in (("vocals", 0.25), ("accompaniment", 0.75)):
        stem, written_hz = soundfile.read(paths[target], dtype="float32", always_2d=True)
        assert (written_hz, stem.shape) == (rate_hz, (samples, channels))
        edge = 0 if rate_hz == RATE_HZ else 2000  # a resampler rings where a tone starts
        inside = slice(edge, samples - edge)
        np.testing.assert_allclose(stem[inside], gain * mixture[inside], atol=1e-3 if edge else 1e-6)


def test_what_is_too_long_for_wav_is_rf64(client, tmp_path, monkeypatch):
    soundfile.write(tmp_path / "a.wav", sine(RATE_HZ, RATE_HZ, 2), RATE_HZ)
    for limit, magic in ((2 * 4 * RATE_HZ, b"RIFF"), (2 * 4 * RATE_HZ - 1, b"RF64")):
        monkeypatch.setattr(writing, "WAV_BYTES", limit)
        vocals = client.separate_file(tmp_path / "a.wav", tmp_path / "out")["vocals"]
        assert vocals.read_bytes()[:4] == magic
        assert soundfile.info(vocals).frames == RATE_HZ


def test_mp3_is_read(client, tmp_path):
    soundfile.write(tmp_path / "a.mp3", sine(RATE_HZ, RATE_HZ, 2), RATE_HZ)
    vocals = client.separate_file(tmp_path / "a.mp3", tmp_path)["vocals"]
    mixture = soundfile.read(tmp_path / "a.mp3")[0]
    np.testing.assert_allclose(soundfile.read(vocals)[0], 0.25 * mixture, atol=1e-4)


def test_memory_does_not_grow_with_the_file(client, tmp_path):
    """Python allocations, numpy's included, while the file takes 40 times as much."""
    import tracemalloc

    samples = 3 * 60 * RATE_HZ
    with soundfile.SoundFile(tmp_path / "long.wav", "w", RATE_HZ, 2) as file:
        for _ in range(180):
            file.write(noise(samples // 180, 2))
    tracemalloc.start()
    client.separate_file(tmp_path / "long.wav", tmp_path / "out", 1.0, 0.1)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert soundfile.info(tmp_path / "out" / "vocals.wav").frames == samples
    assert peak < 2 * samples * 2 * 4 / 4  # a quarter of the two stems that were written


def _nan(path):
    samples = noise(100_000)
    samples[70_001] = np.nan
    soundfile.write(path, samples, RATE_HZ, subtype="FLOAT")


def _cut(format: str, kept: float):
    """A file whose header says more than is there."""

    def prepare(path):
        soundfile.write(path, noise(200_000), RATE_HZ, format=format)
        path.write_bytes(path.read_bytes()[: int(kept * path.stat().st_size)])

    return prepare


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (_cut("MP3", 0.5), r"a\.wav breaks off after \d+ samples"),
        (_cut("MP3", 0.03), r"a\.wav breaks off after \d+ of \d+ samples"),
        (_cut("FLAC", 0.5), r"a\.wav (breaks off|cannot be decoded)"),
        (lambda path: path.write_text("these are words"), r"a\.wav is no readable audio"),
        (lambda path: path.write_bytes(b""), r"a\.wav is empty \(0 bytes\)"),
        (_nan, r"a\.wav holds NaN or infinity at sample 70001; legal are finite numbers"),
    ],
    ids=["half an MP3", "the beginning of an MP3", "half a FLAC", "text", "zero bytes", "NaN"],
)
def test_a_bad_file_is_one_sentence_and_leaves_nothing(client, tmp_path, prepare, message):
    prepare(tmp_path / "a.wav")
    with pytest.raises(SeparationError, match=message) as caught:
        client.separate_file(tmp_path / "a.wav", tmp_path / "out", 1.0, 0.1)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists() or os.listdir(tmp_path / "out") == []


def test_a_missing_file_is_named(client, tmp_path):
    with pytest.raises(SeparationError, match=r"none\.wav is not there"):
        client.separate_file(tmp_path / "none.wav", tmp_path / "out")


def test_a_failure_leaves_the_files_of_before(address, tmp_path):
    soundfile.write(tmp_path / "a.wav", noise(8000), RATE_HZ)
    (tmp_path / "vocals.wav").write_text("from before")
    with Client(address, version=9, model_rate_hz=RATE_HZ) as client, pytest.raises(SeparationError):
        client.separate_file(tmp_path / "a.wav", tmp_path)
    assert (tmp_path / "vocals.wav").read_text() == "from before"
    assert sorted(os.listdir(tmp_path)) == ["a.wav", "vocals.wav"]


def test_whether_stems_can_be_written_is_tried_beside_others_that_are_written(tmp_path):
    """Folders that are not there yet are made by who writes, and by nobody else: they may be another's."""
    for attempt in range(300):
        folder = tmp_path / str(attempt)
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda name, folder=folder: writing.check_folder(folder / name), "abcd"))
        assert not folder.exists()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_is_an_os_error_that_names_the_file(client, tmp_path):
    soundfile.write(tmp_path / "a.wav", noise(8000), RATE_HZ)
    out = tmp_path / "out"
    out.mkdir()
    (out / f".vocals.wav.{os.getpid()}.part").symlink_to("/dev/full")
    with pytest.raises(OSError, match=r"cannot write .*vocals\.wav"):
        client.separate_file(tmp_path / "a.wav", out)
    assert os.listdir(out) == []


# ---- errors of the other side


@pytest.mark.parametrize(("patience_seconds", "seconds"), [(0, r"0\.[01] s"), (4, r"[34]\.\d s")])
def test_an_absent_server_is_named_after_the_patience(patience_seconds, seconds, caplog):
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"
    started = time.monotonic()
    with Client(address, patience_seconds=patience_seconds) as client, pytest.raises(SeparationError) as caught:
        client.separate(noise(10), RATE_HZ)
    assert re.match(rf"no model server answers at {address} after {seconds} \(", str(caught.value))
    assert "\n" not in str(caught.value)
    assert time.monotonic() - started < patience_seconds + 3
    assert (f"waiting up to {patience_seconds} s for server {address}" in caplog.text) is (patience_seconds > 1)


@pytest.mark.parametrize("answer", [b"HTTP/1.1 400 Bad Request\r\n\r\n" + b" " * 100, b"<html>" * 20])
def test_a_port_that_speaks_no_grpc_is_told_at_once(answer):
    """As a REST port given for --server."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def speak():
            while True:
                try:
                    connection = listening.accept()[0]
                except OSError:
                    return
                with connection:
                    connection.recv(1000)
                    connection.sendall(answer)

        threading.Thread(target=speak, daemon=True).start()
        started = time.monotonic()
        with (
            Client(f"127.0.0.1:{listening.getsockname()[1]}") as client,
            pytest.raises(SeparationError, match=r"Failed parsing HTTP/2"),
        ):
            client.separate(noise(10), RATE_HZ)
        assert time.monotonic() - started < 20
        listening.shutdown(socket.SHUT_RDWR)


def test_a_slow_server_meets_the_deadline(address):
    with Client(address, timeout_seconds=0.3) as client, pytest.raises(SeparationError) as caught:
        client.run({"mixture": noise(4)[np.newaxis]}, "slow")
    expected = f"server {address} did not answer within timeout_seconds=0.3; allow more, or send shorter chunks"
    assert str(caught.value) == expected


def test_a_whole_separation_has_a_deadline_of_its_own(address):
    remote = Remote(address, Connection(total_seconds=0.5))
    with pytest.raises(SeparationError) as caught:
        remote.on_one_version(lambda kept: kept.run({"mixture": noise(4)[np.newaxis]}, "two_seconds"))
    remote.close()
    assert str(caught.value) == f"server {address} did not finish within total_seconds=0.5"
    with Client(address, total_seconds=20) as client:
        assert client.separate(noise(10), RATE_HZ)["vocals"].shape == (10,)


def test_a_server_that_takes_one_request_at_a_time_serves_several_chunks(base_path, tmp_path):
    waveform = noise(20 * RATE_HZ)
    with process.running(base_path, flags=["--stemline_max_concurrent_requests=1"]) as address:
        with Client(address, in_flight=4, patience_seconds=20) as client:
            np.testing.assert_allclose(
                client.separate(waveform, RATE_HZ, 1.0, 0.1)["vocals"], 0.25 * waveform, atol=1e-7
            )
        with (
            Client(address, in_flight=4, patience_seconds=0) as client,
            pytest.raises(SeparationError, match=r"Concurrent|CANCELLED"),  # refused, or gone for the next one
        ):
            client.separate(waveform, RATE_HZ, 1.0, 0.1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model_name": "m"}, r"does not serve 'm' \(Servable not found for request: Latest\(m\)\)"),
        ({"version": 9}, r"does not serve 'stemline' version 9 \(Servable not found"),
    ],
)
def test_an_unknown_model_or_version_is_named(address, options, message):
    with Client(address, **options) as client, pytest.raises(SeparationError, match=message) as caught:
        client.separate(noise(10), RATE_HZ)
    assert address in str(caught.value)


def test_an_unknown_signature_and_a_wrong_dtype_are_named(client, address):
    with pytest.raises(SeparationError, match=f'{address} refused with FAILED_PRECONDITION: .*"x" not found'):
        client.run({"mixture": noise(4)[np.newaxis]}, "x")
    with pytest.raises(SeparationError, match=r"refused with INVALID_ARGUMENT: Expects arg.0. to be float but double"):
        client.run({"mixture": np.zeros((1, 4))})


def test_a_message_over_the_limit_is_refused_both_ways(address):
    limit = 100_000
    with Client(address, max_message_bytes=limit, model_rate_hz=RATE_HZ) as client:
        with pytest.raises(SeparationError, match=f"{address} is over max_message_bytes=100000 .the request has 400"):
            client.predict(noise(100_000)[np.newaxis])
        with pytest.raises(SeparationError, match=f"{address} is over max_message_bytes=100000 .*larger than max"):
            client.predict(noise(20_000)[np.newaxis])  # 80 kB there, twice that back
        stems = client.separate(noise(100_000), RATE_HZ, 0.5, 0.1)  # what the message advises
    assert stems["vocals"].shape == (100_000,)


def test_a_response_over_grpcs_own_limit_arrives(client):
    samples = 2**21  # 8 MiB a stem; gRPC's default is 4 MiB a message
    np.testing.assert_allclose(client.predict(noise(samples)[np.newaxis])["vocals"][0], 0.25 * noise(samples))


def test_a_model_that_does_not_tell_its_rate_needs_it(address):
    class Mute(Remote):
        @property
        def signatures(self):
            return {name: value for name, value in super().signatures.items() if name != "describe"}

    with (
        Client(Mute(address)) as client,
        pytest.raises(SeparationError, match=r"does not tell its sample rate .*model_rate_hz"),
    ):
        client.separate(noise(10), RATE_HZ)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((noise(10), 0), "sample_rate_hz is 0; legal is 1 or more"),
        ((np.zeros((2, 3, 4)), RATE_HZ), r"waveform has shape \(2, 3, 4\); legal is"),
        ((noise(10), RATE_HZ, 1.0, 1.0), "overlap_seconds is 1.0; legal is from 0 to less than 1.0"),
        ((noise(10), RATE_HZ, 0.0, 0.0), "chunk_seconds is 0.0; legal is"),
    ],
)
def test_illegal_arguments_are_named(client, arguments, message):
    with pytest.raises(ValueError, match=message):
        client.separate(*arguments)


def test_options_of_a_connection_are_of_an_address(address):
    with pytest.raises(TypeError, match=f"timeout_seconds given for model 'stemline' at {address}; legal with"):
        Client(Remote(address), timeout_seconds=1.0)
    with pytest.raises(TypeError, match="timeout"):
        Client(address, timeout=1.0)
