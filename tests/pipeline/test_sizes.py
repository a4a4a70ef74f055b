"""The facts that `stemline models` shows are those of the networks that are built."""

from __future__ import annotations

import pytest

from pipeline import config, sizes


def test_every_recipe_has_its_facts() -> None:
    assert list(sizes.known()) == config.recipe_names(), "python -m pipeline.sizes"


def test_kept_facts_are_those_of_the_network() -> None:
    kept = sizes.known()["lstm_online_mir1k"]
    assert kept == sizes.measure(config.load("lstm_online_mir1k")), "python -m pipeline.sizes"
    assert kept["latency_ms"] == 64


@pytest.mark.slow
def test_all_kept_facts_are_those_of_the_networks() -> None:
    measured = {name: sizes.measure(config.load(name)) for name in config.recipe_names()}
    assert sizes.known() == measured, "python -m pipeline.sizes"
