"""StemsExampleGen: a folder of stems -> Examples (splits train, dev, test), as a FileBasedExampleGen on Beam.

From TFX come the artifact, spans and versions, and the cache. What differs from the stock component: the cache key
covers every file below the data directory (TFX globs one pattern), splits are the reader's (TFX hashes records), and
shards are written where they are read (TFX shuffles all records through Beam: more memory, other bytes every time).

The newest `data.spans` spans go into one artifact. TFX would ingest one span a run and collect them with a Resolver,
which open-source Kubeflow does not have, and which would pass over a week in which no run got through. To read the other
spans again costs seconds (124 clips in 8 s); in return splits, names and leaks are checked over all that is trained on,
and the key of the cache covers exactly the files of these spans.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import apache_beam as beam
from google.protobuf import struct_pb2
from tfx.components.example_gen import component, driver, utils
from tfx.components.util import examples_utils
from tfx.dsl.components.base import base_beam_executor, executor_spec
from tfx.dsl.io import fileio
from tfx.orchestration import data_types
from tfx.proto import example_gen_pb2, range_config_pb2
from tfx.types import artifact_utils
from tfx.types import standard_component_specs as specs
from tfx.utils import proto_utils
from threadpoolctl import threadpool_limits

from models import code_identity, storage
from pipeline.common import progress
from pipeline.common.files import write_text
from pipeline.config import config as configuration
from pipeline.config.config import Config, DataConfig
from pipeline.config.gate import LeakRules
from pipeline.data import catalogue, corpus, datasets, ingest, landmarks, leaks, spans
from pipeline.data.datasets import files
from pipeline.data.datasets.track import SPLITS
from pipeline.data.leaks import ruling
from pipeline.data.spans import Span
from pipeline.evaluation import evaluation
from pipeline.evaluation.gate import outlook

_JUDGED = "judged"
_NO_FILES = "no-files"  # input_base of a format without any; TFX wants a string


# --- driver: which spans and versions, and the cache key --------------------------------------------------------------


class StemsDriver(driver.FileBasedDriver):
    """Finds the spans, and fingerprints everything below the directories they lie in."""

    def resolve_exec_properties(
        self,
        exec_properties: dict[str, Any],
        pipeline_info: data_types.PipelineInfo,
        component_info: data_types.ComponentInfo,
    ) -> dict[str, Any]:
        """Fills in the pattern (a line for each span), span and version of the newest one, and the fingerprint of all.

        Raises:
          ValueError: see `pipeline.data.spans.of`, or a directory that is none.
        """
        del pipeline_info, component_info
        data, _ = _settings(exec_properties)
        found = spans.of(data, _last(exec_properties))
        config = _input_config(exec_properties)
        if spans.is_pattern(data.path):
            base = exec_properties[specs.INPUT_BASE_KEY]
            config.splits[0].pattern = "\n".join(os.path.relpath(str(span.path), base) for span in found)
        exec_properties[specs.INPUT_CONFIG_KEY] = proto_utils.proto_to_json(config)
        exec_properties[utils.SPAN_PROPERTY_NAME] = found[-1].number or 0
        exec_properties[utils.VERSION_PROPERTY_NAME] = found[-1].version
        exec_properties[utils.FINGERPRINT_PROPERTY_NAME] = input_fingerprint(found)
        return exec_properties


def input_fingerprint(found: Sequence[Span], instead: Mapping[str, Sequence[int]] | None = None) -> str:
    """Of the data and of the code that reads it. instead: see `files_fingerprint`."""
    return ":".join([code_fingerprint(), *(files_fingerprint(span.path, instead) for span in found if span.path)])


def files_fingerprint(path: str, instead: Mapping[str, Sequence[int]] | None = None) -> str:
    """SHA-256 of name, size and time of change (ns; of an object in S3 whole seconds) of every file below a directory
    that is no litter, or of those in the directory of a file.

    instead: file -> the size and time that it had, of files that are known to have changed.

    Raises:
      ValueError: neither is there.
      OSError: a bucket cannot be listed.
    """
    if not files.is_directory(storage.path(path)) and not os.path.isfile(path):
        raise ValueError(f"data.path {path} is not there.")
    digest = hashlib.sha256()
    known = {os.path.relpath(file, path): state for file, state in (instead or {}).items()}
    for name, *state in sorted(files.content(path)):
        size, modified_ns = known.get(name, state)
        digest.update(f"{name}\0{size}\0{modified_ns}\0".encode(errors="surrogateescape"))
    return digest.hexdigest()


def code_fingerprint() -> str:
    """SHA-256 of the modules that decide what is written: a change of the reader is a change of its output."""
    readers = [f"{datasets.__name__}.layouts.{format}" for format in datasets.formats()]
    return code_identity.digest(ingest.__name__, *readers)


# --- executor --------------------------------------------------------------------------------------------------------


class StemsExecutor(base_beam_executor.BaseBeamExecutor):
    """Writes the shards in parallel, then the report, fails if too many tracks were bad, and writes the catalogue.

    It fails, too, if the files have changed since the driver looked: then the newest span is still being written.
    """

    def Do(self, input_dict: dict, output_dict: dict, exec_properties: dict) -> None:
        """Ingests.

        Raises:
          BadTracksError: more bad tracks than allowed, or a split without any.
          ValueError: see `corpus.discover`, files that changed while they were read, what the gate cannot decide, or leaks
            that it would refuse every model for, where `gate.leaks.at_ingest` asks for that.
          OSError: the output cannot be written.
        """
        self._log_startup(input_dict, output_dict, exec_properties)
        artifact = artifact_utils.get_single_instance(output_dict[specs.EXAMPLES_KEY])
        artifact.split_names = artifact_utils.encode_split_names(list(SPLITS))
        examples_utils.set_payload_format(artifact, exec_properties[specs.OUTPUT_DATA_FORMAT_KEY])
        examples_utils.set_file_format(artifact, "tfrecords_gzip")
        data, report_dir = _settings(exec_properties)
        found = _spans(data, exec_properties)
        before = exec_properties.get(utils.FINGERPRINT_PROPERTY_NAME) or input_fingerprint(found)
        data, recognised = corpus.resolved(data)
        if recognised:
            progress.line(f"format {data.format}: {recognised}")
        shards = ingest.plan(corpus.discover(data, found))
        progress.line(f"reading, checking and writing {sum(len(shard.refs) for shard in shards)} tracks")
        outcomes = self._run(shards, data, artifact.uri)
        entries = [entry for outcome in outcomes for entry in outcome]
        # A track whose files changed while it was read is a bad track; any other change is of data still being written.
        changed = {file: state for entry in entries for file, state in entry.get("changed", {}).items()}
        if input_fingerprint(found, changed) != before:
            raise ValueError(
                f"Files below {found[-1].path} changed while they were read: is the data still being written? Run again "
                f"when it is complete; a file that says so can be required, see data.options.{spans.SUCCESS_MARKER}."
            )
        result = ingest.report(data, entries, [name for span in found if span.path for name in files.litter(span.path)])
        if reused := ingest.reused(entries):
            _tell(f"{reused} of {len(entries)} tracks are unchanged since an earlier ingest")
        for words in (*ingest.unused(result), *ingest.counted(result)):
            progress.line(words, "yellow")
        for directory in (artifact.uri, report_dir):
            _write_json(result, directory)
        corpus.refuse_bad_tracks(data, result, os.path.join(report_dir, corpus.REPORT))
        leaked = ingest.write_catalogue(entries, artifact.uri)
        for words in ruling.listed(ruling.large(leaked, LeakRules())):
            progress.line(f"leak: {words}", "yellow")
        custom = _custom(exec_properties)
        if _JUDGED in custom:
            settings = configuration.from_json(str(custom[_JUDGED]))
            _refuse_leaks(leaked, artifact.uri, settings)
            tracks = [track.metadata for track in catalogue.read(artifact.uri) if track.split == "test"]
            outlook.tell(settings.gate, tracks, settings.evaluate.max_tracks)

    def _run(self, shards: list[ingest.Shard], data: DataConfig, artifact_uri: str) -> list[list[dict]]:
        """The outcomes of all shards, brought back from the workers in a file."""
        for split in SPLITS:
            fileio.makedirs(os.path.join(artifact_uri, f"Split-{split}"))
        collected = os.path.join(artifact_uri, "outcomes.json")
        told = {os.path.basename(shard.landmarks): len(shard.refs) for shard in shards}  # the last file of a shard
        watching = progress.watching("reading", "read", os.path.join(artifact_uri, landmarks.DIRECTORY), told)
        # The matrices are small: more threads for each would wait for one another, and for the other workers'.
        with watching, threadpool_limits(1, user_api="blas"), self._make_beam_pipeline() as pipeline:
            write = beam.Map(_write_shard, data, artifact_uri, code_fingerprint())
            outcomes = pipeline | beam.Create(shards) | beam.Reshuffle() | "WriteShard" >> write
            _ = outcomes | beam.combiners.ToList() | beam.Map(_collect, collected)
        with fileio.open(collected) as file:
            found = json.load(file)
        fileio.remove(collected)
        failures = [outcome["failure"] for outcome in found if isinstance(outcome, dict)]
        if failures:
            raise OSError(failures[0])
        return found


def _refuse_leaks(found: Sequence[leaks.Leak], artifact_uri: str, settings: Config) -> None:
    """Raises ValueError where the gate would refuse every model for them, and is to say so before the training."""
    if settings.gate.leaks.at_ingest == "tell":
        return
    tested = sorted(track.name for track in catalogue.read(artifact_uri) if track.split == "test")
    judged = evaluation.spread(tested, settings.evaluate.max_tracks)
    of_judged = [leak for leak in found if leak.split != "test" or leak.track in judged]
    if refused := ruling.ruled(of_judged, settings.gate.leaks, corpus.published(artifact_uri)).refused:
        raise ValueError(
            f"Every model would be refused: {'; '.join(refused)}. Move or remove one of the two, or have gate.leaks tell of it."
        )


def _write_shard(shard: ingest.Shard, data: DataConfig, artifact_uri: str, code: str) -> list[dict] | dict[str, str]:
    """The report entries of a shard; a full disk is an outcome too, for Beam would wrap it in 60 lines of traceback."""
    try:
        return ingest.write_shard(shard, data, artifact_uri, code, _tell)
    except OSError as error:
        return {"failure": str(error)}


def _tell(words: str) -> None:
    progress.line(words, "yellow")


def _collect(outcomes: list, path: str) -> None:
    with fileio.open(path, "w") as file:
        file.write(json.dumps(outcomes))


def _settings(exec_properties: Mapping[str, Any]) -> tuple[DataConfig, str]:
    """The section `data` of the configuration, and the directory for the report."""
    values = _custom(exec_properties)
    return DataConfig(**json.loads(str(values["data"]))), str(values["report_dir"])


def _custom(exec_properties: Mapping[str, Any]) -> struct_pb2.Struct:
    """What `stems_example_gen` was given beside TFX's own properties."""
    config = example_gen_pb2.CustomConfig()
    proto_utils.json_to_proto(exec_properties[specs.CUSTOM_CONFIG_KEY], config)
    values = struct_pb2.Struct()
    config.custom_config.Unpack(values)
    return values


def _spans(data: DataConfig, exec_properties: Mapping[str, Any]) -> list[Span]:
    """What the driver found. Open-source Kubeflow does not run it, so the pattern may still be as it was configured."""
    pattern = _input_config(exec_properties).splits[0].pattern
    if data.path is None or not spans.is_pattern(data.path) or spans.is_pattern(pattern):
        return spans.of(data, _last(exec_properties))
    base = exec_properties[specs.INPUT_BASE_KEY]
    return [spans.at(storage.absolute(data.path), os.path.join(base, line)) for line in pattern.splitlines()]


def _input_config(exec_properties: Mapping[str, Any]) -> example_gen_pb2.Input:
    config = example_gen_pb2.Input()
    proto_utils.json_to_proto(exec_properties[specs.INPUT_CONFIG_KEY], config)
    return config


def _last(exec_properties: Mapping[str, Any]) -> int | None:
    """The newest span that the range allows, None without a range."""
    entry = exec_properties.get(specs.RANGE_CONFIG_KEY)
    if not entry:
        return None
    span_range = range_config_pb2.RangeConfig()
    proto_utils.json_to_proto(entry, span_range)
    return span_range.static_range.end_span_number


def _write_json(value: Any, directory: str) -> None:
    """Writes the report to a directory; complete or not at all."""
    write_text(storage.path(directory) / corpus.REPORT, json.dumps(value, indent=1, sort_keys=True) + "\n")


# --- component -------------------------------------------------------------------------------------------------------


class StemsExampleGen(component.FileBasedExampleGen):
    """Ingests a corpus of stems; output `examples` with the splits train, dev and test (see `stems_example_gen`)."""

    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(StemsExecutor)
    DRIVER_CLASS = StemsDriver


def stems_example_gen(data: DataConfig, report_dir: str, span: int | None = None, judged: str = "") -> StemsExampleGen:
    """The component for a corpus.

    Args:
      data: the section of the configuration. Its `path` may hold {SPAN} and {VERSION}, as in
        `stems/span-{SPAN}/v{VERSION}`; then the newest `spans` are ingested, of each the latest version.
      report_dir: where `ingest_report.json` is left too, since TFX removes the artifact of a failed run.
      span: the newest span to ingest; the latest if None.
      judged: the configuration that models will be judged by, as JSON. Then it says what the gate will be unable to decide on
        the test split, or refuses, as `gate.when_undecidable` asks: for clusters, where no command looks before.
    """
    base, pattern = _base_and_pattern(data.path)
    splits = [example_gen_pb2.SplitConfig.Split(name=split, hash_buckets=1) for split in SPLITS]
    values = struct_pb2.Struct()
    fields = json.dumps(dataclasses.asdict(data), sort_keys=True)
    values.update(
        {"data": fields, "report_dir": report_dir if storage.is_remote(report_dir) else os.path.abspath(report_dir)}
    )
    values.update({_JUDGED: judged} if judged else {})
    custom_config = example_gen_pb2.CustomConfig()
    custom_config.custom_config.Pack(values)
    return StemsExampleGen(
        input_base=base,
        input_config=example_gen_pb2.Input(splits=[example_gen_pb2.Input.Split(name="stems", pattern=pattern)]),
        output_config=example_gen_pb2.Output(split_config=example_gen_pb2.SplitConfig(splits=splits)),
        custom_config=custom_config,
        range_config=range_config_pb2.RangeConfig(
            static_range=range_config_pb2.StaticRange(start_span_number=span, end_span_number=span)
        )
        if span is not None
        else None,
    )


def _base_and_pattern(path: str | None) -> tuple[str, str]:
    """A path split before its first component with a placeholder; the pattern of a path without any is `.`."""
    if path is None:
        return _NO_FILES, "."
    whole = storage.absolute(path)
    scheme = next(filter(whole.startswith, storage.SCHEMES), "")
    parts = Path(whole.removeprefix(scheme)).parts
    first = next((index for index, part in enumerate(parts) if "{" in part), len(parts))
    return scheme + str(Path(*parts[:first])), str(Path(*parts[first:]))
