"""The templates of pages, and how figures are written in them."""

from __future__ import annotations

import math
from pathlib import Path

import jinja2

from pipeline.evaluation.report import figures


def environment() -> jinja2.Environment:
    """The templates of this package, with the filters for figures."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.policies["json.dumps_kwargs"] = {"sort_keys": False}  # targets in their order
    # Sortable: no more digits than the order of tracks needs.
    environment.filters |= {"clock": _clock, "db": _db, "interval": _interval, "sortable": "{:.6g}".format}
    return environment


def _clock(seconds: float) -> str:
    """`1:02.5`."""
    return f"{int(seconds // 60)}:{seconds % 60:04.1f}"


def _interval(ends: tuple[float, float]) -> str:
    """`[8.2, 8.9]`."""
    return "[{:.1f}, {:.1f}]".format(*ends).replace("-", "−")


def _db(value: float) -> str:
    """Two decimals; a dash for NaN, a sign for what is beyond any audible measure."""
    if math.isnan(value):
        return "–"
    if abs(value) > figures.MOST_DB:
        return "> 100" if value > 0 else "< −100"
    return f"{value:.2f}".replace("-", "−")
