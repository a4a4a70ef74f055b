"""What Kubeflow Pipelines makes of a task, against its own code.

The expected values were printed by provisionOutputs (backend/src/v2/driver/driver.go), toMLMDArtifact, toRuntimeArtifact and
ToRuntimeArtifact (backend/src/v2/metadata) of the tags below, built with Go 1.27 and protobuf-go 1.36.11 and given the compiled
component Trainer, the pipeline root minio://mlpipeline/v2/artifacts/demo/run, the salt "salt" and PUBLISH_LOGS=true.
"""

from __future__ import annotations

import pytest

from pipeline.config.config import load
from pipeline.orchestration.cluster import compiler, kfp_versions

ROOT = "minio://mlpipeline/v2/artifacts/demo/run"
LOCAL = "/minio/mlpipeline/v2/artifacts/demo/run/Trainer/salt/output_metadata.json"
PRINTED = {  # tag -> place of the artifacts, output file, whether there are logs, whether outputs have names
    "2.3.0": ("Trainer", "/tmp/kfp_outputs/output_metadata.json", False, False),
    "2.4.1": ("Trainer/salt", "/tmp/kfp_outputs/output_metadata.json", False, False),
    "2.5.0": ("Trainer/salt", "/tmp/kfp_outputs/output_metadata.json", True, False),
    "2.14.0": ("Trainer/salt", "/tmp/kfp_outputs/output_metadata.json", True, False),
    "2.15.0": ("Trainer/salt", LOCAL, True, True),
    "2.16.1": ("Trainer/salt", LOCAL, True, True),
    "2.17.0": ("Trainer/salt", LOCAL, True, True),
}
TYPES = {
    "model": {"instanceSchema": "title: tfx.Model\ntype: object\n"},
    "model_run": {"instanceSchema": "title: tfx.ModelRun\ntype: object\n"},
    "executor-logs": {"schemaTitle": "system.Artifact"},
}


@pytest.mark.parametrize("tag", PRINTED)
def test_the_outputs_of_a_task_are_those_that_the_driver_plans(tag: str) -> None:
    place, output_file, logs, named = PRINTED[tag]
    version = kfp_versions.version(tag.rpartition(".")[0])
    root = kfp_versions.task_root(version, ROOT, "Trainer", "salt")
    planned = kfp_versions.outputs(version, compiler.compile(load("demo"))[0]["components"]["Trainer"], root)
    assert planned["outputFile"] == output_file
    expected = {
        key: {**({"name": key} if named else {}), "type": kind, "uri": f"{ROOT}/{place}/{key}"}
        for key, kind in TYPES.items()
        if logs or key != "executor-logs"
    }
    assert {key: each["artifacts"] for key, each in planned["artifacts"].items()} == {
        key: [artifact] for key, artifact in expected.items()
    }


def test_every_version_is_held_to_its_own_code() -> None:
    assert [tag.rpartition(".")[0] for tag in PRINTED] == list(kfp_versions.VERSIONS)


def test_what_a_task_has_told_comes_back_as_the_metadata_store_has_it() -> None:
    """The same in all seven, but for what RecordArtifact of client.go adds."""
    told = {"n": 1.0, "yes": True, "all": [1.0], "of": {"a": "b"}, "s": "t"}
    uri = f"{ROOT}/Trainer/salt/model"
    artifact = kfp_versions.recorded("model", {"uri": uri}, {"metadata": told}, 17)
    assert {name: artifact["metadata"].pop(name) for name in ("display_name", "store_session_info")} == {
        "display_name": "model",
        "store_session_info": "null",
    }
    assert artifact == {
        "name": "17",
        "type": {"instanceSchema": ""},
        "uri": uri,
        "metadata": {"all": {"list": [1.0]}, "n": 1, "of": {"struct": {"a": "b"}}, "s": "t", "yes": 1},
    }


def test_a_null_fails_the_task() -> None:
    """StructValueToMLMDValue: "TODO: support null"."""
    with pytest.raises(ValueError, match="the metadata 'n' is null"):
        kfp_versions.recorded("model", {"uri": ROOT}, {"metadata": {"n": None}}, 17)


def test_a_store_that_the_launcher_does_not_know_is_named() -> None:
    with pytest.raises(
        ValueError, match="hdfs://a lies in no store that the launcher knows: legal are gs://, s3://, minio://"
    ):
        kfp_versions.local_path("hdfs://a")
