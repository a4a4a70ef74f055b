"""What every test process needs before TensorFlow is imported, and where the research data lie."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def datasets() -> Path:
    """The directory of real data: beside the checkout, or where STEMLINE_DATASETS says."""
    return Path(os.environ.get("STEMLINE_DATASETS", ROOT.parent / "shared" / "datasets"))


@pytest.fixture(scope="session")
def mir1k(datasets: Path) -> Path:
    """MIR-1K in its native layout."""
    return _present(datasets / "MIR-1K")


@pytest.fixture(scope="session")
def musdb18(datasets: Path) -> Path:
    """Two tracks of MUSDB18 as .stem.mp4."""
    return _present(datasets / "MUSDB18-7-SAMPLE")


def _present(path: Path) -> Path:
    if not path.is_dir():
        pytest.skip(f"research data not here: {path.name} (set STEMLINE_DATASETS to the folder that holds it)")
    return path


@pytest.fixture(scope="session")
def arrive():
    """Writes a week of rendered songs as a span: `arrive(root, week, {"train": 3, "dev": 1, "test": 1})`."""
    return _arrive


def _arrive(root: Path, week: int, tracks: Mapping[str, int]) -> None:
    """Songs of 3 s under names and of sounds that no other week has."""
    import soundfile

    from pipeline.data.datasets import synthetic

    options = {**synthetic.OPTIONS, "tracks": dict(tracks), "seconds": 3, "seed": week}
    for ref in synthetic.discover(None, options):
        track = synthetic.load(ref, options)
        directory = root / f"week-{week}" / track.split / f"{track.name} of week {week}"
        directory.mkdir(parents=True)
        for name, stem in track.stems.items():
            soundfile.write(directory / f"{name}.wav", stem, track.sample_rate_hz, subtype="FLOAT")


@pytest.fixture(scope="session")
def free_ports():
    """Ports of this machine that nothing listens on, all different: `free_ports(2)`."""
    return _free_ports


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


@pytest.fixture(scope="session")
def serve_in_thread():
    """Runs the embedded server in this process, which has TensorFlow already: `with serve_in_thread(arguments, grpc_port)`.

    Raises what the server fails to start with.
    """
    return _serve_in_thread


@contextmanager
def _serve_in_thread(arguments: Sequence[str], grpc_port: int) -> Iterator[None]:
    import grpc

    from serving.server import __main__ as server
    from serving.server import flags

    parsed = flags.parse([*arguments, f"--port={grpc_port}"])
    stopping, failures = threading.Event(), []

    def run() -> None:
        try:
            server.start(parsed, stopping)
        except server.StartError as error:
            failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        with grpc.insecure_channel(f"localhost:{grpc_port}") as channel:
            ready = grpc.channel_ready_future(channel)
            while thread.is_alive():
                try:
                    ready.result(timeout=0.1)
                    break
                except grpc.FutureTimeoutError:
                    continue
        if failures:
            raise failures[0]
        yield
    finally:
        stopping.set()
        thread.join()
