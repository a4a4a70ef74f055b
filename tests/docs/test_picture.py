"""The picture of the README is of the model that comes with Stemline now; `make picture` renews it."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_the_picture_is_of_the_model_that_comes_with_stemline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = importlib.util.spec_from_file_location("picture", ROOT / "docs/site/picture.py")
    picture = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(picture)
    kept, made = picture.PICTURE, tmp_path / "made.png"
    monkeypatch.setattr(picture, "PICTURE", made)
    picture.main()
    shown, drawn = (np.asarray(Image.open(path).convert("RGB"), float) for path in (kept, made))
    assert shown.shape == drawn.shape
    assert np.abs(shown - drawn).mean() < 1
    assert kept.stat().st_size < 200_000
