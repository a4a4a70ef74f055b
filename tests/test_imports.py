"""Who may import whom: the floors of the house, read from the imports themselves.

A module lives in the room that is the longest prefix of its name. It may import its own room and the rooms of the floors
below; those of its own floor it does not know. An import counts wherever it stands: in a function, under TYPE_CHECKING, as
the name of a module in a string.
"""

from __future__ import annotations

import ast
import graphlib
import importlib.metadata
import re
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
HOUSES = ("pipeline", "models", "serving")

FLOORS = (
    "pipeline.cli",
    "pipeline.studies",
    "pipeline.orchestration.cluster",
    "pipeline.orchestration.cluster.workers   pipeline.orchestration",
    "pipeline.components",
    "pipeline.training",
    "pipeline.runs",
    "pipeline.evaluation",
    "pipeline.data",
    "pipeline.config",
    "pipeline.common   pipeline.data.datasets   pipeline.evaluation.bss_eval",
    "models   serving",
    "models.layers   serving.server   serving.client",
    "models.masking   models.storage   serving.wire   pipeline",  # pipeline: its __init__, and every folder without a room: they import nothing
)
# What no module of a room may name, whatever the floors say.
NEVER = {
    "models": "pipeline serving tfx ml_metadata apache_beam kfp tensorflow_io yaml tests",
    "serving": "pipeline models tfx ml_metadata apache_beam kfp tensorflow_io tests",
    "pipeline": "serving.server serving.wire tests",
    **dict.fromkeys(("serving.client", "serving.wire"), "tensorflow tensorflow_serving tf_keras keras"),
}
# But for these.
ALLOWED = {
    ("models.storage", "tensorflow_io"),
    ("serving.server", "models.storage"),
    ("serving.wire.status", "tensorflow"),
    ("pipeline.common.process", "serving.wire.words"),
    ("pipeline.common.terminal", "serving.wire.words"),
}
# The frameworks that run pipelines, and the only rooms that know of them.
FRAMEWORKS = ("tfx", "ml_metadata", "apache_beam", "kfp")
AMONG_FRAMEWORKS = ("pipeline.components", "pipeline.orchestration", "pipeline.runs")
MOST = 12  # modules in a folder, and folders in a folder
SHELVES = ("models/networks", "pipeline/data/datasets/layouts")  # of like things, one file each, that may grow

Imports = Mapping[str, set[str]]


def imports(root: Path) -> dict[str, set[str]]:
    """Module -> the names of the modules that it imports, of the project and of others."""
    paths = {
        path.relative_to(root).with_suffix("").parts: path for house in HOUSES for path in (root / house).rglob("*.py")
    }
    modules = {".".join(parts).removesuffix(".__init__"): path for parts, path in paths.items()}
    return {module: _imported(path, modules) - {module} for module, path in modules.items()}


def _imported(path: Path, modules: Mapping[str, Path]) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}:{node.lineno} imports by a relative name"
            full = {alias.name: f"{node.module}.{alias.name}" for alias in node.names}
            names |= {name if name in modules else str(node.module) for name in full.values()}
        elif isinstance(node, ast.Constant) and isinstance(
            node.value, str
        ):  # import_module("a.b"), "-m", "python -m a.b"
            word = re.fullmatch(r"(?:.*-m )?(\w+(?:\.\w+)+)", node.value)
            names |= {word[1]} & modules.keys() if word else set()
    return names


def place_of(module: str) -> tuple[int, str]:
    """The number of its floor, 0 at the top, and its room."""
    rooms = [(floor, room) for floor, line in enumerate(FLOORS) for room in line.split() if within(module, room)]
    return max(rooms, key=lambda each: len(each[1]))


def within(module: str, *rooms: str) -> bool:
    return any(module == room or module.startswith(f"{room}.") for room in rooms)


def wrong(graph: Imports) -> list[str]:
    """Every import against the floors or the borders, in words."""
    found = []
    for module, name in sorted((module, name) for module, names in graph.items() for name in names):
        floor, room = place_of(module)
        if name in graph:
            floor_below, room_below = place_of(name)
            if room_below != room and floor_below <= floor:
                found.append(f"{module} -> {name}: {room_below} does not lie below {room}")
        allowed = any(within(module, place) and name == stranger for place, stranger in ALLOWED)
        borders = [place for place, names in NEVER.items() if within(module, place) and within(name, *names.split())]
        if borders and not allowed:
            found.append(f"{module} -> {name}: nothing in {borders[0]} may import this")
        if within(module, "pipeline") and within(name, *FRAMEWORKS) and not within(module, *AMONG_FRAMEWORKS):
            found.append(f"{module} -> {name}: only {', '.join(AMONG_FRAMEWORKS)} may import this")
    return found


def circle(graph: Imports) -> str:
    """`a -> b -> a` of modules that import each other; empty where none do."""
    try:
        graphlib.TopologicalSorter({module: names & graph.keys() for module, names in graph.items()}).prepare()
    except graphlib.CycleError as error:
        return " -> ".join(reversed(error.args[1]))
    return ""


def test_imports_run_down_the_floors() -> None:
    found = wrong(imports(ROOT))
    assert not found, "\n" + "\n".join(found)


def test_no_modules_import_each_other() -> None:
    assert circle(imports(ROOT)) == ""


def test_every_room_exists() -> None:
    modules = imports(ROOT)
    assert [room for line in FLOORS for room in line.split() if room not in modules] == []


def test_every_package_says_what_it_is_for() -> None:
    packages = [path for house in HOUSES for path in (ROOT / house).rglob("__init__.py")]
    assert [path for path in packages if not ast.get_docstring(ast.parse(path.read_text()))] == []


def test_no_folder_is_crowded() -> None:
    crowded = {}
    for folder in {path.parent for house in HOUSES for path in (ROOT / house).rglob("*.py")}:
        files = len([path for path in folder.glob("*.py") if path.stem != "__init__"])
        rooms = len(list(folder.glob("*/__init__.py")))
        if max(files, rooms) > MOST and str(folder.relative_to(ROOT)) not in SHELVES:
            crowded[str(folder.relative_to(ROOT))] = (files, rooms)
    assert crowded == {}


@pytest.mark.parametrize(
    "line",
    [
        "import pipeline.runs.high",
        "from pipeline.runs import high",
        "from pipeline.runs.high import name",
        "def later():\n    from pipeline.runs import high",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from pipeline.runs.high import Name",
        "import importlib\nimportlib.import_module('pipeline.runs.high')",
        "command = ['python', '-m', 'pipeline.runs.high']",
        "command = 'exec python -m pipeline.runs.high'",
    ],
)
def test_a_planted_arrow_up_is_found(line: str, tmp_path: Path) -> None:
    plant(tmp_path, {"pipeline.config.low": line, "pipeline.runs.high": "from pipeline.config import cron"})
    assert wrong(imports(tmp_path)) == [
        "pipeline.config.low -> pipeline.runs.high: pipeline.runs does not lie below pipeline.config"
    ]


@pytest.mark.parametrize(
    ("module", "line", "problem"),
    [
        ("models.plain", "from serving.wire import tensors", "nothing in models may import this"),
        ("serving.local", "import tfx.types", "nothing in serving may import this"),
        ("serving.client.remote", "from tensorflow_serving.apis import model_pb2", "nothing in serving.client may"),
        ("pipeline.cli.main", "import serving.server", "nothing in pipeline may import this"),
        ("pipeline.data.dofn", "import apache_beam as beam", f"only {', '.join(AMONG_FRAMEWORKS)} may import this"),
        (
            "pipeline.data.datasets.layouts.folder",
            "from pipeline.common import files",
            "pipeline.common does not lie below",
        ),
        ("pipeline.unlisted.module", "from pipeline.common import files", "pipeline.common does not lie below"),
    ],
)
def test_a_planted_arrow_across_a_border_is_found(module: str, line: str, problem: str, tmp_path: Path) -> None:
    others = ("pipeline.common.files", "serving.wire.tensors", "serving.server.__main__")
    plant(tmp_path, {module: line, **dict.fromkeys(others, "")})
    [found] = wrong(imports(tmp_path))
    assert found.startswith(f"{module} -> ")
    assert problem in found


def test_what_runs_down_is_not_found(tmp_path: Path) -> None:
    plant(tmp_path, {"pipeline.runs.high": "import tfx\nfrom pipeline.config import low", "pipeline.config.low": ""})
    graph = imports(tmp_path)
    assert graph["pipeline.runs.high"] == {"tfx", "pipeline.config.low"}
    assert (wrong(graph), circle(graph)) == ([], "")


def test_a_planted_circle_is_found(tmp_path: Path) -> None:
    source = {
        "a": "from pipeline.data import b",
        "b": "def f():\n    from pipeline.data.c import g",
        "c": "import pipeline.data.a",
    }
    plant(tmp_path, {f"pipeline.data.{name}": text for name, text in source.items()})
    assert wrong(imports(tmp_path)) == []
    named = circle(imports(tmp_path)).split(" -> ")
    assert named[0] == named[-1]
    assert set(named) == {"pipeline.data.a", "pipeline.data.b", "pipeline.data.c"}


def test_no_package_shadows_another() -> None:
    assert not (ROOT / "kubeflow" / "__init__.py").exists()
    assert not list((ROOT / "tests").rglob("__init__.py"))


def test_help_needs_no_tensorflow() -> None:
    """The command line lists every command without importing what takes seconds to import."""
    code = (
        "import sys; from typer.testing import CliRunner; from pipeline.cli.main import app; "
        "result = CliRunner().invoke(app, ['--help']); assert result.exit_code == 0, result.output; "
        "print([name for name in ('tensorflow', 'tfx', 'apache_beam', 'museval') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_client_needs_no_tensorflow() -> None:
    """Whatever it imports imports none either."""
    code = (
        "import sys; import serving.client, serving.client.stream, serving.client.live; "
        "print([name for name in sys.modules if name.startswith(('tensorflow', 'keras', 'tf_keras', 'scipy'))])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_an_extra_brings_what_its_rooms_import() -> None:
    """Of other packages, and the nearest of them: those that pyproject.toml names itself."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = {"client": project["dependencies"], **project["optional-dependencies"]}
    brought = {extra: {re.match(r"[\w-]+", line)[0] for line in lines} for extra, lines in named.items()}
    brought["server"] |= brought["client"]
    rooms = {"serving.client": "client", "serving.wire": "client", "serving": "server", "models.storage": "server"}
    distributions = importlib.metadata.packages_distributions()
    missing = set()
    for module, names in imports(ROOT).items():
        extra = next((extra for room, extra in rooms.items() if within(module, room)), None)
        for top in {name.partition(".")[0] for name in names} - {*sys.stdlib_module_names, *HOUSES} if extra else ():
            found = {"protobuf"} if top == "google" else {name.lower().replace("_", "-") for name in distributions[top]}
            if not found & brought[extra] and (module, top) not in ALLOWED:
                missing.add((module, top))
    assert missing == set()


def plant(root: Path, modules: Mapping[str, str]) -> None:
    """Writes modules below a folder of their own, each in a package."""
    for module, text in modules.items():
        path = root.joinpath(*module.split(".")).with_suffix(".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        (path.parent / "__init__.py").touch()
        path.write_text(text)
