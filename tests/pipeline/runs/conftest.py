"""Runs that nobody ran, in real metadata."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ml_metadata as mlmd
import pytest
from ml_metadata.proto import metadata_store_pb2 as pb


class Metadata:
    """Writes runs into MLMD as TFX does, as far as `pipeline.runs.history` reads them."""

    def __init__(self, workdir: Path) -> None:
        config = pb.ConnectionConfig()
        config.sqlite.filename_uri = str(workdir / "metadata.db")
        config.sqlite.connection_mode = pb.SqliteMetadataSourceConfig.READWRITE_OPENCREATE
        self.store, self.workdir = mlmd.MetadataStore(config), workdir

    def run(self, start: str, recipe: str, nodes: Mapping[str, Mapping[str, Path]], **more: Any) -> None:
        """nodes: component -> artifact type -> directory. more: `config` of the judge, `properties` by artifact type, `failed`: component -> why."""
        run, pipeline = self._context("pipeline_run", start), self._context("pipeline", recipe)
        for node, outputs in nodes.items():
            execution = pb.Execution(type_id=self.store.put_execution_type(pb.ExecutionType(name=node)))
            execution.last_known_state = pb.Execution.COMPLETE
            if problem := more.get("failed", {}).get(node):
                execution.last_known_state = pb.Execution.FAILED
                execution.custom_properties["problem"].string_value = problem
            if node == "BssEvaluator":
                execution.custom_properties["config"].string_value = json.dumps(more.get("config", {}))
            contexts = [run, pipeline, self._context("node", f"{recipe}.{node}")]
            made = [
                self._artifact(kind, uri, more.get("properties", {}).get(kind, {})) for kind, uri in outputs.items()
            ]
            self.store.put_execution(execution, made, contexts)

    def _context(self, kind: str, name: str) -> pb.Context:
        context = pb.Context(type_id=self.store.put_context_type(pb.ContextType(name=kind)), name=name)
        known = self.store.get_context_by_type_and_name(kind, name)
        return known or self.store.get_contexts_by_id(self.store.put_contexts([context]))[0]

    def _artifact(self, kind: str, uri: Path, properties: Mapping[str, Any]) -> tuple[pb.Artifact, pb.Event]:
        artifact = pb.Artifact(type_id=self.store.put_artifact_type(pb.ArtifactType(name=kind)), uri=str(uri))
        artifact.state = pb.Artifact.LIVE
        for key, value in properties.items():
            field = {str: "string_value", int: "int_value", float: "double_value"}[type(value)]
            setattr(artifact.custom_properties[key], field, value)
        return artifact, pb.Event(type=pb.Event.OUTPUT)


@pytest.fixture
def metadata(tmp_path: Path) -> Metadata:
    """The metadata of the working directory `tmp_path`, still without a run."""
    return Metadata(tmp_path)
