"""The embedded server in a process of its own, for a validator, a test or a command."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

READY = re.compile(r"Running gRPC ModelServer at \S+:(\d+) ")
STOP_SECONDS = 40.0
WATCH_SECONDS = 0.05


class ServerError(ValueError):
    """The server did not come up; one sentence with its last words."""


def command(*flags: str) -> list[str]:
    """The command line of a server."""
    return [sys.executable, "-m", "serving.server", *flags]


@contextmanager
def running(
    base_path: Path | str,
    model_name: str = "stemline",
    port: int = 0,
    flags: Sequence[str] = (),
    timeout_seconds: float = 300.0,
) -> Iterator[str]:
    """Serves the latest version in `base_path` as long as the context lasts; yields `localhost:<port>`.

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
    # Who starts a server to try a model wants to hear at once that it does not load.
    line = command(*own, "--max_num_load_retries=0", *flags)
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(line, stdout=output, stderr=errors, env=_environment())
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


def _environment() -> dict[str, str]:
    """This process's, with the folder that holds the package first among the places to import from."""
    package_root = str(Path(__file__).resolve().parent.parent)
    path = os.pathsep.join(filter(None, [package_root, os.environ.get("PYTHONPATH", "")]))
    return {**os.environ, "PYTHONPATH": path}


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
