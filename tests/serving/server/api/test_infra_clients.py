"""Clients that are not ours: that of TFX's InfraValidator, and OpenVINO's for TensorFlow Serving."""

from __future__ import annotations

import shutil
import time

import numpy as np
import ovmsclient
import pytest
import tensorflow as tf
from tfx.components.infra_validator import error_types, request_builder
from tfx.components.infra_validator.model_server_clients.tensorflow_serving_client import TensorFlowServingClient
from tfx.proto import infra_validator_pb2
from tfx.types import standard_artifacts


@pytest.fixture(scope="module")
def requests(saved_model, tmp_path_factory) -> list:
    """Those that TFX's InfraValidator builds of two Examples for the signature `examples`."""
    uri = tmp_path_factory.mktemp("artifacts")
    shutil.copytree(saved_model, uri / "model" / "Format-Serving")
    split = uri / "examples" / "Split-test"
    split.mkdir(parents=True)
    with tf.io.TFRecordWriter(str(split / "data_tfrecord-00000-of-00001.gz"), "GZIP") as writer:
        for samples in (1000, 2000):
            pcm = (np.sin(np.arange(samples) / 9) * 9000).astype("<i2").tobytes()
            feature = {"mixture": tf.train.Feature(bytes_list=tf.train.BytesList(value=[pcm]))}
            writer.write(tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString())
    model, examples = standard_artifacts.Model(), standard_artifacts.Examples()
    model.uri, examples.uri = str(uri / "model"), str(uri / "examples")
    examples.splits = ["test"]
    spec = infra_validator_pb2.RequestSpec(
        tensorflow_serving=infra_validator_pb2.TensorFlowServingRequestSpec(signature_names=["examples"]),
        num_examples=2,
    )
    return request_builder.build_requests("stemline", model, examples, spec)


def test_tfx_finds_the_model_loaded_and_its_examples_answered(address, requests):
    client = TensorFlowServingClient(address, "stemline")
    client.WaitUntilModelLoaded(deadline=time.time() + 20, polling_interval_sec=1)
    assert [request.model_spec.signature_name for request in requests] == ["examples", "examples"]
    client.SendRequests(requests)


def test_tfx_sees_a_request_fail_and_a_model_missing(address, requests):
    client = TensorFlowServingClient(address, "stemline")
    broken = type(requests[0])()
    broken.CopyFrom(requests[0])
    broken.inputs["examples"].string_val[0] = b"no example"
    with pytest.raises(error_types.ValidationFailed):
        client.SendRequests([broken])
    with pytest.raises(error_types.DeadlineExceeded):
        TensorFlowServingClient(address, "other").WaitUntilModelLoaded(time.time() + 0.5, 1)


def test_ovmsclient_reads_status_and_metadata_and_predicts(address):
    client = ovmsclient.make_grpc_client(address)
    assert client.get_model_status("stemline", 1) == {1: {"state": "AVAILABLE", "error_code": 0, "error_message": ""}}
    metadata = client.get_model_metadata("stemline", 1)
    assert metadata["model_version"] == 1
    assert metadata["inputs"] == {"mixture": {"shape": [-1, -1], "dtype": "DT_FLOAT"}}
    assert sorted(metadata["outputs"]) == ["accompaniment", "vocals"]
    mixture = np.random.default_rng(0).uniform(-0.5, 0.5, (2, 500)).astype(np.float32)
    stems = client.predict({"mixture": mixture}, "stemline", 1)
    np.testing.assert_allclose(stems["vocals"], 0.25 * mixture, atol=1e-7)


def test_ovmsclients_version_0_is_no_latest_here(address):
    """It sends `version {value: 0}` where no version is named, which OpenVINO takes for the latest and TF Serving not."""
    client = ovmsclient.make_grpc_client(address)
    with pytest.raises(Exception, match="Could not find version 0 of model stemline") as caught:
        client.get_model_status("stemline")
    assert type(caught.value).__name__ == "ModelNotFoundError"
    with pytest.raises(Exception, match=r"Servable not found for request: Specific\(stemline, 0\)"):
        client.predict({"mixture": np.zeros((1, 4), np.float32)}, "stemline")
