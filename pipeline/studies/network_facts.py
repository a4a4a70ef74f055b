"""What takes seconds to find out of a recipe's network: measured once, kept with the project, and checked by a test.

After a new recipe or a change of one:  python -m pipeline.studies.network_facts
"""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path
from typing import TypedDict

from pipeline.config import config
from pipeline.config.config import Config

TABLE = "networks.json"


class Facts(TypedDict):
    """Trained and fixed weights of the network, and the algorithmic latency where it works online."""

    parameters: int
    latency_ms: float | None


def known() -> dict[str, Facts]:
    """Recipe -> the facts that were kept."""
    return json.loads(resources.files("pipeline.studies.results").joinpath(TABLE).read_text())


def measure(recipe: Config) -> Facts:
    """Builds the recipe's network, as a graph: no memory for its weights is taken."""
    import tensorflow as tf

    from models import networks, streaming
    from models.layers.online import OnlineNetwork

    spec = recipe.model
    with tf.Graph().as_default():
        network = networks.build(spec.network, spec.bins, spec.channels, len(spec.targets), **spec.sizes)
        online = isinstance(network, OnlineNetwork) and not spec.normalise_level
        return Facts(
            parameters=network.count_params(),
            latency_ms=round(streaming.latency_ms(spec), 3) if online else None,
        )


def main() -> None:
    """Writes the table."""
    table = {name: measure(config.load(name)) for name in config.recipe_names()}
    path = Path(str(resources.files("pipeline.studies.results").joinpath(TABLE)))
    path.write_text(json.dumps(table, indent=1) + "\n")


if __name__ == "__main__":
    main()
