"""TLS and mTLS over real sockets, with certificates of a real (small) authority."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import grpc
import numpy as np
import pytest
import trustme
from google.protobuf import text_format
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from tensorflow_serving.apis import model_pb2

from serving import process
from serving.server import textproto, tls
from serving.wire import tensors


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def stranger() -> trustme.CA:
    return trustme.CA()


def certificate(issued: trustme.LeafCert) -> tuple[bytes, bytes]:
    """Private key and chain as PEM."""
    return issued.private_key_pem.bytes(), b"".join(blob.bytes() for blob in issued.cert_chain_pems)


def write_config(path: Path, authority: trustme.CA, client_verify: bool = False, **fields: str) -> Path:
    key, chain = certificate(authority.issue_cert("localhost"))
    values = {"server_key": key.decode(), "server_cert": chain.decode(), "client_verify": client_verify}
    if client_verify:
        values["custom_ca"] = authority.cert_pem.bytes().decode()
    config = textproto.message("SSLConfig")
    for name, value in {**values, **fields}.items():
        setattr(config, name, value)
    path.write_text(text_format.MessageToString(config))
    return path


@contextmanager
def secured(path: Path) -> Iterator[str]:
    """A health service behind the credentials of `path`."""
    with ThreadPoolExecutor(2) as threads:
        server = grpc.server(threads)
        health_pb2_grpc.add_HealthServicer_to_server(health.HealthServicer(), server)
        port = server.add_secure_port("localhost:0", tls.server_credentials(path))
        server.start()
        yield f"localhost:{port}"
        server.stop(None).wait()


def code_of(address: str, credentials: grpc.ChannelCredentials | None) -> grpc.StatusCode:
    """What a health check over a channel with these credentials ends with."""
    make = grpc.insecure_channel(address) if credentials is None else grpc.secure_channel(address, credentials)
    with make as channel:
        try:
            health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=20)
        except grpc.RpcError as error:
            return error.code()
    return grpc.StatusCode.OK


def client(trusted: trustme.CA, issuer: trustme.CA | None = None) -> grpc.ChannelCredentials:
    root = trusted.cert_pem.bytes()
    return grpc.ssl_channel_credentials(root, *(certificate(issuer.issue_cert("client")) if issuer else ()))


def test_tls_serves_who_trusts_the_authority_and_no_one_else(authority, stranger, tmp_path):
    with secured(write_config(tmp_path / "ssl.config", authority)) as address:
        assert code_of(address, client(authority)) is grpc.StatusCode.OK
        assert code_of(address, client(stranger)) is grpc.StatusCode.UNAVAILABLE
        assert code_of(address, None) is grpc.StatusCode.UNAVAILABLE


def test_mtls_serves_clients_with_the_authoritys_certificate_only(authority, stranger, tmp_path):
    with secured(write_config(tmp_path / "ssl.config", authority, client_verify=True)) as address:
        assert code_of(address, client(authority, authority)) is grpc.StatusCode.OK
        assert code_of(address, client(authority)) is grpc.StatusCode.UNAVAILABLE
        assert code_of(address, client(authority, stranger)) is grpc.StatusCode.UNAVAILABLE
        assert code_of(address, None) is grpc.StatusCode.UNAVAILABLE


def test_the_server_process_serves_with_tls(authority, base_path, tmp_path):
    config = write_config(tmp_path / "ssl.config", authority, client_verify=True)
    mixture = np.ones((1, 4), np.float32)
    request = tensors.predict_request(model_pb2.ModelSpec(name="stemline"), {"mixture": mixture})
    with process.running(base_path, flags=[f"--ssl_config_file={config}"]) as address:
        with grpc.secure_channel(address, client(authority, authority)) as channel:
            answer = channel.unary_unary("/tensorflow.serving.PredictionService/Predict")(request, timeout=30)
        assert code_of(address, None) is grpc.StatusCode.UNAVAILABLE
        assert code_of(address, client(authority)) is grpc.StatusCode.UNAVAILABLE
    np.testing.assert_array_equal(tensors.from_response(answer)[0]["vocals"], 0.25 * mixture)


def test_strangers_who_speak_no_tls_do_not_fill_the_log(authority, base_path, tmp_path):
    """gRPC itself would write a line for each."""
    config = write_config(tmp_path / "ssl.config", authority)
    line = process.command("--port=0", f"--model_base_path={base_path}", f"--ssl_config_file={config}")
    with (tmp_path / "log").open("w+") as log:
        server = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=log, text=True)
        try:
            port = int(process.READY.search(server.stdout.readline())[1])
            before = (tmp_path / "log").stat().st_size
            for greeting in (b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00" + os.urandom(600), b"\x80" * 500) * 20:
                with socket.create_connection(("localhost", port), timeout=10) as connection, suppress(ConnectionError):
                    connection.sendall(greeting)
                    connection.recv(100)
            assert (tmp_path / "log").stat().st_size == before
        finally:
            assert process.stop(server) == 0


BROKEN = {
    "no key": ({"server_key": ""}, "server_key holds no PEM text"),
    "no certificate": ({"server_cert": "hidden"}, "server_cert holds no PEM text"),
    "no authority": ({"client_verify": True, "custom_ca": ""}, "custom_ca holds no PEM text"),
    "a damaged key": ({"server_key": "-----BEGIN PRIVATE KEY-----\nhidden"}, "damaged or do not belong together"),
    "a damaged authority": ({"custom_ca": "-----BEGIN CERTIFICATE-----\nhidden"}, "damaged or do not belong together"),
}


@pytest.mark.parametrize(("fields", "words"), BROKEN.values(), ids=BROKEN)
def test_a_config_that_tls_cannot_use_is_named_and_not_quoted(authority, tmp_path, fields, words):
    path = write_config(tmp_path / "ssl.config", authority, **fields)
    with pytest.raises(ValueError, match=str(path)) as caught:
        tls.server_credentials(path)
    assert words in str(caught.value)
    assert "hidden" not in str(caught.value)


def test_another_authoritys_key_is_refused(authority, stranger, tmp_path):
    key = certificate(stranger.issue_cert("localhost"))[0].decode()
    path = write_config(tmp_path / "ssl.config", authority, server_key=key)
    with pytest.raises(ValueError, match="do not belong together"):
        tls.server_credentials(path)


@pytest.mark.parametrize("text", ['server_key: "hidden', "server_key: hidden", "hidden: 1", "\n-----BEGIN hidden"])
def test_a_file_that_is_no_ssl_config_is_named_with_the_line_and_not_quoted(tmp_path, text):
    path = tmp_path / "ssl.config"
    path.write_text(text)
    with pytest.raises(
        ValueError, match=r"ssl\.config is no SSLConfig: Error parsing text-format [\w.]+: line \d$"
    ) as caught:
        tls.server_credentials(path)
    assert caught.value.__cause__ is None
