"""The REST API over real HTTP: paths, rows and columns, bytes, errors and their codes."""

import base64
import gzip
import http.client
import json
import shutil
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

PCM = np.array([0, 16384, -16384, 32767], np.int16)


class Rest:
    """An HTTP client of one server."""

    def __init__(self, port: int) -> None:
        self._port = port

    def raw(self, method: str, path: str, body: bytes | str = b"", **headers: str) -> tuple[int, bytes, dict[str, str]]:
        connection = http.client.HTTPConnection("localhost", self._port, timeout=30)
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        return response.status, response.read(), dict(response.getheaders())

    def post(self, path: str, document: object) -> tuple[int, dict]:
        status, body, _ = self.raw("POST", path, json.dumps(document))
        return status, json.loads(body)

    def get(self, path: str) -> tuple[int, dict]:
        status, body, _ = self.raw("GET", path)
        return status, json.loads(body)


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


STEMS = "/v1/models/stems"


@pytest.fixture(scope="module")
def base(saved_model, louder_model, tmp_path_factory) -> Path:
    base = tmp_path_factory.mktemp("rest")
    for name, version, model in (("stems", 1, saved_model), ("stems", 2, louder_model), ("m", 1, saved_model)):
        shutil.copytree(model, base / name / str(version))
    models = [
        f'name: "stems" base_path: "{base}/stems" model_version_policy {{ all {{ }} }} '
        'version_labels { key: "stable" value: 1 }',
        f'name: "m" base_path: "{base}/m"',
    ]
    entries = "".join(f'config {{ {model} model_platform: "tensorflow" }}' for model in models)
    (base / "models.config").write_text(f"model_config_list {{ {entries} }}")
    return base


@pytest.fixture(scope="module")
def rest(serve, base):
    argv = (f"--model_config_file={base}/models.config", "--allow_version_labels_for_unavailable_models")
    with serve(*argv, "--rest_api_enable_cors_support", "--rest_api_timeout_in_ms=1000") as ports:
        rest = Rest(ports.rest)
        wait_for(lambda: rest.get(f"{STEMS}/versions/1/metadata")[0] == 200)  # the ports open with version 2
        yield rest


def test_rows_in_rows_out(rest):
    answer = rest.post(f"{STEMS}:predict", {"instances": [[0.5, 1.0], [0.25, -2]]})
    assert answer == (
        200,
        {
            "predictions": [
                {"vocals": [0.25, 0.5], "accompaniment": [0.25, 0.5]},
                {"vocals": [0.125, -1.0], "accompaniment": [0.125, -1.0]},
            ]
        },
    )
    assert rest.post(f"{STEMS}:predict", {"instances": [{"mixture": [0.5, 1.0]}, {"mixture": [0.25, -2]}]}) == answer


def test_columns_in_columns_out(rest):
    expected = {"vocals": [[0.25, 0.5]], "accompaniment": [[0.25, 0.5]]}
    assert rest.post(f"{STEMS}:predict", {"inputs": [[0.5, 1]]}) == (200, {"outputs": expected})
    assert rest.post(f"{STEMS}:predict", {"inputs": {"mixture": [[0.5, 1]]}}) == (200, {"outputs": expected})


@pytest.mark.parametrize(
    ("place", "gain"), [("", 0.5), ("/versions/1", 0.25), ("/versions/2", 0.5), ("/labels/stable", 0.25)]
)
def test_versions_and_labels_are_in_the_path(rest, place, gain):
    status, answer = rest.post(f"{STEMS}{place}:predict", {"instances": [[1.0]]})
    assert status == 200
    assert answer["predictions"][0]["vocals"] == [gain]


def test_one_output_is_not_named(rest):
    document = {"signature_name": "describe", "instances": ["?", "!"]}
    assert rest.post(f"{STEMS}:predict", document) == (200, {"predictions": [16000, 16000]})
    document = {"signature_name": "describe", "inputs": ["?"]}
    assert rest.post(f"{STEMS}:predict", document) == (200, {"outputs": [16000]})


def test_several_inputs_of_every_dtype(rest):
    row = {"whole": -(2**40), "small": -3, "flag": True, "text": "ü", "double": 0.1}
    status, answer = rest.post(f"{STEMS}:predict", {"signature_name": "echo", "instances": [row, row]})
    assert (status, answer) == (200, {"predictions": [row, row]})
    columns = {name: [value] for name, value in row.items()}
    status, answer = rest.post(f"{STEMS}:predict", {"signature_name": "echo", "inputs": columns})
    assert (status, answer) == (200, {"outputs": columns})


def test_bytes_go_in_as_base64_and_come_out_raw(rest):
    wav = tf.audio.encode_wav(np.ones((4, 1), np.float32) * 0.5, 16000).numpy()
    document = {"signature_name": "wav", "instances": [{"b64": base64.b64encode(wav).decode()}]}
    status, body, _ = rest.raw("POST", f"{STEMS}:predict", json.dumps(document))
    assert status == 200
    answer = json.loads(body.decode("latin-1"))["predictions"][0]["vocals"].encode("latin-1")
    samples, rate = tf.audio.decode_wav(answer)
    assert rate == 16000
    np.testing.assert_allclose(samples.numpy(), 0.25, atol=1e-4)


def test_metadata(rest):
    status, answer = rest.get(f"{STEMS}/versions/1/metadata")
    assert status == 200
    assert answer["model_spec"] == {"name": "stems", "signature_name": "", "version": "1"}
    default = answer["metadata"]["signature_def"]["signature_def"]["serving_default"]
    assert default["method_name"] == "tensorflow/serving/predict"
    assert default["inputs"]["mixture"]["dtype"] == "DT_FLOAT"
    assert default["inputs"]["mixture"]["tensor_shape"]["dim"][0]["size"] == "-1"


def test_status(rest):
    fine = {"error_code": "OK", "error_message": ""}
    versions = [{"version": str(number), "state": "AVAILABLE", "status": fine} for number in (2, 1)]
    assert rest.get(STEMS) == (200, {"model_version_status": versions})
    assert rest.get(f"{STEMS}/versions/1") == (200, {"model_version_status": versions[1:]})
    # get_model_status_impl.cc looks at the version alone, and not at a label
    assert rest.get(f"{STEMS}/labels/stable") == (200, {"model_version_status": versions})


@pytest.mark.parametrize("method", ["classify", "regress"])
def test_methods_of_no_separator_are_not_implemented(rest, method):
    status, answer = rest.post(f"{STEMS}:{method}", {"examples": [{"x": 0.5}]})
    assert status == 501
    assert answer["error"].startswith(f"{method.capitalize()} is not served: ")


ROW = [[1.0]]
ERRORS = {
    "unknown model": ("/v1/models/x:predict", {"instances": ROW}, 404, "Servable not found for request: Latest(x)"),
    "unknown version": (
        f"{STEMS}/versions/9:predict",
        {"instances": ROW},
        404,
        "Servable not found for request: Specific(stems, 9)",
    ),
    "unknown label": (
        f"{STEMS}/labels/x:predict",
        {"instances": ROW},
        400,
        "Unrecognized servable version label: x",
    ),
    "huge version": (
        f"{STEMS}/versions/{2**63}:predict",
        {"instances": ROW},
        400,
        f"Failed to convert version: {2**63} to numeric.",
    ),
    "unknown signature": (
        f"{STEMS}:predict",
        {"signature_name": "x", "instances": ROW},
        400,
        'Serving signature name: "x" not found in signature def',
    ),
    "no inputs": (f"{STEMS}:predict", {}, 400, "Missing 'inputs' or 'instances' key"),
    "unknown method": (f"{STEMS}:guess", {}, 400, "Malformed request: POST /v1/models/stems:guess"),
    "wrong dtype": (
        f"{STEMS}:predict",
        {"instances": [["a"]]},
        400,
        "Failed to process element: 0 of 'instances' list. Error: INVALID_ARGUMENT: "
        'JSON Value: "a" Type: String is not of expected type: float',
    ),
    "ragged": (
        f"{STEMS}:predict",
        {"instances": [[1.0], [1.0, 2.0]]},
        400,
        "Failed to process element: 1 of 'instances' list. Error: INVALID_ARGUMENT: "
        "Expecting tensor size: 1 but got: 2",
    ),
    "wrong name": (
        f"{STEMS}:predict",
        {"instances": [{"x": [1.0]}]},
        400,
        "Failed to process element: 0 key: x of 'instances' list. Error: INVALID_ARGUMENT: "
        "JSON object: does not have named input: x",
    ),
    "missing name": (
        f"{STEMS}:predict",
        {"signature_name": "echo", "inputs": {"whole": [1], "flag": [True], "text": [""], "double": [1.0]}},
        400,
        "Missing named input: small in 'inputs' object.",
    ),
    "plain list for several inputs": (
        f"{STEMS}:predict",
        {"signature_name": "echo", "instances": [1]},
        400,
        "instances is a plain list, but expecting list of objects as multiple input tensors required as per "
        "tensorinfo_map",
    ),
    "bad base64": (
        f"{STEMS}:predict",
        {"signature_name": "wav", "inputs": {"b64": "***"}},
        400,
        "Unable to base64 decode",
    ),
    "deadline": (
        f"{STEMS}:predict",
        {"signature_name": "two_seconds", "instances": ROW},
        504,
        None,
    ),
}


@pytest.mark.parametrize(("path", "document", "code", "words"), ERRORS.values(), ids=ERRORS.keys())
def test_errors_are_json_with_http_codes(rest, path, document, code, words):
    status, answer = rest.post(path, document)
    assert (status, list(answer)) == (code, ["error"])
    assert words is None or answer["error"] == words


@pytest.mark.parametrize(
    ("method", "path", "body", "code", "words"),
    [
        ("POST", f"{STEMS}:predict", b"", 400, "JSON Parse error: The document is empty"),
        ("POST", f"{STEMS}:predict", b"{", 400, "JSON Parse error: "),
        ("POST", f"{STEMS}:predict", b"\xff\xfe\xfd", 400, "JSON Parse error: "),
        ("POST", f"{STEMS}:predict", b"[" * 100_000, 400, "JSON Parse error: "),
        ("POST", f"{STEMS}:predict", b"[1" + b"0" * 5000 + b"]", 400, "JSON Parse error: "),
        ("POST", f"{STEMS}:predict", b"[]", 400, "JSON Value: [] Is not object"),
        ("POST", f"{STEMS}:predict", b'{"signature_name": "\\ud800", "inputs": 1}', 400, "JSON Parse error: "),
        ("POST", f"{STEMS}:predict", b'{"signature_name": "\\udc00", "inputs": 1}', 400, "Serving signature name: "),
        ("POST", f"{STEMS}:predict", b'{"instances": [{"\\udc00": 1}]}', 400, "Failed to process element: 0 key: ?"),
        ("GET", "/v1/models/x", b"", 404, "Could not find any versions of model x"),
        ("GET", f"{STEMS}/versions/9", b"", 404, "Could not find version 9 of model stems"),
        ("GET", "/v1/models/x/metadata", b"", 404, "Servable not found for request: Latest(x)"),
        ("GET", "/v1/models", b"", 400, "Missing model name in request."),
        ("GET", "/v1/other", b"", 400, "Malformed request: GET /v1/other"),
        ("PUT", STEMS, b"", 400, "Malformed request: PUT /v1/models/stems"),
    ],
)
def test_garbage_is_answered_in_words(rest, method, path, body, code, words):
    status, answer, _ = rest.raw(method, path, body)
    assert status == code
    assert json.loads(answer)["error"].startswith(words)


PLAIN = json.dumps({"instances": [[1.0]]}).encode()
PACKED = gzip.compress(PLAIN, mtime=0)  # the same in every process that collects the tests
NO_GZIP = "the body is not what Content-Encoding says: gzip, whole and nothing after it"


@pytest.mark.parametrize(
    ("body", "encoding", "status"),
    [
        (PACKED, "gzip", 200),
        (PACKED, "x-gzip", 200),
        (PLAIN, "deflate", 200),  # evhttp_request.cc looks for "gzip" alone
        (PLAIN, "gzip", 400),
        (b"", "gzip", 400),
        (PACKED[:-9], "gzip", 400),
        (PACKED + b"x", "gzip", 400),
        (PACKED * 2, "gzip", 400),
    ],
)
def test_a_body_may_be_gzip_and_has_to_be_where_it_says_so(rest, body, encoding, status):
    found, answer, headers = rest.raw("POST", f"{STEMS}:predict", body, **{"Content-Encoding": encoding})
    assert (found, headers["Content-Type"]) == (status, "application/json")
    if status == 400:
        assert json.loads(answer) == {"error": NO_GZIP}


def test_what_is_no_api_path_is_not_found(rest):
    assert rest.get("/") == (404, {"error": "Not Found"})
    assert rest.raw("GET", "/monitoring/prometheus/metrics")[0] == 404  # no monitoring config


def test_cors_headers_where_the_flag_says_so(rest, serve, base):
    assert rest.raw("GET", STEMS)[2]["Access-Control-Allow-Origin"] == "*"
    with serve(f"--model_base_path={base}/m") as ports:
        status, _, headers = Rest(ports.rest).raw("GET", "/v1/models/default")
        assert status == 200
        assert headers["Content-Type"].startswith("application/json")
        assert "Access-Control-Allow-Origin" not in headers


def test_metadata_is_404_until_a_version_is_available(serve, base, tmp_path):
    config = tmp_path / "models.config"
    config.write_text("")
    with serve(f"--model_config_file={config}", "--model_config_file_poll_wait_seconds=0.05") as ports:
        rest = Rest(ports.rest)
        assert rest.get("/v1/models/m/metadata")[0] == 404
        config.write_text(
            f'model_config_list {{ config {{ name: "m" base_path: "{base}/m" model_platform: "tensorflow" }} }}'
        )
        wait_for(lambda: rest.get("/v1/models/m/metadata")[0] == 200)


def test_requests_under_way_are_finished_and_the_body_is_limited(serve, base):
    answers = []
    with serve(f"--model_base_path={base}/stems", "--stemline_max_message_bytes=1000") as ports:
        rest = Rest(ports.rest)
        for body, headers in ((b"x" * 1001, {}), (gzip.compress(b"x" * 1001), {"Content-Encoding": "gzip"})):
            status, answer, _ = rest.raw("POST", "/v1/models/default:predict", body, **headers)
            words = "the request is larger than 1000 bytes (--stemline_max_message_bytes)"
            assert (status, json.loads(answer)) == (413, {"error": words})
        document = {"signature_name": "two_seconds", "instances": ROW}
        asking = threading.Thread(target=lambda: answers.append(rest.post("/v1/models/default:predict", document)))
        asking.start()
        time.sleep(0.7)
    asking.join()
    assert answers == [(200, {"predictions": [[1.0]]})]
    with socket.socket() as probe:
        assert probe.connect_ex(("localhost", ports.rest)) != 0
