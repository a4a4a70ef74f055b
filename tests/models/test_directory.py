"""A model's directory: its versions, and what lies beside the graph."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.directory import ModelDirectory


def publish(directory: Path) -> ModelDirectory:
    directory.mkdir(parents=True)
    (directory / "saved_model.pb").touch()
    return ModelDirectory(directory)


def test_the_newest_version_is_the_complete_one_of_the_highest_number(tmp_path: Path) -> None:
    assert ModelDirectory.newest(tmp_path / "absent") is None
    for name in ("9", "10", "notes", ".staging", "11.old", "14²"):
        publish(tmp_path / name)
    (tmp_path / "12").mkdir()  # a copy under way
    assert list(ModelDirectory.versions(tmp_path)) == [9, 10]
    newest = ModelDirectory.newest(tmp_path)
    assert newest is not None
    assert (newest.version, newest.path) == (10, tmp_path / "10")
    publish(tmp_path / "13" / "inside")
    assert list(ModelDirectory.versions(tmp_path, "inside")) == [13]


def test_foreign_is_what_is_known_to_come_from_elsewhere(tmp_path: Path) -> None:
    version = publish(tmp_path / "1")
    assert not version.is_foreign("/mine")  # nobody wrote down where it is from
    version.write_origin("/theirs/Trainer/model/9")
    assert version.is_foreign("/mine")
    assert not version.is_foreign("/theirs")
    assert version.is_foreign("/their")


def test_a_directory_without_an_export_is_named(tmp_path: Path) -> None:
    nothing = ModelDirectory(tmp_path / "nowhere")
    assert (nothing.identity, nothing.origin) == ("", "")
    with pytest.raises(ValueError, match=r"nowhere is no exported separator; legal: .* assets\.extra/stemline\.json"):
        _ = nothing.description
