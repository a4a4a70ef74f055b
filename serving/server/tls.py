"""TLS of the gRPC port, as `--ssl_config_file` of the real server sets it up.

The file is an SSLConfig text proto; keys and certificates stand in it as PEM text, lines joined by `\\n`:

    server_key: "-----BEGIN PRIVATE KEY-----\\n..."
    server_cert: "-----BEGIN CERTIFICATE-----\\n..."
    custom_ca: "-----BEGIN CERTIFICATE-----\\n..."
    client_verify: true

With `client_verify` only clients with a certificate that `custom_ca` signed are served (mTLS).
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc

from serving.server import textproto

_PEM = "-----BEGIN "


def server_credentials(path: Path) -> grpc.ServerCredentials:
    """The credentials for `grpc.Server.add_secure_port`.

    Raises:
      ValueError: the file cannot be read or parsed, lacks what TLS needs, or its key and certificates cannot be used;
        one sentence that names the file and quotes nothing of it.
    """
    config = textproto.read(path, textproto.message("SSLConfig"), secret=True)
    for name in ("server_key", "server_cert", *(["custom_ca"] if config.client_verify or config.custom_ca else [])):
        if _PEM not in getattr(config, name):
            raise ValueError(f"{path}: {name} holds no PEM text; legal is text that begins with {_PEM!r}")
    pair = config.server_key.encode(), config.server_cert.encode()
    credentials = grpc.ssl_server_credentials([pair], config.custom_ca.encode() or None, config.client_verify)
    if not _usable(credentials):
        raise ValueError(f"{path}: server_key, server_cert and custom_ca are damaged or do not belong together")
    return credentials


def _usable(credentials: grpc.ServerCredentials) -> bool:
    """Whether a port opens with them: a server that fails on its own port could not tell the reason from a taken one."""
    with ThreadPoolExecutor(1) as threads:
        probe = grpc.server(threads)
        try:
            return probe.add_secure_port("localhost:0", credentials) != 0
        except RuntimeError:
            return False
        finally:
            probe.stop(None)
