"""The section `cluster` of a configuration: what a task gets on Kubernetes, where runs are listed, and how to get there."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import field
from typing import Annotated, Literal

from pydantic import Field

from models.checked import Count, Name, Positive, Whole, checked
from pipeline.config import cron
from pipeline.config.login import Login

TRAINER = "Trainer"  # the task that several workers can share
PUSH_GATE = "PushGate"  # the task that fails where a model is refused
_POD_PATH = r"(/|(/[^/]*[^/.][^/]*)+/?)"
PodPath = Annotated[str, Field(pattern=f"^{_POD_PATH}$", description="a path that begins with /, without ..")]
_BUCKET_NAME = r"[a-z0-9][a-z0-9._-]{1,61}[a-z0-9]"
_NAMES = r"(/[^/\s?#]*[^/\s?#.][^/\s?#]*)"  # of folders, none of which is `..`
# The root of a bucket is none: nobody can be asked what lies there.
Place = Annotated[
    str,
    Field(
        pattern=rf"^({_POD_PATH}|(s3|gs)://{_BUCKET_NAME}{_NAMES}+/?)$",
        description="a path that begins with /, without .., or s3://BUCKET/PATH or gs://BUCKET/PATH",
    ),
]
# What Kubeflow's launcher takes: ParseBucketPathToConfig of backend/src/v2/objectstore, 2.3.0 to 2.17.0.
PipelineRoot = Annotated[
    str,
    Field(
        pattern=rf"^((s3|gs|minio)://{_BUCKET_NAME}{_NAMES}*/?)?$",
        description="empty, or s3://BUCKET/PATH, gs://BUCKET/PATH or minio://BUCKET/PATH",
    ),
]
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_CREDENTIAL = re.compile(r"SECRET|TOKEN|PASSWORD|ACCESS_KEY", re.IGNORECASE)
_UNSET = (None, (), {})


@checked("toleration")
class Toleration:
    """Of a taint of nodes, as Kubernetes has it; an empty effect tolerates every one."""

    key: str = ""
    operator: Literal["Equal", "Exists"] = "Equal"
    value: str = ""
    effect: Literal["", "NoSchedule", "PreferNoSchedule", "NoExecute"] = ""


@checked("volume")
class Volume:
    """A PersistentVolumeClaim and where its root is mounted."""

    claim: Name
    mount_path: PodPath


@checked("secret")
class Secret:
    """A Secret of the namespace, and by environment variable the keys of it that a task gets."""

    name: Name
    keys: Mapping[str, Name]


@checked("task")
class TaskConfig:
    """What one task asks for; null and empty leave it to `cluster.every`, and there to the cluster.

    memory_gb: of 10^9 bytes. gpu_type: the resource of a node's device plugin; on Vertex a type such as NVIDIA_TESLA_T4.
    environment: variables, for all to read who see the compiled file; what nobody may read comes from `secrets`.
    """

    cpu: Positive | None = None
    memory_gb: Positive | None = None
    gpus: Whole | None = None
    gpu_type: str | None = None
    node_selector: Mapping[str, str] = field(default_factory=dict)
    tolerations: tuple[Toleration, ...] = ()
    volumes: tuple[Volume, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    secrets: tuple[Secret, ...] = ()
    retries: Whole | None = None

    def __post_init__(self) -> None:
        """Raises ValueError for what is no variable, and for a credential among what everybody can read."""
        named = {"environment": self.environment, "secrets": [key for secret in self.secrets for key in secret.keys]}
        for place, name in ((place, name) for place, names in named.items() for name in names):
            if not _VARIABLE.fullmatch(name):
                raise ValueError(f"{place} names the variable {name!r}: legal are letters, digits and _")
        for name, value in self.environment.items():
            if _CREDENTIAL.search(name) or re.search(r"://[^/]*@", value):
                raise ValueError(
                    f"environment has {name}, which holds a credential: legal is to take it from `secrets`"
                )

    def over(self, base: TaskConfig) -> TaskConfig:
        """This task with what it leaves unset taken from `base`; a list or mapping that is set replaces the other."""
        given = {name: value for name, value in vars(self).items() if value not in _UNSET}
        return dataclasses.replace(base, **given)


@checked("cluster.every")
class EveryTask(TaskConfig):
    """What tasks get that do not say otherwise. A key that a configuration leaves out is as here, null and empty are none."""

    cpu: Positive | None = 2.0
    memory_gb: Positive | None = 8.0
    gpu_type: str | None = "nvidia.com/gpu"
    volumes: tuple[Volume, ...] = (Volume("stemline-models", "/models"),)
    retries: Whole | None = 2


@checked("cluster")
class ClusterConfig:
    """How the graph runs on Kubeflow Pipelines.

    image: of every task, with this project installed. workdir: a directory that every pod sees and that outlives runs, on a
        volume or in a bucket, for checkpoints and reports. serving: another, of a model server. pipeline_root: where
        artifacts go; empty is the cluster's own place. every, tasks: what tasks get, all of them and by name (`Trainer`).
    workers: how many pods of a JobSet train, each with what `tasks` gives to the Trainer; null trains in the task itself.
    cron: six fields, seconds first, in the time zone of the cluster.
    deadline_hours: after which a run is ended, whatever it does or waits for; null is never. Needs Kubeflow Pipelines 2.17.
    wait_hours: how long a task may wait for what it asks for before `submit --wait` gives the run up, and workers
        for each other before all are; null is for ever.
    host: where the API answers, a path before `/apis` included. token_env, token_file, cookie_env, ca_file: see `Login`.
        These five are for the command that talks to the cluster: nothing of them reaches it.
    """

    image: Annotated[str, Field(pattern=r"^\S+$", description="the name of an image, without spaces")] = (
        "stemline:latest"
    )
    workdir: Place = "/models/pipeline"
    serving: Place = "/models/stemline"
    pipeline_root: PipelineRoot = ""
    namespace: str = "kubeflow"
    experiment: str = "stemline"
    service_account: str = "pipeline-runner"
    cron: str = "0 0 3 * * 1"
    every: EveryTask = field(default_factory=EveryTask)
    tasks: Mapping[str, TaskConfig] = field(default_factory=dict)
    workers: Count | None = None
    deadline_hours: Positive | None = None
    wait_hours: Positive | None = 24.0
    host: str = "http://localhost:8080"
    token_env: str | None = None
    token_file: str | None = None
    cookie_env: str | None = None
    ca_file: str | None = None

    def __post_init__(self) -> None:
        """Raises ValueError for a schedule, a host or a login that cannot be."""
        cron.check_schedule(self.cron)
        if "@" in self.host:
            raise ValueError(f"host names a user before {self.host.rpartition('@')[2]!r}: legal is a host alone")
        if not re.fullmatch(r"https?://[^\s/?#]+(/[^\s?#]*)?", self.host):
            raise ValueError(f"host is {self.host!r}: legal are http://HOST and https://HOST, with a path or without")
        self.login()

    def login(self) -> Login:
        """Who calls. Raises ValueError as `Login` does."""
        return Login(self.token_env, self.token_file, self.cookie_env, self.ca_file)

    def task(self, name: str) -> TaskConfig:
        """What the task of this name gets; with workers, each of them for the Trainer. A refusal is final."""
        every = dataclasses.replace(self.every, retries=None) if name == PUSH_GATE else self.every
        return self.tasks.get(name, TaskConfig()).over(every)

    def pod(self, name: str) -> TaskConfig:
        """What the pod gets that Kubeflow Pipelines starts for a task: of a Trainer with workers, one that waits."""
        if name != TRAINER or self.workers is None:
            return self.task(name)
        return dataclasses.replace(self.every, gpus=self.every.gpus and 0, retries=self.task(name).retries)


def kubernetes_name(recipe: str) -> str:
    """A recipe's name as Kubernetes allows it: lower-case letters, digits and hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", recipe.lower()).strip("-")
