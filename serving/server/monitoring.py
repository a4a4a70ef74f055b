"""Counters and latencies under TensorFlow Serving's names, for Prometheus.

What is counted, where, with which labels and buckets: tensorflow_serving/servables/tensorflow/util.cc, and
cc/saved_model/loader.cc of TensorFlow. The page: tensorflow_serving/util/prometheus_exporter.cc.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import grpc
from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.metrics_core import Metric
from prometheus_client.samples import Sample

DEFAULT_PATH = "/monitoring/prometheus/metrics"
CONTENT_TYPE = "text/plain"

MICROSECONDS = 1_000_000
_LATENCY_BUCKETS = [10 * 1.8**power for power in range(33)]  # monitoring::Buckets::Exponential(10, 1.8, 33)

REGISTRY = CollectorRegistry()

_request_count = Counter(
    ":tensorflow:serving:request_count", "Requests by status.", ["model_name", "status"], registry=REGISTRY
)
_request_latency = Histogram(
    ":tensorflow:serving:request_latency",
    "Microseconds of an answered request.",
    ["model_name", "API", "entrypoint"],
    buckets=_LATENCY_BUCKETS,
    registry=REGISTRY,
)
_runtime_latency = Histogram(
    ":tensorflow:serving:runtime_latency",
    "Microseconds of a session's run.",
    ["model_name", "API", "runtime"],
    buckets=_LATENCY_BUCKETS,
    registry=REGISTRY,
)
_warmup_latency = Histogram(
    ":tensorflow:serving:model_warmup_latency",
    "Microseconds of a version's warm-up.",
    ["model_path", "status"],
    buckets=_LATENCY_BUCKETS,
    registry=REGISTRY,
)
_load_attempts = Counter(
    ":tensorflow:cc:saved_model:load_attempt_count", "Loads by outcome.", ["model_path", "status"], registry=REGISTRY
)
_load_latency = Counter(
    ":tensorflow:cc:saved_model:load_latency", "Microseconds of loading.", ["model_path"], registry=REGISTRY
)

_ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


def request(name: str, api: str, entrypoint: str, code: grpc.StatusCode, started: float) -> None:
    """Counts a request that began at `time.perf_counter()` = `started`; only answers with OK have a latency.

    name: of a model that is or was served; what requests call models would be labels without end.
    """
    _request_count.labels(name, code.name).inc()
    if code is grpc.StatusCode.OK:
        _request_latency.labels(name, api, entrypoint).observe(_since(started))


@contextmanager
def runtime(name: str, api: str) -> Iterator[None]:
    """Times a run of the session that succeeds."""
    started = time.perf_counter()
    yield
    _runtime_latency.labels(name, api, "TF1").observe(_since(started))


@contextmanager
def loading(path: str) -> Iterator[None]:
    """Times and counts the load of a SavedModel."""
    started = time.perf_counter()
    status = "fail"
    try:
        yield
        status = "success"
    finally:
        _load_attempts.labels(path, status).inc()
        _load_latency.labels(path).inc(int(_since(started)))


@contextmanager
def warming_up(path: str) -> Iterator[None]:
    """Times a warm-up that succeeds."""
    started = time.perf_counter()
    yield
    _warmup_latency.labels(path, "OK").observe(_since(started))


def page() -> str:
    """Everything counted, in Prometheus' text format as the real server writes it.

    Not by `prometheus_client.generate_latest`: it would rename `request_count` to `request_count_total` and write the
    buckets' limits with all their digits, and dashboards made for the real server ask for its names and limits.
    """
    lines = []
    for metric in sorted(REGISTRY.collect(), key=lambda metric: metric.name):
        lines.append(f"# TYPE {metric.name} {metric.type}\n")
        lines += [_line(metric, sample) for sample in metric.samples if not sample.name.endswith("_created")]
    return "".join(lines)


def _line(metric: Metric, sample: Sample) -> str:
    labels = {**sample.labels}
    if "le" in labels and labels["le"] != "+Inf":
        labels["le"] = f"{float(labels['le']):.6g}"  # absl::StrCat
    text = ",".join(f'{key}="{value.translate(_ESCAPES)}"' for key, value in labels.items())
    value = int(sample.value) if float(sample.value).is_integer() else sample.value
    return f"{metric.name if metric.type == 'counter' else sample.name}{{{text}}} {value}\n"


def _since(started: float) -> float:
    return (time.perf_counter() - started) * MICROSECONDS
