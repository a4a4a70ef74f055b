"""Every alert fires on what it is for, and not on what is near it: Prometheus' own engine over given samples (promtool)."""

from __future__ import annotations

import copy
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
PROMTOOL = shutil.which("promtool")
needs_promtool = pytest.mark.skipif(PROMTOOL is None, reason="no promtool on the PATH (Debian's package prometheus)")
DAY = 24 * 60  # minutes
STEP = {"StemlineModelOld": 10}  # minutes from sample to sample, where it is not one

SERVERS = 'up{namespace="%s", job="stemline-serving", pod="%s"}'
EDGES = 'up{namespace="stemline", job="stemline-edge-stats", pod="a"}'
CERTIFICATE = (
    'envoy_listener_ssl_certificate_expiration_unix_time_seconds{namespace="stemline", envoy_tls_certificate="edge"}'
)
ANSWERS = ':tensorflow:serving:request_count{namespace="stemline", pod="a", model_name="stemline", status="%s"}'
LATENCY = ':tensorflow:serving:request_latency_bucket{namespace="stemline", pod="a", API="predict", le="%s"}'
RUNTIME = ':tensorflow:serving:runtime_latency_sum{namespace="stemline", pod="a", model_name="stemline"}'
LOADED = (
    ':tensorflow:cc:saved_model:load_attempt_count{namespace="stemline", pod="%s", model_path="/v/%d", status="%s"}'
)
PHASE = 'kubeflow_run_phase{namespace="music", run="%s", phase="%s"}'
NODE = 'kubeflow_run_node_info{namespace="music", run="%s", node="n-1", task="%s", phase="%s"}'
CREATED = 'kubeflow_run_created_timestamp_seconds{namespace="music", run="%s"}'
PENDING = 'kube_pod_status_phase{namespace="%s", pod="%s", phase="Pending"}'
NEXT = 'kubeflow_recurring_run_next_timestamp_seconds{namespace="music", recurring_run="%s"}'
ENABLED = 'kubeflow_recurring_run_enabled{namespace="music", recurring_run="%s"}'

RUN, POD, SCHEDULE = "stemline-demo-x7k2p", "stemline-demo-x7k2p-impl-1", "stemline-demo3f2"
OTHERS = "churn-x7k2p"  # another team's, in the same Kubeflow
LABELS = {
    "StemlineCertificateExpires": {"envoy_tls_certificate": "edge"},
    "StemlineVersionDoesNotLoad": {"pod": "a", "model_path": "/v/2"},
    "StemlineRetrainingFailed": {"namespace": "music", "run": RUN},
    "StemlineRetrainingRefused": {"namespace": "music", "run": RUN},
    "StemlineRetrainingUnfinished": {"namespace": "music", "run": RUN},
    "StemlineRetrainingWaits": {"namespace": "music", "pod": POD},
    "StemlineRetrainingNotStarted": {"namespace": "music", "recurring_run": SCHEDULE},
}

NO_SERVER, NO_EDGE = "No model server answers.", "No edge answers."
ERRORS, FULL = (
    "More than 1 % of the requests fail in the server.",
    "More than 1 % of the requests find a full queue or are too late.",
)
SLOW, SATURATED = (
    "One request in a hundred takes more than 10 s.",
    "The servers have twice the requests that the autoscaler aims at.",
)
CANNOT_LOAD, OLD = "a cannot load /v/2.", "The served model is 15d 0h 10m 0s old."
FAILED, REFUSED = f"The retraining {RUN} has failed.", f"The retraining {RUN} was refused."
UNFINISHED, WAITS = f"The retraining {RUN} has not ended for 1d 1h 0m 0s.", f"{POD} has been waiting for an hour."
NOT_STARTED = f"The retraining of {SCHEDULE} is due since 1h 30m 0s and has not started."
NO_SCHEDULE = "No retraining is scheduled."


def slow(per_minute: int, all_per_minute: int) -> dict[str, str]:
    """Requests that take 10 to 20 s, and all."""
    fast, every = f"0+{all_per_minute - per_minute}x60", f"0+{all_per_minute}x60"
    return {LATENCY % "1e+07": fast, LATENCY % "2e+07": every, LATENCY % "+Inf": every, ANSWERS % "OK": every}


# By alert: samples, one a minute (see STEP) from the time 0 on; the minute at which it is looked at; what it says then, if it fires.
CASES: dict[str, list[tuple[dict[str, str], int, str | None]]] = {
    "StemlineNoServer": [
        ({}, 6, NO_SERVER),
        ({SERVERS % ("stemline", "a"): "0x20"}, 6, NO_SERVER),
        ({SERVERS % ("stemline", "a"): "0x20"}, 4, None),
        ({SERVERS % ("stemline", "a"): "0x20", SERVERS % ("stemline", "b"): "1x20"}, 6, None),
        ({SERVERS % ("others", "a"): "1x20"}, 6, NO_SERVER),
    ],
    "StemlineNoEdge": [
        ({EDGES: "0x20"}, 6, NO_EDGE),
        ({SERVERS % ("stemline", "a"): "1x20"}, 6, NO_EDGE),
        ({EDGES: "1x20"}, 6, None),
    ],
    "StemlineCertificateExpires": [
        ({CERTIFICATE: f"{13 * 86400}x20"}, 0, "The edge's certificate expires in 13d 0h 0m 0s."),
        ({CERTIFICATE: f"{15 * 86400}x20"}, 0, None),
        ({CERTIFICATE: f"{13 * 86400}x9 {90 * 86400}x20"}, 20, None),  # renewed
    ],
    "StemlineErrors": [
        ({ANSWERS % "OK": "0+59x90", ANSWERS % "INTERNAL": "0+1x90"}, 80, ERRORS),
        ({ANSWERS % "OK": "0+1000x90", ANSWERS % "INTERNAL": "0+1x90"}, 80, None),
        ({ANSWERS % "INTERNAL": "0+1x90"}, 30, ERRORS),  # few requests, and all fail
        ({ANSWERS % "OK": "7x200", ANSWERS % "INTERNAL": "0x50 1x150"}, 53, None),  # one at night
        ({ANSWERS % "OK": "7x200", ANSWERS % "INTERNAL": "0x50 1x150"}, 65, None),
        ({ANSWERS % "OK": "7x200", ANSWERS % "INTERNAL": "0+0.1x200"}, 150, None),  # six an hour
        ({ANSWERS % "OK": "0+59x90", ANSWERS % "UNAVAILABLE": "0+9x90"}, 80, None),
    ],
    "StemlineOverloaded": [
        ({ANSWERS % "OK": "0+59x90", ANSWERS % "UNAVAILABLE": "0+1x90"}, 80, FULL),
        ({ANSWERS % "OK": "0+1000x90", ANSWERS % "UNAVAILABLE": "0+1x90"}, 80, None),
        ({ANSWERS % "OK": "7x200", ANSWERS % "DEADLINE_EXCEEDED": "0x50 1x150"}, 65, None),
        ({ANSWERS % "OK": "0+59x90", ANSWERS % "INTERNAL": "0+9x90"}, 80, None),
    ],
    "StemlineSlow": [
        (slow(1, 10), 30, SLOW),
        (slow(1, 1000), 30, None),
        (slow(1, 1), 30, None),  # the only ones of a night
    ],
    "StemlineVersionDoesNotLoad": [
        ({LOADED % ("a", 2, "fail"): "_x30 1x30"}, 35, CANNOT_LOAD),  # tried once
        ({LOADED % ("a", 2, "fail"): "1x30 2x30"}, 35, CANNOT_LOAD),
        ({LOADED % ("a", 2, "fail"): "_x30 1x60"}, 70, None),
        ({LOADED % ("a", 2, "success"): "_x30 1x30"}, 35, None),
    ],
    "StemlineSaturated": [
        ({RUNTIME: f"0+{33 * 60 * 10**6}x60"}, 40, SATURATED),
        ({RUNTIME: f"0+{31 * 60 * 10**6}x60"}, 40, None),
    ],
    "StemlineModelOld": [
        ({LOADED % ("a", 1, "success"): "1x2304"}, 15 * DAY + 10, OLD),
        ({LOADED % ("a", 1, "success"): "1x2304"}, 15 * DAY - 10, None),
        ({LOADED % ("a", 1, "success"): "1x2304", LOADED % ("a", 2, "success"): "_x1000 1x1304"}, 15 * DAY + 10, None),
        (  # a server that comes back after ten hours has no newer model, nor has one that cannot load it
            {
                LOADED % ("a", 1, "success"): "1x700",
                LOADED % ("b", 1, "success"): "_x760 1x1500",
                LOADED % ("b", 2, "fail"): "_x1000 1x1304",
            },
            15 * DAY + 10,
            OLD,
        ),
    ],
    "StemlineRetrainingFailed": [
        ({PHASE % (RUN, "Failed"): "0x60 1x60", NODE % (RUN, "Trainer", "Failed"): "_x60 1x60"}, 90, FAILED),
        ({PHASE % (RUN, "Failed"): "0x60 1x60"}, 5 * 60, FAILED),  # when the run is there no more
        ({PHASE % (RUN, "Failed"): "0x60 1x60"}, 27 * 60, None),
        ({PHASE % (RUN, "Error"): "0x9 1x60"}, 30, FAILED),
        ({PHASE % (RUN, "Failed"): "0x60", PHASE % (RUN, "Succeeded"): "0x9 1x51"}, 30, None),
        ({PHASE % (RUN, "Failed"): "1x60", NODE % (RUN, "PushGate", "Failed"): "1x60"}, 30, None),
        ({PHASE % (RUN, "Failed"): "1x60", NODE % (OTHERS, "PushGate", "Failed"): "1x60"}, 30, FAILED),
        ({PHASE % (OTHERS, "Failed"): "1x60"}, 30, None),
    ],
    "StemlineRetrainingRefused": [
        ({PHASE % (RUN, "Failed"): "1x60", NODE % (RUN, "PushGate", "Failed"): "1x60"}, 30, REFUSED),
        ({NODE % (RUN, "PushGate", "Failed"): "1x60"}, 5 * 60, REFUSED),
        ({NODE % (RUN, "PushGate", "Succeeded"): "1x60", NODE % (RUN, "Trainer", "Failed"): "1x60"}, 30, None),
        ({NODE % (OTHERS, "PushGate", "Failed"): "1x60"}, 30, None),
    ],
    "StemlineRetrainingUnfinished": [
        ({CREATED % RUN: f"0x{2 * DAY}", PHASE % (RUN, "Running"): f"1x{2 * DAY}"}, DAY + 60, UNFINISHED),
        ({CREATED % RUN: f"0x{2 * DAY}"}, DAY + 60, UNFINISHED),  # Argo's controller has not taken it up
        ({CREATED % RUN: f"0x{2 * DAY}"}, DAY - 60, None),
        ({CREATED % RUN: f"0x{2 * DAY}", PHASE % (RUN, "Succeeded"): f"0x60 1x{2 * DAY}"}, DAY + 60, None),
        ({CREATED % OTHERS: f"0x{2 * DAY}"}, DAY + 60, None),
    ],
    "StemlineRetrainingWaits": [
        ({PENDING % ("music", POD): "1x90"}, 61, WAITS),
        ({PENDING % ("music", POD): "1x40 0x50"}, 61, None),
        ({PENDING % ("music", OTHERS): "1x90"}, 61, None),
        ({PENDING % ("stemline", "stemline-serving-1"): "1x90"}, 61, None),
    ],
    "StemlineRetrainingNotStarted": [
        ({NEXT % SCHEDULE: "3600x600", ENABLED % SCHEDULE: "1x600"}, 150, NOT_STARTED),
        ({NEXT % SCHEDULE: "3600x600", ENABLED % SCHEDULE: "1x600"}, 110, None),
        ({NEXT % SCHEDULE: "3600x600", ENABLED % SCHEDULE: "0x600"}, 150, None),  # paused
        ({NEXT % SCHEDULE: "3600x60 608400x600", ENABLED % SCHEDULE: "1x600"}, 150, None),  # started: next week
        ({NEXT % OTHERS: "3600x600", ENABLED % OTHERS: "1x600"}, 150, None),
    ],
    "StemlineNoSchedule": [
        ({ENABLED % SCHEDULE: f"0x{2 * DAY}"}, DAY + 1, NO_SCHEDULE),
        ({ENABLED % OTHERS: f"1x{2 * DAY}"}, DAY + 1, NO_SCHEDULE),
        ({ENABLED % SCHEDULE: f"0x60 1x{2 * DAY}"}, DAY + 1, None),
    ],
}


@pytest.fixture(scope="module")
def groups(build) -> list[dict[str, Any]]:
    (item,) = [item for item in build(ROOT / "kubeflow/base") if item["kind"] == "PrometheusRule"]
    return item["spec"]["groups"]


def against(groups: list[dict[str, Any]], alert: str, directory: Path) -> str:
    """What promtool has against the cases of an alert; nothing if they hold. Descriptions are left out."""
    groups = copy.deepcopy(groups)
    for group in groups:
        group["rules"] = [rule for rule in group["rules"] if "record" in rule or rule["alert"] == alert]
        for rule in group["rules"]:
            rule.get("annotations", {}).pop("description", None)
    (rule,) = [rule for group in groups for rule in group["rules"] if "alert" in rule]
    labels = LABELS.get(alert, {}) | rule["labels"]
    step = f"{STEP.get(alert, 1)}m"
    tests = [
        {
            "name": f"case {number}",
            "interval": step,
            "input_series": [{"series": name, "values": values} for name, values in series.items()],
            "alert_rule_test": [
                {
                    "eval_time": f"{minute}m",
                    "alertname": alert,
                    "exp_alerts": [{"exp_labels": labels, "exp_annotations": {"summary": says}}] if says else [],
                }
            ],
        }
        for number, (series, minute, says) in enumerate(CASES[alert])
    ]
    document = {"rule_files": ["rules.yaml"], "evaluation_interval": step, "tests": tests}
    (directory / "rules.yaml").write_text(yaml.safe_dump({"groups": [group for group in groups if group["rules"]]}))
    (directory / "tests.yaml").write_text(yaml.safe_dump(document))
    ended = promtool("test", "rules", "tests.yaml", directory=directory)
    return ended.stdout + ended.stderr if ended.returncode else ""


def promtool(*words: str, directory: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(PROMTOOL), *words], cwd=directory, capture_output=True, text=True, check=False)


def test_every_alert_has_cases_on_both_sides(groups) -> None:
    assert set(CASES) == {rule["alert"] for group in groups for rule in group["rules"] if "alert" in rule}
    for alert, cases in CASES.items():
        assert {says is None for *_, says in cases} == {True, False}, alert


@needs_promtool
@pytest.mark.parametrize("alert", CASES)
def test_it_fires_on_what_it_is_for_and_on_nothing_near(alert, groups, tmp_path) -> None:
    assert against(groups, alert, tmp_path) == ""


@needs_promtool
def test_the_rules_are_ones_that_prometheus_loads(groups, tmp_path) -> None:
    """Their templates too."""
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": groups}))
    ended = promtool("check", "rules", "rules.yaml", directory=tmp_path)
    assert ended.returncode == 0, ended.stdout + ended.stderr


@needs_promtool
@pytest.mark.parametrize(
    ("alert", "right", "wrong"),
    [
        ("StemlineErrors", ">= 10", ">= 0"),  # no floor: one failure at night
        ("StemlineErrors", "[1h]", "[5m]"),  # a floor that few requests never reach
        ("StemlineNoEdge", "stemline-edge-stats", "stemline-edge"),
        ("StemlineCertificateExpires", "_unix_time_seconds", "_seconds"),
        ("StemlineVersionDoesNotLoad", "unless", "and"),
        ("StemlineRetrainingFailed", "on (namespace, run)", "on (namespace)"),
        ("StemlineRetrainingFailed", "Failed|Error", "Failed"),
        ("StemlineRetrainingUnfinished", "Succeeded|Failed|Error", "Succeeded|Running"),
        ("StemlineRetrainingWaits", 'namespace!="stemline"', 'namespace!="kubeflow"'),
        ("StemlineRetrainingNotStarted", "recurring_run_enabled", "recurring_run_paused"),
        ("StemlineModelOld", "max(", "min("),
    ],
)
def test_a_planted_mistake_is_caught(alert, right, wrong, groups, tmp_path) -> None:
    planted = copy.deepcopy(groups)
    (rule,) = [rule for group in planted for rule in group["rules"] if rule.get("alert") == alert]
    assert right in rule["expr"]
    rule["expr"] = rule["expr"].replace(right, wrong)
    assert alert in against(planted, alert, tmp_path)
