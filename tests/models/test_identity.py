"""Two exported models have the same identity exactly when they answer alike."""

from __future__ import annotations

import ast
import dataclasses
import json
import shutil
from pathlib import Path

import pytest
import tensorflow as tf

from models import code_identity, exported, networks
from models.separator import Separator
from models.spec import ModelSpec

SPEC = ModelSpec("drnn", {"units": 8}, ("vocals", "rest"), 1000, frame_length=64, hop=32)


def separator(spec: ModelSpec = SPEC, seed: int = 0) -> Separator:
    tf.keras.utils.set_random_seed(seed)
    made = Separator(spec)
    made(tf.zeros([1, 100]))
    return made


def test_it_follows_weights_and_spec(tmp_path: Path) -> None:
    one = separator()
    assert exported.identity(separator()) == exported.identity(one)
    assert exported.identity(separator(seed=1)) != exported.identity(one)
    assert exported.identity(separator(dataclasses.replace(SPEC, window="hann"))) != exported.identity(one)
    before = exported.identity(one)
    weights = one.get_weights()
    weights[-1] = weights[-1] + 1e-6
    one.set_weights(weights)
    assert exported.identity(one) != before
    exported.save(one, tmp_path / "model", recipe_name="any")
    told = json.loads((tmp_path / "model/assets.extra/stemline.json").read_text())
    assert told["identity"] == exported.identity(one)


@pytest.fixture
def checkout(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A copy of the sources that may be changed."""
    for package in code_identity.PACKAGES:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(code_identity.ROOT / package, tmp_path / "checkout" / package, ignore=ignored)
    monkeypatch.setattr(code_identity, "ROOT", tmp_path / "checkout")
    return tmp_path / "checkout"


def codes() -> dict[str, str]:
    """The code of every network and of what exports it."""
    return {name: code_identity.digest("models.exported", f"models.networks.{name}") for name in networks.names()}


def changed(before: dict[str, str]) -> set[str]:
    return {name for name, code in codes().items() if code != before[name]}


@pytest.mark.parametrize(
    ("file", "by"),
    [
        ("networks/unet.py", {"unet"}),
        ("networks/drnn.py", {"drnn", "dnn", "srnn"}),
        ("layers/proximal.py", {"p_drnn"}),
        ("layers/recurrence.py", {"drnn", "dnn", "srnn", "srnn_deep", "p_drnn"}),
        ("layers/cells.py", {"lstm_online", "or_unet", "crn", "crn_online"}),
        ("layers/bands.py", {"crn", "crn_online"}),
        ("layers/segments.py", {"ffn", "fcn", "blstm", "fcn_blstm"}),
        ("losses.py", set()),
        ("exported.py", set(networks.names())),
        ("spectral.py", set(networks.names())),
        ("networks/__init__.py", set(networks.names())),
    ],
)
def test_it_follows_the_code_that_is_reached_and_no_other(checkout: Path, file: str, by: set[str]) -> None:
    before = codes()
    source = checkout / "models" / file
    source.write_text(source.read_text() + "\n_CHANGED = True\n")
    assert changed(before) == by


def test_comments_docstrings_and_layout_are_no_change(checkout: Path) -> None:
    before = codes()
    for source in (checkout / "models").rglob("*.py"):
        tree = ast.parse(source.read_text())
        told = [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef | ast.FunctionDef)]
        for node in told:
            words = ast.Expr(ast.Constant("Other words."))
            node.body = [words, *node.body[ast.get_docstring(node) is not None :]]
        source.write_text(f"# A comment.\n{ast.unparse(ast.fix_missing_locations(tree))}\n")
    assert changed(before) == set()


def test_the_identity_of_a_model_has_that_code(checkout: Path) -> None:
    one = separator()
    before = exported.identity(one)
    assert exported.identity(one) == before
    (checkout / "models" / "losses.py").write_text("_CHANGED = True\n")
    assert exported.identity(one) == before
    (checkout / "models" / "masking.py").write_text("_CHANGED = True\n")
    assert exported.identity(one) != before


def test_modules_of_every_package_are_known_by_name(checkout: Path) -> None:
    before = code_identity.digest("pipeline.data.ingest")
    other = checkout / "pipeline" / "data" / "tfrecords.py"
    other.write_text(other.read_text() + "\n_CHANGED = True\n")
    assert code_identity.digest("pipeline.data.ingest") != before
    assert code_identity.digest("serving.local") != code_identity.digest("serving.client")
    for name in ("models.nowhere", "numpy"):
        with pytest.raises(ModuleNotFoundError, match=f"^{name} is no module; legal: one of models, pipeline, serving"):
            code_identity.digest(name)
