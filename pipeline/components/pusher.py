"""Pusher: TFX's own component, publishing by rename, and only over the version that its model was judged against."""

from __future__ import annotations

import os
from typing import Any

import filelock
import tensorflow as tf
from tfx.components import Pusher
from tfx.components.evaluator import constants
from tfx.components.pusher import executor as pusher_executor
from tfx.dsl.components.base import executor_spec
from tfx.dsl.io import fileio
from tfx.proto import pusher_pb2
from tfx.types import Artifact, artifact_utils, standard_component_specs
from tfx.types.channel import BaseChannel
from tfx.utils import proto_utils

from models.directory import ModelDirectory
from pipeline.common import progress

# Neither is an int64, so no model server looks into them.
STAGING = ".staging"
LOCK = ".push.lock"
SERVED_VERSION = "served_version"  # of a ModelBlessing: the newest version when its model was judged
REASON = "reason"  # of a PushedModel: why a blessed model was not pushed


class RenamingExecutor(pusher_executor.Executor):
    """Copies to a staging directory beside the versions, then renames: a server never sees half a version.

    Of two runs whose models were judged against the same version only one can push: whoever comes second, under a lock
    in the serving directory, finds a newer version and leaves it alone. The lock ends with the process that holds it.
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
        fileio.makedirs(base)
        with filelock.FileLock(os.path.join(base, LOCK)):
            pushed = artifact_utils.get_single_instance(output_dict[standard_component_specs.PUSHED_MODEL_KEY])
            blessed = self.CheckBlessing(input_dict)
            if blessed and (version := self._served_as(input_dict, base)):
                words = f"  version {version} in {base} is this model already: nothing to push"
                progress.console.print(words, markup=False, soft_wrap=True)
                self._MarkPushed(pushed, os.path.join(base, str(version)), str(version))
                return
            if blessed and (reason := _overtaken(_blessing(input_dict), base)):
                self._MarkNotPushed(pushed)
                pushed.set_string_custom_property(REASON, reason)
                return
            destination.filesystem.base_directory = os.path.join(base, STAGING)
            staged = {standard_component_specs.PUSH_DESTINATION_KEY: proto_utils.proto_to_json(destination)}
            try:
                self._push(input_dict, output_dict, {**exec_properties, **staged}, base)
            except tf.errors.OpError as error:  # what TFX's file system makes of a directory that is read-only or full
                raise OSError(f"{base} cannot be written: {error.message}") from error

    def _served_as(self, input_dict: dict[str, list[Artifact]], base: str) -> int:
        """The newest version if it is the model to push, with the same warm-up; else 0."""
        blessing, model, newest = _blessing(input_dict), self.GetModelPath(input_dict), ModelDirectory.newest(base)
        uri = _model_uri(blessing) if blessing else ""
        return newest.version if newest and newest.holds(uri, model) and newest.warms_up_as(model) else 0

    def _push(
        self,
        input_dict: dict[str, list[Artifact]],
        output_dict: dict[str, list[Artifact]],
        exec_properties: dict[str, Any],
        base: str,
    ) -> None:
        """Lets TFX's executor push to the staging directory, and renames what it left there."""
        staging = os.path.join(base, STAGING)
        if fileio.exists(staging):
            fileio.rmtree(staging)
        super().Do(input_dict, output_dict, exec_properties)
        pushed = artifact_utils.get_single_instance(output_dict[standard_component_specs.PUSHED_MODEL_KEY])
        if pushed.get_int_custom_property("pushed"):
            staged = pushed.get_string_custom_property("pushed_destination")
            if blessing := _blessing(input_dict):
                ModelDirectory(staged).write_origin(_model_uri(blessing))
            # TFX counts in seconds: a second push within one, or after the clock was set back, must be newer all the same.
            taken = ModelDirectory.versions(base)
            version = max([int(pushed.get_string_custom_property("pushed_version")), *(number + 1 for number in taken)])
            final = os.path.join(base, str(version))
            fileio.rename(staged, final)
            pushed.set_string_custom_property("pushed_destination", final)
            pushed.set_string_custom_property("pushed_version", str(version))
        if fileio.exists(staging):
            fileio.rmtree(staging)


def pusher(model_blessing: BaseChannel, infra_blessing: BaseChannel, base_directory: str) -> Pusher:
    """The Pusher node: pushes the stamped copy that carries the warm-up, when both blessings hold.

    base_directory: of a model server, on a file system on which locks hold between all who push there.
    """
    return Pusher(
        model_blessing=model_blessing,
        infra_blessing=infra_blessing,
        push_destination=pusher_pb2.PushDestination(
            filesystem=pusher_pb2.PushDestination.Filesystem(base_directory=base_directory)
        ),
        custom_executor_spec=executor_spec.ExecutorClassSpec(RenamingExecutor),
    )


def _blessing(input_dict: dict[str, list[Artifact]]) -> Artifact | None:
    found = input_dict.get(standard_component_specs.MODEL_BLESSING_KEY)
    return artifact_utils.get_single_instance(found) if found else None


def _model_uri(blessing: Artifact) -> str:
    return blessing.get_string_custom_property(constants.ARTIFACT_PROPERTY_CURRENT_MODEL_URI_KEY)


def _overtaken(blessing: Artifact | None, base: str) -> str:
    """Why a blessed model must not be pushed; empty when it may.

    A version that was taken away since (a roll-back) is no reason, nor is one that holds the same model.
    """
    if blessing is None:
        return ""
    newest, judged = ModelDirectory.newest(base), blessing.get_int_custom_property(SERVED_VERSION)
    if newest is None or newest.version <= judged or newest.origin == _model_uri(blessing):
        return ""
    rival = f"version {judged} was served" if judged else "no version was served"
    return (
        f"refused: the model was judged while {rival}, but version {newest.version} has been pushed to {base} since; "
        "run again to have it judged against that"
    )
