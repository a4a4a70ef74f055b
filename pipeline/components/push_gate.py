"""PushGate: fails a run that pushed no model, with the reasons, where only a failed task can be seen from outside.

A task of its own, so that the Pusher may be tried again when its machine is lost, and a refusal is not.
"""

import json

from tfx.dsl.component.experimental.annotations import InputArtifact
from tfx.dsl.component.experimental.decorators import component
from tfx.types import Artifact, standard_artifacts

from pipeline.components.pusher import REASON


class RefusedError(ValueError):
    """The run is over without a new version; what was served before is served still."""


def require_push(pushed: Artifact, model_blessing: Artifact, infra_blessing: Artifact) -> None:
    """Raises RefusedError, with the reasons that the blessings give, where a PushedModel names no version."""
    if pushed.get_int_custom_property("pushed"):
        return
    told = [artifact.get_string_custom_property(REASON) for artifact in (pushed, infra_blessing)]
    reasons = json.loads(model_blessing.get_string_custom_property("reasons") or "[]")
    told += [reason for reason in reasons if not reason.startswith("ok")]
    raise RefusedError("the model was not pushed: " + ("; ".join(filter(None, told)) or "it is not blessed"))


@component
def PushGate(
    pushed_model: InputArtifact[standard_artifacts.PushedModel],
    model_blessing: InputArtifact[standard_artifacts.ModelBlessing],
    infra_blessing: InputArtifact[standard_artifacts.InfraBlessing],
) -> None:
    """Passes if the model was pushed."""
    require_push(pushed_model, model_blessing, infra_blessing)
