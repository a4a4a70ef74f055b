"""A deadline of a run: what is compiled, what reaches the API, and which versions refuse it."""

from __future__ import annotations

import json

import pytest

from pipeline.config.config import load
from pipeline.orchestration.cluster import compiler, kfp_versions

HOURS = "cluster.deadline_hours=48"


def test_a_deadline_is_for_the_run_and_in_its_platform_spec(kubeflow, stemline, tmp_path) -> None:
    """`active_deadline_seconds` of PipelineConfig in api/v2alpha1/pipeline_spec.proto, 2.17.0: Argo ends the workflow."""
    pipeline_file = tmp_path / "pipeline.yaml"
    compiler.write(compiler.compile(load("demo", [HOURS])), pipeline_file)
    code, said = stemline("submit", "--set", HOURS, "--pipeline", str(pipeline_file), "--host", kubeflow.host)
    assert code == 0, said
    [run] = kubeflow.runs.values()
    kubernetes = run["pipeline_spec"]["platform_spec"]["platforms"]["kubernetes"]
    assert kubernetes["pipelineConfig"] == {"activeDeadlineSeconds": 48 * 3600}
    code, said = stemline("submit", "--pipeline", str(pipeline_file), "--host", kubeflow.host)
    assert code == 2
    assert "cluster.deadline_hours 48.0: None needs a recompile" in said


def test_without_a_deadline_there_is_nothing_that_an_older_version_refuses() -> None:
    documents = compiler.compile(load("demo"))
    for version in kfp_versions.VERSIONS.values():
        kfp_versions.check_platform(version, documents)


@pytest.mark.parametrize("name", kfp_versions.VERSIONS)
def test_a_version_that_knows_no_deadline_refuses_it(name: str) -> None:
    documents = compiler.compile(load("demo", [HOURS]))
    if name == "2.17":
        kfp_versions.check_platform(kfp_versions.version(name), documents)
        return
    with pytest.raises(ValueError, match=rf"API server of Kubeflow Pipelines {name} refuses: cluster\.deadline_hours"):
        kfp_versions.check_platform(kfp_versions.version(name), documents)


def test_the_oldest_driver_stops_at_a_field_that_it_does_not_know() -> None:
    """2.3.0 reads with jsonpb.UnmarshalString (backend/src/v2/cmd/driver/main.go), 2.4.1 drops what it does not know."""
    documents = json.loads(json.dumps(compiler.compile(load("demo"))))
    executors = documents[1]["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    executors["Pusher_executor"]["pvcMount"][0]["pvcNameParameter"] = {"runtimeValue": {"constant": "claim"}}
    with pytest.raises(ValueError, match=r"Pusher_executor .* field 'pvcNameParameter', which the driver of .* 2\.3 "):
        kfp_versions.check_platform(kfp_versions.version("2.3"), documents)
    kfp_versions.check_platform(kfp_versions.version("2.4"), documents)
    del executors["Pusher_executor"]["pvcMount"][0]["constant"]
    with pytest.raises(ValueError, match="mounts a claim without its name as a constant"):
        kfp_versions.check_platform(kfp_versions.version("2.4"), documents)


@pytest.mark.parametrize(("given", "legal"), [("0", "above 0"), ("-1", "above 0"), ("long", "number")])
@pytest.mark.parametrize("key", ["deadline_hours", "wait_hours"])
def test_a_time_that_is_none_is_one_sentence(key: str, given: str, legal: str) -> None:
    with pytest.raises(ValueError, match=rf"cluster\.{key} is .*{legal}"):
        load("demo", [f"cluster.{key}={given}"])
