"""The pipeline as a graph; reads like the diagram in the README."""

from __future__ import annotations

from typing import Literal

from tfx.components import ExampleValidator, StatisticsGen
from tfx.components.schema_gen.import_schema_gen.component import ImportSchemaGen
from tfx.dsl.components.base.base_node import BaseNode
from tfx.orchestration import metadata
from tfx.orchestration.pipeline import Pipeline

from pipeline.components.anomaly_gate import AnomalyGate
from pipeline.components.baseline import baseline
from pipeline.components.evaluator import BssEvaluator
from pipeline.components.pusher import pusher
from pipeline.components.serving_validator import ServingValidator
from pipeline.components.stems_example_gen import stems_example_gen
from pipeline.components.trainer import trainer
from pipeline.config import Config, to_json
from pipeline.schema import SCHEMA_PATH, metadata_features
from pipeline.workdir import Workdir

Stage = Literal["ingest", "train", "evaluate", "push"]


def create_pipeline(config: Config, workdir: Workdir, until: Stage = "push") -> Pipeline:
    """The graph from stems to a pushed model, or its first part."""
    return Pipeline(
        pipeline_name=config.name,
        pipeline_root=str(workdir.artifacts(config.name)),
        metadata_connection_config=metadata.sqlite_metadata_connection_config(str(workdir.metadata)),
        components=_components(config, workdir, until),
        enable_cache=True,
        beam_pipeline_args=list(config.beam.pipeline_args),
    )


def _components(config: Config, workdir: Workdir, until: Stage) -> list[BaseNode]:
    example_gen = stems_example_gen(config.data, str(workdir.reports(config.name)))
    examples = example_gen.outputs["examples"]
    nodes = [example_gen, *_validation(examples, config)]
    if until == "ingest":
        return nodes

    train = trainer(examples, config, str(workdir.checkpoints(config.name)))
    train.add_upstream_node(nodes[-1])
    nodes.append(train)
    if until == "train":
        return nodes

    model = train.outputs["model"]
    incumbent = baseline()
    incumbent.add_upstream_node(train)
    evaluator = BssEvaluator(
        examples=examples,
        model=model,
        baseline_model=incumbent.outputs["model"],
        config=to_json(config.only("data", "model", "evaluate", "gate")),
    )
    nodes += [incumbent, evaluator]
    if until == "evaluate":
        return nodes

    validator = ServingValidator(model=model, examples=examples, config=to_json(config.only("data", "model", "serve")))
    push = pusher(evaluator.outputs["blessing"], validator.outputs["blessing"], str(workdir.serving(config.name)))
    return [*nodes, validator, push]


def _validation(examples, config: Config) -> list[BaseNode]:
    """Statistics of the metadata against the hand-written schema, and the gate that stops the run in words."""
    features = metadata_features(config.data.targets)
    statistics = StatisticsGen(examples=examples, stats_options=_allow_list(features))
    schema = ImportSchemaGen(schema_file=str(SCHEMA_PATH))
    validator = ExampleValidator(statistics=statistics.outputs["statistics"], schema=schema.outputs["schema"])
    return [statistics, schema, validator, AnomalyGate(anomalies=validator.outputs["anomalies"])]


def _allow_list(features: list[str]):
    import tensorflow_data_validation as tfdv

    return tfdv.StatsOptions(feature_allowlist=features)
