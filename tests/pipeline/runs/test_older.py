"""What older versions left: their models' JSON as they wrote it is read, and their recipes' keys are taken or explained.

`older/first` is what the first version that could train wrote (2026-11-20), `older/0.1.0` what 0.1.0 did (2026-11-26).
"""

from __future__ import annotations

import functools
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from models.checked import ConfigError
from models.directory import ModelDirectory
from pipeline.config import config
from pipeline.runs.workdir import Workdir

OLDER = Path(__file__).parent / "older"
VERSIONS = ("first", "0.1.0")


@pytest.fixture(params=VERSIONS)
def model(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A SavedModel's directory, but for the SavedModel."""
    place = tmp_path / "serving" / "demo" / "1796018483"
    shutil.copytree(OLDER / request.param, place / "assets.extra")
    (place / "saved_model.pb").touch()
    return place


def test_a_pushed_model_of_an_older_version_is_the_newest_and_tells_what_it_is(model: Path, tmp_path: Path) -> None:
    assert Workdir(tmp_path).latest_version("demo") == model
    directory = ModelDirectory(model)
    assert directory.description["targets"] == ["vocals", "accompaniment"]
    assert directory.origin == "", "nobody wrote it down then"


def test_its_configuration_says_whether_a_training_can_begin_with_it(model: Path) -> None:
    """A key that is gone is nothing to the model: `train.shuffle_buffer` stands in all of them."""
    today = config.load("demo")
    assert config.saved_config(str(model)).train.loss == "csdr"
    assert config.other_model(str(model), today) == []
    assert config.other_model(str(model), config.load("demo", ["model.window=hann"])) == ["model.window"]


def test_runs_tell_of_its_training(stemline, model: Path, tmp_path: Path, metadata: Any) -> None:
    trained = tmp_path / "artifacts" / "demo" / "Trainer" / "model" / "6"
    shutil.copytree(model, trained / "Format-Serving")
    metadata.run("2026-11-20T12:00:00.000001", "demo", {"Trainer": {"Model": trained}})
    metadata.run("2026-11-21T12:00:00.000001", "demo", {"Trainer": {"Model": trained}})
    steps = json.loads((model / "assets.extra" / "training.json").read_text())["steps"]
    told = json.loads(stemline("runs", "show", "1", "--json", "-w", tmp_path).out)
    assert told["training"]["stages"] == [{"name": "own", "steps": steps}]
    assert f"{steps} steps" in stemline("runs", "-w", tmp_path).out
    assert "no difference" in stemline("runs", "diff", "1", "2", "-w", tmp_path).out


@pytest.mark.parametrize("key", config.FORMER)
def test_a_key_that_is_gone_is_told_with_what_to_write(tmp_path: Path, key: str) -> None:
    *sections, name = key.split(".")
    given: dict[str, Any] = {name: 7}
    for section in reversed(sections):
        given = {section: given}
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(json.dumps({"extends": "demo", **given}))
    with pytest.raises(ConfigError) as told:
        config.load(str(recipe))
    assert str(told.value) == f"{key} {config.FORMER[key]}"


def test_the_configuration_of_an_older_version_is_legal_but_for_the_keys_that_are_told(tmp_path: Path) -> None:
    for version in VERSIONS:
        mapping = json.loads((OLDER / version / "config.json").read_text())
        for key in config.FORMER:
            *sections, name = key.split(".")
            functools.reduce(lambda place, section: place.get(section, {}), sections, mapping).pop(name, None)
        assert config.from_mapping(mapping).model.network == "drnn"
