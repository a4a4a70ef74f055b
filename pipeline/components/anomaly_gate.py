"""AnomalyGate: stops the run, in words, where ExampleValidator has only noted an anomaly."""

import os

from tensorflow_metadata.proto.v0 import anomalies_pb2
from tfx.dsl.component.experimental.annotations import InputArtifact
from tfx.dsl.component.experimental.decorators import component
from tfx.dsl.io import fileio
from tfx.types import artifact_utils, standard_artifacts

_FILE = "SchemaDiff.pb"
_NEW_COLUMN = anomalies_pb2.AnomalyInfo.SCHEMA_NEW_COLUMN  # a stem may have a name that the schema does not know


class AnomalyError(ValueError):
    """The ingested data does not fit the schema."""


def describe(anomalies: anomalies_pb2.Anomalies, split: str) -> list[str]:
    """The errors of one split in words: feature, split and what is wrong with it."""
    errors = {name: info for name, info in sorted(anomalies.anomaly_info.items()) if _is_error(info)}
    words = [f"{name} in {split}: {_text(info)}" for name, info in errors.items()]
    if _is_error(anomalies.dataset_anomaly_info):
        words.append(f"{split}: {_text(anomalies.dataset_anomaly_info)}")
    return words


def refuse_anomalies(uri: str, splits: list[str]) -> None:
    """Raises AnomalyError, in one sentence, if the ExampleAnomalies artifact at `uri` has an error in any split."""
    words = []
    for split in splits:
        with fileio.open(os.path.join(uri, f"Split-{split}", _FILE), "rb") as file:
            words += describe(anomalies_pb2.Anomalies.FromString(file.read()), split)
    if words:
        number = f"{len(words)} anomal{'y' if len(words) == 1 else 'ies'}"
        raise AnomalyError(f"The ingested data has {number}: {'; '.join(words)}.")


def _is_error(info: anomalies_pb2.AnomalyInfo) -> bool:
    reasons = {reason.type for reason in info.reason}
    return info.severity == anomalies_pb2.AnomalyInfo.ERROR and reasons != {_NEW_COLUMN}


def _text(info: anomalies_pb2.AnomalyInfo) -> str:
    return (info.description or info.short_description).rstrip(". ")


@component
def AnomalyGate(anomalies: InputArtifact[standard_artifacts.ExampleAnomalies]) -> None:
    """Passes if the data fits the schema; make it upstream of whatever must not run otherwise."""
    refuse_anomalies(anomalies.uri, artifact_utils.decode_split_names(anomalies.split_names))
