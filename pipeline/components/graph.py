"""The pipeline as a graph; reads like the diagram in docs/architecture.md."""

from __future__ import annotations

from typing import Literal

from tfx.components import ExampleValidator, StatisticsGen
from tfx.components.schema_gen.import_schema_gen.component import ImportSchemaGen
from tfx.dsl.components.base.base_node import BaseNode
from tfx.dsl.components.common.importer import Importer
from tfx.types import standard_artifacts
from tfx.types.channel import OutputChannel

from models import storage
from models.directory import ModelDirectory
from pipeline.components import rivals
from pipeline.components.anomaly_gate import AnomalyGate
from pipeline.components.evaluator import BaselinesEvaluator, BssEvaluator
from pipeline.components.infra_validator import infra_validator
from pipeline.components.push_gate import PushGate
from pipeline.components.pusher import pusher
from pipeline.components.serving_validator import ServingValidator
from pipeline.components.stems_example_gen import stems_example_gen
from pipeline.components.teacher import teacher
from pipeline.components.trainer import trainer
from pipeline.config.config import Config, to_json
from pipeline.data.schema import SCHEMA_PATH, metadata_features
from pipeline.runs import anchors
from pipeline.runs.workdir import Workdir

Stage = Literal["ingest", "baselines", "train", "evaluate", "push"]


def components(
    config: Config,
    workdir: Workdir,
    until: Stage = "push",
    ingested: str | None = None,
    resolve: bool = True,
    gated: bool = False,
) -> list[BaseNode]:
    """The nodes from stems to a pushed model, or the first of them, each after those it needs.

    until: the last stage; until `baselines` is judged what needs no model.
    ingested: URI of Examples that another run in `workdir` made and validated, for this one to share.
    resolve: False leaves out the nodes that look into the metadata, for an orchestrator without them; then the judge's
        baseline is the version in the serving directory.
    gated: True adds the node that fails where nothing was pushed, and has StemsExampleGen say what the gate cannot decide:
        for clusters, where no command looks and waits.
    """
    examples, nodes = _examples(config, workdir, ingested, gated)
    if until == "ingest":
        return nodes
    if until == "baselines":
        judge = BaselinesEvaluator(
            examples=examples,
            config=to_json(config.only("data", "model", "evaluate")),
            evaluations=str(workdir.evaluations(config.name)),
        )
        judge.add_upstream_node(nodes[-1])
        return [*nodes, judge]

    guides = [teacher(config.train.teacher)] if config.train.teacher and resolve else []
    serving = str(workdir.serving(config.name))
    train = trainer(
        examples, config, str(workdir.checkpoints(config.name)), serving, *(guide.outputs["model"] for guide in guides)
    )
    train.add_upstream_node(nodes[-1])
    nodes += [*guides, train]
    if until == "train":
        return nodes

    model = train.outputs["model"]
    incumbents = [rivals.resolver()] if resolve else []
    for incumbent in incumbents:
        incumbent.add_upstream_node(train)
    own = str(workdir.artifacts(config.name))
    # Not of a bucket: only clusters push there, which cache no verdict.
    versions = {} if storage.is_remote(serving) else ModelDirectory.versions(serving)
    kept = str(workdir.anchors(config.name))
    pinned = None if storage.is_remote(kept) else anchors.find(kept)
    foreign = [number for number, version in versions.items() if version.is_foreign(own)]
    evaluator = BssEvaluator(
        examples=examples,
        model=model,
        baseline_model=incumbents[0].outputs["model"] if incumbents else None,
        config=to_json(config.only("data", "model", "evaluate", "gate")),
        evaluations=str(workdir.evaluations(config.name)),
        serving_directory=serving,
        served_elsewhere=max(foreign, default=0),
        anchors=kept,
        pinned=str(pinned.model.path) if pinned and pinned.pinned else "",
    )
    nodes += [*incumbents, evaluator]
    if until == "evaluate":
        return nodes

    # Both put out the blessing that the Pusher asks for.
    if config.serve.validator == "infra_validator":
        validator = infra_validator(model, examples, config, None if resolve else "kubernetes")
    else:
        settings = to_json(config.only("data", "model", "serve"))
        validator = ServingValidator(model=model, examples=examples, config=settings)
    blessings = evaluator.outputs["blessing"], validator.outputs["blessing"]
    push = pusher(*blessings, serving)
    nodes += [validator, push]
    if gated:
        pushed, (model_blessing, infra_blessing) = push.outputs["pushed_model"], blessings
        nodes.append(PushGate(pushed_model=pushed, model_blessing=model_blessing, infra_blessing=infra_blessing))
    return nodes


def _examples(
    config: Config, workdir: Workdir, ingested: str | None, foreseen: bool
) -> tuple[OutputChannel, list[BaseNode]]:
    """The channel of the Examples and the nodes that it takes, the last of which lets the rest begin.

    Statistics of the metadata are held against the hand-written schema; AnomalyGate stops the run in words.
    foreseen: StemsExampleGen says what the gate cannot decide on its tracks.
    """
    if ingested:
        importer = Importer(source_uri=ingested, artifact_type=standard_artifacts.Examples).with_id("SharedExamples")
        return importer.outputs["result"], [importer]
    import tensorflow_data_validation as tfdv

    told = foreseen or config.gate.leaks.at_ingest == "refuse"
    judged = to_json(config.only("data", "model", "evaluate", "gate")) if told else ""
    ingest = stems_example_gen(config.data, str(workdir.reports(config.name)), judged=judged)
    options = tfdv.StatsOptions(feature_allowlist=metadata_features(config.data.targets))
    statistics = StatisticsGen(examples=ingest.outputs["examples"], stats_options=options)
    schema = ImportSchemaGen(schema_file=str(SCHEMA_PATH))
    validator = ExampleValidator(statistics=statistics.outputs["statistics"], schema=schema.outputs["schema"])
    gate = AnomalyGate(anomalies=validator.outputs["anomalies"])
    return ingest.outputs["examples"], [ingest, statistics, schema, validator, gate]
