"""Two exported models have the same identity exactly when they answer alike."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import tensorflow as tf

from models import exported
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


def test_it_follows_the_code_that_exports(monkeypatch, tmp_path: Path) -> None:
    """A model exported anew by a later version of this package may answer otherwise, or have other signatures."""
    one = separator()
    before = exported.identity(one)
    copy = tmp_path / "models"
    copy.mkdir()
    for module in Path(exported.__file__).parent.rglob("*.py"):
        target = copy / module.relative_to(Path(exported.__file__).parent)
        target.parent.mkdir(exist_ok=True)
        target.write_text(module.read_text())
    monkeypatch.setattr(exported, "__file__", str(copy / "export.py"))
    assert exported.identity(one) == before
    (copy / "masking.py").write_text("# changed\n")
    assert exported.identity(one) != before
