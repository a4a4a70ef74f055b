"""Minutes of load: versions that come and break, and an hour of audio in bounded memory. Slow; -s shows the figures.

STEMLINE_SOAK_SECONDS (60): how long eight clients ask while a version is pushed every 20 s, every third one broken.
STEMLINE_SOAK_AUDIO_SECONDS (600): length of the file of which client and server are watched.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil
import pytest
import soundfile
import tensorflow as tf

from models import exported as export
from models.separator import Separator
from models.spec import ModelSpec
from serving import process
from serving.client import Client
from serving.client.remote import Remote

pytestmark = pytest.mark.slow

SOAK_SECONDS = float(os.environ.get("STEMLINE_SOAK_SECONDS", "60"))
AUDIO_SECONDS = float(os.environ.get("STEMLINE_SOAK_AUDIO_SECONDS", "600"))
PUSH_EVERY_SECONDS = 20.0
CLIENTS = 8
RATE_HZ = 16000
MEGABYTE = 10**6
CLIENT_BYTES, SERVER_BYTES = 1500 * MEGABYTE, 3000 * MEGABYTE


def server_of(address: str) -> psutil.Process:
    """The server among this process's children."""
    found = [child for child in psutil.Process().children() if "serving.process" in child.cmdline()]
    assert len(found) == 1, (address, found)
    return found[0]


# ---- versions under load


def export_version(directory: Path, version: int) -> None:
    """vocals = mixture / version, from 16 MB of weights that a leak would leave behind."""
    module = tf.Module()
    module.weights = tf.Variable(tf.fill([2048, 2048], 1.0 / version))

    @tf.function(input_signature=[tf.TensorSpec([None, None], tf.float32, "mixture")])
    def serving_default(mixture):
        vocals = mixture * module.weights[0, 0]
        return {"vocals": vocals, "accompaniment": mixture - vocals}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "query")])
    def describe(query):
        return {"sample_rate_hz": tf.fill(tf.shape(query), tf.constant(RATE_HZ, tf.int64))}

    module.functions = [serving_default, describe]
    tf.saved_model.save(module, str(directory), signatures={"serving_default": serving_default, "describe": describe})


def spoil(directory: Path, version: int) -> None:
    """By turns a saved_model.pb that ends too early, and one without its variables."""
    if version % 2:
        graph = directory / "saved_model.pb"
        graph.write_bytes(graph.read_bytes()[:-1000])
    else:
        shutil.rmtree(directory / "variables")


def export_all(folder: Path, versions: int) -> None:
    """In a process of its own: what TensorFlow keeps of an export is none of the client's."""
    code = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); from pathlib import Path; import test_soak\n"
        f"for n in range(1, {versions} + 1): test_soak.export_version(Path({str(folder)!r}, str(n)), n)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def publish(exported: Path, base: Path, version: int) -> bool:
    """Pushes a version by rename, every third one broken; whether it was a good one."""
    staging = base / ".staging"
    shutil.move(exported / str(version), staging)
    good = version % 3 != 0
    if not good:
        spoil(staging, version)
    os.rename(staging, base / str(version))
    return good


@dataclass
class Answers:
    """What one client was answered: versions in order, and the errors."""

    versions: list[int] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


def ask(address: str, seed: int, stop: threading.Event, answers: Answers) -> None:
    """Requests to the latest version, and every tenth time a whole file of ten chunks; nothing is sent twice."""
    mixture = np.random.default_rng(seed).uniform(0.25, 0.5, 10 * RATE_HZ).astype(np.float32)
    with Client(address, patience_seconds=0, model_rate_hz=RATE_HZ) as client:
        for turn in range(10**9):
            if stop.is_set():
                return
            try:
                if turn % 10:
                    asked, vocals = mixture[:RATE_HZ], client.predict(mixture[np.newaxis, :RATE_HZ])["vocals"][0]
                else:
                    asked, vocals = mixture, client.separate(mixture, RATE_HZ, 1.0, 0.1)["vocals"]
                version = round(float(asked[0] / vocals[0]))
                np.testing.assert_allclose(vocals, asked / version, rtol=1e-5)  # one version from end to end
                answers.versions.append(version)
            except Exception as error:
                answers.errors.append(f"{type(error).__name__}: {error}")


def wait_for(address: str, version: int) -> None:
    server = Remote(address)
    deadline = time.monotonic() + 60
    while server.pinned().version != version:
        assert time.monotonic() < deadline, f"version {version} is not served after 60 s"
        time.sleep(0.1)
    server.close()
    time.sleep(2)  # as long as a whole file may take


def test_versions_come_and_break_under_load_and_nobody_notices(tmp_path):
    base, exported = tmp_path / "stemline", tmp_path / "exported"
    base.mkdir()
    pushes = round(SOAK_SECONDS / PUSH_EVERY_SECONDS)
    export_all(exported, 1 + pushes)
    publish(exported, base, 1)
    with process.running(base, flags=["--file_system_poll_wait_seconds=1"]) as address:
        server = server_of(address)
        stop, answers = threading.Event(), [Answers() for _ in range(CLIENTS)]
        threads = [threading.Thread(target=ask, args=(address, seed, stop, answers[seed])) for seed in range(CLIENTS)]
        for thread in threads:
            thread.start()
        newest_good, resident = 1, []
        for version in range(2, 2 + pushes):
            newest_good = version if publish(exported, base, version) else newest_good
            time.sleep(PUSH_EVERY_SECONDS)
            resident.append(server.memory_info().rss)
        wait_for(address, newest_good)
        stop.set()
        for thread in threads:
            thread.join()
        time.sleep(5)
        after = server.memory_info().rss
    asked = sum(len(answer.versions) for answer in answers)
    warm = resident[0]  # one swap is behind it
    print(
        f"\n{asked} answers in {SOAK_SECONDS:g} s, {pushes} pushes; server {warm / MEGABYTE:.0f} MB after the first "
        f"swap, {max(resident) / MEGABYTE:.0f} at most, {after / MEGABYTE:.0f} in the end"
    )
    print("MB after each push: " + " ".join(f"{size / MEGABYTE:.0f}" for size in resident))
    assert [error for answer in answers for error in answer.errors] == []
    for answer in answers:
        assert answer.versions == sorted(answer.versions)
        assert not [seen for seen in answer.versions if seen % 3 == 0]
        assert answer.versions[-1] == newest_good
    assert after <= 1.1 * warm


# ---- an hour of audio


@pytest.fixture
def stereo_model(tmp_path) -> Path:
    """Base path of a small network at 44.1 kHz."""
    spec = ModelSpec(
        network="drnn",
        sizes={"units": 64, "layers": 2, "recurrent": (2,)},
        sample_rate_hz=44100,
        frame_length=2048,
        hop=1024,
        targets=("vocals", "accompaniment"),
    )
    export.save(Separator(spec), tmp_path / "stemline" / "1")
    return tmp_path / "stemline"


def write_noise(path: Path, seconds: float) -> None:
    rng = np.random.default_rng(0)
    with soundfile.SoundFile(path, "w", 44100, 2, "PCM_16") as file:
        for _ in range(round(seconds)):
            file.write(rng.uniform(-0.5, 0.5, (44100, 2)).astype(np.float32))


@contextmanager
def watching(*processes: psutil.Process):
    """Yields the largest resident size of each process, sampled ten times a second."""
    largest, stop = [0] * len(processes), threading.Event()

    def sample() -> None:
        while not stop.wait(0.1):
            for index, watched in enumerate(processes):
                largest[index] = max(largest[index], watched.memory_info().rss)

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield largest
    finally:
        stop.set()
        thread.join()


def test_memory_of_client_and_server_is_bounded(stereo_model, tmp_path):
    write_noise(tmp_path / "long.wav", AUDIO_SECONDS)
    command = [sys.executable, "-c", "import sys; from pathlib import Path; from serving.client import Client\n"
               "Client(sys.argv[1]).separate_file(Path(sys.argv[2]), Path(sys.argv[3]))"]  # fmt: skip
    with process.running(stereo_model) as address:
        server = server_of(address)
        started = time.monotonic()
        client = subprocess.Popen(
            [*command, address, str(tmp_path / "long.wav"), str(tmp_path / "out")],
        )
        with watching(server, psutil.Process(client.pid)) as largest:
            assert client.wait() == 0
        seconds = time.monotonic() - started
        print(f"\n{AUDIO_SECONDS:g} s of stereo in {seconds:.0f} s; at most: server {largest[0] / MEGABYTE:.0f} MB, "
              f"client {largest[1] / MEGABYTE:.0f} MB")  # fmt: skip
    frames = soundfile.info(tmp_path / "out" / "vocals.wav").frames
    shutil.rmtree(tmp_path)  # gigabytes that pytest would keep
    assert frames == round(AUDIO_SECONDS) * 44100
    assert largest[0] < SERVER_BYTES
    assert largest[1] < CLIENT_BYTES
