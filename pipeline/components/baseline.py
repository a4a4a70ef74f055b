"""Which model a candidate has to beat."""

from __future__ import annotations

import ml_metadata as mlmd
from ml_metadata.proto import metadata_store_pb2
from tfx.dsl.components.common.resolver import Resolver
from tfx.dsl.input_resolution.strategies.latest_blessed_model_strategy import LatestBlessedModelStrategy
from tfx.types import Artifact, standard_artifacts
from tfx.types.channel import Channel


class LatestOtherBlessedModel(LatestBlessedModelStrategy):
    """The latest blessed model that is not the candidate itself.

    TFX's own strategy answers with the candidate when a run repeats: the judge would compare a model with itself, and a
    repeated run could not come from the cache. The candidate is the model that the newest execution put out.
    """

    def resolve_artifacts(
        self, store: mlmd.MetadataStore, input_dict: dict[str, list[Artifact]]
    ) -> dict[str, list[Artifact]] | None:
        """Drops the candidate, then resolves as TFX does; empty lists when no other blessed model exists."""
        others = {}
        for key, artifacts in input_dict.items():
            candidate = _newest_output(store, artifacts) if key == "model" else None
            others[key] = [artifact for artifact in artifacts if artifact.id != candidate]
        return super().resolve_artifacts(store, others)


def baseline() -> Resolver:
    """Resolver node with outputs `model` and `model_blessing`; make the Trainer its upstream node."""
    return Resolver(
        strategy_class=LatestOtherBlessedModel,
        model=Channel(type=standard_artifacts.Model),
        model_blessing=Channel(type=standard_artifacts.ModelBlessing),
    ).with_id("LatestBlessedModel")


def _newest_output(store: mlmd.MetadataStore, artifacts: list[Artifact]) -> int | None:
    if not artifacts:
        return None
    events = store.get_events_by_artifact_ids([artifact.id for artifact in artifacts])
    outputs = [event for event in events if event.type == metadata_store_pb2.Event.OUTPUT]
    return max(outputs, key=lambda event: event.execution_id).artifact_id if outputs else None
