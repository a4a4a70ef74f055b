"""The example configs are text protos of the messages the real server reads."""

from pathlib import Path

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format, wrappers_pb2
from tensorflow_serving.config import model_server_config_pb2

import serving

CONFIG = Path(serving.__file__).parent / "config"
INT64_VALUE = wrappers_pb2.Int64Value.DESCRIPTOR.full_name
F = descriptor_pb2.FieldDescriptorProto


@pytest.fixture(scope="module")
def messages() -> dict:
    """BatchingParameters and MonitoringConfig, which the pip package leaves out, as TensorFlow Serving declares them.

    Fields of session_bundle_config.proto and monitoring_config.proto of 2.16.1 that the configs may use.
    """
    file = descriptor_pb2.FileDescriptorProto(name="serving_config_test.proto", package="test", syntax="proto3")
    file.dependency.append("google/protobuf/wrappers.proto")
    batching = file.message_type.add(name="BatchingParameters")
    for number, name in enumerate(("max_batch_size", "batch_timeout_micros", "max_enqueued_batches"), 1):
        batching.field.add(name=name, number=number, type=F.TYPE_MESSAGE, type_name=f".{INT64_VALUE}", label=1)
    batching.field.add(
        name="num_batch_threads", number=4, type=F.TYPE_MESSAGE, type_name=f".{INT64_VALUE}", label=F.LABEL_OPTIONAL
    )
    batching.field.add(name="allowed_batch_sizes", number=6, type=F.TYPE_INT64, label=F.LABEL_REPEATED)
    batching.field.add(name="pad_variable_length_inputs", number=7, type=F.TYPE_BOOL, label=F.LABEL_OPTIONAL)
    prometheus = file.message_type.add(name="PrometheusConfig")
    prometheus.field.add(name="enable", number=1, type=F.TYPE_BOOL, label=F.LABEL_OPTIONAL)
    prometheus.field.add(name="path", number=2, type=F.TYPE_STRING, label=F.LABEL_OPTIONAL)
    monitoring = file.message_type.add(name="MonitoringConfig")
    monitoring.field.add(
        name="prometheus_config", number=1, type=F.TYPE_MESSAGE, type_name=".test.PrometheusConfig", label=1
    )
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"test.{name}"))
        for name in ("BatchingParameters", "MonitoringConfig")
    }


def test_the_model_config_is_a_model_server_config():
    text = (CONFIG / "model.config").read_text()
    parsed = text_format.Parse(text, model_server_config_pb2.ModelServerConfig())
    (model,) = parsed.model_config_list.config
    assert (model.name, model.model_platform) == ("stemline", "tensorflow")
    assert model.base_path.startswith("/")
    assert model.model_version_policy.latest.num_versions == 1


def test_the_batching_config_obeys_the_servers_rules(messages):
    parsed = text_format.Parse((CONFIG / "batching.config").read_text(), messages["BatchingParameters"]())
    sizes = list(parsed.allowed_batch_sizes)
    assert sizes == sorted(sizes)
    assert sizes[-1] == parsed.max_batch_size.value
    assert parsed.num_batch_threads.value >= 1
    assert not parsed.pad_variable_length_inputs


def test_the_monitoring_config_serves_prometheus(messages):
    parsed = text_format.Parse((CONFIG / "monitoring.config").read_text(), messages["MonitoringConfig"]())
    assert parsed.prometheus_config.enable
    assert parsed.prometheus_config.path == "/monitoring/prometheus/metrics"
