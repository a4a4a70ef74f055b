"""Whether a bucket is there for us, asked without TensorFlow, whose import takes seconds, and which then tries for minutes."""

from __future__ import annotations

import http.client
import os
import socket
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from pathlib import Path

from models import storage

_ASKED_SECONDS = 4
GOOGLE = "https://storage.googleapis.com"
# Where the libraries of either look for who we are; a machine of either cloud says it by itself.
ENVIRONMENT: Mapping[str, tuple[str, ...]] = {
    "s3": (
        *("AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AWS_WEB_IDENTITY_TOKEN_FILE"),
        *("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI"),
    ),
    "gs": ("GOOGLE_APPLICATION_CREDENTIALS", "CLOUDSDK_CONFIG"),
}
_FILES = {
    "s3": ("~/.aws/credentials", "~/.aws/config"),
    "gs": ("~/.config/gcloud/application_default_credentials.json",),
}
_VENDORS = {"s3": "Amazon", "gs": "Google"}
_LEGAL = {"s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE", "gs": "GOOGLE_APPLICATION_CREDENTIALS"}


def refuse_absent(place: storage.Place) -> None:
    """Asks for the bucket of a place, without patience; a place of this machine is left to whoever uses it.

    Raises OSError where nobody answers, the bucket does not exist, or it lets in nobody that it does not know and there are
    no credentials; and as `storage.absolute`.
    """
    url = storage.absolute(os.fspath(place))
    kind = url.partition("://")[0]
    if not storage.is_remote(url):
        return
    endpoint = _endpoint() if kind == "s3" else GOOGLE
    if endpoint.partition("://")[0] in urllib.request.getproxies():
        return
    request = urllib.request.Request(f"{endpoint}/{urllib.parse.quote(url.split('/')[2])}", method="HEAD")
    reason = ""
    try:
        urllib.request.urlopen(request, timeout=_ASKED_SECONDS).close()
    except urllib.error.HTTPError as error:
        if error.code == 404:
            reason = "the bucket does not exist"
        elif error.code in (401, 403) and not _known(kind):
            reason = (
                f"it lets nobody in without credentials, and there are none; legal: {_LEGAL[kind]} in the environment"
            )
    except urllib.error.URLError as error:
        told = error.reason
        known = isinstance(told, ConnectionRefusedError | socket.gaierror)
        reason = str(told.strerror) if known else ""
        if isinstance(told, TimeoutError):
            reason = f"nobody answered within {_ASKED_SECONDS} s"
    except (OSError, http.client.HTTPException):
        return
    if reason:
        raise OSError(f"{url} cannot be used at {endpoint}: {reason}")


def _endpoint() -> str:
    """Where tensorflow-io asks for buckets of s3://."""
    region = os.environ.get("AWS_REGION") or os.environ.get("S3_REGION") or "us-east-1"
    endpoint = os.environ.get("S3_ENDPOINT", "").rstrip("/") or f"https://s3.{region}.amazonaws.com"
    return endpoint if "://" in endpoint else f"https://{endpoint}"


def _known(kind: str) -> bool:
    """Whether there may be credentials."""
    vendor = Path("/sys/class/dmi/id/sys_vendor")
    here = vendor.is_file() and _VENDORS[kind] in vendor.read_text(errors="replace")
    return (
        here
        or any(map(os.environ.get, ENVIRONMENT[kind]))
        or any(Path(file).expanduser().is_file() for file in _FILES[kind])
    )
