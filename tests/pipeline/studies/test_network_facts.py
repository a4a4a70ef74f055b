"""The facts that `stemline models` shows are those of the networks that are built."""

from __future__ import annotations

import pytest

from pipeline.config import config
from pipeline.studies import network_facts


def test_every_recipe_has_its_facts() -> None:
    assert list(network_facts.known()) == config.recipe_names(), "python -m pipeline.studies.network_facts"


def test_kept_facts_are_those_of_the_network() -> None:
    kept = network_facts.known()["lstm_online_mir1k"]
    assert kept == network_facts.measure(config.load("lstm_online_mir1k")), "python -m pipeline.studies.network_facts"
    assert kept["latency_ms"] == 64


@pytest.mark.slow
def test_all_kept_facts_are_those_of_the_networks() -> None:
    measured = {name: network_facts.measure(config.load(name)) for name in config.recipe_names()}
    assert network_facts.known() == measured, "python -m pipeline.studies.network_facts"
