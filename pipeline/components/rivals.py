"""Whom a candidate is judged against: the last blessed model, and the anchor that keeps small steps from adding up."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from dataclasses import dataclass

import ml_metadata as mlmd
from ml_metadata.proto import metadata_store_pb2
from tfx.components.evaluator import constants
from tfx.dsl.components.common.resolver import Resolver
from tfx.dsl.input_resolution.strategies.latest_blessed_model_strategy import LatestBlessedModelStrategy
from tfx.types import Artifact, standard_artifacts
from tfx.types.channel import Channel
from tfx.utils import path_utils

from models.directory import ModelDirectory
from pipeline.config.gate import GateConfig
from pipeline.evaluation.evaluation import Evaluation
from pipeline.evaluation.gate.anchor import is_better
from pipeline.evaluation.gate.checks import Anchor
from pipeline.runs import anchors

Described = dict[str, str | int]

ANCHOR_MODEL = "anchor_model"  # of a ModelBlessing: the URI of the model that was the anchor


# --- the last blessed model ------------------------------------------------------------------------------------------


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


def resolver() -> Resolver:
    """Resolver node with outputs `model` and `model_blessing`; make the Trainer its upstream node."""
    return Resolver(
        strategy_class=LatestOtherBlessedModel,
        model=Channel(type=standard_artifacts.Model),
        model_blessing=Channel(type=standard_artifacts.ModelBlessing),
    ).with_id("LatestBlessedModel")


@dataclass(frozen=True)
class Baseline:
    """The model to beat: the directory of its SavedModel, empty if there is none, and what a blessing tells about it."""

    directory: str
    described: Described

    @property
    def uri(self) -> str:
        return str(self.described.get(constants.ARTIFACT_PROPERTY_BASELINE_MODEL_URI_KEY, ""))


def serving_dir(model: standard_artifacts.Model) -> str:
    """The directory of the SavedModel of a Model artifact."""
    return path_utils.serving_model_path(model.uri, path_utils.is_old_model_artifact(model))


def baseline(
    model: standard_artifacts.Model,
    last_blessed: standard_artifacts.Model | None,
    served: ModelDirectory | None,
) -> Baseline:
    """The last blessed model.

    Where nobody looked it up, as on open-source Kubeflow, it is the version that is served. A model is no baseline of itself.
    """
    uri, number = constants.ARTIFACT_PROPERTY_BASELINE_MODEL_URI_KEY, constants.ARTIFACT_PROPERTY_BASELINE_MODEL_ID_KEY
    own = os.path.dirname(model.uri)
    rival = served if served and not served.holds(model.uri, serving_dir(model)) else None
    if rival and (last_blessed is None or rival.is_foreign(own)):
        return Baseline(str(rival.path), {uri: str(rival.path)})
    if last_blessed is None:
        return Baseline("", {})
    return Baseline(serving_dir(last_blessed), {uri: last_blessed.uri, number: last_blessed.id})


def _newest_output(store: mlmd.MetadataStore, artifacts: list[Artifact]) -> int | None:
    if not artifacts:
        return None
    events = store.get_events_by_artifact_ids([artifact.id for artifact in artifacts])
    outputs = [event for event in events if event.type == metadata_store_pb2.Event.OUTPUT]
    return max(outputs, key=lambda event: event.execution_id).artifact_id if outputs else None


# --- the anchor ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Anchored:
    """The anchor of one evaluation, and where the next one is kept.

    place: see `Workdir.anchors`; empty where nothing is kept. kept: what lies there and can be judged.
    """

    place: str
    kept: anchors.Anchor | None
    judged_as: Anchor

    @property
    def described(self) -> Described:
        return {ANCHOR_MODEL: self.kept.model.origin} if self.kept else {}

    def move(self, result: Evaluation, gate: GateConfig, model: standard_artifacts.Model, rival: Baseline) -> None:
        """Keeps the blessed model where it is the first or shown to be better; else, where none was kept, its rival.

        What a user pinned stays. Raises OSError where the copy cannot be written.
        """
        method = self.judged_as.method
        if not self.place or not result.verdict.blessed or (self.kept and (self.kept.pinned or not method)):
            return
        if not method or is_better(result.tracks, gate, method):
            anchors.keep(self.place, anchors.BEST, serving_dir(model), model.uri)
        elif self.kept is None:
            anchors.keep(self.place, anchors.BEST, rival.directory, rival.uri)


def anchored(
    place: str,
    gate: GateConfig,
    model: standard_artifacts.Model,
    rival: Baseline,
    judge: Callable[[str, str, str], str],
) -> Anchored:
    """The anchor for a candidate; the baseline, which is not judged twice, where that is the same or none is kept.

    judge: has another model judged, by its method, directory and name; returns why it cannot be. One that can no more be
        judged, at another sample rate say, is refused where a user pinned it, and else replaced by the baseline.
    """
    if not any(threshold.over == "anchor" for threshold in gate.thresholds):
        return Anchored("", None, Anchor())
    kept = anchors.find(place) if place else None
    stands_in = Anchor("baseline", "the anchor is the last blessed model") if rival.directory else Anchor()
    if kept is None:
        return Anchored(place, None, stands_in)
    if kept.model.holds(model.uri, serving_dir(model)):
        return Anchored(place, kept, Anchor(words="the model is the anchor itself"))
    if rival.directory and kept.model.holds(rival.uri, rival.directory):
        return Anchored(place, kept, stands_in)
    problem = judge("anchor", str(kept.model.path), f"anchor, {kept.words},")
    if problem and not kept.pinned:
        return Anchored(place, None, dataclasses.replace(stands_in, words=f"{stands_in.words}, for {problem}"))
    return Anchored(place, kept, Anchor("anchor", f"the anchor is {kept.words}", problem))
