"""The same over REST: headers, framing, packing and JSON of all kinds, of which none costs the server more than an answer.

Every answer is JSON, and no request makes the server fail: of the codes from 500 on only 501 (not served) and 503 are legal.
"""

from __future__ import annotations

import gzip
import http.client
import json
import random
import re
import socket
import zlib
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest

MESSAGE_BYTES = 2**20
HANG_SECONDS = 30
CLIENTS = 16
HUNG_UP = 0  # in place of a status
MODEL = "/v1/models/stemline"
PREDICT = f"{MODEL}:predict"
MARKER = "PAYLOAD-4f1c"


@pytest.fixture(scope="module")
def serving(base_path, logged_server, free_ports):
    """A server with limits of size and time, by the file for its output."""
    flags = ["--port=0", "--model_name=stemline", f"--model_base_path={base_path}", "--rest_api_enable_cors_support"]
    flags += [f"--stemline_max_message_bytes={MESSAGE_BYTES}", "--stemline_max_request_seconds=1"]
    return lambda log: logged_server(log, *flags, f"--rest_api_port={free_ports(1)[0]}")


@pytest.fixture(scope="module")
def server(serving, tmp_path_factory):
    with serving(tmp_path_factory.mktemp("log") / "server.log") as running:
        yield running


# ---- bodies


def nested(rng: random.Random) -> str:
    depth = rng.choice([1, 3, 31, 32, 33, 100, 500, 900, 990, 1100, 100_000])
    left, right = rng.choice([("[", "]"), ('{"a":', "}")])
    inner = left * depth + "1" + (right * depth if rng.random() < 0.8 else "")
    return inner if rng.random() < 0.3 else f'{{"{rng.choice(["instances", "inputs"])}": {inner}}}'


def value(rng: random.Random, depth: int = 0) -> object:
    kind = rng.random()
    if kind < 0.35 and depth < 4:
        return [value(rng, depth + 1) for _ in range(rng.choice([0, 1, 1, 2, 3, 40]))]
    if kind < 0.5 and depth < 4:
        keys = ["mixture", "audio", "query", "b64", "whole", "small", "flag", "text", "double", "", "\0", "n" * 2000]
        return {rng.choice(keys): value(rng, depth + 1) for _ in range(rng.randint(0, 4))}
    simple = [0, 1, -1, 0.5, 1e308, 2**24, 2**63, 10**400, True, False, None, "", "a", "é\u2028\U0001f600", "x" * 5000]
    return rng.choice([*simple, float("nan"), float("inf"), -float("inf"), "AAAA", "UklGRg=="])


def structured(rng: random.Random) -> str:
    names = ["serving_default", "", "echo", "wav", "describe", "fails", "x", "ü", "\n", 1, None, "s" * 3000]
    document = {}
    if rng.random() < 0.5:
        document["signature_name"] = rng.choice(names)
    for key in rng.choice([["instances"], ["inputs"], ["instances", "inputs"], [], ["other"]]):
        document[key] = value(rng)
    return json.dumps(document, ensure_ascii=rng.random() < 0.5)


def spoiled(rng: random.Random) -> str:
    text = structured(rng)
    start, stop = sorted(rng.choices(range(len(text) + 1), k=2))
    piece = rng.choice(["", text[start:stop] * 2, '"', "\\u", "\\ud800", "1" * 5000, "}", "]", "\0", "1e999", "//"])
    return text[:start] + piece + text[stop:]


def long(rng: random.Random) -> str:
    size = rng.choice([10_000, 100_000, 200_000])
    kind = rng.choice(["[" + "0," * size + "0]", '"' + "a" * size + '"', "[[]" + ",[]" * size + "]", "1" * size])
    return f'{{"instances": {kind}}}'


def right(rng: random.Random) -> str:
    return json.dumps({"instances": [[0.5] * rng.choice([1, 10, 1000])] * rng.choice([1, 3])})


BODIES: list[Callable[[random.Random], str]] = [structured] * 6 + [spoiled] * 4 + [nested] * 2 + [right] * 2 + [long]


def body(rng: random.Random) -> bytes:
    if rng.random() < 0.05:
        return rng.randbytes(rng.choice([0, 1, 100, 10_000]))
    return rng.choice(BODIES)(rng).encode("utf-8", "surrogatepass")


def packed(rng: random.Random, data: bytes) -> tuple[bytes, bytes]:
    """What Content-Encoding says, and the body."""
    kind = rng.random()
    if kind < 0.5:
        return b"gzip", gzip.compress(data)
    if kind < 0.6:
        return b"gzip", gzip.compress(data)[: rng.randint(0, 40)]
    if kind < 0.7:
        broken = bytearray(gzip.compress(data))
        broken[rng.randrange(len(broken))] = rng.randrange(256)
        return b"gzip", bytes(broken)
    if kind < 0.8:
        return b"gzip", gzip.compress(b" " * rng.choice([MESSAGE_BYTES, MESSAGE_BYTES + 1, 50_000_000]))
    names = [b"gzip", b"x-gzip", b"gzip, gzip", b"deflate", b"br", b"zstd", b"identity", b"", b"\xff", b"GZIP"]
    return rng.choice(names), rng.choice([data, zlib.compress(data), gzip.compress(gzip.compress(data))])


# ---- requests


def path(rng: random.Random) -> bytes:
    names = [
        "stemline",
        "x",
        "",
        "a%0Ab",
        "%00",
        "%ff",
        "..",
        "%2e%2e%2f",
        "m" * 3000,
        "é",
        "stemline?a=b",
        "%zz",
        "{}",
    ]
    versions = ["", "", "", "/versions/1", "/versions/9", "/versions/" + "9" * 3000, "/versions/-1", "/versions/١"]
    versions += ["/labels/x", "/labels/%0a", "/versions/1/labels/x"]
    ends = [":predict", ":predict", ":classify", ":regress", "/metadata", "", ":guess", "/", "//", "#x", ":predict?x"]
    known = f"/v1/models/{rng.choice(names)}{rng.choice(versions)}{rng.choice(ends)}"
    others = ["/", "*", "//", "/v1", "/V1/MODELS/STEMLINE", "http://x/v1/models/stemline", "x:443", "/" + "a" * 9000]
    return rng.choice([known] * 3 + [rng.choice(others)]).encode()


def headers(rng: random.Random) -> list[bytes]:
    some = [
        b"Accept-Encoding: gzip, br", b"Expect: 100-continue", b"Expect: x", b"Connection: keep-alive", b"X: " + b"a" * 9000,
        b"Connection: close", b"Upgrade: websocket", b"Connection: Upgrade", b"Origin: http://x", b"Origin: \xff\x01",
        b"Content-Type: text/html", b"Content-Type: \xff", b"Accept: text/html", b"Cookie: " + b"a=b;" * 500, b"No colon",
        b" folded", b": no name", b"X:", b"X\x00: a", b"Host: y", b"Transfer-Encoding: gzip", b"Content-Length: 5",
        b"Content-Length: -1", b"Content-Length: 1e3", b"Access-Control-Request-Method: POST", b"Range: bytes=0-0",
    ]  # fmt: skip
    found = rng.sample(some, rng.choice([0, 0, 0, 0, 1, 1, 2, 4]))
    return found + [b"X-%d: a" % number for number in range(rng.choice([0] * 20 + [500]))]


def chunked(rng: random.Random, data: bytes) -> bytes:
    pieces = []
    while data:
        size = rng.choice([1, 7, 1000, 100_000])
        pieces.append(b"%x%s\r\n%s\r\n" % (len(data[:size]), rng.choice([b"", b"", b";a=b"]), data[:size]))
        data = data[size:]
        if len(pieces) > 50:
            size = len(data) or 1
    return b"".join(pieces) + b"0\r\n" + rng.choice([b"", b"", b"Trailer: a\r\n"]) + b"\r\n"


def request(rng: random.Random) -> tuple[bytes, bool]:
    """Its bytes, and whether it is whole: a server may wait for the rest of another one, and hang up."""
    data = body(rng)
    lines = [b"Host: x", *headers(rng)]
    if rng.random() < 0.3:
        encoding, data = packed(rng, data)
        lines.append(b"Content-Encoding: " + encoding)
    whole, framing = True, rng.random()
    if framing < 0.6:
        lines.append(b"Content-Length: %d" % len(data))
    elif framing < 0.9:
        lines.append(b"Transfer-Encoding: chunked")
        data = chunked(rng, data)
    else:
        whole = False
        lines.append(rng.choice([b"Content-Length: %d" % (len(data) + 5), b"Transfer-Encoding: chunked", b"X: y"]))
    method = rng.choice(
        [b"POST"] * 12 + [b"GET"] * 4 + [b"OPTIONS", b"PUT", b"DELETE", b"PATCH", b"TRACE", b"post", b"BREW"]
    )
    where = PREDICT.encode() if method == b"POST" and rng.random() < 0.8 else path(rng)
    version = rng.choice([b"HTTP/1.1"] * 20 + [b"HTTP/1.0", b"HTTP/2.0", b"HTTP/0.9", b"http/1.1", b""])
    sent = b"%s %s %s\r\n%s\r\n\r\n%s" % (method, where, version, b"\r\n".join(lines), data)
    if rng.random() < 0.15:
        whole, changed = False, bytearray(sent)
        for _ in range(rng.randint(1, 6)):
            changed[rng.randrange(min(len(changed), 400))] = rng.randrange(256)
        sent = bytes(changed[: rng.choice([None, None, rng.randint(0, len(changed))])])
    return sent, whole


# ---- what comes back


def answer(port: int, sent: bytes) -> tuple[int, bytes, str]:
    """Status, body and type of the first answer."""
    with socket.create_connection(("localhost", port), timeout=HANG_SECONDS) as connection:
        with suppress(ConnectionError):  # refused before all was sent
            connection.sendall(sent)
        try:
            response = http.client.HTTPResponse(connection)
            response.begin()
            return response.status, response.read(), response.headers.get_content_type()
        except (ConnectionError, http.client.BadStatusLine):
            return HUNG_UP, b"", ""


def fuzz(server, count: int, seed: int) -> Counter:
    def one(index: int) -> int:
        rng = random.Random(f"{seed} {index}")
        sent, whole = request(rng)
        status, text, kind = answer(server.rest_port, sent)
        what = seed, index, status, text[:300], sent[:600]
        if status == HUNG_UP:
            assert not whole, what
            return status
        assert status < 500 or status in (501, 503), what
        assert kind == "application/json", what
        assert status == 200 or len(text) < 10_000, what
        if status != 200:
            assert list(json.loads(text.decode("latin-1"))) == ["error"], what
        return status

    with ThreadPoolExecutor(CLIENTS) as pool:
        statuses = Counter(pool.map(one, range(count)))
    assert_well(server)
    return statuses


def assert_well(server) -> None:
    connection = http.client.HTTPConnection("localhost", server.rest_port, timeout=HANG_SECONDS)
    for _ in range(2):
        connection.request("POST", PREDICT, '{"instances": [[1.0]]}')
        found = connection.getresponse()
        assert (found.status, json.load(found)) == (200, {"predictions": [{"vocals": [0.25], "accompaniment": [0.75]}]})
    connection.close()


def test_500_requests(server, record_property):
    before = server.rss_mb
    statuses = fuzz(server, 500, seed=1)
    record_property("statuses", dict(statuses))
    assert {200, 400, 404, 413, 501} <= set(statuses)
    assert server.rss_mb < before + 300


@pytest.mark.slow
def test_10_000_requests_leave_the_server_as_it_was(serving, tmp_path):
    with serving(tmp_path / "server.log") as server:
        statuses = fuzz(server, 4000, seed=2)  # in which every thread has had its largest document
        warm = server.rss_mb
        statuses += fuzz(server, 6000, seed=3)
        after = server.rss_mb
        print(f"\n10,000 requests: {dict(statuses)}; {warm:.0f} MB after 4,000 of them, {after:.0f} MB after all")
    assert after < warm + 100
    text = (tmp_path / "server.log").read_text(errors="replace")
    assert "failed with" not in text
    assert "Traceback" not in text


def test_the_log_has_nothing_of_what_was_sent(server):
    marker = MARKER.encode()
    sent = [
        b"GET /" + marker + b" HTTP/1.1\r\n\r\n",
        b"GET /v1/models/" + marker + b" HTTP/1.1\r\n\r\n",
        marker + b" / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + marker + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nX\0: " + marker + b"\r\n\r\n",
    ]
    for text in (marker, b'{"instances": ["%s"]}' % marker, b'{"signature_name": "%s", "inputs": 1}' % marker):
        sent.append(b"POST %s HTTP/1.1\r\nContent-Length: %d\r\n\r\n%s" % (PREDICT.encode(), len(text), text))
        sent.append(b"POST %s HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n%s" % (PREDICT.encode(), text))
    assert {answer(server.rest_port, each)[0] // 100 for each in sent} == {4}
    log = server.log.read_text(errors="replace")
    assert MARKER not in log
    assert "Traceback" not in log
    assert re.search(r"failed with", log) is None
