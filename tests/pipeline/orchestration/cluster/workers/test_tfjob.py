"""The manifest of a training on several pods: one that the operator and Kubernetes read without loss."""

from __future__ import annotations

import re
import string
import warnings
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config.cluster import ClusterConfig
from pipeline.config.config import load
from pipeline.orchestration.cluster.workers import tfjob

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import kubernetes_validate

COMMAND = [
    "python",
    "-m",
    "pipeline.orchestration.cluster.workers.worker",
    "/models/pipeline/jobs/train-demo/request.json",
]
GPU = (
    "cluster.image=registry.example.com/stemline@sha256:0123",
    "cluster.workers=3",
    "cluster.tasks={Trainer: {cpu: 7.5, memory_gb: 24, gpus: 2, node_selector: {pool: gpu}, retries: 1,"
    " tolerations: [{key: nvidia.com/gpu, operator: Exists, effect: NoSchedule}],"
    " volumes: [{claim: stemline-models, mount_path: /models}, {claim: scratch.fast, mount_path: /scratch}]}}",
)


def cluster(*overrides: str) -> ClusterConfig:
    return load("demo", ["cluster.workers=2", *overrides]).cluster


def manifest(*overrides: str) -> dict[str, Any]:
    return tfjob.manifest("train-demo-0123456789abcdef", cluster(*overrides), COMMAND)


def worker(job: dict[str, Any]) -> dict[str, Any]:
    return job["spec"]["tfReplicaSpecs"]["Worker"]


@pytest.mark.parametrize(
    "overrides", [(), GPU, ("cluster.service_account=''", "cluster.every={volumes: [], cpu: 0.5}")]
)
def test_the_operators_own_models_lose_nothing_of_it(
    overrides: tuple[str, ...], read_by_the_operator: Callable[[dict], dict]
) -> None:
    job = manifest(*overrides)
    assert read_by_the_operator(job) == job
    assert (job["apiVersion"], job["kind"]) == ("kubeflow.org/v1", "TFJob")


def test_a_field_that_the_operator_does_not_know_is_seen(read_by_the_operator: Callable[[dict], dict]) -> None:
    job = manifest()
    job["spec"]["runPolicy"]["backOffLimit"] = 3
    assert read_by_the_operator(job) != job


@pytest.mark.parametrize("version", ["1.27", kubernetes_validate.latest_version()])
@pytest.mark.parametrize("overrides", [(), GPU])
def test_its_pods_are_ones_of_kubernetes(version: str, overrides: tuple[str, ...]) -> None:
    template = worker(manifest(*overrides))["template"]
    pod = {"apiVersion": "v1", "kind": "Pod", **template, "metadata": {**template["metadata"], "name": "worker-0"}}
    kubernetes_validate.validate(pod, version, strict=True)
    pod["spec"]["nodeselector"] = {}
    with pytest.raises(kubernetes_validate.ValidationError, match="nodeselector"):
        kubernetes_validate.validate(pod, version, strict=True)


def test_every_worker_gets_what_the_configuration_gives_to_the_trainer() -> None:
    job = manifest(*GPU)
    assert job["metadata"]["namespace"] == "kubeflow"
    assert (worker(job)["replicas"], worker(job)["restartPolicy"]) == (3, "OnFailure")
    assert job["spec"]["runPolicy"] == {
        "cleanPodPolicy": "Running",
        "backoffLimit": 7,
        "ttlSecondsAfterFinished": 86400,
    }
    pod = worker(job)["template"]["spec"]
    [container] = pod["containers"]
    assert container["name"] == "tensorflow"  # in which the operator sets TF_CONFIG
    assert container["image"] == "registry.example.com/stemline@sha256:0123"
    assert container["command"] == COMMAND
    assert container["resources"]["requests"] == container["resources"]["limits"]
    assert container["resources"]["limits"] == {"cpu": "7.5", "memory": "24G", "nvidia.com/gpu": "2"}
    assert pod["nodeSelector"] == {"pool": "gpu"}
    assert pod["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
    claims = {volume["name"]: volume["persistentVolumeClaim"]["claimName"] for volume in pod["volumes"]}
    mounts = {claims[mount["name"]]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert mounts == {"stemline-models": "/models", "scratch.fast": "/scratch"}
    assert pod["serviceAccountName"] == "pipeline-runner"
    assert worker(job)["template"]["metadata"]["annotations"] == {"sidecar.istio.io/inject": "false"}
    assert "nvidia.com/gpu" not in worker(manifest())["template"]["spec"]["containers"][0]["resources"]["limits"]


@pytest.mark.parametrize("override", ["cluster.workers=3", "cluster.image=other", "cluster.every.cpu=1"])
def test_a_job_of_other_settings_is_told_apart(override: str) -> None:
    ours, theirs = (job["metadata"]["annotations"][tfjob.DIGEST] for job in (manifest(), manifest(override)))
    assert ours != theirs
    assert ours == manifest()["metadata"]["annotations"][tfjob.DIGEST]


RECIPES = st.text(alphabet=string.ascii_letters + string.digits + "_-. äß", max_size=80)


@given(recipe=RECIPES, digits=st.text(alphabet="0123456789abcdef", min_size=16, max_size=16))
def test_the_name_is_legal_for_the_job_its_pods_and_its_services(recipe: str, digits: str) -> None:
    name = tfjob.name(f"{recipe}-{digits}")
    assert re.fullmatch(r"[a-z]([a-z0-9-]*[a-z0-9])?", f"{name}-worker-1999")  # a DNS label of RFC 1035
    assert len(f"{name}-worker-1999") <= 63
    assert name.endswith(digits)
    assert name == tfjob.name(f"{recipe}-{digits}")


def test_a_recipe_is_read_in_the_name() -> None:
    assert tfjob.name("drnn_mir1k-0123456789abcdef") == "train-drnn-mir1k-0123456789abcdef"


def conditions(*held: tuple[str, str]) -> dict[str, Any]:
    listed = [{"type": kind, "status": status, "message": f"it is {kind}"} for kind, status in held]
    return {"status": {"conditions": listed}}


@pytest.mark.parametrize(
    ("job", "kind"),
    [
        ({}, ""),
        ({"status": {}}, ""),
        (conditions(("Created", "True")), "Created"),
        (conditions(("Created", "True"), ("Running", "True")), "Running"),
        (conditions(("Created", "True"), ("Running", "False"), ("Restarting", "True")), "Restarting"),
        (conditions(("Created", "True"), ("Running", "False"), ("Succeeded", "True")), "Succeeded"),
        (conditions(("Failed", "True"), ("Running", "False"), ("Restarting", "True")), "Failed"),
    ],
)
def test_what_its_status_says(job: dict[str, Any], kind: str) -> None:
    assert tfjob.state(job) == (kind, f"it is {kind}" if kind else "")
