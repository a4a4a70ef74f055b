"""The manifest of a training on several pods: one that JobSet and Kubernetes read without loss."""

from __future__ import annotations

import re
import string
import warnings
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kubeflow_trainer_api import models

from pipeline.config.cluster import ClusterConfig
from pipeline.config.config import load
from pipeline.orchestration.cluster.workers import jobset

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import kubernetes_validate

COMMAND = [
    "python",
    "-P",
    "-m",
    "pipeline.orchestration.cluster.workers.worker",
    "/models/pipeline/jobs/stemline-demo/request.json",
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
    return jobset.manifest("stemline-demo-0123456789abcdef", cluster(*overrides), COMMAND)


def job(of: dict[str, Any]) -> dict[str, Any]:
    """The specification of the one Job."""
    [replicated] = of["spec"]["replicatedJobs"]
    return replicated["template"]["spec"]


def test_workers_get_the_way_to_a_bucket_too() -> None:
    """They look there for the served version, with which a warm start begins."""
    [container] = job(
        manifest("cluster.every={environment: {S3_ENDPOINT: 'http://m'}, secrets: [{name: m, keys: {AWS_X: k}}]}")
    )["template"]["spec"]["containers"]
    secret = {"name": "AWS_X", "valueFrom": {"secretKeyRef": {"name": "m", "key": "k"}}}
    assert container["env"] == [{"name": "S3_ENDPOINT", "value": "http://m"}, secret]


@pytest.mark.parametrize(
    "overrides", [(), GPU, ("cluster.service_account=''", "cluster.every={volumes: [], cpu: 0.5}")]
)
def test_jobsets_own_models_lose_nothing_of_it(
    overrides: tuple[str, ...], read_by_jobset: Callable[[dict], dict]
) -> None:
    made = manifest(*overrides)
    assert read_by_jobset(made) == made
    assert (made["apiVersion"], made["kind"]) == ("jobset.x-k8s.io/v1alpha2", "JobSet")


def test_a_field_that_jobset_does_not_know_is_seen(read_by_jobset: Callable[[dict], dict]) -> None:
    made = manifest()
    made["spec"]["failurePolicy"]["maxRestart"] = 3
    assert read_by_jobset(made) != made


@pytest.mark.parametrize("version", ["1.31", kubernetes_validate.latest_version()])
@pytest.mark.parametrize("overrides", [(), GPU])
def test_its_job_is_one_of_kubernetes(version: str, overrides: tuple[str, ...]) -> None:
    """From 1.31, where `successPolicy` came on by default."""
    made = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "worker"}, "spec": job(manifest(*overrides))}
    kubernetes_validate.validate(made, version, strict=True)
    made["spec"]["template"]["spec"]["nodeselector"] = {}
    with pytest.raises(kubernetes_validate.ValidationError, match="nodeselector"):
        kubernetes_validate.validate(made, version, strict=True)


def test_every_worker_gets_what_the_configuration_gives_to_the_trainer() -> None:
    made = manifest(*GPU)
    assert made["metadata"]["namespace"] == "kubeflow"
    assert (job(made)["completions"], job(made)["parallelism"], job(made)["completionMode"]) == (3, 3, "Indexed")
    assert made["spec"]["ttlSecondsAfterFinished"] == 86400
    pod = job(made)["template"]["spec"]
    [container] = pod["containers"]
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
    assert job(made)["template"]["metadata"]["labels"]["sidecar.istio.io/inject"] == "false"
    assert "nvidia.com/gpu" not in job(manifest())["template"]["spec"]["containers"][0]["resources"]["limits"]


def test_one_fault_is_one_restart_of_all_and_a_disruption_none_that_counts() -> None:
    """After `executeFailurePolicy` in JobSet v0.12.0's failure_policy.go; a policy for failures wants pods that never restart."""
    made = manifest(*GPU)
    assert made["spec"]["failurePolicy"]["maxRestarts"] == 1
    [rule] = made["spec"]["failurePolicy"]["rules"]
    assert rule["action"] == "RestartJobSetAndIgnoreMaxRestarts"
    assert rule["action"] in str(models.JobsetV1alpha2FailurePolicyRule.model_fields["action"].description)
    assert rule["onJobFailureReasons"] == ["PodFailurePolicy"]
    assert re.fullmatch("[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?", rule["name"])  # jobset_webhook.go, ruleNameFmt
    assert job(made)["backoffLimit"] == 0
    assert job(made)["template"]["spec"]["restartPolicy"] == "Never"


@pytest.mark.parametrize("override", ["cluster.workers=3", "cluster.image=other", "cluster.every.cpu=1"])
def test_a_job_of_other_settings_is_told_apart(override: str) -> None:
    ours, theirs = (made["metadata"]["annotations"][jobset.DIGEST] for made in (manifest(), manifest(override)))
    assert ours != theirs
    assert ours == manifest()["metadata"]["annotations"][jobset.DIGEST]


RECIPES = st.text(alphabet=string.ascii_letters + string.digits + "_-. äß", max_size=80)


@given(recipe=RECIPES, digits=st.text(alphabet="0123456789abcdef", min_size=16, max_size=16))
def test_the_name_is_legal_for_the_job_its_pods_and_its_service(recipe: str, digits: str) -> None:
    """As ValidateCreate in JobSet v0.12.0's `pkg/webhooks/jobset_webhook.go` wants it: DNS labels of RFC 1035."""
    name = jobset.name(f"{recipe}-{digits}")
    for longest in (name, f"{name}-worker-0", f"{name}-worker-0-9999-abcde"):
        assert re.fullmatch(r"[a-z]([a-z0-9-]*[a-z0-9])?", longest)
        assert len(longest) <= 63
    assert re.fullmatch(f"stemline-.*{digits}", name)  # as the alert StemlineRetrainingWaits has it
    assert name == jobset.name(f"{recipe}-{digits}")


def test_workers_are_found_by_the_names_that_jobset_gives_them() -> None:
    """By what JobSet v0.12.0 says of its own fields, in the models that Trainer 2.3 makes of them."""
    made = manifest(*GPU)
    [replicated] = made["spec"]["replicatedJobs"]
    assert made["spec"]["network"] == {"enableDNSHostnames": True, "publishNotReadyAddresses": True}
    told = models.JobsetV1alpha2Network.model_fields
    assert "Defaults to <jobSet.name>" in str(told["subdomain"].description)
    [pattern] = re.findall(r"<jobSet.name>-\S+", str(told["enable_dns_hostnames"].description))
    name = made["metadata"]["name"]
    words = {"jobSet.name": name, "spec.replicatedJob.name": replicated["name"], "job-index": "0", "subdomain": name}
    for index, address in enumerate(jobset.addresses(name, 3)):
        host = re.sub("<(.+?)>", lambda word, index=index: {**words, "pod-index": str(index)}[word[1]], pattern)
        assert address == f"{host}:2222"


def test_a_recipe_is_read_in_the_name() -> None:
    assert jobset.name("drnn_mir1k-0123456789abcdef") == "stemline-drnn-mir1k-0123456789abcdef"


def status(*held: tuple[str, str], ready: int = 0) -> dict[str, Any]:
    listed = [{"type": kind, "status": status, "message": f"it is {kind}"} for kind, status in held]
    return {"status": {"conditions": listed, "replicatedJobsStatus": [{"name": "worker", "ready": ready}]}}


@pytest.mark.parametrize(
    ("made", "kind"),
    [
        ({}, ""),
        ({"status": {"restarts": 0}}, ""),
        (status(ready=1), ""),
        (status(("Suspended", "True")), "Suspended"),
        (status(("Suspended", "False"), ("RestartingJobSet", "True")), "RestartingJobSet"),
        (status(("RestartingJobSet", "False"), ("Completed", "True")), "Completed"),
        (status(("Failed", "True"), ("RestartingJobSet", "False")), "Failed"),
        (status(("RestartingJobSet", "True"), ("Failed", "True")), "Failed"),
    ],
)
def test_what_its_status_says(made: dict[str, Any], kind: str) -> None:
    """Types of JobSet v0.12.0's `api/jobset/v1alpha2/jobset_types.go`."""
    assert jobset.state(made) == (kind, f"it is {kind}" if kind else "")
    assert jobset.all_run(made) == (made == status(ready=1))
