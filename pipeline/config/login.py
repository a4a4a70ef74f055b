"""Who calls Kubeflow Pipelines: a bearer token or a session cookie, and the authority that its certificate is held to.

A configuration says where these are. They are read where the command runs, when a call is made, and kept nowhere.
"""

from __future__ import annotations

import os
import re
import ssl
from dataclasses import dataclass
from pathlib import Path

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_TOKEN = re.compile(r"[!-~]+")
_COOKIE = re.compile(r"[!-<>-~]+=[ -~]+")
_WORD = "one word, the token without 'Bearer'"
_SECRETS = ("token_env", "token_file", "cookie_env")
LEGAL = ", ".join(f"cluster.{name}" for name in _SECRETS[:-1]) + f" or cluster.{_SECRETS[-1]}"


@dataclass(frozen=True)
class Login:
    """Where the secrets are; without one, calls carry none, as a forwarded port wants it.

    token_env, token_file: the environment variable, or the file, that holds a bearer token. cookie_env: the environment
        variable with the cookie of a session in a browser, `authservice_session=...`. ca_file: the PEM certificates of a
        private authority, in place of the public ones.
    """

    token_env: str | None = None
    token_file: str | None = None
    cookie_env: str | None = None
    ca_file: str | None = None

    def __post_init__(self) -> None:
        """Raises ValueError for two secrets, and for one in the place of its variable's name: that is not repeated."""
        given = [f"cluster.{name}" for name in _SECRETS if getattr(self, name)]
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)} are both set: legal is one of {LEGAL}")
        for name in ("token_env", "cookie_env"):
            if not _VARIABLE.fullmatch(getattr(self, name) or "unset"):
                raise ValueError(
                    f"cluster.{name} is not the name of an environment variable (nor shown, for it may be the secret): legal "
                    "are letters, digits and _"
                )

    @property
    def words(self) -> str:
        """What is shown to the server, without its value; empty where that is nothing."""
        if self.cookie_env:
            return f"the cookie of cluster.cookie_env ({self.cookie_env})"
        if self.token_file:
            return f"the token of cluster.token_file ({self.token_file})"
        return f"the token of cluster.token_env ({self.token_env})" if self.token_env else ""

    def token(self) -> str | None:
        """The bearer token of this moment: a cluster renews the file of a service account while a command runs.

        Raises:
          ValueError: there is none, or what is there cannot be one; its value is not repeated.
          OSError: the file cannot be read.
        """
        if self.token_file:
            # What is no text is no token either, and must not appear in a message about the encoding.
            text = Path(self.token_file).read_text(errors="replace").strip()
            return _checked(text, _TOKEN, f"the file {self.token_file} of cluster.token_file", _WORD)
        if self.token_env:
            place = f"the environment variable {self.token_env} of cluster.token_env"
            return _checked(os.environ.get(self.token_env, ""), _TOKEN, place, _WORD)
        return None

    def cookie(self) -> str | None:
        """The header `Cookie`. Raises ValueError as `token`."""
        if not self.cookie_env:
            return None
        place = f"the environment variable {self.cookie_env} of cluster.cookie_env"
        return _checked(os.environ.get(self.cookie_env, ""), _COOKIE, place, "NAME=VALUE, as the browser has it")

    def authority(self) -> str | None:
        """`ca_file`, which holds certificates. Raises ValueError where it does not, OSError where it cannot be read."""
        if self.ca_file:
            text = Path(self.ca_file).read_text(errors="replace")
            try:
                ssl.create_default_context(cadata=text)
            except (ssl.SSLError, ValueError) as error:
                raise ValueError(f"cluster.ca_file is {self.ca_file}, which holds no certificate in PEM") from error
        return self.ca_file

    def hidden(self, text: str) -> str:
        """A server's words without the secret, which it may have repeated."""
        for secret in filter(None, (self.token(), self.cookie())):
            text = text.replace(secret, "***")
        return text


def _checked(text: str, legal: re.Pattern[str], place: str, form: str) -> str:
    """`text`, which goes into a header: what is illegal there would come back whole in somebody else's message."""
    if not text:
        raise ValueError(f"{place} is empty or not set: legal is {form}")
    if not legal.fullmatch(text):
        raise ValueError(f"{place} holds something else (not shown): legal is {form}")
    return text
