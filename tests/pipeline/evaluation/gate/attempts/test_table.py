"""The table of attempts is as long as docs/gates.md says."""

import importlib
from pathlib import Path


def test_the_table_is_as_long_as_it_claims() -> None:
    families = [importlib.import_module(f"attempts.{path.stem}") for path in Path(__file__).parent.glob("test_*.py")]
    assert sum(len(getattr(family, "BAD", ())) for family in families) > 180
    assert sum(len(getattr(family, "GOOD", ())) for family in families) > 90
