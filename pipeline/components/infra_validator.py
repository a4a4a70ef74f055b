"""InfraValidator: TFX's own component, for where docker or Kubernetes exists; ServingValidator needs neither.

It starts the image that production serves on, waits until the model is loaded, and sends it Examples through the
signature `examples`. That they are answered is all it looks at: ServingValidator also compares the answers.
"""

from __future__ import annotations

import math
import os
from typing import Literal

from tfx.components import InfraValidator
from tfx.proto import infra_validator_pb2
from tfx.types.channel import BaseChannel
from tfx.utils import kube_utils

from pipeline.config.config import Config

Platform = Literal["docker", "kubernetes"]

IMAGE_TAG = "2.16.1"  # of tensorflow/serving
MODEL_NAME = "stemline"
SIGNATURE = "examples"
REQUESTS = 2
LOADING_SECONDS = 300  # its default; ServingValidator waits as long
TRIES = 2
RECEIVED_BYTES = 4 * 2**20  # the largest answer that TFX's client takes: gRPC's own limit
PING_SECONDS = 5


def infra_validator(
    model: BaseChannel, examples: BaseChannel, config: Config, platform: Platform | None = None
) -> InfraValidator:
    """The InfraValidator node; its `blessing` holds the model with warm-up requests, as ServingValidator's does.

    Args:
      config: of the run; how long its Examples are decides how large an answer is.
      platform: where the image runs; None is what is reachable from here. A pipeline that is compiled for Kubeflow names
        "kubernetes": what compiles it stands outside the cluster.

    Raises:
      ValueError: neither is reachable, or an answer is larger than TFX's client takes.
    """
    _check_answer(config)
    platform = platform or reachable()
    serving_binary = infra_validator_pb2.TensorFlowServing(tags=[IMAGE_TAG])
    where = (
        {"kubernetes": infra_validator_pb2.KubernetesConfig()}
        if platform == "kubernetes"
        else {"local_docker": infra_validator_pb2.LocalDockerConfig()}
    )
    return InfraValidator(
        model=model,
        examples=examples,
        serving_spec=infra_validator_pb2.ServingSpec(tensorflow_serving=serving_binary, model_name=MODEL_NAME, **where),
        validation_spec=infra_validator_pb2.ValidationSpec(max_loading_time_seconds=LOADING_SECONDS, num_tries=TRIES),
        request_spec=infra_validator_pb2.RequestSpec(
            tensorflow_serving=infra_validator_pb2.TensorFlowServingRequestSpec(signature_names=[SIGNATURE]),
            num_examples=REQUESTS,
            make_warmup=True,
        ),
    )


def reachable() -> Platform:
    """Kubernetes inside a Kubeflow pod, else docker when its daemon answers.

    Raises:
      ValueError: neither.
    """
    if {kube_utils.KFP_POD_NAME, kube_utils.KFP_NAMESPACE} <= set(os.environ):
        return "kubernetes"
    import docker
    from docker.errors import DockerException

    try:
        docker.from_env(timeout=PING_SECONDS).ping()
    except DockerException as error:
        reason = " ".join(str(error).split())
        raise ValueError(
            f"InfraValidator finds no docker daemon ({reason}) and no Kubeflow pod around it; "
            f"legal is a machine with one of them, or ServingValidator, which needs neither"
        ) from error
    return "docker"


def _check_answer(config: Config) -> None:
    data = config.data
    answer_bytes = 4 * math.ceil(data.segment_seconds * data.sample_rate_hz) * data.channels * len(data.targets)
    if answer_bytes >= RECEIVED_BYTES:
        raise ValueError(
            f"data.segment_seconds is {data.segment_seconds:g}, so an answer has {answer_bytes / 2**20:.1f} MiB; "
            f"TFX's InfraValidator takes less than {RECEIVED_BYTES / 2**20:g}: shorten them, or keep to ServingValidator"
        )
