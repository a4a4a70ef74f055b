"""Buckets that are not there for us, told without TensorFlow; the servers are moto's and our own."""

from __future__ import annotations

import contextlib
import http.server
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.common import reachable


def test_a_bucket_that_does_not_exist_is_told_without_tensorflow(bucket, free_ports, monkeypatch) -> None:
    loaded = "tensorflow" in sys.modules
    reachable.refuse_absent(f"{bucket.url}/nothing/is/here")
    with pytest.raises(OSError, match=rf"^{bucket.url}-not/x cannot be used at http://.*: the bucket does not exist$"):
        reachable.refuse_absent(f"{bucket.url}-not/x")
    nobody = f"http://127.0.0.1:{free_ports(1)[0]}"
    monkeypatch.setenv("S3_ENDPOINT", nobody)
    began = time.monotonic()
    with pytest.raises(OSError, match=f"^{bucket.url}/x cannot be used at {nobody}: Connection refused$"):
        reachable.refuse_absent(f"{bucket.url}/x")
    assert time.monotonic() - began < 2
    assert ("tensorflow" in sys.modules) == loaded
    monkeypatch.setenv("http_proxy", nobody)
    reachable.refuse_absent(f"{bucket.url}/x")  # who knows what lies behind it
    reachable.refuse_absent("/a/place/of/this/machine")


@contextlib.contextmanager
def answering(code: int) -> Iterator[str]:
    """An S3 server that answers one request with a code."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_response(code)
            self.end_headers()

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"


@pytest.fixture
def stranger(tmp_path: Path, monkeypatch) -> None:
    """Nobody that a bucket could know."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in (name for names in reachable.ENVIRONMENT.values() for name in names):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("code", [200, 301, 400, 403, 500])
def test_what_a_bucket_says_to_somebody_who_asks_without_a_name_is_no_verdict(code: int, stranger, monkeypatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    with answering(code) as endpoint:
        monkeypatch.setenv("S3_ENDPOINT", endpoint)
        reachable.refuse_absent("s3://bucket/x")


@pytest.mark.parametrize("code", [401, 403])
def test_a_bucket_that_lets_in_nobody_without_credentials_is_told_at_once(code: int, stranger, monkeypatch) -> None:
    with answering(code) as endpoint:
        monkeypatch.setenv("S3_ENDPOINT", endpoint)
        with pytest.raises(
            OSError, match="lets nobody in without credentials, and there are none; legal: AWS_ACCESS_KEY_ID"
        ):
            reachable.refuse_absent("s3://bucket/x")


@pytest.mark.parametrize("url", ["s3://bucket/x", "gs://bucket/x"])
def test_a_cloud_that_nobody_reaches_is_told_at_once(url: str, stranger, monkeypatch) -> None:
    """In the place of a network that is down: the name of no host."""
    monkeypatch.setenv("S3_ENDPOINT", "https://nowhere.invalid")
    monkeypatch.setattr(reachable, "GOOGLE", "https://nowhere.invalid")
    began = time.monotonic()
    with pytest.raises(OSError, match=f"^{url} cannot be used at https://nowhere.invalid: "):
        reachable.refuse_absent(url)
    assert time.monotonic() - began < 5
