"""Prometheus metrics under TensorFlow Serving's names, as a scraper reads them."""

import http.client
import json
import shutil

import grpc
import pytest
import tensorflow as tf
from prometheus_client.parser import text_string_to_metric_families
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

PATH = "/monitoring/prometheus/metrics"


class Scraper:
    def __init__(self, port: int) -> None:
        self._port = port

    def get(self, path: str, method: str = "GET", body: str = "") -> tuple[int, str]:
        connection = http.client.HTTPConnection("localhost", self._port, timeout=30)
        connection.request(method, path, body)
        response = connection.getresponse()
        return response.status, response.read().decode()

    def samples(self) -> dict[tuple, float]:
        """Value by sample name and labels; the parser adds `_total` to the names of counters."""
        status, page = self.get(PATH)
        assert status == 200
        families = text_string_to_metric_families(page)
        return {
            (sample.name, *(f"{key}={value}" for key, value in sample.labels.items())): sample.value
            for family in families
            for sample in family.samples
        }


@pytest.fixture(scope="module")
def ports(serve, saved_model, tmp_path_factory):
    base = tmp_path_factory.mktemp("monitored")
    shutil.copytree(saved_model, base / "m" / "1")
    shutil.copytree(saved_model, base / "stems" / "1")
    entries = "".join(
        f'config {{ name: "{name}" base_path: "{base / name}" model_platform: "tensorflow" }}'
        for name in ("m", "stems")
    )
    (base / "models.config").write_text(f"model_config_list {{ {entries} }}")
    (base / "monitoring.config").write_text(f'prometheus_config {{ enable: true path: "{PATH}" }}')
    argv = (f"--model_config_file={base}/models.config", f"--monitoring_config_file={base}/monitoring.config")
    with serve(*argv) as ports:
        yield ports


@pytest.fixture
def scraper(ports):
    return Scraper(ports.rest)


@pytest.fixture
def stub(ports):
    with grpc.insecure_channel(f"localhost:{ports.grpc}") as channel:
        yield prediction_service_pb2_grpc.PredictionServiceStub(channel)


def predict(stub, name: str = "stems", alias: str = "mixture") -> None:
    request = predict_pb2.PredictRequest()
    request.model_spec.name = name
    request.inputs[alias].CopyFrom(tf.make_tensor_proto([[1.0]]))
    stub.Predict(request, timeout=20)


def grown(before: dict, after: dict) -> dict[tuple, float]:
    return {key: after[key] - before.get(key, 0) for key in after if after[key] != before.get(key, 0)}


def test_requests_are_counted_by_status(scraper, stub):
    before = scraper.samples()
    predict(stub)
    predict(stub)
    for name, alias in (("stems", "x"), ("stems", "y"), ("nobody", "mixture")):
        with pytest.raises(grpc.RpcError):
            predict(stub, name, alias)
    counted = {key[1:]: value for key, value in grown(before, scraper.samples()).items() if "request_count" in key[0]}
    assert counted == {
        ("model_name=stems", "status=OK"): 2,
        ("model_name=stems", "status=INVALID_ARGUMENT"): 2,
        ("model_name=(other)", "status=NOT_FOUND"): 1,
    }


def test_answers_have_latencies_in_microseconds(scraper, stub):
    before = scraper.samples()
    predict(stub)
    with pytest.raises(grpc.RpcError):
        predict(stub, alias="x")
    change = grown(before, scraper.samples())
    labels = ("model_name=stems", "API=Predict", "entrypoint=GRPC")
    assert change[(":tensorflow:serving:request_latency_count", *labels)] == 1
    request_us = change[(":tensorflow:serving:request_latency_sum", *labels)]
    runtime_us = change[(":tensorflow:serving:runtime_latency_sum", "model_name=stems", "API=Predict", "runtime=TF1")]
    assert 10 < runtime_us < request_us < 20e6


def test_rest_requests_are_counted_apart(scraper):
    before = scraper.samples()
    assert scraper.get("/v1/models/stems:predict", "POST", json.dumps({"instances": [[1.0]]}))[0] == 200
    assert scraper.get("/v1/models/stems:predict", "POST", "{}")[0] == 400
    change = grown(before, scraper.samples())
    labels = ("model_name=stems", "API=predict", "entrypoint=REST")
    assert change[(":tensorflow:serving:request_latency_count", *labels)] == 1
    assert change[(":tensorflow:serving:request_count_total", "model_name=stems", "status=OK")] == 1
    assert change[(":tensorflow:serving:request_count_total", "model_name=stems", "status=INVALID_ARGUMENT")] == 1


def test_loads_are_counted(scraper):
    loads = {key: value for key, value in scraper.samples().items() if "load_attempt_count" in key[0]}
    ours = [key for key in loads if "monitored" in key[1]]
    assert len(ours) == 2
    assert all(key[2] == "status=success" for key in ours)


def test_the_pages_text_is_the_real_servers(scraper, stub):
    """Names without `_total` and limits with six digits: dashboards for the real server ask for these."""
    predict(stub)
    page = scraper.get(PATH)[1].splitlines()
    assert "# TYPE :tensorflow:serving:request_count counter" in page
    assert "# TYPE :tensorflow:serving:request_latency histogram" in page
    assert any(line.startswith(':tensorflow:serving:request_count{model_name="stems",status="OK"} ') for line in page)
    prefix = ':tensorflow:serving:request_latency_bucket{model_name="stems",API="Predict",entrypoint="GRPC",le='
    limits = [line.removeprefix(prefix).split("}")[0] for line in page if line.startswith(prefix)]
    assert limits[:3] == ['"10"', '"18"', '"32.4"']
    assert '"708235"' in limits
    assert limits[-1] == '"+Inf"'
    assert len(limits) == 34
    assert not [line for line in page if "_created" in line]


def test_names_that_do_not_exist_are_no_labels(scraper, stub):
    before = scraper.samples()
    for name in ("nobody", "", "line\nfeed", 'quote"'):
        with pytest.raises(grpc.RpcError):
            predict(stub, name)
    assert scraper.get("/v1/models/someone:predict", "POST", "{}")[0] == 404
    assert scraper.get("/v1/models/line%0Afeed:predict", "POST", "{}")[0] == 400
    labels = {part for key in grown(before, scraper.samples()) for part in key[1:]}
    assert {label for label in labels if label.startswith("model_name=")} == {"model_name=(other)"}
