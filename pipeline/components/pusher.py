"""Pusher: TFX's own component, publishing all of a version or none, and only over the version that its model was judged against."""

from __future__ import annotations

import time
from typing import Any

from tfx.components import Pusher
from tfx.components.evaluator import constants
from tfx.components.pusher import executor as pusher_executor
from tfx.dsl.components.base import executor_spec
from tfx.proto import pusher_pb2
from tfx.types import Artifact, artifact_utils, standard_component_specs
from tfx.types.channel import BaseChannel
from tfx.utils import io_utils, proto_utils

from models.directory import ModelDirectory
from pipeline.common import progress, publishing

SERVED_VERSION = "served_version"  # of a ModelBlessing: the newest version when its model was judged
REASON = "reason"  # of a PushedModel: why a blessed model was not pushed


class PublishingExecutor(pusher_executor.Executor):
    """Publishes as `pipeline.common.publishing` does: a server never sees half a version.

    Of two runs whose models were judged against the same version only one can push: whoever comes second, in its turn,
    finds a newer version and leaves it alone.
    A model that is served already, as a run without new data gives it where no cache answers, stays the version that it is.
    """

    def Do(
        self,
        input_dict: dict[str, list[Artifact]],
        output_dict: dict[str, list[Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """As TFX's executor; `pushed_destination` of the PushedModel names the final directory.

        Where the model is blessed but was judged against an older version than is served now, nothing is pushed, and
        the property `reason` of the PushedModel says so. Where the newest version is that model, `pushed_destination`
        names it. Raises OSError where the directory cannot be written.
        """
        destination = pusher_pb2.PushDestination()
        proto_utils.json_to_proto(exec_properties[standard_component_specs.PUSH_DESTINATION_KEY], destination)
        base = destination.filesystem.base_directory
        pushed = artifact_utils.get_single_instance(output_dict[standard_component_specs.PUSHED_MODEL_KEY])
        if not self.CheckBlessing(input_dict):
            self._MarkNotPushed(pushed)
            return
        model, uri = self.GetModelPath(input_dict), _model_uri(_blessing(input_dict))
        with publishing.turn(base) as publisher:
            newest = ModelDirectory.newest(base)
            if newest and newest.holds(uri, model) and newest.warms_up_as(model):
                words = f"  version {newest.version} in {base} is this model already: nothing to push"
                progress.console.print(words, markup=False, soft_wrap=True)
            elif reason := _overtaken(_blessing(input_dict), newest, base):
                self._MarkNotPushed(pushed)
                pushed.set_string_custom_property(REASON, reason)
                return
            else:
                # The time in seconds, as TFX numbers versions; after the clock was set back it is higher all the same.
                newest = publisher.publish(model, at_least=int(time.time()), origin=uri)
                io_utils.copy_dir(model, pushed.uri)
            self._MarkPushed(pushed, str(newest.path), str(newest.version))


def pusher(model_blessing: BaseChannel, infra_blessing: BaseChannel, base_directory: str) -> Pusher:
    """The Pusher node: pushes the stamped copy that carries the warm-up, when both blessings hold.

    base_directory: of a model server, in a bucket, or on a file system on which locks hold between all who push there.
    """
    return Pusher(
        model_blessing=model_blessing,
        infra_blessing=infra_blessing,
        push_destination=pusher_pb2.PushDestination(
            filesystem=pusher_pb2.PushDestination.Filesystem(base_directory=base_directory)
        ),
        custom_executor_spec=executor_spec.ExecutorClassSpec(PublishingExecutor),
    )


def _blessing(input_dict: dict[str, list[Artifact]]) -> Artifact | None:
    found = input_dict.get(standard_component_specs.MODEL_BLESSING_KEY)
    return artifact_utils.get_single_instance(found) if found else None


def _model_uri(blessing: Artifact | None) -> str:
    """Empty where nobody has judged the model."""
    return blessing.get_string_custom_property(constants.ARTIFACT_PROPERTY_CURRENT_MODEL_URI_KEY) if blessing else ""


def _overtaken(blessing: Artifact | None, newest: ModelDirectory | None, base: str) -> str:
    """Why a blessed model must not be pushed over the newest version; empty when it may.

    A version that was taken away since (a roll-back) is no reason, nor is one that holds the same model.
    """
    if blessing is None:
        return ""
    judged = blessing.get_int_custom_property(SERVED_VERSION)
    if newest is None or newest.version <= judged or newest.origin == _model_uri(blessing):
        return ""
    rival = f"version {judged} was served" if judged else "no version was served"
    return (
        f"refused: the model was judged while {rival}, but version {newest.version} has been pushed to {base} since; "
        "run again to have it judged against that"
    )
