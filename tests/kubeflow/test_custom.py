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
import yaml

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


# ---- kube-state-metrics, of which no models are to be had: its configuration as pkg/customresourcestate of 2.20.0 decodes it
# (config.go, config_metrics_types.go).

LABELLED = {"commonLabels", "labelsFromPath", "errorLogV"}
RESOURCE = {"groupVersionKind", "metricNamePrefix", "resourcePlural", "metrics"} | LABELLED
METRIC = {"name", "help", "each"} | LABELLED
TYPES = {
    "Gauge": {"path", "labelsFromPath", "labelFromKey", "valueFrom", "nilIsZero"},
    "StateSet": {"path", "labelsFromPath", "list", "labelName", "valueFrom"},
    "Info": {"path", "labelsFromPath", "labelFromKey"},
}
# What is read, by the objects' own types: pkg/apis/workflow/v1alpha1/workflow_types.go of Argo Workflows 4.0.5 and
# backend/src/crd/pkg/apis/scheduledworkflow/v1beta1/types.go of Kubeflow Pipelines 2.17.0; the plurals are their CRDs'.
FIELDS = {
    ("argoproj.io", "v1alpha1", "Workflow", "workflows"): {
        "metadata.creationTimestamp",
        "status.phase",
        "status.nodes",
        "status.nodes.displayName",
        "status.nodes.phase",
    },
    ("kubeflow.org", "v1beta1", "ScheduledWorkflow", "scheduledworkflows"): {
        "spec.enabled",
        "status.trigger.nextTriggeredTime",
    },
}


def state_values() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "kubeflow/kube-prometheus-stack.yaml").read_text())["kube-state-metrics"]


def state_misfits(values: dict[str, Any]) -> list[str]:
    """What is wrong with the part of kube-state-metrics: its keys, what it reads, and its rights."""
    config, found = values["customResourceState"]["config"], []
    allowed = {(*rule["apiGroups"], *rule["resources"]) for rule in values["rbac"]["extraRules"]}
    for resource in config["spec"]["resources"]:
        place = resource["groupVersionKind"]
        kind = (place["group"], place["version"], place["kind"])
        fields = {(*known[:3],): (known[3], names) for known, names in FIELDS.items()}
        if kind not in fields:
            found.append(f"no such kind: {kind}")
            continue
        plural, legal = fields[kind]
        if (place["group"], plural) not in allowed:
            found.append(f"{plural} cannot be listed")
        found += [f"no key of a resource: {key}" for key in sorted(resource.keys() - RESOURCE)]
        for metric in resource["metrics"]:
            name, each = metric["name"], metric["each"]
            own = each["type"][0].lower() + each["type"][1:]
            found += [f"{name}: no key of a metric: {key}" for key in sorted(metric.keys() - METRIC)]
            if each["type"] not in TYPES or set(each) != {"type", own}:
                found.append(f"{name} is of no type: {sorted(each)}")
                continue
            found += [f"{name}: no key of a {own}: {key}" for key in sorted(each[own].keys() - TYPES[each["type"]])]
            paths = [
                each[own]["path"],
                *[each[own]["path"] + more for more in each[own].get("labelsFromPath", {}).values()],
            ]
            found += [f"{name} reads {'.'.join(path)}" for path in paths if ".".join(path) not in legal]
    return found


def test_kube_state_metrics_is_told_what_it_understands() -> None:
    values = state_values()
    assert values["customResourceState"]["enabled"] is True  # of the chart kube-state-metrics 8.4.0
    assert values["customResourceState"]["config"]["kind"] == "CustomResourceStateMetrics"
    assert all(set(rule["verbs"]) == {"list", "watch"} for rule in values["rbac"]["extraRules"])
    assert state_misfits(values) == []


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (("rbac", "extraRules", 0, "resources"), ["workflow"], "workflows cannot be listed"),
        (("groupVersionKind", "kind"), "WorkFlow", "no such kind: ('argoproj.io', 'v1alpha1', 'WorkFlow')"),
        (("labelFromPath",), {}, "no key of a resource: labelFromPath"),
        (("metrics", 0, "type"), "Gauge", "run_created_timestamp_seconds: no key of a metric: type"),
        (("metrics", 1, "each", "type"), "Gauge", "run_phase is of no type"),
        (("metrics", 1, "each", "stateSet", "labelFromKey"), "a", "run_phase: no key of a stateSet: labelFromKey"),
        (("metrics", 2, "each", "info", "labelsFromPath", "task"), ["name"], "run_node_info reads status.nodes.name"),
    ],
)
def test_a_planted_mistake_in_it_is_caught(planted, path, value, words) -> None:
    place = path if path[0] == "rbac" else ("customResourceState", "config", "spec", "resources", 0, *path)
    assert any(found.startswith(words) for found in state_misfits(planted(state_values(), place, value)))
