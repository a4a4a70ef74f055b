"""PushGate, on artifacts as a task gets them on Kubeflow: what others told about them as JSON, strings and floats."""

from __future__ import annotations

import json

import pytest
from tfx.types import standard_artifacts

from pipeline.components import push_gate


def test_a_run_that_pushes_nothing_fails_with_the_reasons() -> None:
    blessing, infra = standard_artifacts.ModelBlessing(), standard_artifacts.InfraBlessing()
    pushed = standard_artifacts.PushedModel()
    blessing.set_string_custom_property("reasons", json.dumps(["ok: the outputs are sound", "refused: worse by 1 dB"]))
    pushed.set_int_custom_property("pushed", 0)
    with pytest.raises(push_gate.RefusedError, match=r"^the model was not pushed: refused: worse by 1 dB$"):
        push_gate.require_push(pushed, blessing, infra)
    infra.set_string_custom_property("reason", "it does not serve")
    with pytest.raises(push_gate.RefusedError, match="it does not serve; refused: worse by 1 dB"):
        push_gate.require_push(pushed, blessing, infra)
    pushed.set_int_custom_property("pushed", 1)
    push_gate.require_push(pushed, blessing, infra)


def test_a_model_that_is_not_blessed_by_anybody_who_says_why_is_refused_all_the_same() -> None:
    with pytest.raises(push_gate.RefusedError, match="the model was not pushed: it is not blessed"):
        push_gate.require_push(
            standard_artifacts.PushedModel(), standard_artifacts.ModelBlessing(), standard_artifacts.InfraBlessing()
        )
