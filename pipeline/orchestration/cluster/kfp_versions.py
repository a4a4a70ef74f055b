"""What Kubeflow Pipelines makes of a compiled file, version by version: the input of a task, and what is refused. Pure functions.

Read in kubeflow/pipelines at the tags 2.3.0, 2.4.1, 2.5.0, 2.14.0, 2.15.0, 2.16.1 and 2.17.0 (there are none between 2.5 and
2.14), below backend/src: v2/driver (provisionOutputs), v2/metadata (client.go, converter.go), v2/component/launcher_v2.go,
v2/compiler/argocompiler/container.go and v2/objectstore.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pipeline.orchestration.cluster import argo

Artifact = dict[str, Any]
LOGS = "executor-logs"
_MOUNTS = {"gs://": "/gcs/", "s3://": "/s3/", "minio://": "/minio/"}
_OUTPUT_METADATA = "output_metadata.json"


@dataclass(frozen=True)
class Version:
    """A released backend with its default manifests.

    name: as in `--kfp`. retries: whether a task is tried again at all. salted: whether the place of an artifact has a part
    that is no other execution's. logs: whether the task gets an output for what it prints; logs_by_attempt: one an attempt.
    task_root: whether the output file lies beside the artifacts, outputs have names, and a task may
    tell another path of one. no_max_duration: what Argo is told
    where a retry policy has none. strict: whether a platform spec with fields that it does not know stops the driver.
    by_prefix: whether artifacts are fetched whose names only begin alike. deadline: whether a run can have one. retry_policy:
    of Argo; the compiler sets none, and from 2.17 on the controller's ConfigMap has one, which Argo merges into every template
    (manifests/kustomize/third-party/argo/base, kubeflow/pipelines#13485; `mergedTemplateDefaultsInto` of Argo v4.0.5).
    """

    name: str
    retries: bool = True
    salted: bool = True
    logs: bool = True
    logs_by_attempt: bool = False
    task_root: bool = False
    no_max_duration: str = "0"
    strict: bool = False
    by_prefix: bool = True
    deadline: bool = False
    retry_policy: Literal["OnFailure", "OnError"] = "OnFailure"


VERSIONS = {
    version.name: version
    for version in (
        Version("2.3", retries=False, salted=False, logs=False, no_max_duration="", strict=True),
        Version("2.4", logs=False, no_max_duration=""),
        Version("2.5", no_max_duration=""),
        Version("2.14"),
        Version("2.15", task_root=True),
        Version("2.16", task_root=True, logs_by_attempt=True),
        Version("2.17", task_root=True, logs_by_attempt=True, by_prefix=False, deadline=True, retry_policy="OnError"),
    )
}
NEWEST = VERSIONS["2.17"]
# A KubernetesExecutorConfig as far as it is compiled, at 2.3.0: kubernetes_platform/proto/kubernetes_executor_config.proto.
_PLATFORM = {
    "nodeSelector": {"labels": {}},
    "tolerations": {"key": {}, "operator": {}, "value": {}, "effect": {}, "tolerationSeconds": {}},
    "pvcMount": {"taskOutputParameter": {}, "constant": {}, "componentInputParameter": {}, "mountPath": {}},
    "secretAsEnv": {"secretName": {}, "keyToEnv": {"secretKey": {}, "envVar": {}}},
}
_FREE = ("labels",)  # whose keys are anybody's


def version(name: str) -> Version:
    """The version of this name. Raises ValueError for one that is not known."""
    if name not in VERSIONS:
        raise ValueError(f"no rules are known for Kubeflow Pipelines {name!r}: legal are {', '.join(VERSIONS)}")
    return VERSIONS[name]


def check_platform(version: Version, documents: list[dict[str, Any]]) -> None:
    """Raises ValueError for a second document that this version stops at, naming the field."""
    for document in documents[1:]:
        kubernetes = document["platforms"]["kubernetes"]
        if "pipelineConfig" in kubernetes and not version.deadline:
            raise ValueError(
                f"the platform spec has a pipelineConfig, which the API server of Kubeflow Pipelines {version.name} refuses: "
                "cluster.deadline_hours needs 2.17"
            )
        for label, config in kubernetes["deploymentSpec"]["executors"].items():
            if version.strict and (unknown := _unknown(config, _PLATFORM)):
                raise ValueError(
                    f"{label} of the platform spec has a field {unknown!r}, which the driver of Kubeflow Pipelines "
                    f"{version.name} refuses"
                )
            # `constant` is deprecated and read by all; what came in its place is not known before 2.5.
            for mount in config.get("pvcMount", ()):
                if "constant" not in mount:
                    raise ValueError(f"{label} of the platform spec mounts a claim without its name as a constant")


def task_root(version: Version, pipeline_root: str, task: str, salt: str) -> str:
    """The URI below which a task's artifacts go. pipeline_root: of the run."""
    return "/".join([pipeline_root.rstrip("/"), task, *([salt] if version.salted else [])])


def outputs(version: Version, component: Mapping[str, Any], root: str) -> dict[str, Any]:
    """The outputs of an ExecutorInput, for a task whose artifacts go below the URI `root`."""
    defined = component.get("outputDefinitions", {}).get("artifacts", {})
    types = {key: output["artifactType"] for key, output in defined.items()}
    if version.logs:
        types[LOGS] = {"schemaTitle": "system.Artifact"}
    artifacts = {
        key: {**({"name": key} if version.task_root else {}), "type": kind, "uri": f"{root}/{key}"}
        for key, kind in types.items()
    }
    directory = local_path(root) if version.task_root else "/tmp/kfp_outputs"
    return {"artifacts": listed(artifacts), "outputFile": f"{directory}/{_OUTPUT_METADATA}"}


def inputs(
    task: Mapping[str, Any], arguments: Mapping[str, str], done: Mapping[str, Mapping[str, Artifact]]
) -> dict[str, Any]:
    """The inputs of an ExecutorInput. arguments: of the run. done: what earlier tasks have recorded, see `recorded`."""
    given = task.get("inputs", {})
    parameters = {
        name: arguments[source["componentInputParameter"]]
        if "componentInputParameter" in source
        else source["runtimeValue"]["constant"]
        for name, source in given.get("parameters", {}).items()
    }
    sources = {key: source["taskOutputArtifact"] for key, source in given.get("artifacts", {}).items()}
    artifacts = {key: done[source["producerTask"]][source["outputArtifactKey"]] for key, source in sources.items()}
    return {"parameterValues": parameters, "artifacts": listed(artifacts)}


def recorded(key: str, artifact: Artifact, told: Artifact, number: int) -> Artifact:
    """An output as a later task gets it, once it has gone through the metadata store: of no type, and under a number.

    told: the same in the ExecutorOutput. Raises ValueError for a null among its metadata, which fails the task.
    """
    metadata = {name: _stored(name, value) for name, value in told.get("metadata", {}).items()}
    return {
        "name": str(number),
        "type": {"instanceSchema": ""},
        "uri": told.get("uri") or artifact["uri"],
        "metadata": {"display_name": key, "store_session_info": "null", **metadata},
    }


def for_attempt(version: Version, given: dict[str, Any], attempt: int) -> dict[str, Any]:
    """An ExecutorInput as the launcher hands it on in an attempt, the first of which is 0."""
    artifacts = given["outputs"]["artifacts"]
    if not version.logs_by_attempt:
        return given
    [logs] = artifacts[LOGS]["artifacts"]
    qualified = {**artifacts, **listed({LOGS: {**logs, "uri": f"{logs['uri']}-{attempt}"}})}
    return {**given, "outputs": {**given["outputs"], "artifacts": qualified}}


def retry_strategy(version: Version, task: Mapping[str, Any]) -> argo.RetryStrategy | None:
    """What Argo is told of a task's retry policy; None where it is told nothing."""
    policy = task.get("retryPolicy")
    if not policy or not version.retries:
        return None
    return argo.RetryStrategy(
        limit=int(policy.get("maxRetryCount", 0)),
        duration=policy.get("backoffDuration", "0").removesuffix("s"),
        factor=policy.get("backoffFactor", 0),
        max_duration=policy.get("backoffMaxDuration", version.no_max_duration).removesuffix("s"),
        policy=version.retry_policy,
    )


def local_path(uri: str) -> str:
    """Where the launcher keeps an artifact in the pod. Raises ValueError for a scheme that it does not know."""
    for scheme, mount in _MOUNTS.items():
        if uri.startswith(scheme):
            return mount + uri.removeprefix(scheme)
    raise ValueError(f"{uri} lies in no store that the launcher knows: legal are {', '.join(_MOUNTS)}")


def listed(artifacts: Mapping[str, Artifact]) -> dict[str, Any]:
    """By key, as lists of one."""
    return {key: {"artifacts": [artifact]} for key, artifact in artifacts.items()}


def _stored(name: str, value: Any) -> Any:
    """A value of an artifact's metadata, back from the metadata store."""
    if value is None:
        raise ValueError(f"unable to produce MLMD artifact: the metadata {name!r} is null")
    if isinstance(value, bool):
        return float(value)
    if isinstance(value, list):
        return {"list": value}
    return {"struct": value} if isinstance(value, dict) else value


def _unknown(config: Any, known: Mapping[str, Any], name: str = "") -> str:
    """The first key of a JSON value that a message does not have; empty if it has all."""
    for item in config if isinstance(config, list) else [config]:
        if not isinstance(item, dict) or name in _FREE:
            continue
        for key, value in item.items():
            if key not in known:
                return key
            if found := _unknown(value, known[key], key):
                return found
    return ""
