"""What kustomize makes of every overlay, and servers on its flags and files."""

from __future__ import annotations

import copy
import functools
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
OVERLAYS = ("local-gpu", "gke", "kserve")
Object = dict[str, Any]


@functools.cache
def _build(directory: str) -> list[Object]:
    """The objects of a kustomization."""
    if shutil.which("kubectl"):
        command = ["kubectl", "kustomize"]
    elif shutil.which("kustomize"):
        command = ["kustomize", "build"]
    else:
        pytest.skip("neither kubectl nor kustomize is installed")
    ended = subprocess.run([*command, directory], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, ""), ended.stderr  # a deprecated field is a warning there
    return list(yaml.load_all(ended.stdout, yaml.CSafeLoader))


@pytest.fixture(scope="session")
def build():
    """Builds a directory with kustomize: `build(path)` -> objects, not to be changed."""
    return lambda directory: _build(str(directory))


@pytest.fixture(scope="session", params=OVERLAYS)
def overlay(request) -> str:
    return request.param


@pytest.fixture
def objects(overlay: str, build) -> list[Object]:
    """Of one overlay."""
    return build(ROOT / "kubeflow" / "overlays" / overlay)


@pytest.fixture(scope="session")
def planted():
    """An object with a mistake: `planted(object, ("spec", "ports", 0), value)`; None takes away what is there."""
    return _planted


def _planted(right: Object, path: tuple[str | int, ...], value: Any) -> Object:
    wrong = copy.deepcopy(right)
    place: Any = wrong
    for key in path[:-1]:
        place = place[key]
    if value is None:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return wrong


@pytest.fixture(scope="session")
def saved_model(tmp_path_factory) -> Path:
    """vocals = 0.25 * mixture, accompaniment = 0.75 * mixture; `wait` takes the mixture's seconds; a warm-up request."""
    import tensorflow as tf
    from tensorflow_serving.apis import prediction_log_pb2

    mixture_spec = tf.TensorSpec([None, None], tf.float32, "mixture")

    @tf.function(input_signature=[mixture_spec])
    def split(mixture):
        return {"vocals": 0.25 * mixture, "accompaniment": 0.75 * mixture}

    @tf.function(input_signature=[mixture_spec])
    def wait(mixture):
        start, seconds = tf.timestamp(), tf.cast(tf.reduce_max(mixture), tf.float64)
        now = tf.while_loop(lambda now: now - start < seconds, lambda now: tf.timestamp() + 0 * now, [start])[0]
        return {"vocals": mixture + 0 * tf.cast(now, tf.float32)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "query")])
    def describe(query):
        return {"sample_rate_hz": tf.fill(tf.shape(query), tf.constant(16000, tf.int64))}

    module = tf.Module()
    signatures = {"serving_default": split, "wait": wait, "describe": describe}
    directory = tmp_path_factory.mktemp("saved_model") / "gain"
    tf.saved_model.save(module, str(directory), signatures=signatures)
    log = prediction_log_pb2.PredictionLog()
    log.predict_log.request.model_spec.name = "stemline"
    log.predict_log.request.inputs["mixture"].CopyFrom(tf.make_tensor_proto([[0.0]]))
    (directory / "assets.extra").mkdir()
    with tf.io.TFRecordWriter(str(directory / "assets.extra/tf_serving_warmup_requests")) as writer:
        writer.write(log.SerializeToString())
    return directory


@pytest.fixture(scope="session")
def pods():
    """The pod templates of an overlay: `pods(objects)` -> [(name, labels, pod spec)]."""
    return _pods


def _pods(objects: list[Object]) -> list[tuple[str, dict[str, str], Object]]:
    found = []
    for item in objects:
        if item["kind"] == "Deployment":
            template = item["spec"]["template"]
            found.append((item["metadata"]["name"], template["metadata"]["labels"], template["spec"]))
        elif item["kind"] == "InferenceService":
            predictor = item["spec"]["predictor"]
            found.append((f"{item['metadata']['name']}-predictor", predictor["labels"], predictor))
    return found


@pytest.fixture(scope="session")
def mounted():
    """Writes what a pod mounts from ConfigMaps below a directory: `mounted(objects, pod spec, directory)`."""
    return _mounted


def _mounted(objects: list[Object], pod: Object, directory: Path) -> None:
    data = {item["metadata"]["name"]: item["data"] for item in objects if item["kind"] == "ConfigMap"}
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    for mount in pod["containers"][0]["volumeMounts"]:
        volume = volumes[mount["name"]]
        sources = volume.get("projected", {}).get("sources", [volume])
        place = directory / mount["mountPath"].lstrip("/")
        place.mkdir(parents=True)
        for name in (source["configMap"]["name"] for source in sources if "configMap" in source):
            for file, text in data[name].items():
                (place / file).write_text(text)


@pytest.fixture(scope="session")
def moved():
    """Arguments of a container with its absolute paths below a directory: `moved(arguments, directory)`."""
    return lambda arguments, directory: [re.sub(r"=/", f"={directory}/", argument) for argument in arguments]
