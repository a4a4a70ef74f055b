"""The REST port as a door to strangers: what is slow, huge, many or no HTTP keeps nobody else out."""

from __future__ import annotations

import gzip
import http.client
import json
import resource
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

import psutil
import pytest

from serving import process
from serving.server.api import http_server

PREDICT = "/v1/models/default:predict"
GOOD = json.dumps({"instances": [[1.0]]})
SMALL = ["--stemline_max_connections=20", "--stemline_max_request_seconds=2", "--stemline_max_message_bytes=1000000"]
SMALL += ["--stemline_max_concurrent_requests=2", "--rest_api_num_threads=4"]


def ask(port: int, body: bytes | str = GOOD, **headers: str) -> tuple[int, dict, dict[str, str]]:
    """Status, document and headers of the answer, which has to be JSON."""
    connection = http.client.HTTPConnection("localhost", port, timeout=30)
    connection.request("POST", PREDICT, body, {name.replace("_", "-"): value for name, value in headers.items()})
    answer = connection.getresponse()
    assert answer.headers.get_content_type() == "application/json"
    document = json.loads(answer.read())
    connection.close()
    return answer.status, document, dict(answer.getheaders())


def assert_served(port: int) -> None:
    assert ask(port)[:2] == (200, {"predictions": [{"vocals": [0.25], "accompaniment": [0.75]}]})


def told(port: int, data: bytes, seconds: float = 10) -> tuple[int, dict] | None:
    """Status and document of the answer to these bytes; None where the server hung up without one."""
    with socket.create_connection(("localhost", port), timeout=seconds) as connection:
        connection.sendall(data)
        answer = http.client.HTTPResponse(connection)
        try:
            answer.begin()
            return answer.status, json.loads(answer.read())
        except (ConnectionError, http.client.BadStatusLine):
            return None


def closed_after(connection: socket.socket, seconds: float) -> bool:
    connection.settimeout(seconds)
    try:
        while connection.recv(65536):
            pass
    except ConnectionError:
        return True
    except TimeoutError:
        return False
    return True


@contextmanager
def open_files(count: int) -> Iterator[None]:
    """So many for this process, which is the server too."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (count, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.fixture(scope="module")
def port(serve, base_path) -> Iterator[int]:
    with serve(f"--model_base_path={base_path}", *SMALL) as ports:
        yield ports.rest


def test_the_server_does_not_tell_its_versions(port):
    assert ask(port)[2]["Server"] == "stemline"
    assert ask(port, "{")[2]["Server"] == "stemline"


HEAD = f"POST {PREDICT} HTTP/1.1\r\nHost: x\r\n".encode()
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
BROKEN = {
    "no HTTP": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100),
    "a method that is none": b"G@T / HTTP/1.1\r\n\r\n",
    "a version that is none": b"GET / HTTP/9.9\r\n\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "a long path": b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n",
    "a long header": HEAD + b"X: " + b"a" * 100_000 + b"\r\n\r\n",
    "many headers": HEAD + b"X: a\r\n" * 10_000 + b"\r\n",
    "a header with a zero": HEAD + b"X: a\0b\r\n\r\n",
    "a header without a colon": HEAD + b"what\r\n\r\n",
    "a length that is none": HEAD + b"Content-Length: -1\r\n\r\n",
    "two lengths": HEAD + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n1",
    "a length and chunks": HEAD + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a chunk without a size": CHUNKED + b"zz\r\n{}\r\n0\r\n\r\n",
    "a chunk that is longer": CHUNKED + b"1\r\n{}{}\r\n0\r\n\r\n",
    "a chunk of 16 EiB": CHUNKED + b"ffffffffffffffffff\r\n",
    "no gzip": HEAD + b"Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}",
    "gzip cut short": HEAD + b"Content-Encoding: gzip\r\nContent-Length: 12\r\n\r\n" + gzip.compress(b"{}" * 99)[:12],
    "deflate, which is not unpacked": HEAD + b"Content-Encoding: deflate\r\nContent-Length: 2\r\n\r\n\x78\x9c",
    "an encoding that is none": HEAD + b"Content-Encoding: \xff\r\nContent-Length: 2\r\n\r\n{}",
    "an expectation": HEAD + b"Expect: the best\r\nContent-Length: 2\r\n\r\n{}",
    "an upgrade": HEAD + b"Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 2\r\n\r\n{}",
    "a huge length": HEAD + b"Content-Length: 1000000000000\r\n\r\n",
    "a request of another host": b"CONNECT example.com:443 HTTP/1.1\r\n\r\n",
    "a port that is none": b"GET http://a:b:c/v1/models HTTP/1.1\r\n\r\n",
}


@pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN)
def test_what_is_wrong_is_told_in_json(port, data):
    answer = told(port, data)
    assert answer is not None
    status, document = answer
    assert 400 <= status < 500
    assert list(document) == ["error"]
    assert len(document["error"]) < 1100


def test_what_a_client_asks_before_it_sends_a_large_body(port):
    """As curl does with more than a megabyte; refused at once where it would be in vain."""
    with socket.create_connection(("localhost", port), timeout=10) as connection:
        connection.sendall(HEAD + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(GOOD))
        assert connection.recv(1000) == http_server.CONTINUE
        connection.sendall(GOOD.encode())
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        assert answer.status == 200
    assert told(port, HEAD + b"Expect: 100-continue\r\nContent-Length: 1000001\r\n\r\n")[0] == 413


def test_a_body_may_be_packed_but_its_size_counts_unpacked(port):
    assert ask(port, gzip.compress(GOOD.encode()), Content_Encoding="gzip")[0] == 200
    bomb = gzip.compress(b" " * 300_000_000)
    assert len(bomb) < 1_000_000
    started, before = time.monotonic(), psutil.Process().memory_info().rss
    for _ in range(5):
        status, answer, _ = ask(port, bomb, Content_Encoding="gzip")
        assert (status, list(answer)) == (413, ["error"])
    assert time.monotonic() - started < 5
    assert psutil.Process().memory_info().rss < before + 100e6
    small = gzip.compress(GOOD.encode())
    for data in (bomb[:500], small[:-1], small + b"x", small * 2, gzip.compress(small), b"", GOOD):
        status, answer, _ = ask(port, data, Content_Encoding="gzip")
        assert (status, list(answer)) == (400, ["error"])


def test_a_body_that_comes_too_slowly_is_refused(port):
    started = time.monotonic()
    with socket.create_connection(("localhost", port), timeout=10) as connection:
        connection.sendall(HEAD + b"Content-Length: 100\r\n\r\n")
        for _ in range(5):  # a byte from time to time does not help
            connection.sendall(b" ")
            time.sleep(0.3)
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        assert answer.status == 408
        assert json.loads(answer.read())["error"].startswith("the request did not arrive in 2 s")
        assert closed_after(connection, 10)
    assert 1.5 < time.monotonic() - started < 6


def test_headers_that_do_not_come_are_not_waited_for(port):
    started = time.monotonic()
    with socket.create_connection(("localhost", port)) as silent, socket.create_connection(("localhost", port)) as half:
        half.sendall(HEAD)
        assert closed_after(silent, 10)
        assert closed_after(half, 10)
    assert 1.5 < time.monotonic() - started < 6


def test_a_client_that_does_not_read_is_not_waited_for(port):
    """Its answers, some 20 MB, fit into no socket."""
    row = ",".join(["0.12345"] * 100_000)
    body = f'{{"instances": [[{row}]]}}'.encode()
    requests = (HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body) * 10

    def send() -> None:
        with suppress(ConnectionError):
            connection.sendall(requests)

    with socket.create_connection(("localhost", port)) as connection:
        sending = threading.Thread(target=send)
        sending.start()
        sending.join(20)
        assert not sending.is_alive()  # the server has hung up
    assert_served(port)


def test_more_connections_than_allowed_take_the_place_of_those_that_wait(port):
    with ExitStack() as held:
        idle = http.client.HTTPConnection("localhost", port, timeout=10)
        idle.request("POST", PREDICT, GOOD)
        assert idle.getresponse().read()
        waiting = [held.enter_context(socket.create_connection(("localhost", port))) for _ in range(60)]
        for connection in waiting:
            connection.sendall(HEAD + b"X: ")
        assert_served(port)
        assert all(closed_after(connection, 0.5) for connection in waiting[:40])
        idle.request("POST", PREDICT, GOOD)  # who was answered before goes last
        assert idle.getresponse().status == 200
        idle.close()


def test_requests_under_way_are_not_closed_for_others_and_too_many_are_told(port):
    slow = json.dumps({"signature_name": "two_seconds", "instances": [[1.0]]})
    answers: list[int] = []
    asking = [threading.Thread(target=lambda: answers.append(ask(port, slow)[0])) for _ in range(2)]
    for thread in asking:
        thread.start()
    time.sleep(0.7)
    status, document, _ = ask(port)
    assert (status, document["error"][:26]) == (429, "more than 2 requests at a ")
    with ExitStack() as held:
        for _ in range(60):
            held.enter_context(socket.create_connection(("localhost", port)))
        for thread in asking:
            thread.join()
    assert answers == [200, 200]


def test_bodies_together_are_no_more_than_the_server_can_hold(port):
    """Four of the largest size."""
    with ExitStack() as held:
        for _ in range(5):
            connection = held.enter_context(socket.create_connection(("localhost", port)))
            connection.sendall(HEAD + b"Content-Length: 1000000\r\n\r\n" + b" " * 900_000)
        started = time.monotonic()
        assert told(port, HEAD + b"Content-Length: 1000000\r\n\r\n" + b" " * 900_000)[0] in (503, 408)
        assert time.monotonic() - started < 2.5
        time.sleep(2.2)
    assert_served(port)  # what was refused is not counted any more
    for _ in range(6):
        assert ask(port, b" " * 900_000)[0] == 400


def test_values_are_counted_before_they_become_objects(serve, base_path):
    with serve(f"--model_base_path={base_path}", "--stemline_max_request_values=1000") as ports:
        for body in ("[[]" + ",[]" * 501 + "]", "[" + "1," * 1001 + "1]", "[" * 1001):
            status, document, _ = ask(ports.rest, f'{{"instances": {body}')
            assert (status, document["error"][:26]) == (400, "the document has up to 100")
        assert_served(ports.rest)


def test_a_server_with_few_files_serves_on(base_path, free_ports):
    """256 where 600 connect and say nothing."""
    (port,) = free_ports(1)
    flags = ["--port=0", f"--rest_api_port={port}", f"--model_base_path={base_path}"]
    line = ["sh", "-c", 'ulimit -n 256 && exec "$@"', "sh", *process.command(*flags)]
    server = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        while "Exporting" not in server.stdout.readline():
            assert server.poll() is None
        with ExitStack() as held:
            for _ in range(600):
                held.enter_context(socket.create_connection(("localhost", port)))
            started = time.monotonic()
            assert_served(port)
            assert time.monotonic() - started < 5
    finally:
        assert process.stop(server) == 0


def test_3000_half_sent_requests_are_closed_and_a_good_client_is_served_meanwhile(serve, base_path):
    """With the limits of the flags' defaults but for the time, which would be a minute."""
    half = [b"", b"PO", HEAD, HEAD + b"X: ", HEAD + b"Content-Length: 99\r\n\r\n{", CHUNKED + b"5\r\n{"]
    with open_files(8000), serve(f"--model_base_path={base_path}", "--stemline_max_request_seconds=5") as ports:
        with ExitStack() as held:
            started, slowest, connections = time.monotonic(), 0.0, []
            for number in range(3000):
                connection = held.enter_context(socket.create_connection(("localhost", ports.rest)))
                with suppress(ConnectionError):  # the first ones are gone by then
                    connection.sendall(half[number % len(half)])
                connections.append(connection)
                if number % 100 == 0:
                    before = time.monotonic()
                    assert_served(ports.rest)
                    slowest = max(slowest, time.monotonic() - before)
            opened = time.monotonic() - started
            assert all(closed_after(connection, 20) for connection in connections)
            print(f"\n3,000 in {opened:.1f} s, all closed after {time.monotonic() - started:.1f} s; a good request took "
                  f"{slowest:.2f} s at most")  # fmt: skip
        assert_served(ports.rest)
        assert slowest < 2
        assert time.monotonic() - started - opened < 10
