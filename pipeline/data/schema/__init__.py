"""The hand-written schema of the scalar features in every tf.Example, and their names.

Knows nothing but the names of targets; what writes the features and what validates them both ask here.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

SCHEMA_PATH = Path(__file__).parent / "schema.pbtxt"
_COUNTS = ("segment", "segments", "sample_rate_hz", "samples", "channels")
_FLOATS = ("gain_db", "clipping_ratio", "silence_ratio", "residual_db", "rms_db/mixture", "peak_db/mixture")


def metadata_features(targets: Sequence[str]) -> list[str]:
    """The features that statistics are made of: every scalar of an Example with these targets, and no audio."""
    return [*_COUNTS, *measured_features(targets)]


def measured_features(targets: Sequence[str]) -> list[str]:
    """Those of them that are measured on the audio: what may drift from one span of data to the next."""
    return [*_FLOATS, *(f"{kind}/{target}" for target in targets for kind in ("rms_db", "peak_db"))]
