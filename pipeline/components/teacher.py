"""Which trained model a training looks through."""

from __future__ import annotations

import ml_metadata as mlmd
from tfx.dsl.components.common.resolver import Resolver, ResolverStrategy
from tfx.types import Artifact, artifact_utils, standard_artifacts
from tfx.types.channel import Channel

from pipeline.runs import history


class NewestModelOf(ResolverStrategy):
    """The newest blessed model of another recipe's pipeline in the same metadata, or its newest trained one.

    A strategy of our own: a channel without producer, as TFX compiles it, looks into the pipeline it stands in only.
    """

    def __init__(self, recipe: str) -> None:
        self.recipe = recipe

    def resolve_artifacts(
        self, store: mlmd.MetadataStore, input_dict: dict[str, list[Artifact]]
    ) -> dict[str, list[Artifact]] | None:
        """Answers `model` with one artifact, see `history.newest_model`; None when the recipe has trained nothing."""
        model = history.newest_model(store, self.recipe)
        if model is None:
            return None
        return {"model": [artifact_utils.deserialize_artifact(store.get_artifact_type("Model"), model)]}


def teacher(recipe: str) -> Resolver:
    """Resolver node with the output `model`: what the Trainer takes as its base model, so that MLMD knows the lineage."""
    return Resolver(
        strategy_class=NewestModelOf, config={"recipe": recipe}, model=Channel(type=standard_artifacts.Model)
    ).with_id("Teacher")
