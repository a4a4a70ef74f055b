"""What a separation and a server take until they begin, against `import tensorflow` and the work itself: `make test-slow`.

Commands and measures take turns, so that a machine that is busy with other things slows down both; of each the least counts.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import soundfile

from models import exported as export
from models.separator import Separator
from models.spec import ModelSpec

pytestmark = pytest.mark.slow

RATE_HZ, SECONDS = 44100, 7
ROUNDS = 3
# A separation after a first one, in CPU seconds: what is left is the work.
SEPARATION = """
import sys, time
from pathlib import Path
from serving.local import local_client

client = local_client(Path(sys.argv[1]))
for _ in range(2):
    started = time.process_time()
    client.separate_file(Path(sys.argv[2]), Path(sys.argv[3]))
print(time.process_time() - started)
"""


@dataclass(frozen=True)
class Took:
    """Seconds until a process first said something, until it ended or was ready, and of its CPU time."""

    first_word: float
    all: float
    cpu: float


def took(command: Sequence[object], ready: bytes = b"", expected: int = 0) -> Took:
    """Of `python COMMAND`, to its end or until it has said `ready`; its exit code is the one expected."""
    line, started, before = [sys.executable, *map(str, command)], time.monotonic(), _children_cpu()
    first, said = 0.0, b""
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        assert process.stdout
        while part := os.read(process.stdout.fileno(), 2**16):
            first, said = first or time.monotonic() - started, said + part
            if ready and ready in said:
                break
        seconds = time.monotonic() - started
        process.terminate()
        code = process.wait()
    assert code == expected, said.decode()
    return Took(first, seconds, _children_cpu() - before)


def stems(root: Path) -> Path:
    """A corpus of three songs."""
    for split in ("train", "dev", "test"):
        (root / split / split).mkdir(parents=True)
        for seed, stem in enumerate(("vocals", "drums")):
            signal = 0.1 * np.random.default_rng(seed).standard_normal(RATE_HZ)
            soundfile.write(root / split / split / f"{stem}.wav", signal, RATE_HZ)
    return root


def _children_cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def test_separate_and_serve_against_import_tensorflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A song of 7 s in stereo, and the default network."""
    model, song = tmp_path / "base" / "1", tmp_path / "song.mp3"
    export.save(Separator(ModelSpec()), model)
    soundfile.write(song, 0.1 * np.random.default_rng(0).standard_normal((SECONDS * RATE_HZ, 2)), RATE_HZ)
    monkeypatch.delenv("TF_USE_LEGACY_KERAS", raising=False)  # as one who types the commands
    cli = ("-m", "pipeline.cli.main")
    commands = {
        "import tensorflow": (("-c", "import tensorflow"),),
        "import serving.client": (("-c", "import serving.client"),),
        "separate": ((*cli, "separate", song, "--model", model, "--overwrite", "-o", tmp_path / "out"),),
        "serve": ((*cli, "serve", "-p", 0, "--", f"--model_base_path={model.parent}"), b"Running gRPC ModelServer"),
        "--help": ((*cli, "--help"),),
        "data check": ((*cli, "data", "check", stems(tmp_path / "stems")),),
        "separate, refused": ((*cli, "separate", song, "--model", tmp_path), b"", 2),
    }
    rounds = [{name: took(*command) for name, command in commands.items()} for _ in range(ROUNDS)]
    least = {
        name: Took(*(min(getattr(each[name], field) for each in rounds) for field in ("first_word", "all", "cpu")))
        for name in commands
    }
    script = [sys.executable, "-c", SEPARATION, str(model), str(song), str(tmp_path / "out")]
    work = float(subprocess.run(script, stdout=subprocess.PIPE, check=True).stdout)
    print(f"\n{'':<24}{'first word s':>14}{'all s':>9}{'CPU s':>9}")
    for name, measured in least.items():
        print(f"{name:<24}{measured.first_word:>14.2f}{measured.all:>9.2f}{measured.cpu:>9.2f}")
    print(f"{'the separation itself':<24}{'':>23}{work:>9.2f}")
    tensorflow = least["import tensorflow"]
    assert least["separate"].cpu < tensorflow.cpu + work
    assert least["serve"].cpu < tensorflow.cpu
    assert least["import serving.client"].cpu < 0.5
    assert least["separate, refused"].cpu < 0.25 * tensorflow.cpu
    assert least["data check"].cpu < 0.5 * tensorflow.cpu
    for name in ("separate", "serve", "--help", "data check"):
        assert least[name].first_word < 0.25 * tensorflow.all  # which takes 4 s on one core
