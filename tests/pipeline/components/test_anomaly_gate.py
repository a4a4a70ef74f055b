"""The schema and the gate, on anomalies that TFX itself finds in ingested data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import anomalies_pb2, schema_pb2

from pipeline.config.config import DataConfig
from pipeline.config.quarantine import QuarantineConfig
from pipeline.data.schema import SCHEMA_PATH, metadata_features

TARGETS = ("vocals", "accompaniment", "piano")  # piano: a stem that the schema does not know


def corpus(root: Path, ceiling: float) -> Path:
    """A train and a test track (no dev); the train track's stems are cut off at `ceiling`."""
    for split, limit in (("train", ceiling), ("test", 1.0)):
        for index, stem in enumerate(("vocals", "piano", "bass")):
            path = root / split / f"{split} song" / f"{stem}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            signal = np.random.default_rng(index).normal(0, 0.1, 8000)
            soundfile.write(path, np.clip(signal, -limit, limit), 16000)
    return root


def validate(path: Path, workdir: Path, **given: object) -> None:
    """StemsExampleGen -> StatisticsGen and ImportSchemaGen -> ExampleValidator -> AnomalyGate."""
    import tensorflow_data_validation as tfdv
    from tfx.components import ExampleValidator, StatisticsGen
    from tfx.components.schema_gen.import_schema_gen.component import ImportSchemaGen
    from tfx.orchestration import metadata
    from tfx.orchestration.local.local_dag_runner import LocalDagRunner
    from tfx.orchestration.pipeline import Pipeline

    from pipeline.components.anomaly_gate import AnomalyGate
    from pipeline.components.stems_example_gen import stems_example_gen

    options = {"allow_empty_splits": ["dev"]}
    data = DataConfig(format="folder", path=str(path), targets=TARGETS, options=options, **given)
    workdir.mkdir(exist_ok=True)
    ingest = stems_example_gen(data, str(workdir / "reports"))
    allowed = tfdv.StatsOptions(feature_allowlist=metadata_features(TARGETS))
    statistics = StatisticsGen(examples=ingest.outputs["examples"], stats_options=allowed)
    schema = ImportSchemaGen(schema_file=str(SCHEMA_PATH))
    validator = ExampleValidator(statistics=statistics.outputs["statistics"], schema=schema.outputs["schema"])
    gate = AnomalyGate(anomalies=validator.outputs["anomalies"])
    LocalDagRunner().run(
        Pipeline(
            "validation",
            str(workdir / "artifacts"),
            metadata.sqlite_metadata_connection_config(str(workdir / "metadata.sqlite")),
            [ingest, statistics, schema, validator, gate],
            beam_pipeline_args=["--runner=FnApiRunner"],
        )
    )


def test_a_clipped_track_is_a_bad_track_and_an_anomaly_nowhere(tmp_path):
    from pipeline.components.anomaly_gate import refuse_anomalies
    from pipeline.data.corpus import BadTracksError

    stems = corpus(tmp_path / "stems", ceiling=0.15)
    with pytest.raises(
        BadTracksError, match=r"\(train song: piano is clipped: 6\.8 % of its samples lie at its ceiling"
    ):
        validate(stems, tmp_path / "refused")
    validate(stems, tmp_path / "work", quarantine=QuarantineConfig(clipping_ratio=0.5))
    (anomalies,) = (tmp_path / "work" / "artifacts" / "ExampleValidator" / "anomalies").iterdir()
    refuse_anomalies(str(anomalies), ["train", "dev", "test"])


def test_an_anomaly_stops_the_run_in_words(tmp_path):
    from pipeline.components.anomaly_gate import AnomalyError, refuse_anomalies

    anomalies = anomalies_pb2.Anomalies()
    wrong = anomalies.anomaly_info["clipping_ratio"]
    wrong.severity = anomalies_pb2.AnomalyInfo.ERROR
    wrong.description = "Unexpectedly high value: 1.5."
    wrong.reason.add(type=anomalies_pb2.AnomalyInfo.FLOAT_TYPE_BIG_FLOAT)
    for split, found in (("train", anomalies), ("dev", anomalies_pb2.Anomalies())):
        (tmp_path / f"Split-{split}").mkdir()
        (tmp_path / f"Split-{split}" / "SchemaDiff.pb").write_bytes(found.SerializeToString())
    refuse_anomalies(str(tmp_path), ["dev"])
    with pytest.raises(AnomalyError) as caught:
        refuse_anomalies(str(tmp_path), ["train", "dev"])
    words = "The ingested data has 1 anomaly: clipping_ratio in train: Unexpectedly high value: 1.5."
    assert str(caught.value) == words


def test_the_schema_knows_every_scalar_and_nothing_else():
    schema = text_format.Parse(SCHEMA_PATH.read_text(), schema_pb2.Schema())
    known = [feature.name for feature in schema.feature]
    assert sorted(known) == sorted(metadata_features(["vocals", "accompaniment", "drums", "bass", "other"]))


@pytest.mark.parametrize(
    ("feature", "values", "words"),
    [
        ("sample_rate_hz", [100], "small value: 100"),
        ("samples", [0], "small value: 0"),
        ("gain_db", [3.0], "0"),
        ("residual_db", [-130.0], "-120"),
        ("clipping_ratio", [1.5], "1"),
        ("silence_ratio", [1.5], "1"),
        ("rms_db/vocals", [6.0], "0"),
        ("channels", None, "missing"),
    ],
)
def test_values_out_of_range_are_anomalies_in_words(feature, values, words):
    import tensorflow_data_validation as tfdv
    from tensorflow_metadata.proto.v0 import statistics_pb2

    from pipeline.components.anomaly_gate import describe

    statistics = tfdv.generate_statistics_from_dataframe(_frame(feature, values))
    assert isinstance(statistics, statistics_pb2.DatasetFeatureStatisticsList)
    found = describe(tfdv.validate_statistics(statistics, tfdv.load_schema_text(str(SCHEMA_PATH))), "dev")
    assert len(found) == 1
    assert found[0].startswith(f"{feature} in dev: ")
    assert words in found[0]


def _frame(feature: str, values: list | None):
    import pandas

    legal = {name: [-20.0] for name in metadata_features(["vocals", "accompaniment"])}
    legal |= {"segment": [0], "segments": [1], "sample_rate_hz": [16000], "samples": [160000], "channels": [1]}
    legal |= {"gain_db": [0.0], "clipping_ratio": [0.0], "silence_ratio": [0.1]}
    changed = {**legal, feature: values}
    return pandas.DataFrame({name: value for name, value in changed.items() if value is not None})


def test_warnings_and_unknown_stems_do_not_stop_the_run():
    from pipeline.components.anomaly_gate import describe

    anomalies = anomalies_pb2.Anomalies()
    warning, unknown = anomalies.anomaly_info["a"], anomalies.anomaly_info["rms_db/piano"]
    warning.severity = anomalies_pb2.AnomalyInfo.WARNING
    warning.reason.add(type=anomalies_pb2.AnomalyInfo.FLOAT_TYPE_BIG_FLOAT)
    unknown.severity = anomalies_pb2.AnomalyInfo.ERROR
    unknown.reason.add(type=anomalies_pb2.AnomalyInfo.SCHEMA_NEW_COLUMN)
    assert describe(anomalies, "train") == []
    anomalies.dataset_anomaly_info.severity = anomalies_pb2.AnomalyInfo.ERROR
    anomalies.dataset_anomaly_info.description = "Too few examples."
    assert describe(anomalies, "train") == ["train: Too few examples"]
