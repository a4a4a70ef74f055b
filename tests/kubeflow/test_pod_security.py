"""Every pod of every overlay obeys the restricted profile, rule by rule, and has no more than it needs.

https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted
"""

from __future__ import annotations

import copy
from pathlib import Path

import pytest

from pipeline.config.config import load
from pipeline.orchestration.cluster.workers import jobset

ROOT = Path(__file__).resolve().parents[2]
VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}


def breaches(spec):
    """What the restricted profile forbids in a pod."""
    found = [key for key in ("hostNetwork", "hostPID", "hostIPC") if spec.get(key)]
    found += [f"volume {volume['name']}" for volume in spec.get("volumes", []) if set(volume) - {"name"} - VOLUMES]
    pod = spec.get("securityContext", {})
    found += [key for key in ("sysctls", "seLinuxOptions", "windowsOptions", "appArmorProfile") if key in pod]
    kinds = ("initContainers", "containers", "ephemeralContainers")
    for container in (container for kind in kinds for container in spec.get(kind, [])):
        found += [f"{container['name']}: {words}" for words in _container_breaches(container, pod)]
    return found


def _container_breaches(container, pod):
    own = container.get("securityContext", {})
    both = {**pod, **own}
    capabilities = own.get("capabilities", {})
    rules = {
        "privileged": not own.get("privileged", False),
        "allowPrivilegeEscalation": own.get("allowPrivilegeEscalation") is False,
        "capabilities": capabilities.get("drop") == ["ALL"]
        and set(capabilities.get("add", [])) <= {"NET_BIND_SERVICE"},
        "runAsNonRoot": both.get("runAsNonRoot") is True,
        "runAsUser": both.get("runAsUser") != 0,
        "seccompProfile": both.get("seccompProfile", {}).get("type") in ("RuntimeDefault", "Localhost"),
        "procMount": own.get("procMount", "Default") == "Default",
        "hostPort": not any("hostPort" in port for port in container.get("ports", [])),
    }
    return [name for name, held in rules.items() if not held]


def test_pods_obey_the_restricted_profile_and_more(objects, pods):
    (namespace,) = [item for item in objects if item["kind"] == "Namespace"]
    labels = namespace["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    for _, _, spec in pods(objects):
        assert breaches(spec) == []
        assert all(one["securityContext"]["readOnlyRootFilesystem"] for one in spec["containers"])
        assert spec["automountServiceAccountToken"] is False
    accounts = [item for item in objects if item["kind"] == "ServiceAccount"]
    assert accounts
    assert not any(account["automountServiceAccountToken"] for account in accounts)


def test_workers_that_train_obey_it_too():
    cluster = load("demo", ["cluster.workers=2", "cluster.every.gpus=1"]).cluster
    [workers] = jobset.manifest("train", cluster, ["true"])["spec"]["replicatedJobs"]
    spec = workers["template"]["spec"]["template"]["spec"]
    assert breaches(spec) == []
    assert spec["automountServiceAccountToken"] is False


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda spec: spec.update(hostNetwork=True), "hostNetwork"),
        (lambda spec: spec["volumes"].append({"name": "host", "hostPath": {"path": "/"}}), "volume host"),
        (lambda spec: spec["securityContext"].pop("runAsNonRoot"), "serving: runAsNonRoot"),
        (lambda spec: spec["securityContext"].pop("seccompProfile"), "serving: seccompProfile"),
        (lambda spec: spec["containers"][0]["securityContext"].pop("capabilities"), "serving: capabilities"),
        (lambda spec: spec["containers"][0]["ports"][0].update(hostPort=80), "serving: hostPort"),
    ],
)
def test_a_breach_is_seen(build, pods, change, words):
    found = {name: spec for name, _, spec in pods(build(ROOT / "kubeflow/base"))}
    spec = copy.deepcopy(found["stemline-serving"])
    change(spec)
    assert breaches(spec) == [words]
