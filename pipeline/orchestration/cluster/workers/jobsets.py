"""The JobSets of a cluster over Kubernetes' API, through the kubernetes client, and errors as sentences."""

from __future__ import annotations

import contextlib
import io
import json
import os
from typing import Any

import kubernetes
import urllib3
from kubernetes.client.exceptions import ApiException

from pipeline.orchestration.cluster.workers.jobset import GROUP, PLURAL, VERSION, Manifest

INSTALL = "https://github.com/kubernetes-sigs/jobset/releases/download/v0.12.0/manifests.yaml"
_SECONDS = 30  # for an answer


class JobSets:
    """Those of a namespace.

    Every method raises ConnectionError where Kubernetes does not answer or has a fault of its own, which may pass, and
    ValueError where it refuses, with what is missing.
    """

    def __init__(self, namespace: str):
        """Finds Kubernetes as kubectl does (KUBECONFIG), else as a pod does."""
        settings = kubernetes.client.Configuration()
        try:
            if path := os.environ.get("KUBECONFIG"):
                kubernetes.config.load_kube_config(path, client_configuration=settings)
            else:
                with contextlib.redirect_stdout(io.StringIO()):
                    kubernetes.config.load_config(client_configuration=settings)
        except kubernetes.config.ConfigException as error:
            raise ValueError(f"no Kubernetes to train on, neither by KUBECONFIG nor as a pod: {error}") from error
        self._api = kubernetes.client.CustomObjectsApi(kubernetes.client.ApiClient(settings))
        self._place = {"group": GROUP, "version": VERSION, "namespace": namespace, "plural": PLURAL}

    def create(self, manifest: Manifest) -> bool:
        """Whether the job was made; False where one of this name is there already."""
        return self._call("create", 409, body=manifest) is not None

    def get(self, name: str) -> Manifest | None:
        """The job with its status; None where there is none of this name."""
        return self._call("get", 404, name=name)

    def delete(self, name: str) -> None:
        """Begins to delete a job, if there is one; `get` knows it until its pods are gone."""
        self._call("delete", 404, name=name, propagation_policy="Foreground")

    def _call(self, verb: str, expected: int, **arguments: Any) -> Any:
        """The answer; None for the error that is expected."""
        host, namespace = self._api.api_client.configuration.host, self._place["namespace"]
        method = getattr(self._api, f"{verb}_namespaced_custom_object")
        try:
            return method(**self._place, **arguments, _request_timeout=_SECONDS)
        except ApiException as error:
            if error.status == expected:
                return None
            told = _message(error)
            if error.status in (429, *range(500, 600)):
                raise ConnectionError(f"Kubernetes at {host} has a fault ({error.status}): {told}") from error
            if error.status == 403:
                raise ValueError(
                    f"this task may not {verb} jobsets in namespace {namespace} ({told}): `kubectl kustomize kubeflow/training "
                    f"| sed 's/: kubeflow$/: {namespace}/' | kubectl apply -f -` gives its service account the right"
                ) from error
            if error.status == 404:
                raise ValueError(
                    f"Kubernetes at {host} has no jobsets ({GROUP}/{VERSION}) in namespace {namespace} ({told}): "
                    f"`kubectl apply --server-side -f {INSTALL}` brings them"
                ) from error
            raise ValueError(f"Kubernetes at {host} refused to {verb} a JobSet with {error.status}: {told}") from error
        except (urllib3.exceptions.HTTPError, OSError) as error:
            reason = getattr(error, "reason", None) or error
            raise ConnectionError(f"Kubernetes at {host} does not answer: {' '.join(str(reason).split())}") from error


def _message(error: ApiException) -> str:
    """What the server said, as a line."""
    with contextlib.suppress(TypeError, ValueError, AttributeError):
        return " ".join(json.loads(str(error.body))["message"].split())
    return " ".join(str(error.body or error.reason).split())[:200]
