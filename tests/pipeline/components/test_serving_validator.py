"""ServingValidator on a real exported model, a real server process, real TFX artifacts and TFX's own Pusher."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from ml_metadata.proto import metadata_store_pb2
from tfx.components import Pusher
from tfx.dsl.components.common.importer import Importer
from tfx.orchestration.local.local_dag_runner import LocalDagRunner
from tfx.orchestration.metadata import sqlite_metadata_connection_config
from tfx.orchestration.pipeline import Pipeline
from tfx.proto import pusher_pb2
from tfx.types import standard_artifacts

from models import exported
from models.separator import Separator
from models.spec import ModelSpec
from pipeline.components import serving_validator
from pipeline.components.serving_validator import ServingValidator
from pipeline.config import config as config_module
from serving import process
from serving.client import Client
from serving.local import local_client

RATE_HZ = 8000
CHUNK_SECONDS = 2.0
OVERRIDES = [
    f"model.sample_rate_hz={RATE_HZ}",
    f"data.sample_rate_hz={RATE_HZ}",
    f"serve.chunk_seconds={CHUNK_SECONDS}",
]


@pytest.fixture(scope="module")
def config():
    return config_module.load("demo", OVERRIDES)


@pytest.fixture(scope="module")
def candidate(tmp_path_factory) -> Path:
    """Uri of a Model artifact: Format-Serving holds a small network with the three signatures."""
    uri = tmp_path_factory.mktemp("model")
    spec = ModelSpec(
        sizes={"units": 8, "layers": 1, "recurrent": (1,)},
        sample_rate_hz=RATE_HZ,
        frame_length=256,
        hop=128,
        targets=("vocals", "rest"),
    )
    exported.save(Separator(spec), uri / "Format-Serving")
    return uri


@pytest.fixture(scope="module")
def examples(tmp_path_factory) -> Path:
    """Uri of an Examples artifact with one segment."""
    uri = tmp_path_factory.mktemp("examples")
    pcm = (np.sin(np.arange(3 * RATE_HZ) / 9) * 9000).astype("<i2").tobytes()
    values = {"channels": 1, "sample_rate_hz": RATE_HZ}
    feature = {name: tf.train.Feature(int64_list=tf.train.Int64List(value=[value])) for name, value in values.items()}
    feature["mixture"] = tf.train.Feature(bytes_list=tf.train.BytesList(value=[pcm]))
    example = tf.train.Example(features=tf.train.Features(feature=feature))
    (uri / "Split-test").mkdir()
    path = str(uri / "Split-test" / "data_tfrecord-00000-of-00001.gz")
    with tf.io.TFRecordWriter(path, "GZIP") as writer:
        writer.write(example.SerializeToString())
    return uri


def bless(model: Path, examples: Path, out: Path, config) -> standard_artifacts.InfraBlessing:
    artifacts = standard_artifacts.Model(), standard_artifacts.Examples(), standard_artifacts.InfraBlessing()
    for artifact, uri in zip(artifacts, (model, examples, out), strict=True):
        artifact.uri = str(uri)
    artifacts[1].splits = ["test"]
    serving_validator.bless(*artifacts, config)
    return artifacts[2]


def test_a_pipeline_blesses_stamps_and_pushes_what_a_server_then_loads(candidate, examples, config, tmp_path):
    model = Importer(str(candidate), standard_artifacts.Model).with_id("model")
    data = Importer(str(examples), standard_artifacts.Examples, properties={"split_names": '["test"]'}).with_id("data")
    validator = ServingValidator(
        model=model.outputs["result"],
        examples=data.outputs["result"],
        config=config_module.to_json(config.only("data", "model", "serve")),
    )
    destination = pusher_pb2.PushDestination(
        filesystem=pusher_pb2.PushDestination.Filesystem(base_directory=str(tmp_path / "stemline"))
    )
    pusher = Pusher(infra_blessing=validator.outputs["blessing"], push_destination=destination)
    metadata: metadata_store_pb2.ConnectionConfig = sqlite_metadata_connection_config(str(tmp_path / "metadata.db"))
    LocalDagRunner().run(
        Pipeline("serving", str(tmp_path / "root"), metadata, components=[model, data, validator, pusher])
    )

    (blessing,) = (tmp_path / "root").glob("ServingValidator/blessing/*")
    assert {path.name for path in blessing.iterdir()} == {"INFRA_BLESSED", "serving.json", "stamped_model"}
    report = json.loads((blessing / "serving.json").read_text())
    assert report["blessed"] is True
    assert {"serving_default", "wav", "examples"} <= set(report["signatures"])
    for name in ("serving_default", "wav"):
        cases = report["signatures"][name]
        assert {"1 samples", "12347 samples", "8000 samples", "80000 samples", "16000 samples"} == set(cases)
        assert all(0 <= case["max_difference"] <= 1e-4 and case["latency_p50_ms"] > 0 for case in cases.values())

    (version,) = (tmp_path / "stemline").iterdir()
    records = list(tf.data.TFRecordDataset(str(version / "assets.extra" / "tf_serving_warmup_requests")))
    assert len(records) == 2
    assert (version / "assets.extra" / "stemline.json").is_file()
    with process.running(tmp_path / "stemline") as address, Client(address, model_rate_hz=RATE_HZ) as client:
        assert client.separate(np.zeros(5000, np.float32), RATE_HZ)["vocals"].shape == (5000,)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        ("no graph", "cannot be loaded: Could not find SavedModel"),
        ("no variables", "cannot be loaded: "),
        ("bad warm-up", "Failed to parse warmup record"),
    ],
)
def test_a_model_that_does_not_load_is_marked_with_the_reason(candidate, examples, config, tmp_path, damage, reason):
    broken = tmp_path / "model"
    shutil.copytree(candidate, broken)
    serving = broken / "Format-Serving"
    if damage == "no graph":
        (serving / "saved_model.pb").unlink()
    elif damage == "no variables":
        shutil.rmtree(serving / "variables")
    else:
        with tf.io.TFRecordWriter(str(serving / "assets.extra" / "tf_serving_warmup_requests")) as writer:
            writer.write(b"no PredictionLog")
    _assert_refused(bless(broken, examples, tmp_path / "out", config), reason)


def test_a_model_of_another_rate_is_marked_with_the_reason(candidate, examples, tmp_path):
    other = config_module.load("demo", ["model.sample_rate_hz=16000", "data.sample_rate_hz=16000"])
    _assert_refused(bless(candidate, examples, tmp_path / "out", other), "required: 8000")


def test_an_answer_that_differs_is_refused_and_one_within_tolerance_passes(candidate):
    class Off:
        """The model's own answers, off by a little, in the place of a server."""

        def __init__(self, local, error):
            self._local, self._error = local, error

        def run(self, inputs, signature):
            return {name: value + self._error for name, value in self._local.run(inputs, signature).items()}

    cases = {"one": {"mixture": np.ones((1, 100), np.float32)}}
    with local_client(candidate / "Format-Serving") as local:
        report = serving_validator._compare("serving_default", cases, local, Off(local, 5e-5), 1e-4)
        assert report["one"]["max_difference"] == pytest.approx(5e-5, rel=0.1)
        with pytest.raises(
            serving_validator.Refused, match=r"signature serving_default, one: the served answer differs"
        ):
            serving_validator._compare("serving_default", cases, local, Off(local, 2e-4), 1e-4)
        with pytest.raises(serving_validator.Refused, match="served vocals holds NaN or infinity"):
            serving_validator._compare("serving_default", cases, local, Off(local, np.nan), 1e-4)


def test_the_validators_own_faults_are_raised(candidate, tmp_path, config):
    (tmp_path / "Split-test").mkdir()
    with pytest.raises(ValueError, match="holds no TFRecords"):
        bless(candidate, tmp_path, tmp_path / "out", config)


def _assert_refused(blessing: standard_artifacts.InfraBlessing, reason: str) -> None:
    assert blessing.get_int_custom_property("blessed") == 0
    assert blessing.get_int_custom_property("has_model") == 0
    assert reason in blessing.get_string_custom_property("reason")
    assert sorted(os.listdir(blessing.uri)) == ["INFRA_NOT_BLESSED", "serving.json"]
    report = json.loads(Path(blessing.uri, "serving.json").read_text())
    assert report["blessed"] is False
    assert reason in report["reason"]
