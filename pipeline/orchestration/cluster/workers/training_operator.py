"""Kubeflow's Training Operator over Kubernetes' API, through the kubernetes client: TFJobs, and errors as sentences."""

from __future__ import annotations

import contextlib
import io
import json
import os
from collections.abc import Iterator
from typing import Any

import kubernetes
import urllib3
from kubernetes.client.exceptions import ApiException

from pipeline.orchestration.cluster.workers.tfjob import GROUP, PLURAL, VERSION, Manifest

_SECONDS = 30  # for an answer


class TrainingOperator:
    """The TFJobs of a namespace.

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
        with self._in_words("create"):
            try:
                self._api.create_namespaced_custom_object(**self._place, body=manifest, _request_timeout=_SECONDS)
            except ApiException as error:
                if error.status != 409:
                    raise
                return False
        return True

    def get(self, name: str) -> Manifest | None:
        """The job with its status; None where there is none of this name."""
        with self._in_words("get"):
            try:
                found: Any = self._api.get_namespaced_custom_object(**self._place, name=name, _request_timeout=_SECONDS)
                return found
            except ApiException as error:
                if error.status != 404:
                    raise
                return None

    def delete(self, name: str) -> None:
        """Begins to delete a job, if there is one; `get` knows it until its pods are gone."""
        with self._in_words("delete"):
            try:
                self._api.delete_namespaced_custom_object(
                    **self._place, name=name, propagation_policy="Foreground", _request_timeout=_SECONDS
                )
            except ApiException as error:
                if error.status != 404:
                    raise

    @contextlib.contextmanager
    def _in_words(self, verb: str) -> Iterator[None]:
        host, namespace = self._api.api_client.configuration.host, self._place["namespace"]
        try:
            yield
        except ApiException as error:
            told = _message(error)
            if error.status in (429, *range(500, 600)):
                raise ConnectionError(f"Kubernetes at {host} has a fault ({error.status}): {told}") from error
            if error.status == 403:
                raise ValueError(
                    f"this task may not {verb} tfjobs in namespace {namespace} ({told}): `kubectl apply -k kubeflow/training` "
                    "gives the service account the right"
                ) from error
            if error.status == 404:
                raise ValueError(
                    f"Kubernetes at {host} has no tfjobs ({GROUP}/{VERSION}) in namespace {namespace} ({told}): it needs "
                    "the Training Operator, see kubeflow/README.md"
                ) from error
            raise ValueError(f"Kubernetes at {host} refused to {verb} a TFJob with {error.status}: {told}") from error
        except (urllib3.exceptions.HTTPError, OSError) as error:
            reason = getattr(error, "reason", None) or error
            raise ConnectionError(f"Kubernetes at {host} does not answer: {' '.join(str(reason).split())}") from error


def _message(error: ApiException) -> str:
    """What the server said, as a line."""
    with contextlib.suppress(TypeError, ValueError, AttributeError):
        return " ".join(json.loads(str(error.body))["message"].split())
    return " ".join(str(error.body or error.reason).split())[:200]
