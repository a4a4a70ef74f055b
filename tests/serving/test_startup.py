"""What a server and a separation import, and when they first say something: read from Python's own list of imports."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

SESSION = "tensorflow.python.client.session"
# None of them is needed to run a model; `import tensorflow` imports the last six, and of its API these two.
NEEDLESS = {
    "tfx",
    "apache_beam",
    "ml_metadata",
    "tensorflow_io",
    "tf_keras",
    "keras",
    "pandas",
    "scipy",
    "matplotlib",
    "PIL",
}
NEEDLESS_PARTS = ("tensorflow.python.keras", "tensorflow._api")


def started(log: Path, *command: str, until: str = "") -> list[str]:
    """Standard error of `python -X importtime -m COMMAND`, to its end or to the line of standard output that begins so."""
    line = [sys.executable, "-X", "importtime", "-m", *command]
    with log.open("w") as errors, subprocess.Popen(line, stdout=subprocess.PIPE, stderr=errors, text=True) as process:
        assert process.stdout
        first = process.stdout.readline()
        if until:
            process.terminate()
        process.stdout.read()
        assert process.wait(60) == 0, log.read_text()
    assert first.startswith(until), first
    return log.read_text().splitlines()


def names(lines: list[str]) -> list[str]:
    """Of the modules that were imported, in their order."""
    return [found[1] for line in lines if (found := re.match(r"import time: .*\| +(\S+)$", line))]


def check(lines: list[str], first_words: str) -> None:
    imported = names(lines)
    assert SESSION in imported
    needless = [name for name in imported if name.partition(".")[0] in NEEDLESS or name.startswith(NEEDLESS_PARTS)]
    assert needless == []
    [said] = [number for number, line in enumerate(lines) if first_words in line]
    assert [name for name in names(lines[:said]) if name.startswith("tensorflow.")] == []


@pytest.mark.parametrize("all_of_it", [False, True])
def test_a_server_imports_what_runs_models_and_says_first_what_it_loads(
    base_path: Path, tmp_path: Path, free_ports, all_of_it: bool
) -> None:
    flags = ["--port=0", "--model_name=m", f"--model_base_path={base_path}"]
    if all_of_it:
        flags += ["--enable_batching", f"--rest_api_port={free_ports(1)[0]}"]
    lines = started(tmp_path / "log", "serving.server", *flags, until="Running gRPC")
    optional = {"serving.server.models.batching", "serving.server.api.rest", "aiohttp"}
    assert optional & {*names(lines)} == (optional if all_of_it else set())
    check(lines, f"INFO serving.server: loading model m from {base_path}")


def test_a_separation_imports_what_runs_models_and_says_first_what_it_loads(saved_model: Path, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "song.wav", np.full((1000, 2), 0.5, np.float32), 16000)
    lines = started(
        tmp_path / "log", "pipeline.cli.main", "separate", "song.wav", "--model", str(saved_model), "-o", "out"
    )
    check(lines, f"loading {saved_model}")
    vocals, rate_hz = soundfile.read(tmp_path / "out" / "song" / "vocals.wav")
    assert (vocals.shape, rate_hz) == ((1000, 2), 16000)
    assert np.abs(vocals - 0.125).max() < 1e-6


def test_what_is_refused_is_refused_without_tensorflow(tmp_path: Path) -> None:
    """Both commands with bad arguments, in one process."""
    code = """
import sys, os
from pipeline.cli import main
from serving.server import __main__ as server

open("text.wav", "w").write("words")
os.mkdir("folder")
for words in ("separate none.wav", "separate text.wav", "separate folder", "live --model none", "live --server x",
              "serve --recipe x", "serve --recipe x -- --model_base_path=/x", "separate text.wav --server localhost:1 --ca x"):
    sys.argv = ["stemline", *words.split()]
    try:
        main.main()
    except SystemExit as stopped:
        assert stopped.code == 2, words
for flags in (["--port=x"], ["--model_base_path=x"], ["--model_config_file=text.wav"],
              ["--model_base_path=/x", "--ssl_config_file=none"], ["--model_base_path=/x", "--monitoring_config_file=none"],
              ["--model_base_path=/x", "--enable_batching", "--batching_parameters_file=none"]):
    try:
        assert server.main(["--port=0", *flags]) == 2, flags
    except SystemExit as stopped:
        assert stopped.code == 2, flags
print(sorted(name for name in sys.modules if name.startswith("tensorflow.python")))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=300, stdin=subprocess.PIPE
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]", done.stdout
    assert "Traceback" not in done.stderr
