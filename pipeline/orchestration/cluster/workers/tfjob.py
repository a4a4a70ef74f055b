"""The TFJob of a training on several pods: its name, its manifest, and what its status says. Pure functions.

Kubeflow's Training Operator (kubeflow.org/v1) makes a pod and a headless service of every worker and tells each in
TF_CONFIG where the others are. The first worker is the chief; the job has succeeded when that one has.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from pipeline.config.cluster import TRAINER, ClusterConfig, TaskConfig, kubernetes_name

GROUP, VERSION, PLURAL = "kubeflow.org", "v1", "tfjobs"
DIGEST = "stemline/manifest"  # an annotation: tells a job of other settings from this one
_PREFIX = "train"  # a service's name begins with a letter
_ROOM = 63 - len("-worker-9999")  # of a DNS label, which the name of a worker has to be
_PORT = {"name": "tfjob-port", "containerPort": 2222}
_KEPT_SECONDS = 24 * 3600  # a finished job, for its logs

Manifest = dict[str, Any]


def name(fingerprint: str) -> str:
    """The job of a training (see `trainer.training_key`): one name for one training, legal for pods and services too."""
    recipe, _, digits = fingerprint.rpartition("-")
    slug = kubernetes_name(recipe)[: _ROOM - len(f"{_PREFIX}--{digits}")].strip("-")
    return "-".join(filter(None, (_PREFIX, slug, digits)))


def manifest(name: str, cluster: ClusterConfig, command: list[str]) -> Manifest:
    """The TFJob in which `cluster.workers` pods run `command`, each with what `cluster.tasks` gives to the Trainer."""
    labels = {"app.kubernetes.io/name": "stemline", "app.kubernetes.io/component": "training"}
    task = cluster.task(TRAINER)
    worker = {
        "replicas": cluster.workers,
        # A killed process starts again in its pod, a lost pod on another node. Not ExitCode: workers that a killed one
        # leaves behind end with exit code 1, which it takes for final, and others it repeats without a limit.
        "restartPolicy": "OnFailure",
        "template": {
            # Envoy would stand between the workers.
            "metadata": {"labels": labels, "annotations": {"sidecar.istio.io/inject": "false"}},
            "spec": _pod(cluster, task, command),
        },
    }
    spec = {
        "runPolicy": {
            "cleanPodPolicy": "Running",
            "backoffLimit": backoff_limit(task.retries or 0, cluster.workers),
            "ttlSecondsAfterFinished": _KEPT_SECONDS,
        },
        "tfReplicaSpecs": {"Worker": worker},
    }
    digest = hashlib.sha256(json.dumps(spec, sort_keys=True).encode()).hexdigest()[:16]
    metadata = {"name": name, "namespace": cluster.namespace, "labels": labels, "annotations": {DIGEST: digest}}
    return {"apiVersion": f"{GROUP}/{VERSION}", "kind": "TFJob", "metadata": metadata, "spec": spec}


def backoff_limit(retries: int, workers: int) -> int:
    """The number of restarts at which a job fails: one fault takes all workers down, and a restarted one may meet the
    last of those that it has left behind and go down with them once more."""
    return 1 + 2 * workers * retries


def state(job: Mapping[str, Any]) -> tuple[str, str]:
    """What holds of a job, and in the operator's words: Failed, Succeeded, or its last other condition; ("", "") of none."""
    held = [each for each in job.get("status", {}).get("conditions") or () if each["status"] == "True"]
    ended = [each for each in held if each["type"] in ("Failed", "Succeeded")]
    return next(((each["type"], each.get("message", "")) for each in [*ended, *reversed(held)]), ("", ""))


def _pod(cluster: ClusterConfig, task: TaskConfig, command: list[str]) -> dict[str, Any]:
    """The restricted profile of Kubernetes holds, and workers have no token: only the launcher talks to Kubernetes."""
    resources = _resources(task)
    container = {
        "name": "tensorflow",
        "image": cluster.image,
        "command": command,
        "ports": [_PORT],
        "resources": {"requests": resources, "limits": resources},
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        "volumeMounts": [
            {"name": f"volume-{number}", "mountPath": volume.mount_path} for number, volume in enumerate(task.volumes)
        ],
    }
    pod: dict[str, Any] = {
        "containers": [container],
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


def _resources(task: TaskConfig) -> dict[str, str]:
    """As Kubernetes' quantities."""
    amounts = {
        "cpu": task.cpu and f"{task.cpu:g}",
        "memory": task.memory_gb and f"{task.memory_gb:g}G",
        task.gpu_type: task.gpus and str(task.gpus),
    }
    return {resource: amount for resource, amount in amounts.items() if resource and amount}
