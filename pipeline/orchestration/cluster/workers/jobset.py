"""The JobSet of a training on several pods: its name, its manifest, and what its status says. Pure functions.

JobSet (jobset.x-k8s.io) makes an Indexed Job of the workers, and a headless service in which each has a name that it keeps.
The first worker is the chief: the job has succeeded when that one has. No worker can go on without another, so one that
fails fails the Job, and JobSet makes all of them anew.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from pipeline.config.cluster import TRAINER, ClusterConfig, TaskConfig, kubernetes_name

GROUP, VERSION, PLURAL = "jobset.x-k8s.io", "v1alpha2", "jobsets"
DIGEST = "stemline/manifest"  # an annotation: tells a job of other settings from this one
_PREFIX = "stemline"  # for which the alert on pods that wait looks
_WORKERS = "worker"
_ROOM = 63 - len(f"-{_WORKERS}-0-9999-abcde")  # of a DNS label, which the name of a worker's pod has to be
_PORT = 2222
_KEPT_SECONDS = 24 * 3600  # a finished job, for its logs

Manifest = dict[str, Any]


def name(fingerprint: str) -> str:
    """The job of a training (see `trainer.training_key`): one name for one training, legal for pods and services too."""
    recipe, _, digits = fingerprint.rpartition("-")
    slug = kubernetes_name(recipe)[: _ROOM - len(f"{_PREFIX}--{digits}")].strip("-")
    return "-".join(filter(None, (_PREFIX, slug, digits)))


def addresses(name: str, workers: int) -> list[str]:
    """Where the workers of a job find each other, the chief first; in a subdomain that has the job's name."""
    return [f"{name}-{_WORKERS}-0-{index}.{name}:{_PORT}" for index in range(workers)]


def manifest(name: str, cluster: ClusterConfig, command: list[str]) -> Manifest:
    """The JobSet in which `cluster.workers` pods run `command`, each with what `cluster.tasks` gives to the Trainer."""
    labels = {"app.kubernetes.io/name": "stemline", "app.kubernetes.io/component": "training"}
    task = cluster.task(TRAINER)
    workers = {
        "completionMode": "Indexed",
        "completions": cluster.workers,
        "parallelism": cluster.workers,
        "backoffLimit": 0,
        "successPolicy": {"rules": [{"succeededIndexes": "0"}]},
        # Fails the Job for a reason of its own where a node is drained or taken away.
        "podFailurePolicy": {
            "rules": [{"action": "FailJob", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}]
        },
        "template": {
            # Envoy would stand between the workers.
            "metadata": {"labels": {**labels, "sidecar.istio.io/inject": "false"}},
            "spec": _pod(cluster, task, command),
        },
    }
    disrupted = {
        "name": "disrupted",
        "action": "RestartJobSetAndIgnoreMaxRestarts",
        "onJobFailureReasons": ["PodFailurePolicy"],
    }
    spec = {
        "network": {"enableDNSHostnames": True, "publishNotReadyAddresses": True},
        "replicatedJobs": [{"name": _WORKERS, "replicas": 1, "template": {"spec": workers}}],
        "failurePolicy": {"maxRestarts": task.retries or 0, "rules": [disrupted]},
        "ttlSecondsAfterFinished": _KEPT_SECONDS,
    }
    digest = hashlib.sha256(json.dumps(spec, sort_keys=True).encode()).hexdigest()[:16]
    metadata = {"name": name, "namespace": cluster.namespace, "labels": labels, "annotations": {DIGEST: digest}}
    return {"apiVersion": f"{GROUP}/{VERSION}", "kind": "JobSet", "metadata": metadata, "spec": spec}


def state(job: Mapping[str, Any]) -> tuple[str, str]:
    """What holds of a job, and in JobSet's words: Failed, Completed, or its last other condition; ("", "") of none."""
    held = [each for each in job.get("status", {}).get("conditions") or () if each["status"] == "True"]
    ended = [each for each in held if each["type"] in ("Failed", "Completed")]
    return next(((each["type"], each.get("message", "")) for each in [*ended, *reversed(held)]), ("", ""))


def all_run(job: Mapping[str, Any]) -> bool:
    """Whether every worker has its node and runs."""
    return any(each["ready"] for each in job.get("status", {}).get("replicatedJobsStatus") or ())


def _pod(cluster: ClusterConfig, task: TaskConfig, command: list[str]) -> dict[str, Any]:
    """The restricted profile of Kubernetes holds, and workers have no token: only the launcher talks to Kubernetes."""
    resources = _resources(task)
    container = {
        "name": _WORKERS,
        "image": cluster.image,
        "command": command,
        "env": _environment(task),
        "resources": {"requests": resources, "limits": resources},
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        "volumeMounts": [
            {"name": f"volume-{number}", "mountPath": volume.mount_path} for number, volume in enumerate(task.volumes)
        ],
    }
    pod: dict[str, Any] = {
        "containers": [container],
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "volumes": [
            {"name": f"volume-{number}", "persistentVolumeClaim": {"claimName": volume.claim}}
            for number, volume in enumerate(task.volumes)
        ],
    }
    if cluster.service_account:  # for its imagePullSecrets
        pod["serviceAccountName"] = cluster.service_account
    if task.node_selector:
        pod["nodeSelector"] = dict(task.node_selector)
    if task.tolerations:
        pod["tolerations"] = [{key: value for key, value in vars(each).items() if value} for each in task.tolerations]
    return pod


def _environment(task: TaskConfig) -> list[dict[str, Any]]:
    plain = [{"name": name, "value": value} for name, value in task.environment.items()]
    keys = [(name, secret.name, key) for secret in task.secrets for name, key in secret.keys.items()]
    secret = [{"name": name, "valueFrom": {"secretKeyRef": {"name": of, "key": key}}} for name, of, key in keys]
    return plain + secret


def _resources(task: TaskConfig) -> dict[str, str]:
    """As Kubernetes' quantities."""
    amounts = {
        "cpu": task.cpu and f"{task.cpu:g}",
        "memory": task.memory_gb and f"{task.memory_gb:g}G",
        task.gpu_type: task.gpus and str(task.gpus),
    }
    return {resource: amount for resource, amount in amounts.items() if resource and amount}
