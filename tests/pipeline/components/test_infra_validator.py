"""The InfraValidator node: what it tells TFX to run, and its refusals. Its client meets a server in tests/serving."""

import pytest
from google.protobuf import json_format
from tfx.proto import infra_validator_pb2
from tfx.types import channel_utils, standard_artifacts

from pipeline.components import graph
from pipeline.components.infra_validator import infra_validator
from pipeline.config import config as config_module
from pipeline.runs.workdir import Workdir


def channels():
    artifacts = standard_artifacts.Model(), standard_artifacts.Examples()
    return [channel_utils.as_channel([artifact]) for artifact in artifacts]


def parsed(node, name: str, kind):
    return json_format.Parse(node.exec_properties[name], kind())


@pytest.mark.parametrize(("platform", "field"), [("docker", "local_docker"), ("kubernetes", "kubernetes")])
def test_the_node_runs_the_image_of_production_and_queries_examples(platform, field):
    node = infra_validator(*channels(), config_module.load("demo"), platform)
    serving = parsed(node, "serving_spec", infra_validator_pb2.ServingSpec)
    assert serving.WhichOneof("serving_platform") == field
    assert list(serving.tensorflow_serving.tags) == ["2.16.1"]
    assert serving.model_name == "stemline"
    request = parsed(node, "request_spec", infra_validator_pb2.RequestSpec)
    assert list(request.tensorflow_serving.signature_names) == ["examples"]
    assert request.make_warmup
    assert {"model", "examples"} <= set(node.inputs)


def test_an_answer_over_grpcs_limit_is_refused_before_anything_runs():
    config = config_module.load(
        "demo", ["data.sample_rate_hz=44100", "model.sample_rate_hz=44100", "data.segment_seconds=30"]
    )
    with pytest.raises(ValueError, match=r"data.segment_seconds is 30, so an answer has 10\.1 MiB; .*less than 4"):
        infra_validator(*channels(), config, "docker")


def test_where_neither_is_reachable_it_says_so(monkeypatch, tmp_path):
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    monkeypatch.delenv("KFP_POD_NAME", raising=False)
    with pytest.raises(ValueError, match=r"InfraValidator finds no docker daemon .*ServingValidator") as caught:
        infra_validator(*channels(), config_module.load("demo"))
    assert "\n" not in str(caught.value)


def test_the_configuration_puts_it_in_the_place_of_the_serving_validator(tmp_path):
    def nodes(*overrides: str) -> dict:
        config = config_module.load("demo", overrides)
        return {node.id: node for node in graph.components(config, Workdir(tmp_path), resolve=False)}

    ours, theirs = nodes(), nodes("serve.validator=infra_validator")
    assert set(ours) ^ set(theirs) == {"ServingValidator", "InfraValidator"}
    blessing = theirs["InfraValidator"].outputs["blessing"]
    assert theirs["Pusher"].inputs["infra_blessing"] is blessing
