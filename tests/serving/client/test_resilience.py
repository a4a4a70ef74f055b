"""Files that are on their way when their server dies, restarts, or takes another version."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import soundfile

from serving import process
from serving.client import Client
from serving.client.remote import Remote, VersionGone
from serving.client.separation import SeparationError

RATE_HZ = 16000
CHUNKS = {"chunk_seconds": 1.0, "overlap_seconds": 0.1}


class Server:
    """serving.server in a process that can be killed, always at the same port."""

    def __init__(self, base_path: Path) -> None:
        with socket.socket() as free:
            free.bind(("localhost", 0))
            self.port = free.getsockname()[1]
        self.address = f"localhost:{self.port}"
        self._base_path = base_path
        self.start()

    def start(self) -> None:
        flags = [f"--port={self.port}", "--model_name=stemline", f"--model_base_path={self._base_path}"]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "serving.server", *flags],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def kill(self) -> None:
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait()


@contextmanager
def killable(base_path: Path):
    server = Server(base_path)
    try:
        yield server
    finally:
        server.kill()


def song(path: Path, seconds: float, seed: int = 0) -> Path:
    noise = np.random.default_rng(seed).uniform(-0.5, 0.5, (round(seconds * RATE_HZ), 2))
    soundfile.write(path, noise.astype(np.float32), RATE_HZ, subtype="FLOAT")
    return path


def once_at(fraction: float, act: Callable[[], None]) -> Callable[[float], None]:
    """A `progress` that calls `act` the first time that so much is finished."""
    done = threading.Event()

    def progress(finished: float) -> None:
        if finished >= fraction and not done.is_set():
            done.set()
            act()

    return progress


def contents(paths: dict[str, Path]) -> dict[str, bytes]:
    """The samples to the last bit; libsndfile writes the time into a float WAV's header."""
    return {target: soundfile.read(path, dtype="float32")[0].tobytes() for target, path in paths.items()}


def test_a_file_outlives_kill_9_and_is_bit_equal_to_an_undisturbed_one(base_path, tmp_path):
    source = song(tmp_path / "song.wav", 40)
    with killable(base_path) as server, Client(server.address, patience_seconds=120) as client:
        undisturbed = contents(client.separate_file(source, tmp_path / "undisturbed", **CHUNKS))

        def disturb() -> None:
            server.kill()
            server.start()

        fractions = []
        disturbing = once_at(0.3, disturb)
        paths = client.separate_file(
            source, tmp_path / "out", **CHUNKS, progress=lambda done: (fractions.append(done), disturbing(done))
        )
    assert contents(paths) == undisturbed
    assert fractions == sorted(fractions)  # it went on where it was: the same version is back


IN_A_NETWORK_OF_ITS_OWN = """
import fcntl, socket, struct, sys, threading, time
from pathlib import Path
import numpy as np
from serving import process
from serving.client import Client

def loopback(up):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:  # SIOCSIFFLAGS; IFF_UP, IFF_LOOPBACK, IFF_RUNNING
        fcntl.ioctl(any_socket, 0x8914, struct.pack("16sh14x", b"lo", 0x49 if up else 0x8))

loopback(True)
with process.running(Path(sys.argv[1])) as address, Client(address, timeout_seconds=3, patience_seconds=30) as client:
    client.separate(np.zeros(10), 16000)
    loopback(False)
    threading.Timer(4.5, loopback, [True]).start()
    started = time.monotonic()
    client.separate(np.zeros(10), 16000)
    print(time.monotonic() - started)
"""


def test_a_connection_that_dies_without_a_word_is_noticed_before_the_deadline(base_path):
    """No packet arrives for longer than the deadline of a request, and none says so; then the network is back."""
    alone = ["unshare", "--map-root-user", "--net"]
    if shutil.which("unshare") is None or subprocess.run([*alone, "true"], capture_output=True).returncode:
        pytest.skip("no network of its own can be made here (unshare)")
    command = [*alone, sys.executable, "-c", IN_A_NETWORK_OF_ITS_OWN, base_path]
    done = subprocess.run(command, cwd=Path(process.__file__).parents[1], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert 4.5 < float(done.stdout) < 9


@pytest.mark.slow
def test_eight_clients_outlive_three_kills(base_path, tmp_path):
    with killable(base_path) as server:
        sources = [song(tmp_path / f"{index}.wav", 120, index) for index in range(8)]

        def separate(index: int, folder: str, progress=None) -> dict[str, bytes]:
            with Client(server.address, patience_seconds=300) as client:
                paths = client.separate_file(
                    sources[index], tmp_path / folder / str(index), **CHUNKS, progress=progress
                )
                return contents(paths)

        undisturbed = [separate(index, "undisturbed") for index in range(8)]

        def disturb() -> None:
            server.kill()
            server.start()

        # The client of each of three kills is at another point of its file; the others are wherever they are.
        plans = {0: once_at(0.1, disturb), 3: once_at(0.5, disturb), 6: once_at(0.9, disturb)}
        lock = threading.Lock()

        def guarded(progress):
            def one_at_a_time(finished: float) -> None:
                with lock:
                    progress(finished)

            return one_at_a_time

        with ThreadPoolExecutor(8) as pool:
            disturbed = list(
                pool.map(lambda i: separate(i, "disturbed", guarded(plans[i]) if i in plans else None), range(8))
            )
    assert disturbed == undisturbed


def publish(model: Path, base: Path, version: int) -> None:
    """By rename, as the Pusher does."""
    shutil.copytree(model, base / ".staging")
    os.rename(base / ".staging", base / str(version))


@pytest.fixture
def swapping(saved_model, louder_model, tmp_path):
    """(address, swap): `swap` publishes version 2 and returns when version 1 is gone."""
    base = tmp_path / "base"
    base.mkdir()
    publish(saved_model, base, 1)
    with process.running(base, flags=["--file_system_poll_wait_seconds=0.1"]) as address:

        def swap() -> None:
            publish(louder_model, base, 2)
            with Client(address, version=1) as first:
                for _ in range(600):
                    try:
                        first.predict(np.zeros((1, 8)))
                    except VersionGone:
                        return
                    time.sleep(0.1)
            raise AssertionError("version 1 was not unloaded within 60 s")

        yield address, swap


def test_a_file_is_of_one_version_though_the_server_takes_another(swapping, tmp_path):
    address, swap = swapping
    source = song(tmp_path / "song.wav", 20)
    mixture = soundfile.read(source, dtype="float32")[0]
    fractions = []
    swap_once = once_at(0.5, swap)
    with Client(address) as client, Client(address, version=1) as faithful:
        assert Remote(address).pinned().version == 1
        faithful.separate_file(source, tmp_path / "before", **CHUNKS)
        before = sorted(os.listdir(tmp_path))
        paths = client.separate_file(
            source, tmp_path / "out", **CHUNKS, progress=lambda done: (fractions.append(done), swap_once(done))
        )
        vocals = soundfile.read(paths["vocals"], dtype="float32")[0]
        np.testing.assert_allclose(vocals, 0.5 * mixture, atol=1e-7)  # all of it by the second version
        assert contents(paths) == contents(client.separate_file(source, tmp_path / "undisturbed", **CHUNKS))
        assert fractions != sorted(fractions)  # it was begun again
        assert fractions[-1] == 1.0
        with pytest.raises(SeparationError, match="does not serve 'stemline' version 1"):
            faithful.separate_file(source, tmp_path / "never", **CHUNKS)
    assert sorted(os.listdir(tmp_path)) == sorted([*before, "out", "undisturbed"])


def test_a_server_that_replaces_its_version_again_and_again_is_named(address):
    beginnings = []

    def work(kept):
        beginnings.append(kept.version)
        raise VersionGone("gone")

    message = f"server {address} replaced the version of 'stemline' 5 times before one signal was separated"
    with pytest.raises(SeparationError, match=message):
        Remote(address).on_one_version(work)
    assert beginnings == [1] * 5
