"""Every custom object is one that its controller takes: Prometheus' operator by its models in pydantic, KServe by its SDK's."""

from __future__ import annotations

import importlib
import importlib.util
import json
import re
import sys
import types
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import kubernetes_validate

ROOT = Path(__file__).resolve().parents[2]
PLAIN = {"str": str, "int": int, "bool": bool, "float": float}
PROMETHEUS = ("ServiceMonitor", "PrometheusRule")
KSERVE = {"InferenceService": "V1beta1InferenceService"}


@pytest.fixture(scope="module")
def kserve() -> Iterator[types.ModuleType]:
    """KServe's models. The package itself would import its server, which wants another protobuf than TFX."""
    found = importlib.util.find_spec("kserve")
    assert found is not None
    package = types.ModuleType("kserve")
    package.__path__ = list(found.submodule_search_locations or [])
    sys.modules["kserve"] = package
    yield importlib.import_module("kserve.models")
    for name in [name for name in sys.modules if name.partition(".")[0] == "kserve"]:
        del sys.modules[name]


def misfits(item: dict[str, Any], kserve: types.ModuleType) -> list[str]:
    """Where an object is not one of its kind, in words."""
    from cloudcoil.models.prometheus_operator import v1 as prometheus  # takes seconds: not where tests are collected

    if item["kind"] in KSERVE:
        metadata = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": item["metadata"]}
        return [*_misfits(metadata), *_kserve_misfits(item, KSERVE[item["kind"]], kserve, item["kind"])]
    try:
        # As JSON, and no field by the name that it has in Python.
        model = getattr(prometheus, item["kind"])
        model.model_validate_json(json.dumps(item), strict=True, extra="forbid", by_alias=True, by_name=False)
    except ValueError as error:
        return [str(error)]
    return []


def _misfits(item: dict[str, Any]) -> list[str]:
    try:
        kubernetes_validate.validate(item, kubernetes_validate.latest_version(), strict=True)
    except kubernetes_validate.ValidationError as error:
        return [str(error)]
    return []


def _kserve_misfits(value: Any, kind: str, kserve: types.ModuleType, where: str) -> list[str]:
    """As `openapi_types` has it. Types that are not KServe's are Kubernetes': test_kustomize.py holds the pod to them."""
    if items := re.fullmatch(r"(list\[|dict\(str, )(.+)[])]", kind):
        if not isinstance(value, list if kind.startswith("list") else dict):
            return [f"{where} is {value!r}: {kind} is needed"]
        pairs = value.items() if isinstance(value, dict) else enumerate(value)
        return [words for key, item in pairs for words in _kserve_misfits(item, items[2], kserve, f"{where}.{key}")]
    if kind in PLAIN:
        return [] if type(value) is PLAIN[kind] else [f"{where} is {value!r}: {kind} is needed"]
    model = getattr(kserve, kind, None)
    if model is None:
        return []
    if not isinstance(value, dict):
        return [f"{where} is {value!r}: {kind} is needed"]
    fields = {name: field for field, name in model.attribute_map.items()}
    found = [f"{where}.{name} is no field of {kind}" for name in value if name not in fields]
    given = {fields[name]: item for name, item in value.items() if name in fields}
    try:
        model(**given)
    except ValueError as error:  # a field that must be there
        found.append(f"{where}: {error}")
    for field, item in given.items():
        found += _kserve_misfits(item, model.openapi_types[field], kserve, f"{where}.{model.attribute_map[field]}")
    return found


def custom(objects) -> list[dict[str, Any]]:
    """Those of groups that Kubernetes does not have itself."""
    return [
        item for item in objects if re.search(r"\.(com|io)/", item["apiVersion"]) and "k8s.io" not in item["apiVersion"]
    ]


def test_every_custom_object_is_one_of_its_controller(objects, kserve) -> None:
    held = custom(objects)
    assert {"ServiceMonitor", "PrometheusRule"} <= {item["kind"] for item in held} <= {*PROMETHEUS, *KSERVE}
    for item in held:
        assert misfits(item, kserve) == []


@pytest.mark.parametrize(
    ("kind", "path", "value", "words"),
    [
        ("ServiceMonitor", ("spec", "endpoints", 0, "intervall"), "15s", "spec.endpoints.0.intervall"),
        ("ServiceMonitor", ("spec", "endpoints", 0, "interval"), "15 seconds", "spec.endpoints.0.interval"),
        ("ServiceMonitor", ("spec", "endpoints", 0, "port"), 8501, "spec.endpoints.0.port"),
        ("ServiceMonitor", ("spec", "selector"), None, "spec.selector"),
        ("ServiceMonitor", ("spec", "selector", "match_labels"), {}, "spec.selector.match_labels"),
        ("ServiceMonitor", ("apiVersion",), "monitoring.coreos.com/v2", "apiVersion"),
        ("PrometheusRule", ("spec", "groups", 0, "rules", 0, "expr"), None, "spec.groups.0.rules.0.expr"),
        ("PrometheusRule", ("spec", "groups", 0, "rules", 0, "for"), "5 minutes", "spec.groups.0.rules.0.for"),
        ("PrometheusRule", ("spec", "groups", 0, "rules", 0, "labels", "severity"), 1, "labels.severity"),
        ("PrometheusRule", ("spec", "rules"), [], "spec.rules"),
        ("InferenceService", ("spec", "predictor", "minReplica"), 2, "spec.predictor.minReplica is no field"),
        ("InferenceService", ("spec", "predictor", "minReplicas"), "2", "spec.predictor.minReplicas is '2': int"),
        ("InferenceService", ("spec", "predictor", "labels", "a"), 1, r"spec.predictor.labels.a is 1: str"),
        ("InferenceService", ("spec", "predictor", "containers"), {}, r"containers is {}: list\[V1Container\]"),
        ("InferenceService", ("spec", "predictor"), None, "`predictor`, must not be `None`"),
        ("InferenceService", ("metadata", "annotations", "a"), True, "True"),
    ],
)
def test_a_planted_mistake_is_caught(build, planted, kserve, kind, path, value, words) -> None:
    objects = build(ROOT / "kubeflow/overlays/kserve")
    right = next(item for item in objects if item["kind"] == kind)
    [found] = misfits(planted(right, path, value), kserve)
    assert re.search(words, found)
