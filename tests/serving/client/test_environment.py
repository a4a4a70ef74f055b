"""What `pip install stemline` brings, in environments of their own made from the wheel, against a server of this one.

Versions are those of uv.lock, protobuf 6, and the newest of everything. Where no index answers and uv's cache has them not, they skip.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import soundfile

from models.directory import DEFAULT
from serving import process
from serving.local import local_client

ROOT = Path(__file__).resolve().parents[3]
UV = shutil.which("uv") or shutil.which(ROOT / ".tools/uv/bin/uv")
NO_INDEX = re.compile(
    r"Failed to fetch|error sending request|dns error|tcp connect|not found in the cache", re.IGNORECASE
)
LOCKED, SIX, NEWEST = "locked", "protobuf 6", "newest"

pytestmark = pytest.mark.skipif(UV is None, reason="uv is neither on the PATH nor in .tools")


def uv(*words: str | Path) -> str:
    """What uv says; skips where it finds no index."""
    done = subprocess.run([str(UV), *words], cwd=ROOT, capture_output=True, text=True)
    if done.returncode and NO_INDEX.search(done.stderr):
        pytest.skip(f"no package index answers: {' '.join(done.stderr.split())[:300]}")
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    directory = tmp_path_factory.mktemp("wheel")
    uv("build", "--quiet", "--wheel", "--out-dir", directory)
    [wheel] = directory.glob("*.whl")
    return wheel


@pytest.fixture(scope="module", params=[LOCKED, SIX, NEWEST])
def environment(request, wheel, tmp_path_factory) -> Path:
    """A virtual environment with the wheel and what it needs."""
    directory = tmp_path_factory.mktemp("environment")
    constraints = directory / "constraints.txt"
    if request.param == LOCKED:
        constraints.write_text(uv("export", "--quiet", "--frozen", "--no-dev", "--no-emit-project", "--no-hashes"))
    else:
        constraints.write_text("protobuf>=6,<7" if request.param == SIX else "")
    uv("venv", "--quiet", "--python", sys.executable, directory / "venv")
    uv("pip", "install", "--quiet", "--upgrade", "--python", directory / "venv", "-c", constraints, wheel)
    return directory / "venv"


@pytest.fixture(scope="module")
def separator(tmp_path_factory) -> Path:
    """A version of a network of this project, untrained, at 16 kHz."""
    from models import exported
    from models.separator import Separator
    from models.spec import ModelSpec

    version = tmp_path_factory.mktemp("base") / "1"
    exported.save(Separator(ModelSpec(sizes={"units": 4}, frame_length=256, hop=128)), version)
    return version


@pytest.fixture(scope="module")
def server(separator) -> str:
    with process.running(separator.parent) as address:
        yield address


def run(environment: Path, *command: str, folder: Path) -> subprocess.CompletedProcess:
    """A command of the environment, which sees nothing of this one."""
    variables = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")}
    variables["PATH"] = f"{environment / 'bin'}:/usr/bin:/bin"
    return subprocess.run(command, cwd=folder, env=variables, stdin=subprocess.DEVNULL, capture_output=True, text=True)


def song(path: Path) -> None:
    """25 s of stereo at another rate than the model's: three chunks."""
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, (25 * 22050, 2))
    soundfile.write(path, noise.astype(np.float32), 22050)


def samples(folder: Path) -> dict[str, bytes]:
    return {path.name: soundfile.read(path, dtype="float32")[0].tobytes() for path in folder.iterdir()}


def test_the_wheel_carries_the_model_that_comes_with_it_and_its_card(wheel):
    carried = {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("models/pretrained/")}
    assert carried == {str(path.relative_to(ROOT)) for path in DEFAULT.rglob("*") if path.is_file()}


def test_it_is_small_and_has_no_tensorflow(environment):
    [packages] = environment.glob("lib/python*/site-packages")
    size = sum(path.lstat().st_size for path in packages.rglob("*"))
    assert size < 150e6
    assert not [path.name for path in packages.iterdir() if re.match(r"tensorflow|keras|tfx|scipy", path.name)]


def test_the_readmes_python_and_the_command_separate_as_this_process_does(environment, server, separator, tmp_path):
    song(tmp_path / "song.mp3")
    snippet = re.search(r"^```python\n(.*?)^```$", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)[1]
    for there, here in (("localhost:8500", server), ("tests/excerpt/excerpt.ogg", "song.mp3")):
        snippet = snippet.replace(there, here)
    done = run(environment, "python", "-c", snippet, folder=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "('accompaniment', 'vocals') 16000\n", "")
    flags = ("-o", "command", "--no-residual", "--server", server)
    done = run(environment, "stemline", "separate", "song.mp3", *flags, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    with local_client(separator) as client:
        client.separate_file(tmp_path / "song.mp3", tmp_path / "here")
    expected = samples(tmp_path / "here")
    assert sorted(expected) == ["accompaniment.wav", "vocals.wav"]
    assert samples(tmp_path / "from_python") == expected
    assert samples(tmp_path / "command/song") == expected


@pytest.mark.parametrize(
    ("command", "what", "extra"),
    [
        ("run --recipe demo", "stemline run", "pipeline"),
        ("runs", "stemline runs", "pipeline"),
        ("runs diff 1 2", "stemline runs diff", "pipeline"),
        ("kubeflow status", "stemline kubeflow status", "pipeline"),
        ("serve -- --model_name=m", "stemline serve", "server"),
        ("separate song.mp3", "separating without --server", "server"),
        ("live", "separating without --server", "server"),
    ],
)
@pytest.mark.parametrize("environment", [LOCKED], indirect=True)
def test_a_command_whose_extra_is_missing_says_what_to_install(environment, command, what, extra, tmp_path):
    song(tmp_path / "song.mp3")
    done = run(environment, "stemline", *command.split(), folder=tmp_path)
    sentence = f"stemline: {what} needs packages that are not installed: pip install 'stemline[{extra}]'\n"
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines(keepends=True)[-1] == sentence
    assert os.listdir(tmp_path) == ["song.mp3"]


@pytest.mark.parametrize("environment", [LOCKED], indirect=True)
def test_the_server_says_what_to_install(environment, tmp_path):
    command = ("python", "-m", "serving.server", "--model_name=m", f"--model_base_path={tmp_path}", "--port=0")
    done = run(environment, *command, folder=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(
        r"Failed to start server\. Error: package tensorflow\w* is not installed: pip install 'stemline\[server\]'\n",
        done.stderr,
    )


@pytest.mark.parametrize("environment", [LOCKED], indirect=True)
def test_help_needs_no_extra(environment, tmp_path):
    for command in ("--help", "run --help", "separate --help", "kubeflow compile --help"):
        done = run(environment, "stemline", *command.split(), folder=tmp_path)
        assert (done.returncode, done.stderr) == (0, ""), command


@pytest.mark.slow
@pytest.mark.parametrize("protobuf", ["protobuf>=6,<7", "protobuf"])
def test_codecs_config_files_and_rest_run_on_another_protobuf(protobuf, tmp_path):
    """Their own tests, with TensorFlow as it is here above another protobuf than it asks for; in protobuf 7 numpy reads a
    repeated field as it lies there, so what that cost before is no measure."""
    uv("pip", "install", "--quiet", "--python", sys.executable, "--no-deps", "--target", tmp_path, protobuf)
    tests = [
        "wire/test_tensors.py",
        "server/test_config.py",
        "server/api/test_rest.py",
        "server/api/test_conformance.py",
    ]
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-n",
        "0",
        "-k",
        "not costs_a_fraction",
        *(ROOT / "tests/serving" / test for test in tests),
    ]
    variables = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:]
    assert re.search(r"\d{3} passed", done.stdout)
