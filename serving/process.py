"""The embedded server in a process of its own, for a validator, a test or a command.

    python -m serving.process PARENT FOLDER MODEL FLAGS...

is that process where it belongs to another: `serving.server` with these flags, which ends when PARENT, the process that
started it, is gone, killed or not. With a FOLDER it makes that folder, with MODEL as version 1, and removes it in the end.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

READY = re.compile(r"Running gRPC ModelServer at \S+:(\d+) ")
STOP_SECONDS = 40.0
WATCH_SECONDS = 0.05
PARENT_SECONDS = 0.25


class ServerError(ValueError):
    """The server did not come up; one sentence with its last words."""


def command(*flags: str) -> list[str]:
    """The command line of a server: this project's, whatever lies in the current directory."""
    return [sys.executable, "-P", "-m", "serving.server", *flags]


@contextmanager
def running(
    base_path: Path | str,
    model_name: str = "stemline",
    port: int = 0,
    flags: Sequence[str] = (),
    timeout_seconds: float = 300.0,
) -> Iterator[str]:
    """Serves the latest version in `base_path` as long as the context lasts; yields `localhost:<port>`.

    The server ends with this process, also when that is killed.

    Args:
      base_path: a directory, or a place in a bucket as text.
      port: 0 chooses a free one.
      flags: further flags of serving.server.
      timeout_seconds: how long the first version may take to load.

    Raises:
      ServerError: the process ended, or was not ready in time.
    """
    base = base_path if "://" in str(base_path) else Path(base_path).resolve()
    own = [f"--port={port}", f"--model_name={model_name}", f"--model_base_path={base}"]
    with _child("", "", [*own, *flags], timeout_seconds) as address:
        yield address


@contextmanager
def running_model(model: Path, model_name: str = "stemline", timeout_seconds: float = 300.0) -> Iterator[str]:
    """The same for one SavedModel, wherever it lies."""
    folder = Path(tempfile.gettempdir(), f"stemline-serving-{uuid.uuid4().hex}")
    flags = ["--port=0", f"--model_name={model_name}", f"--model_base_path={folder}"]
    try:
        with _child(str(folder), str(model.resolve()), flags, timeout_seconds) as address:
            yield address
    finally:
        shutil.rmtree(folder, ignore_errors=True)  # of a server that was killed


@contextmanager
def _child(folder: str, model: str, flags: Sequence[str], timeout_seconds: float) -> Iterator[str]:
    line = [sys.executable, "-P", "-m", "serving.process", str(os.getpid()), folder, model]
    # Who starts a server to try a model wants to hear at once that it does not load.
    line += ["--max_num_load_retries=0", *flags]
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(line, stdin=subprocess.DEVNULL, stdout=output, stderr=errors, env=environment())
        try:
            yield f"localhost:{_wait(process, output, errors, timeout_seconds)}"
        finally:
            stop(process)


def stop(process: subprocess.Popen, timeout_seconds: float = STOP_SECONDS) -> int:
    """Asks with SIGTERM, waits for the drain, then kills; returns the exit code."""
    process.terminate()
    try:
        return process.wait(timeout_seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


def environment() -> dict[str, str]:
    """This process's, with the folder that holds the package first among the places to import from, and a silent gRPC."""
    package_root = str(Path(__file__).resolve().parent.parent)
    path = os.pathsep.join(filter(None, [package_root, os.environ.get("PYTHONPATH", "")]))
    return {"GRPC_VERBOSITY": "NONE", **os.environ, "PYTHONPATH": path}


def _wait(process: subprocess.Popen, output, errors, timeout_seconds: float) -> int:
    deadline = time.monotonic() + timeout_seconds
    while time.monotonic() < deadline:
        ended = process.poll() is not None
        if found := READY.search(_text(output)):
            return int(found[1])
        if ended:
            last = (_text(errors).strip().splitlines() or ["no message"])[-1]
            raise ServerError(f"the model server ended with exit code {process.returncode}: {last}")
        time.sleep(WATCH_SECONDS)
    raise ServerError(f"the model server was not ready after {timeout_seconds:g} s")


def _text(file) -> str:
    """What the server has written: by position, the process shares the file's."""
    return os.pread(file.fileno(), 2**20, max(0, os.fstat(file.fileno()).st_size - 2**20)).decode(errors="replace")


# ---- in the child


def main(parent: int, folder: str, model: str, flags: Sequence[str]) -> int:
    """The exit code of the server."""
    from serving.server import __main__ as server

    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # until the server has its own handler
    threading.Thread(target=_end_with, args=(parent, folder), daemon=True).start()
    if not folder:
        return server.main(flags)
    try:
        os.mkdir(folder, 0o700)
        os.symlink(model, Path(folder, "1"))
        return server.main(flags)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _end_with(parent: int, folder: str) -> None:
    """Not by a pipe, which other children of the parent may hold open, nor by PR_SET_PDEATHSIG, which goes by threads."""
    while os.getppid() == parent:
        time.sleep(PARENT_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(STOP_SECONDS)
    shutil.rmtree(folder, ignore_errors=True)
    os._exit(1)


if __name__ == "__main__":
    from serving.server.__main__ import leave

    leave(main(int(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4:]))
