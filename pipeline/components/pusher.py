"""Pusher: TFX's own component, publishing by rename."""

from __future__ import annotations

import os
from typing import Any

from tfx.components import Pusher
from tfx.components.pusher import executor as pusher_executor
from tfx.dsl.components.base import executor_spec
from tfx.dsl.io import fileio
from tfx.proto import pusher_pb2
from tfx.types import Artifact, artifact_utils, standard_component_specs
from tfx.types.channel import BaseChannel
from tfx.utils import proto_utils

# Not an int64, so no model server looks into it.
STAGING = ".staging"


class RenamingExecutor(pusher_executor.Executor):
    """Copies to a staging directory beside the versions, then renames: a server never sees half a version."""

    def Do(
        self,
        input_dict: dict[str, list[Artifact]],
        output_dict: dict[str, list[Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """As TFX's executor; `pushed_destination` of the PushedModel names the final directory."""
        destination = pusher_pb2.PushDestination()
        proto_utils.json_to_proto(exec_properties[standard_component_specs.PUSH_DESTINATION_KEY], destination)
        base = destination.filesystem.base_directory
        staging = os.path.join(base, STAGING)
        if fileio.exists(staging):
            fileio.rmtree(staging)
        destination.filesystem.base_directory = staging
        staged = {
            **exec_properties,
            standard_component_specs.PUSH_DESTINATION_KEY: proto_utils.proto_to_json(destination),
        }
        super().Do(input_dict, output_dict, staged)
        pushed = artifact_utils.get_single_instance(output_dict[standard_component_specs.PUSHED_MODEL_KEY])
        if pushed.get_int_custom_property("pushed"):
            version = _free_version(base, int(pushed.get_string_custom_property("pushed_version")))
            final = os.path.join(base, str(version))
            fileio.rename(pushed.get_string_custom_property("pushed_destination"), final)
            pushed.set_string_custom_property("pushed_destination", final)
            pushed.set_string_custom_property("pushed_version", str(version))
        if fileio.exists(staging):
            fileio.rmtree(staging)


def pusher(model_blessing: BaseChannel, infra_blessing: BaseChannel, base_directory: str) -> Pusher:
    """The Pusher node: pushes the stamped copy that carries the warm-up, when both blessings hold."""
    return Pusher(
        model_blessing=model_blessing,
        infra_blessing=infra_blessing,
        push_destination=pusher_pb2.PushDestination(
            filesystem=pusher_pb2.PushDestination.Filesystem(base_directory=base_directory)
        ),
        custom_executor_spec=executor_spec.ExecutorClassSpec(RenamingExecutor),
    )


def _free_version(base: str, version: int) -> int:
    """TFX counts in seconds; two pushes within one second get consecutive versions."""
    while fileio.exists(os.path.join(base, str(version))):
        version += 1
    return version
