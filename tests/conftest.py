"""What every test process needs before TensorFlow is imported, and where the research data lie."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def datasets() -> Path:
    """The directory of real data: beside the checkout, or where STEMLINE_DATASETS says."""
    return Path(os.environ.get("STEMLINE_DATASETS", ROOT.parent / "shared" / "datasets"))


@pytest.fixture(scope="session")
def mir1k(datasets: Path) -> Path:
    """MIR-1K in its native layout."""
    return _present(datasets / "MIR-1K")


@pytest.fixture(scope="session")
def musdb18(datasets: Path) -> Path:
    """Two tracks of MUSDB18 as .stem.mp4."""
    return _present(datasets / "MUSDB18-7-SAMPLE")


def _present(path: Path) -> Path:
    if not path.is_dir():
        pytest.skip(f"research data not here: {path.name} (set STEMLINE_DATASETS to the folder that holds it)")
    return path
