"""The client over TLS, with and without a certificate of its own, against the embedded server."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
import soundfile
import trustme

from serving import process
from serving.client import Client
from serving.client.separation import SeparationError

AUTHORITY = trustme.CA()
STRANGER = trustme.CA()


def ssl_config(path: Path, client_verify: bool) -> Path:
    certificate = AUTHORITY.issue_cert("localhost")
    fields = {
        "server_key": certificate.private_key_pem.bytes(),
        "server_cert": b"".join(blob.bytes() for blob in certificate.cert_chain_pems),
        "custom_ca": AUTHORITY.cert_pem.bytes(),
    }
    lines = [f"{name}: {json.dumps(value.decode())}" for name, value in fields.items()]
    path.write_text("\n".join([*lines, f"client_verify: {json.dumps(client_verify)}", ""]))
    return path


@pytest.fixture(scope="module")
def addresses(base_path, tmp_path_factory) -> dict[bool, str]:
    """A server with TLS and one with mTLS, by whether the client must show a certificate."""
    folder = tmp_path_factory.mktemp("tls")
    with ExitStack() as stack:
        found = {}
        for client_verify in (False, True):
            config = ssl_config(folder / f"{client_verify}.config", client_verify)
            running = process.running(base_path, flags=[f"--ssl_config_file={config}"])
            found[client_verify] = stack.enter_context(running)
        yield found


@pytest.fixture
def own(tmp_path) -> dict[str, Path]:
    """certificate and key of a client, as files."""
    issued = AUTHORITY.issue_cert("client@example.org")
    paths = {"certificate": tmp_path / "client.pem", "key": tmp_path / "client.key"}
    paths["certificate"].write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    paths["key"].write_bytes(issued.private_key_pem.bytes())
    return paths


def separates(client: Client) -> bool:
    mixture = np.linspace(-0.5, 0.5, 100, dtype=np.float32)
    return np.allclose(client.separate(mixture, 16000)["vocals"], 0.25 * mixture, atol=1e-7)


def test_tls_by_the_authority_as_bytes_or_file(addresses, tmp_path):
    AUTHORITY.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    for ca in (AUTHORITY.cert_pem.bytes(), tmp_path / "ca.pem"):
        with Client(addresses[False], ca=ca, patience_seconds=5) as client:
            assert separates(client)


def test_mtls_asks_for_the_clients_certificate(addresses, own):
    ca = AUTHORITY.cert_pem.bytes()
    with Client(addresses[True], ca=ca, patience_seconds=5, **own) as client:
        assert separates(client)
    strangers = STRANGER.issue_cert("client@example.org")
    foreign = {"certificate": strangers.cert_chain_pems[0].bytes(), "key": strangers.private_key_pem.bytes()}
    for identity in ({}, foreign):
        with (
            Client(addresses[True], ca=ca, patience_seconds=0.5, **identity) as client,
            pytest.raises(SeparationError, match=f"no model server answers at {addresses[True]} after"),
        ):
            separates(client)


def test_the_command_line_takes_the_same_files(addresses, own, tmp_path):
    AUTHORITY.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    soundfile.write(tmp_path / "a.wav", np.zeros(1000), 16000)
    files = {"--ca": tmp_path / "ca.pem", "--cert": own["certificate"], "--key": own["key"], "-o": tmp_path / "out"}
    options = [str(word) for option in files.items() for word in option]
    command = [
        sys.executable,
        "-m",
        "pipeline.cli.main",
        "separate",
        str(tmp_path / "a.wav"),
        "--server",
        addresses[True],
    ]
    done = subprocess.run([*command, *options], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert soundfile.info(tmp_path / "out" / "a" / "vocals.wav").frames == 1000


@pytest.mark.parametrize(
    "wrong",
    [{"tls": True}, {"ca": STRANGER.cert_pem.bytes()}, {"ca": AUTHORITY.cert_pem.bytes(), "server_name": "a.b"}],
)
def test_a_server_that_cannot_prove_who_it_is_is_refused_at_once(addresses, wrong):
    started = time.monotonic()
    with (
        Client(addresses[False], patience_seconds=60, **wrong) as client,
        pytest.raises(SeparationError, match=f"{addresses[False]} after [01]\\.\\d s ") as caught,
    ):
        separates(client)
    assert "\n" not in str(caught.value)
    assert time.monotonic() - started < 2


def test_the_certificate_may_say_another_name_than_the_address(addresses):
    by_number = addresses[False].replace("localhost", "127.0.0.1")
    ca = AUTHORITY.cert_pem.bytes()
    with Client(by_number, ca=ca, server_name="localhost", patience_seconds=5) as client:
        assert separates(client)


def slow_link(address: str, delay_seconds: float) -> tuple[str, list[float]]:
    """Where a server is reached with every connection begun so much later, and when each one was asked for."""
    listener, begun = socket.create_server(("127.0.0.1", 0)), []

    def pump(source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(2**16):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)

    def begin(client: socket.socket) -> None:
        time.sleep(delay_seconds)
        server = socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2])))
        threading.Thread(target=pump, args=(server, client), daemon=True).start()
        pump(client, server)

    def accept() -> None:
        while True:
            client, _ = listener.accept()
            begun.append(time.monotonic())
            threading.Thread(target=begin, args=(client,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    return f"localhost:{listener.getsockname()[1]}", begun


def test_a_slow_link_is_no_absent_server(addresses):
    """TCP, TLS and HTTP/2 take some rounds before a connection is one; here more than the longest wait between two of them."""
    address, begun = slow_link(addresses[False], delay_seconds=1.5)
    with Client(address, ca=AUTHORITY.cert_pem.bytes(), patience_seconds=10) as client:
        assert separates(client)
    assert len(begun) == 1


def test_plain_text_to_a_tls_port_is_one_sentence(addresses):
    with Client(addresses[False], patience_seconds=0.5) as client, pytest.raises(SeparationError) as caught:
        separates(client)
    assert str(caught.value).startswith(f"no model server answers at {addresses[False]} after")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ca": b"no certificate"}, "ca is the bytes given, which holds no PEM; legal is text with -----BEGIN"),
        (
            {"certificate": AUTHORITY.cert_pem.bytes()},
            "key is missing; a client's certificate and its key come together",
        ),
        ({"key": b"-----BEGIN"}, "certificate is missing; a client's certificate and its key come together"),
    ],
)
def test_what_is_no_certificate_is_named(options, message):
    with pytest.raises(SeparationError) as caught:
        Client("localhost:1", **options)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"timeout_seconds": float("nan")}, "timeout_seconds is nan; legal is from 0.001 to 1000000.0"),
        ({"timeout_seconds": float("inf")}, "timeout_seconds is inf; legal is from 0.001 to 1000000.0"),
        ({"timeout_seconds": 0}, "timeout_seconds is 0; legal is from 0.001 to 1000000.0"),
        ({"patience_seconds": float("nan")}, "patience_seconds is nan; legal is from 0 to inf"),
        ({"patience_seconds": -1}, "patience_seconds is -1; legal is from 0 to inf"),
        ({"total_seconds": -1}, "total_seconds is -1; legal is from 0.001 to inf"),
        ({"version": 2**63}, "version is 9223372036854775808; legal is from 0 to 9223372036854775807"),
        ({"max_message_bytes": 2**31}, "max_message_bytes is 2147483648; legal is from 1 to 2147483647"),
    ],
)
def test_a_number_out_of_its_range_is_named(options, message):
    with pytest.raises(SeparationError) as caught:
        Client("localhost:1", **options)
    assert str(caught.value) == message


def test_a_missing_certificate_file_is_an_os_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        Client("localhost:1", ca=tmp_path / "none.pem")
